//! Exit codes, as `sysexits.h` numbers them where it has one.
//!
//! A supervisor restarts a program whatever its code is; the codes say who has to act. Besides them `clap` ends a program
//! whose arguments cannot be understood with 2, and a worker that fails while it runs ends with 1.

/// The configuration cannot be used: somebody has to edit it. Written by sidecar and worker, also for `--check`, where
/// scripts and the cluster tests read it.
pub const CONFIGURATION: u8 = 64;

/// A document, a question or a request's body cannot be read. Written by `liquid-worker extract` and
/// `liquid-sidecar explain`; scripts read it.
pub const INPUT: u8 = 65;

/// The model cannot be loaded. Written by the worker; the operator reads it from the container's state and sets
/// the condition `ModelLoaded` to false.
pub const MODEL: u8 = 66;

/// Everything was valid, and starting or running failed. Written by sidecar and operator; whoever reads the log acts.
pub const RUN: u8 = 70;
