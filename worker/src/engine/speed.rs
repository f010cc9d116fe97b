//! How fast a model reads, estimated from what it has read lately: how much a deadline leaves time for
//! depends on it.

use std::sync::Mutex;

use liquid_process::lock;

/// Tokens per second that are assumed before the first measurement.
const ASSUMED: f64 = 1500.0;

/// Weight of the newest measurement in the moving mean.
const NEWEST: f64 = 0.3;

/// A moving mean of a model's speed, in tokens per second.
pub(super) struct ReadingSpeed(Mutex<f64>);

impl Default for ReadingSpeed {
    fn default() -> Self {
        Self(Mutex::new(ASSUMED))
    }
}

impl ReadingSpeed {
    /// Returns the speed, in tokens per second.
    pub(super) fn get(&self) -> f64 {
        *lock(&self.0)
    }

    /// Replaces the estimate, in tokens per second.
    pub(super) fn set(&self, tokens_per_second: f64) {
        *lock(&self.0) = tokens_per_second;
    }

    /// Adds a measurement to the mean: the model read so many tokens in so many seconds.
    pub(super) fn measure(&self, tokens: usize, seconds: f64) {
        if tokens > 0 && seconds > 0.0 {
            let mut speed = lock(&self.0);
            *speed += NEWEST * (tokens as f64 / seconds - *speed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_measurement_weighs_less_than_the_mean_and_one_without_time_nothing() {
        let speed = ReadingSpeed::default();
        speed.set(1000.0);
        speed.measure(4000, 2.0);
        assert!((speed.get() - 1300.0).abs() < 1e-9);
        speed.measure(0, 2.0);
        speed.measure(4000, 0.0);
        assert!((speed.get() - 1300.0).abs() < 1e-9);
    }
}
