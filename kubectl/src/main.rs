//! The `kubectl-liquid` binary: `kubectl liquid` runs it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use liquid_contract::exit;
use liquid_kubectl::Arguments;

fn main() -> ExitCode {
    match liquid_kubectl::run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::RUN)
        }
    }
}
