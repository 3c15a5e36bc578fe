//! The commands.

mod dead_letters;
mod doctor;
mod handler;
mod levers;
mod plan;
mod reach;
mod status;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "dev")]
use crate::dev;

/// Builds golden images in Azure DevTest Labs and hands them to every team lab.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole factory on this machine: simulated Azure, local Functions host and the handler as real processes.
    #[cfg(feature = "dev")]
    Dev(dev::DevArguments),
    /// Runs a whole factory in one process under virtual time: exact and repeatable from its seed.
    #[cfg(feature = "dev")]
    Simulate(dev::SimulateArguments),
    /// Builds the program for Azure and packs it with host.json and the functions.
    #[cfg(feature = "dev")]
    Package(dev::PackageArguments),
    /// Checks a configuration and names all problems at once, each with its file and JSON path.
    Validate(validate::Arguments),
    /// Shows what a run of a configuration would build, bring to labs and retire, and why; changes nothing.
    Plan(plan::Arguments),
    /// Starts a run.
    Run(levers::RunArguments),
    /// Runs one step of one image, or of one image in one lab, again; what follows it follows again.
    Rerun(levers::RerunArguments),
    /// Cancels a run: what is not done is not done any more, and nothing half made is left.
    Cancel(levers::CancelArguments),
    /// Keeps an image for good: it does not retire.
    Pin(levers::PinArguments),
    /// Lets a pinned image retire again.
    Unpin(levers::PinArguments),
    /// Shows what is going on.
    Status(status::StatusArguments),
    /// Shows who asked for what, and what came of it.
    Audit(status::AuditArguments),
    /// Checks an installation before its first run, and names what mends each failure.
    Doctor(doctor::Arguments),
    /// Shows messages that could not be handled, and sends them again.
    DeadLetters(dead_letters::Arguments),
    /// The custom handler, as host.json starts it.
    Handler,
    /// Simulated Azure on sockets of the loopback interface, as `dev` starts it.
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    AzureSim(dev::AzureSimArguments),
    /// The local stand-in of the Functions host, as `dev` starts it.
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    FunctionsHost(dev::FunctionsHostArguments),
}

impl Cli {
    /// The command that this process was started with. Ends the process, with an explanation, if it makes no sense.
    pub fn from_arguments() -> Self {
        // The Functions host waits for this one at every start: it needs no parser of all the others.
        if std::env::args_os().skip(1).eq(["handler"]) {
            return Self { command: Command::Handler };
        }
        Self::parse()
    }

    /// Runs the command; the exit code is 0 only for success.
    ///
    /// # Errors
    /// If the command could not do what it was asked to.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            #[cfg(feature = "dev")]
            Command::Dev(arguments) => arguments.run(),
            #[cfg(feature = "dev")]
            Command::Simulate(arguments) => arguments.run(),
            #[cfg(feature = "dev")]
            Command::Package(arguments) => arguments.run(),
            Command::Validate(arguments) => arguments.run(),
            Command::Plan(arguments) => arguments.run(),
            Command::Run(arguments) => arguments.run(),
            Command::Rerun(arguments) => arguments.run(),
            Command::Cancel(arguments) => arguments.run(),
            Command::Pin(arguments) => arguments.run(true),
            Command::Unpin(arguments) => arguments.run(false),
            Command::Status(arguments) => arguments.run(),
            Command::Audit(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
            Command::DeadLetters(arguments) => arguments.run(),
            Command::Handler => handler::run(),
            #[cfg(feature = "dev")]
            Command::AzureSim(arguments) => arguments.run(),
            #[cfg(feature = "dev")]
            Command::FunctionsHost(arguments) => arguments.run(),
        }
    }
}
