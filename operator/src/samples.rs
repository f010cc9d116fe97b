//! Samples of the OpenMetrics text format, as far as our programs write it: for scaling, usage and the plugin for kubectl.

use std::str::FromStr;

/// A sample: name, labels and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Name, such as `liquid_sidecar_requests_total`.
    pub name: &'a str,
    labels: &'a str,
    value: &'a str,
}

impl<'a> Sample<'a> {
    /// Returns the value of a label. Our labels hold names, which need no escape.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.labels.split(',').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(value.trim_matches('"'))
    }

    /// Returns the value, if it is such a number: counters and most gauges are whole.
    pub fn number<T: FromStr>(&self) -> Option<T> {
        self.value.parse().ok()
    }
}

/// Iterates over the samples of a text; comments and lines that are none are left out.
pub fn parse(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse_line)
}

fn parse_line(line: &str) -> Option<Sample<'_>> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = rest.split_once("} ")?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, "", rest)
        }
    };
    let value = rest.split(' ').next()?;
    Some(Sample { name, labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_name_labels_and_value() {
        let text = "# HELP a b\na_total{kind=\"tool\",reason=\"ok\"} 3\nb 1.5 1700000000\nbroken\n# EOF\n";
        let samples: Vec<Sample<'_>> = parse(text).collect();
        let [first, second] = samples.as_slice() else {
            unreachable!("{samples:?}");
        };
        assert_eq!(
            (first.name, first.label("kind"), first.label("reason")),
            ("a_total", Some("tool"), Some("ok"))
        );
        assert_eq!((first.number(), first.label("other")), (Some(3.0), None));
        assert_eq!((first.number(), second.number::<i64>()), (Some(3_i64), None));
        assert_eq!((second.name, second.number()), ("b", Some(1.5)));
    }
}
