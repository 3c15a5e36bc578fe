//! The `image-factory` program.

use std::process::ExitCode;

use clap::Parser as _;
use image_factory::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
