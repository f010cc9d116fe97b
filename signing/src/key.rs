//! Ed25519 keys as OpenSSL reads and writes them (RFC 8410).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{KeyError, Sum};

/// What stands before the 32 bytes of a public key: SubjectPublicKeyInfo of id-Ed25519.
const PUBLIC_PREFIX: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
/// What stands before the 32 bytes of a seed: OneAsymmetricKey, version 1, of id-Ed25519.
const PRIVATE_PREFIX: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const LENGTH: usize = 32;

/// A key that checks signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; LENGTH]);

impl PublicKey {
    /// Reads a key from a PEM file.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] and [`KeyError::NotPublic`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        read(path)?.parse()
    }

    /// Returns the key as PEM, `-----BEGIN PUBLIC KEY-----`.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.der())
    }

    /// Returns the SHA-256 by which people compare keys: what
    /// `openssl pkey -pubin -in KEY.pub -outform DER | sha256sum` prints.
    pub fn fingerprint(&self) -> String {
        Sum::of(&self.der()).to_string()
    }

    /// Returns whether `signature` was made over `message` by the private key of this one.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }

    fn der(&self) -> Vec<u8> {
        [&PUBLIC_PREFIX[..], &self.0].concat()
    }
}

/// Reads PEM, or only the line between its first and its last: the key in Base64.
impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let der = decode("PUBLIC KEY", text).ok_or(KeyError::NotPublic)?;
        let key = der.strip_prefix(&PUBLIC_PREFIX).ok_or(KeyError::NotPublic)?;
        Ok(Self(key.try_into().map_err(|_| KeyError::NotPublic)?))
    }
}

/// The line within the PEM: Base64, 60 characters.
impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.der()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

/// A key that signs.
pub struct PrivateKey {
    seed: [u8; LENGTH],
    pair: Ed25519KeyPair,
}

impl PrivateKey {
    /// Makes a key from random bytes of the operating system.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; LENGTH];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| KeyError::NoRandomness)?;
        Self::from_seed(seed)
    }

    /// Reads a key from a PEM file.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] and [`KeyError::NotPrivate`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read(path)?)
    }

    /// Reads a key from PEM, `-----BEGIN PRIVATE KEY-----`.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = decode("PRIVATE KEY", text).ok_or(KeyError::NotPrivate)?;
        let seed = der.strip_prefix(&PRIVATE_PREFIX).ok_or(KeyError::NotPrivate)?;
        Self::from_seed(seed.try_into().map_err(|_| KeyError::NotPrivate)?)
    }

    fn from_seed(seed: [u8; LENGTH]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::NotPrivate)?;
        Ok(Self { seed, pair })
    }

    /// Returns the key as PEM, `-----BEGIN PRIVATE KEY-----`. Keep it from others.
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &[&PRIVATE_PREFIX[..], &self.seed].concat())
    }

    /// Returns the key that checks what this one signs.
    pub fn public_key(&self) -> PublicKey {
        let mut key = [0; LENGTH];
        // Both have 32 bytes.
        for (to, from) in key.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(key)
    }

    /// Returns the signature over a message, 64 bytes: the same for the same message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Shows the public key alone.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey(of {})", self.public_key())
    }
}

fn read(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|source| KeyError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    // One line: no key is longer than PEM's 64 characters.
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// Reads the bytes of PEM with this label, or of Base64 alone.
fn decode(label: &str, text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let body = match text.strip_prefix(&format!("-----BEGIN {label}-----")) {
        Some(rest) => rest.strip_suffix(&format!("-----END {label}-----"))?,
        None => text,
    };
    STANDARD.decode(body.trim()).ok()
}
