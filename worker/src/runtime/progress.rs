//! How far the start is: said by the runtime, read by probes, metrics and the log.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_process::lock;

/// A step of the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadPhase {
    /// The encoder, the ranker and what belongs to them.
    #[default]
    Models,
    /// The decoder's weights.
    DecoderWeights {
        /// Bytes of their files.
        bytes: u64,
    },
    /// The decoder's tokenizer and chat template.
    DecoderTokenizer,
    /// The memory for the decoder's keys and values.
    DecoderMemory {
        /// Its bytes.
        bytes: u64,
    },
    /// Everything is there; each part answers once.
    WarmUp,
}

impl LoadPhase {
    /// Every phase's name, in their order.
    pub const NAMES: [&str; 5] = [
        "models",
        "decoder_weights",
        "decoder_tokenizer",
        "decoder_memory",
        "warm_up",
    ];

    /// Returns the phase's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::DecoderWeights { .. } => "decoder_weights",
            Self::DecoderTokenizer => "decoder_tokenizer",
            Self::DecoderMemory { .. } => "decoder_memory",
            Self::WarmUp => "warm_up",
        }
    }
}

impl fmt::Display for LoadPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Models => f.write_str("loading the models"),
            Self::DecoderWeights { bytes } => write!(f, "loading the decoder: weights, {bytes} bytes"),
            Self::DecoderTokenizer => f.write_str("loading the decoder: tokenizer and chat template"),
            Self::DecoderMemory { bytes } => write!(f, "loading the decoder: memory, {bytes} bytes"),
            Self::WarmUp => f.write_str("warming up"),
        }
    }
}

/// Ending of the names of weights' files, which the decoder maps.
const WEIGHTS: &str = ".safetensors";

/// The course of a start; clones are the same one's.
#[derive(Clone, Debug)]
pub struct LoadProgress(Arc<Mutex<Course>>);

#[derive(Debug)]
struct Course {
    /// Phases in the order in which they were entered, and when each began; the first is there from the start.
    steps: Vec<(LoadPhase, Instant)>,
    /// When the worker was ready.
    ready: Option<Instant>,
}

impl Default for LoadProgress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Course {
            steps: vec![(LoadPhase::default(), Instant::now())],
            ready: None,
        })))
    }
}

impl LoadProgress {
    /// Returns the phase.
    pub fn phase(&self) -> LoadPhase {
        let course = lock(&self.0);
        let last = course.steps.last();
        last.map_or_else(LoadPhase::default, |(phase, _)| *phase)
    }

    /// Returns the bytes of the decoder's weights that are read: while they are, what of their files has been mapped in,
    /// then all.
    pub fn weights_read(&self) -> u64 {
        let steps = lock(&self.0).steps.clone();
        let weights = steps
            .iter()
            .enumerate()
            .find_map(|(place, (phase, _))| match phase {
                LoadPhase::DecoderWeights { bytes } => Some((place, *bytes)),
                _ => None,
            });
        match weights {
            None => 0,
            Some((place, bytes)) if place + 1 < steps.len() => bytes,
            Some((_, bytes)) => {
                let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
                mapped(&maps, WEIGHTS).min(bytes)
            }
        }
    }

    /// Returns how long each phase that was entered took; of the one that runs, how long it takes until now.
    pub fn times(&self) -> Vec<(LoadPhase, Duration)> {
        let course = lock(&self.0);
        let ends = course.steps.iter().skip(1).map(|(_, began)| *began);
        let ends = ends.chain([course.ready.unwrap_or_else(Instant::now)]);
        let steps = course.steps.iter().zip(ends);
        steps
            .map(|((phase, began), end)| (*phase, end - *began))
            .collect()
    }

    /// Says for a person how far the start is: the phase, of weights the bytes that are read, and the seconds.
    pub fn describe(&self) -> String {
        let times = self.times();
        let Some((phase, time)) = times.last() else {
            return LoadPhase::default().to_string();
        };
        let whole: Duration = times.iter().map(|(_, time)| *time).sum();
        let read = match phase {
            LoadPhase::DecoderWeights { .. } => {
                format!(", {} of them read", self.weights_read())
            }
            _ => String::new(),
        };
        format!(
            "{phase}{read}, for {} s; {} s since the start",
            time.as_secs(),
            whole.as_secs()
        )
    }

    pub(crate) fn enter(&self, phase: LoadPhase) {
        let since_start_ms = {
            let mut course = lock(&self.0);
            let now = Instant::now();
            let start = course.steps.first().map_or(now, |(_, began)| *began);
            course.steps.push((phase, now));
            (now - start).as_millis() as u64
        };
        tracing::info!(phase = phase.name(), since_start_ms, "{phase}");
    }

    /// Ends the last phase: the worker is ready.
    pub(crate) fn end(&self) {
        lock(&self.0).ready = Some(Instant::now());
    }
}

/// Sums up how many bytes of files whose names end like this are in the memory of a process, by its `smaps` (proc(5)):
/// of each mapping a line with its file, and among those that follow one with its resident size.
fn mapped(smaps: &str, ending: &str) -> u64 {
    let (mut bytes, mut wanted) = (0, false);
    for line in smaps.lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            let kibibytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            bytes += if wanted { kibibytes << 10 } else { 0 };
        } else if !line.split(' ').next().is_some_and(|word| word.ends_with(':')) {
            wanted = line.ends_with(ending);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_start_says_its_phase_bytes_and_seconds() {
        let progress = LoadProgress::default();
        assert_eq!(
            progress.describe(),
            "loading the models, for 0 s; 0 s since the start"
        );
        assert_eq!(progress.weights_read(), 0);
        progress.enter(LoadPhase::DecoderWeights { bytes: 300 });
        assert_eq!(
            progress.describe(),
            "loading the decoder: weights, 300 bytes, 0 of them read, for 0 s; 0 s since the start"
        );
        progress.enter(LoadPhase::WarmUp);
        assert_eq!(progress.weights_read(), 300);
        let phases: Vec<&str> = progress.times().iter().map(|(phase, _)| phase.name()).collect();
        assert_eq!(phases, ["models", "decoder_weights", "warm_up"]);
        assert_eq!(progress.phase(), LoadPhase::WarmUp);
        progress.end();
        assert_eq!(progress.times(), progress.times());
    }

    #[test]
    fn what_is_mapped_in_is_counted_by_its_file() {
        let smaps = "7f00-7f10 r--p 00000000 fe:00 12    /models/a/model-00001-of-00002.safetensors\n\
                     Size:               2048 kB\nRss:                1000 kB\nVmFlags: rd mr\n\
                     7f20-7f30 r-xp 00000000 fe:00 13    /usr/bin/liquid-worker\n\
                     Size:                 64 kB\nRss:                  64 kB\n\
                     7f40-7f50 rw-p 00000000 00:00 0 \nRss:                   8 kB\n\
                     7f60-7f70 r--p 00000000 fe:00 14    /models/a/model-00002-of-00002.safetensors\n\
                     Rss:                  24 kB\n";
        assert_eq!(mapped(smaps, WEIGHTS), 1024 << 10);
        assert_eq!(mapped("", WEIGHTS), 0);
    }

    #[test]
    fn a_file_that_is_mapped_is_found() {
        // This program's own: the tests of the decoder's loader cannot stop half-way.
        let own = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(mapped(&maps, own.to_str().unwrap()) > 0);
    }
}
