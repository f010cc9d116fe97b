//! Kubernetes' quantities, as far as checking an annotation needs them.
//!
//! Grammar: apimachinery's `pkg/api/resource/quantity.go`.

/// Factor of each suffix.
const SUFFIXES: [(&str, f64); 16] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("", 1.0),
];

/// Returns the amount of a quantity as text, if it is a quantity above zero.
pub(super) fn parse_quantity(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let exponent = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty());
    let factor = match exponent.filter(|_| suffix != "Ei") {
        Some(exponent) => 10f64.powi(exponent.parse::<i8>().ok()?.into()),
        None => SUFFIXES.iter().find(|(name, _)| *name == suffix)?.1,
    };
    let amount = number * factor;
    (amount > 0.0 && amount.is_finite()).then_some(amount)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::parse_quantity;

    #[test]
    fn reads_quantities() {
        for (text, amount) in [
            ("1", 1.0),
            ("0.5", 0.5),
            (".5", 0.5),
            ("100m", 0.1),
            ("64Mi", 67_108_864.0),
            ("1Ei", 1_152_921_504_606_846_976.0),
            ("1E", 1e18),
            ("2e3", 2000.0),
            ("2E-1", 0.2),
            ("1G", 1e9),
        ] {
            let parsed = parse_quantity(text).unwrap();
            assert!((parsed - amount).abs() <= amount * 1e-12, "{text}: {parsed}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "", "0", "-1", "1 Gi", "1gi", "Mi", ".", "1.2.3", "1e", "1e999", "NaN", "inf",
        ] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }
}
