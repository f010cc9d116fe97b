//! Bodies, answers and streams, each alone; whole calls are in the tests of the sidecar's edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
