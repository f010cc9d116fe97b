//! Texts at which an answer ends. What may be their beginning is held back until it is certain. Linear in the text:
//! each byte moves one automaton (Knuth, Morris and Pratt) a stop string.

/// Looks for stop strings in a text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<Automaton>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a piece of text brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Text that is certain now; what comes before the stop string, if one came.
    pub text: String,
    /// Whether a stop string came.
    pub stopped: bool,
}

/// A stop string, and how much of it the text ends with.
#[derive(Clone, Debug)]
struct Automaton {
    stop: Vec<u8>,
    /// For each count of bytes that match: the next smaller one that does too.
    shorter: Vec<usize>,
    matched: usize,
}

impl StopStrings {
    /// Makes the search for some texts; empty ones are left out.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Self {
            stops: stops.map(|stop| Automaton::new(stop)).collect(),
            held: String::new(),
        }
    }

    /// Takes a piece of text. The first stop string that is whole ends the text; of those that end together the longest.
    pub fn push(&mut self, text: &str) -> Found {
        let old = self.held.len();
        self.held.push_str(text);
        for (index, byte) in text.bytes().enumerate() {
            let end = old + index + 1;
            let whole = self.stops.iter_mut().filter_map(|stop| stop.step(byte)).max();
            if let Some(length) = whole {
                self.held.truncate(end - length);
                return Found {
                    text: std::mem::take(&mut self.held),
                    stopped: true,
                };
            }
        }
        let kept = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        Found {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// Ends the text: returns what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

impl Automaton {
    fn new(stop: &str) -> Self {
        let stop = stop.as_bytes().to_vec();
        let mut automaton = Self {
            shorter: vec![0; stop.len() + 1],
            stop,
            matched: 0,
        };
        for count in 1..automaton.stop.len() {
            let byte = automaton.stop.get(count).copied().unwrap_or_default();
            automaton.step(byte);
            let matched = automaton.matched;
            if let Some(place) = automaton.shorter.get_mut(count + 1) {
                *place = matched;
            }
        }
        automaton.matched = 0;
        automaton
    }

    /// Takes a byte; returns the length of the stop string if it is whole.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.stop.get(self.matched) != Some(&byte) {
            self.matched = self.shorter.get(self.matched).copied().unwrap_or(0);
        }
        if self.stop.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        (self.matched == self.stop.len()).then_some(self.matched)
    }
}
