//! The trust store of Java: certificates of authorities as PKCS#12 (RFC 7292), with the attribute by which Java takes one for
//! trusted.
//!
//! It has no password, like the JDK's own since 18, and so neither encryption nor a MAC: all of it is public, and whoever
//! may change the file may as well change a password beside it. So the same certificates give the same bytes, and nothing
//! is written again that has not changed. Libraries that write PKCS#12 want a password and a random salt.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};

use super::PkiError;
use super::public_roots::list_public_roots;

const VERSION: u8 = 3;
/// `id-data`: content that is neither signed nor encrypted.
const DATA: &[u64] = &[1, 2, 840, 113549, 1, 7, 1];
/// `certBag`, an entry that holds a certificate.
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113549, 1, 12, 10, 1, 3];
/// `x509Certificate`, the kind of certificate.
const X509: &[u64] = &[1, 2, 840, 113549, 1, 9, 22, 1];
/// `trustedKeyUsage`, Oracle's: what an entry is trusted for. Java ignores certificates without it.
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113894, 746875, 1, 1];
/// `anyExtendedKeyUsage`.
const ANY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// Builds a store of all public authorities and these, which are PEM.
///
/// # Errors
/// Text that is not PEM.
pub(super) fn build_trust_store(own: &str) -> Result<Vec<u8>, PkiError> {
    let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(own.as_bytes()).collect();
    let own = own.map_err(|error| PkiError::Read {
        what: "certificate authority",
        why: error.to_string(),
    })?;
    let contents = construct_der(|writer| {
        writer.write_sequence(|writer| {
            let own = own.iter().map(AsRef::as_ref);
            for certificate in list_public_roots().chain(own) {
                write_trusted(writer.next(), certificate);
            }
        });
    });
    let safe = construct_der(|writer| writer.write_sequence(|writer| write_data(writer.next(), &contents)));
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(VERSION);
            write_data(writer.next(), &safe);
        });
    }))
}

/// Writes an entry, a `SafeBag`. It has no name: Java numbers those.
fn write_trusted(writer: DERWriter<'_>, certificate: &[u8]) {
    writer.write_sequence(|writer| {
        write_oid(writer.next(), CERTIFICATE_BAG);
        write_explicit(writer.next(), |writer| {
            writer.write_sequence(|writer| {
                write_oid(writer.next(), X509);
                write_explicit(writer.next(), |writer| writer.write_bytes(certificate));
            });
        });
        writer.next().write_set(|writer| {
            writer.next().write_sequence(|writer| {
                write_oid(writer.next(), TRUSTED_KEY_USAGE);
                writer
                    .next()
                    .write_set(|writer| write_oid(writer.next(), ANY_USAGE));
            });
        });
    });
}

/// Writes a `ContentInfo`.
fn write_data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|writer| {
        write_oid(writer.next(), DATA);
        write_explicit(writer.next(), |writer| writer.write_bytes(content));
    });
}

fn write_explicit(writer: DERWriter<'_>, write: impl FnOnce(DERWriter<'_>)) {
    writer.write_tagged(Tag::context(0), write);
}

fn write_oid(writer: DERWriter<'_>, parts: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(parts));
}
