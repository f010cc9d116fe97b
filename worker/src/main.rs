//! The binary: arguments in, an exit code out. Everything else is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    liquid_worker::cli::run()
}
