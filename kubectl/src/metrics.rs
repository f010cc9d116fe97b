//! Samples of the OpenMetrics text format, as far as our programs write it.

/// A sample: name, labels and value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// Name, such as `liquid_sidecar_requests_total`.
    pub(crate) name: &'a str,
    labels: &'a str,
    /// The value.
    pub(crate) value: f64,
}

impl<'a> Sample<'a> {
    /// Returns the value of a label. Our labels hold names, which need no escape.
    pub(crate) fn label(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.labels.split(',').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(value.trim_matches('"'))
    }
}

/// Iterates over the samples of a text; comments and what cannot be read are left out.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Sample<'_>> {
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
    let value = rest.split(' ').next()?.parse().ok()?;
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
        assert_eq!((first.value, first.label("other")), (3.0, None));
        assert_eq!((second.name, second.value), ("b", 1.5));
    }
}
