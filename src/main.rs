//! The `image-factory` program.

use std::process::ExitCode;

use image_factory::cli::Cli;

fn main() -> ExitCode {
    match Cli::from_arguments().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
