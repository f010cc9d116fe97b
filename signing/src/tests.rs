//! What is signed verifies, what is changed does not; and the commands of the documentation agree.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proptest::prelude::*;

use super::*;

fn signed() -> Result<(tempfile::TempDir, PrivateKey)> {
    let (folder, key) = (tempfile::tempdir()?, PrivateKey::generate()?);
    fs::create_dir(folder.path().join("inner"))?;
    fs::write(folder.path().join("weights"), "0.5")?;
    fs::write(folder.path().join("inner/a b"), "")?;
    sign_folder(folder.path(), &key)?;
    Ok((folder, key))
}

fn refusal(folder: &Path, key: &PublicKey) -> Result<SigningError> {
    verify_folder(folder, key).err().context("it was accepted")
}

#[test]
fn a_signed_folder_verifies_and_signs_to_the_same_bytes() -> Result<()> {
    let (folder, key) = signed()?;
    let files = || [SUMS, SIGNATURE].map(|name| fs::read(folder.path().join(name)).ok());
    let first = files();
    let sums = verify_folder(folder.path(), &key.public_key())?;
    let names = sums.iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names, ["inner/a b", "weights"]);
    sign_folder(folder.path(), &key)?;
    assert_eq!(files(), first);
    Ok(())
}

#[test]
fn each_change_of_a_folder_is_named() -> Result<()> {
    type Change = fn(&Path) -> std::io::Result<()>;
    let changes: [(&str, Change); 8] = [
        ("weights: sha256 is", |folder| {
            fs::write(folder.join("weights"), "0.6")
        }),
        ("weights: not found", |folder| {
            fs::remove_file(folder.join("weights"))
        }),
        ("inner/more: not in", |folder| {
            fs::write(folder.join("inner/more"), "")
        }),
        ("linked: not in", |folder| {
            std::os::unix::fs::symlink("inner", folder.join("linked"))
        }),
        ("SHA256SUMS.sig: not made over", |folder| {
            fs::write(folder.join(SUMS), "")
        }),
        ("SHA256SUMS.sig: not made over", |folder| {
            fs::write(folder.join(SIGNATURE), "")
        }),
        ("SHA256SUMS: not found", |folder| {
            fs::remove_file(folder.join(SUMS))
        }),
        ("SHA256SUMS.sig: not found", |folder| {
            fs::remove_file(folder.join(SIGNATURE))
        }),
    ];
    for (expected, change) in changes {
        let (folder, key) = signed()?;
        change(folder.path())?;
        let error = refusal(folder.path(), &key.public_key())?.to_string();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
    Ok(())
}

#[test]
fn what_is_left_out_may_be_added_and_what_is_signed_may_not_change() -> Result<()> {
    let (folder, key) = signed()?;
    let check = || {
        verify_folder_except(folder.path(), &key.public_key(), |name| {
            name.starts_with("inner/")
        })
    };
    fs::write(folder.path().join("inner/more"), "")?;
    check()?;
    fs::write(folder.path().join("inner/a b"), "changed")?;
    let error = check().err().context("it was accepted")?.to_string();
    assert!(error.starts_with("inner/a b: sha256 is"), "{error}");
    fs::remove_file(folder.path().join("inner/a b"))?;
    let error = check().err().context("it was accepted")?.to_string();
    assert!(error.starts_with("inner/a b: not found"), "{error}");
    Ok(())
}

#[test]
fn another_key_is_refused_by_its_fingerprint() -> Result<()> {
    let (folder, _) = signed()?;
    let other = PrivateKey::generate()?.public_key();
    let error = refusal(folder.path(), &other)?.to_string();
    assert!(error.contains(&other.fingerprint()), "{error}");
    Ok(())
}

#[test]
fn a_signed_list_of_another_form_is_refused() -> Result<()> {
    let key = PrivateKey::generate()?;
    let sum = Sum::of(b"");
    for list in [
        format!("{sum}  a"),
        format!("{sum} a\n"),
        format!("{}  a\n", sum.to_string().to_uppercase()),
        format!("{sum}  b\n{sum}  a\n"),
        format!("{sum}  a\n{sum}  a\n"),
        format!("{sum}  /a\n"),
        format!("{sum}  a/../b\n"),
        format!("{sum}  {SIGNATURE}\n"),
        format!("{sum}  a\\b\n"),
        "a\n".to_owned(),
    ] {
        let opened = Sums::open(list.as_bytes(), &key.sign(list.as_bytes()), &key.public_key());
        assert!(
            matches!(opened, Err(SigningError::Malformed { .. })),
            "{list}: {opened:?}"
        );
    }
    let mut sums = Sums::default();
    sums.insert("a", sum)?;
    assert!(sums.insert("a", sum).is_err() && sums.insert("../a", sum).is_err());
    Ok(())
}

#[test]
fn keys_are_read_as_they_are_written() -> Result<()> {
    let key = PrivateKey::generate()?;
    let public = key.public_key();
    assert_eq!(PrivateKey::from_pem(&key.to_pem())?.public_key(), public);
    assert_eq!(public.to_pem().parse::<PublicKey>()?, public);
    assert_eq!(public.to_string().parse::<PublicKey>()?, public);
    assert!(key.to_pem().parse::<PublicKey>().is_err());
    assert!(PrivateKey::from_pem(&public.to_pem()).is_err());
    assert!(!format!("{key:?}").contains(key.to_pem().lines().nth(1).context("no line")?));
    Ok(())
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn the_standards_example_signs_to_its_bytes() -> Result<()> {
    // The example's seed, 4ccd089b...b8a6fb.
    let pem = "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7";
    let signature = PrivateKey::from_pem(pem)?.sign(&[0x72]);
    let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                    085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    assert_eq!(base16ct::lower::encode_string(&signature), expected);
    Ok(())
}

fn run(folder: &Path, command: &str) -> Result<()> {
    let output = Command::new("sh")
        .args(["-euc", command])
        .current_dir(folder)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

const BY_HAND: &str = "openssl pkeyutl -verify -pubin -inkey ../key.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig && \
                       sha256sum --check --strict SHA256SUMS";

#[test]
fn openssl_and_sha256sum_check_what_is_signed_here() -> Result<()> {
    let top = tempfile::tempdir()?;
    let folder = top.path().join("model");
    fs::create_dir(&folder)?;
    fs::write(folder.join("weights"), "0.5")?;
    let key = PrivateKey::generate()?;
    sign_folder(&folder, &key)?;
    fs::write(top.path().join("key.pub"), key.public_key().to_pem())?;
    run(&folder, BY_HAND)?;
    let fingerprint = format!(
        "openssl pkey -pubin -in ../key.pub -outform DER | sha256sum | grep {}",
        key.public_key().fingerprint()
    );
    run(&folder, &fingerprint)?;
    fs::write(folder.join("weights"), "0.6")?;
    assert!(run(&folder, BY_HAND).is_err());
    Ok(())
}

#[test]
fn what_openssl_and_sha256sum_sign_verifies_here() -> Result<()> {
    let top = tempfile::tempdir()?;
    let folder = top.path().join("model");
    fs::create_dir(&folder)?;
    fs::write(folder.join("weights"), "0.5")?;
    let sign = "openssl genpkey -algorithm ed25519 -out ../key.pem && openssl pkey -in ../key.pem -pubout -out ../key.pub && \
                LC_ALL=C sha256sum * > ../SHA256SUMS && mv ../SHA256SUMS . && \
                openssl pkeyutl -sign -inkey ../key.pem -rawin -in SHA256SUMS -out SHA256SUMS.sig";
    run(&folder, sign)?;
    verify_folder(&folder, &PublicKey::read(&top.path().join("key.pub"))?)?;
    let key = PrivateKey::read(&top.path().join("key.pem"))?;
    let theirs = fs::read(folder.join(SIGNATURE))?;
    sign_folder(&folder, &key)?;
    assert_eq!(fs::read(folder.join(SIGNATURE))?, theirs);
    Ok(())
}

proptest! {
    #[test]
    fn no_changed_byte_passes(list in "[a-z]{1,40}", byte in any::<prop::sample::Index>(), flip in 1_u8..) {
        let key = PrivateKey::generate()?;
        let mut sums = Sums::default();
        sums.insert(&list, Sum::of(list.as_bytes()))?;
        let (mut text, mut signature) = (sums.to_string().into_bytes(), sums.sign(&key));
        prop_assert_eq!(&Sums::open(&text, &signature, &key.public_key())?, &sums);
        let length = text.len() + signature.len();
        let at = byte.index(length);
        let place = text.iter_mut().chain(signature.iter_mut()).nth(at);
        if let Some(place) = place {
            *place ^= flip;
        }
        prop_assert!(Sums::open(&text, &signature, &key.public_key()).is_err());
    }
}
