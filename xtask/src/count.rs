//! How many checks of a part passed, failed, were skipped; read from what the test runners print.

use std::time::Duration;

/// Lines that are kept of what a failed test said.
const SAID: usize = 8;
/// Characters that are kept of each.
const LINE: usize = 300;

/// The outcome of one part, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Why, one reason a skipped check.
    pub(crate) skipped: Vec<String>,
    /// What tests said that passed at their second try only.
    pub(crate) flaky: Vec<String>,
    /// How long single tests took, where their runner says so.
    pub(crate) times: Vec<(Duration, String)>,
    /// What failed tests said, where it is printed apart from their names.
    pub(crate) failures: Vec<Failure>,
    /// Whether the last of them is being read.
    pub(crate) reads_failure: bool,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) name: String,
    /// The first lines of what it said.
    pub(crate) said: Vec<String>,
}

impl Count {
    /// One check that either holds or does not.
    pub(crate) fn one(holds: bool) -> Self {
        Self {
            passed: u64::from(holds),
            failed: u64::from(!holds),
            ..Self::default()
        }
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self {
            skipped: vec![reason.into()],
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped.iter().cloned());
        self.flaky.extend(other.flaky.iter().cloned());
        self.times.extend(other.times.iter().cloned());
        self.failures.extend(other.failures.iter().cloned());
    }

    /// A runner that failed without naming a failed test (it did not build, it was killed) has one failure.
    pub(crate) fn ended(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    /// `test result: ok. 14 passed; 0 failed; 1 ignored; ...` of `cargo test`, what follows its `---- NAME ----`, and the
    /// `flaky: NAME: ...` of the cluster's tests.
    pub(crate) fn cargo(&mut self, line: &str) {
        self.failure(line);
        if let Some(said) = line.strip_prefix("flaky: ") {
            self.flaky.push(said.chars().take(LINE).collect());
        }
        if let Some(rest) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... ignored"))
        {
            let reason = rest.1.trim_start_matches([',', ' ']);
            self.skipped
                .push(format!("{} {reason}", rest.0).trim_end().to_owned());
        }
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.words(rest.split_once(". ").map_or(rest, |(_, counts)| counts));
        }
    }

    /// `Summary [ 3.2s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 2 skipped` of cargo-nextest, and its
    /// `SKIP [ ] (1/2) liquid-worker::weights tokenizer`. What the cluster's tests run is counted there.
    pub(crate) fn nextest(&mut self, line: &str) {
        let line = line.trim_start();
        if let Some((_, name)) = line.strip_prefix("SKIP [").and_then(|rest| rest.split_once("] "))
            && !name.contains("::real_api ")
        {
            self.skipped.push(name.trim().to_owned());
        }
        if let Some((_, name)) = line.strip_prefix("FLAKY ").and_then(|rest| rest.split_once("] ")) {
            self.flaky.push(name.trim().to_owned());
        }
        if let Some((_, counts)) = line
            .strip_prefix("Summary [")
            .and_then(|rest| rest.split_once("] "))
        {
            let number = |after: &str| {
                counts
                    .split_once(after)?
                    .0
                    .rsplit(' ')
                    .next()?
                    .parse::<u64>()
                    .ok()
            };
            let run = number(" tests run").or_else(|| number(" test run"));
            let passed = number(" passed").unwrap_or(0);
            self.passed += passed;
            self.failed += run.unwrap_or(0).saturating_sub(passed);
        }
    }

    /// `3 failed, 41 passed, 1 skipped in 63.21s (0:01:03)` of pytest, its `SKIPPED [1] file:line: reason`, and its
    /// `0.52s call     test_openai.py::test_tools`.
    pub(crate) fn pytest(&mut self, line: &str) {
        if let Some((seconds, name)) = line.split_once("s call ") {
            self.timed(seconds, name);
        }
        if let Some(reason) = line.strip_prefix("SKIPPED [") {
            let (times, reason) = reason.split_once("] ").unwrap_or(("1", reason));
            self.skipped
                .extend((0..times.parse().unwrap_or(1)).map(|_| reason.to_owned()));
        }
        let line = line.trim_matches(['=', ' ']);
        // Past a minute it says the time a second time.
        let seconds = line.split_once(" (").map_or(line, |(before, _)| before);
        if seconds.ends_with('s') && seconds.contains(" in ") {
            self.words(seconds);
        }
    }

    /// `# pass 12`, `# fail 0` of node's test runner, and its `# SKIP reason`.
    pub(crate) fn node(&mut self, line: &str) {
        let number = |prefix: &str| {
            line.strip_prefix(prefix)
                .and_then(|rest| rest.trim().parse::<u64>().ok())
        };
        self.passed += number("# pass ").unwrap_or(0);
        self.failed += number("# fail ").unwrap_or(0) + number("# cancelled ").unwrap_or(0);
        if let Some((_, reason)) = line.split_once("# SKIP ") {
            self.skipped.push(reason.to_owned());
        }
    }

    fn failure(&mut self, line: &str) {
        let heading = line.strip_prefix("---- ");
        if let Some(name) = heading.and_then(|rest| rest.strip_suffix(" ----")) {
            self.reads_failure = true;
            self.failures.push(Failure {
                name: name.trim_end_matches(" stdout").to_owned(),
                said: Vec::new(),
            });
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.reads_failure = false;
        } else if self.reads_failure
            && !line.trim().is_empty()
            && let Some(last) = self.failures.last_mut()
            && last.said.len() < SAID
        {
            last.said.push(line.chars().take(LINE).collect());
        }
    }

    fn timed(&mut self, seconds: &str, name: &str) {
        let time = seconds
            .trim()
            .parse()
            .ok()
            .and_then(|time| Duration::try_from_secs_f64(time).ok());
        self.times.extend(time.map(|time| (time, name.trim().to_owned())));
    }

    fn words(&mut self, text: &str) {
        let mut words = text
            .split([' ', ',', ';'])
            .filter(|word| !word.is_empty())
            .peekable();
        while let Some(word) = words.next() {
            if let (Ok(number), Some(next)) = (word.parse::<u64>(), words.peek()) {
                match *next {
                    "passed" => self.passed += number,
                    "failed" | "error" | "errors" => self.failed += number,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], reader: fn(&mut Count, &str)) -> (u64, u64, usize) {
        let mut count = Count::default();
        for line in lines {
            reader(&mut count, line);
        }
        (count.passed, count.failed, count.skipped.len())
    }

    #[test]
    fn reads_cargo() {
        let lines = [
            "test upstream::tests::gzip ... ok",
            "test encoder::parity ... ignored, no weights",
            "test result: ok. 14 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.34s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ];
        assert_eq!(read(&lines, Count::cargo), (16, 3, 1));
    }

    #[test]
    fn keeps_what_failed_tests_said() {
        let lines = [
            "failures:",
            "",
            "---- uninstall::leaves_nothing ----",
            "left behind: a",
            "",
            "---- check::reads stdout ----",
            &"x".repeat(2 * LINE),
            "failures:",
            "    uninstall::leaves_nothing",
            "test result: FAILED. 2 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ];
        let mut count = Count::default();
        lines.iter().for_each(|line| count.cargo(line));
        let failure = |name: &str, said: String| Failure {
            name: name.into(),
            said: vec![said],
        };
        let wanted = [
            failure("uninstall::leaves_nothing", "left behind: a".into()),
            failure("check::reads", "x".repeat(LINE)),
        ];
        assert_eq!((count.failed, count.failures), (2, wanted.to_vec()));
    }

    #[test]
    fn keeps_what_flaky_tests_said() {
        let mut count = Count::default();
        count.cargo("flaky: load::workers_follow: not after 60 s");
        assert_eq!(count.flaky, ["load::workers_follow: not after 60 s"]);
        assert_eq!(count.failed, 0);
    }

    #[test]
    fn reads_nextest() {
        let lines = [
            "        SKIP [         ] (───) liquid-worker::weights batching_changes_no_answer",
            "        SKIP [         ] (───) liquid-operator::real_api certificates::rotates",
            "     Summary [   3.210s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 2 skipped",
            "     Summary [   0.210s] 1 test run: 1 passed, 0 skipped",
        ];
        assert_eq!(read(&lines, Count::nextest), (6, 2, 1));
        let mut count = Count::default();
        count.nextest("   FLAKY 2/2 [   0.230s] (1/9) liquid-sidecar extract::tests::held");
        count.nextest("     Summary [   3.210s] 9 tests run: 9 passed (1 flaky), 0 skipped");
        assert_eq!((count.passed, count.failed, count.flaky.len()), (9, 0, 1));
    }

    #[test]
    fn reads_pytest() {
        let lines = [
            "SKIPPED [2] test_litellm.py:9: not installed",
            "0.52s call     test_openai.py::test_tools",
            "=========== 1 failed, 41 passed, 2 skipped, 1 error in 3.21s ===========",
            "=========== 5 passed in 132.67s (0:02:12) ===========",
        ];
        assert_eq!(read(&lines, Count::pytest), (46, 2, 2));
    }

    #[test]
    fn reads_node() {
        let lines = [
            "ok 3 - tools # SKIP later",
            "# tests 13",
            "# pass 12",
            "# fail 1",
            "# cancelled 0",
        ];
        assert_eq!(read(&lines, Count::node), (12, 1, 1));
    }

    #[test]
    fn a_runner_that_breaks_off_has_failed() {
        assert_eq!(Count::default().ended(false).failed, 1);
    }
}
