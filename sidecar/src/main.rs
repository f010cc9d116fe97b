//! The `liquid-sidecar` binary.
fn main() {}
