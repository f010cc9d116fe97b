#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use clap::Parser;

use super::{Lifetime, Settings};

#[test]
fn reads_times() {
    for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
        assert_eq!(text.parse(), Ok(Lifetime(Duration::from_secs(seconds))), "{text}");
    }
}

#[test]
fn refuses_what_is_no_time() {
    for text in [
        "",
        "s",
        "24",
        "-1h",
        "0s",
        "1.5h",
        "1w",
        "24ｈ",
        "99999999999999999999d",
        "9999999999999999999d",
    ] {
        let error = text.parse::<Lifetime>().map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err(format!(
                "{text:?} is no time: write a whole number and s, m, h or d, such as 24h"
            ))
        );
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// Settings with these flags besides those that have no default.
pub(crate) fn settings(more: &[&str]) -> Settings {
    let images = ["operator", "--sidecar-image", "a", "--worker-image", "b"];
    let flags = Flags::try_parse_from(images.iter().chain(more));
    flags.unwrap().settings
}

#[test]
fn listens_on_the_family_of_its_own_pod() {
    let listens = |more: &[&str]| {
        let settings = settings(more);
        [settings.webhook_address(), settings.admin_address()].map(|address| address.to_string())
    };
    let ipv4 = ["0.0.0.0:9443", "0.0.0.0:8080"];
    assert_eq!(listens(&[]), ipv4);
    assert_eq!(listens(&["--pod-ip", "10.244.1.7"]), ipv4);
    assert_eq!(listens(&["--pod-ip", "fd00::7"]), ["[::]:9443", "[::]:8080"]);
    let chosen = ["--pod-ip", "fd00::7", "--webhook-listen", "127.0.0.1:1"];
    assert_eq!(listens(&chosen), ["127.0.0.1:1", "[::]:8080"]);
    let ports = ["--webhook-port", "10260", "--admin-port", "10261"];
    assert_eq!(listens(&ports), ["0.0.0.0:10260", "0.0.0.0:10261"]);
}
