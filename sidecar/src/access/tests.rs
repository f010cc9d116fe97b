#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Instant;

use http::HeaderName;

use super::*;

const SHOP: &str = "token-of-the-shop-0001";
const LAB: &str = "token-of-the-lab-000001";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn open(folder: &tempfile::TempDir) -> Access {
    Access::open(&Settings {
        clients_folder: Some(folder.path().to_owned()),
        reload_ms: 5,
    })
    .unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn admit(
    access: &Access,
    pairs: &[(&'static str, &str)],
) -> (Result<Option<ClientName>, Refusal>, HeaderMap) {
    let mut headers = headers(pairs);
    (access.admit(&mut headers), headers)
}

fn shop() -> Result<Option<ClientName>, Refusal> {
    Ok(Some("shop".into()))
}

#[test]
fn without_a_folder_nobody_is_asked() {
    let access = Access::open(&Settings::default()).unwrap();
    let (who, left) = admit(&access, &[("authorization", "Bearer key")]);
    assert_eq!(who, Ok(None));
    assert_eq!(left, headers(&[("authorization", "Bearer key")]));
}

#[test]
fn a_token_is_taken_wherever_an_sdk_puts_a_key_and_goes_no_further() {
    let folder = folder(&[("shop", SHOP), ("lab", LAB)]);
    let access = open(&folder);
    let bearer = format!("Bearer {SHOP}");
    let lower = format!("bearer   {SHOP}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("authorization", &lower),
        ("x-api-key", SHOP),
        ("api-key", SHOP),
        ("x-goog-api-key", SHOP),
    ] {
        let (who, left) = admit(&access, &[(name, value), ("accept", "*/*")]);
        assert_eq!((who, left), (shop(), headers(&[("accept", "*/*")])), "{name}");
    }
}

#[test]
fn a_token_in_its_own_header_leaves_the_providers_key_alone() {
    let folder = folder(&[("shop", SHOP)]);
    let key = ("authorization", "Bearer key-of-the-provider");
    let (who, left) = admit(&open(&folder), &[("x-liquid-token", SHOP), key]);
    assert_eq!((who, left), (shop(), headers(&[key])));
}

#[test]
fn who_is_no_client_is_refused() {
    let folder = folder(&[("shop", SHOP)]);
    let access = open(&folder);
    for (pairs, refusal) in [
        (&[][..], Refusal::Missing),
        (&[("accept", SHOP)][..], Refusal::Missing),
        (
            &[("authorization", "Bearer token-of-nobody-00001")][..],
            Refusal::Unknown,
        ),
        (
            &[("authorization", "Basic token-of-the-shop-0001")][..],
            Refusal::Unknown,
        ),
        (
            &[("x-api-key", "Bearer token-of-the-shop-0001")][..],
            Refusal::Unknown,
        ),
        (
            &[
                ("x-liquid-token", "wrong"),
                ("authorization", "Bearer token-of-the-shop-0001"),
            ][..],
            Refusal::Unknown,
        ),
        (&[("authorization", "")][..], Refusal::Unknown),
    ] {
        assert_eq!(admit(&access, pairs).0, Err(refusal), "{pairs:?}");
    }
}

#[test]
fn a_file_that_cannot_be_used_lets_nobody_in() {
    let long = "x".repeat(20_000);
    let folder = folder(&[
        ("short", "abc"),
        ("empty", "\n\n"),
        ("words", "two words in a line of it"),
        ("long", &long),
        (".hidden", LAB),
        ("shop", SHOP),
    ]);
    let access = open(&folder);
    for token in ["abc", "", "two words in a line of it", &long, LAB] {
        assert!(admit(&access, &[("x-api-key", token)]).0.is_err(), "{token}");
    }
    assert_eq!(admit(&access, &[("x-api-key", SHOP)]).0, shop());
    let missing = Settings {
        clients_folder: Some("/nowhere".into()),
        ..Settings::default()
    };
    let error = Access::open(&missing).unwrap_err().to_string();
    assert!(error.starts_with("access.clients_folder = /nowhere: "), "{error}");
    assert!(!format!("{access:?}").contains(SHOP));
}

#[tokio::test]
async fn a_changed_folder_counts_without_a_restart() {
    let folder = folder(&[("shop", SHOP)]);
    let access = open(&folder);
    let following = tokio::spawn(access.clone().keep_current());
    // Both hold while one is replaced.
    std::fs::write(folder.path().join("shop"), format!("{SHOP}\n{LAB}\n")).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while admit(&access, &[("x-api-key", LAB)]).0 != shop() {
        assert!(Instant::now() < until, "the new token is not known");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(admit(&access, &[("x-api-key", SHOP)]).0, shop());
    std::fs::remove_file(folder.path().join("shop")).unwrap();
    while admit(&access, &[("x-api-key", SHOP)]).0 != Err(Refusal::Unknown) {
        assert!(Instant::now() < until, "a client that is gone is still let in");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    following.abort();
}
