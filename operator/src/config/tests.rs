use std::time::Duration;

use super::Lifetime;

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
