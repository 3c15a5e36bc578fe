//! The whole factory on one machine, without Azure (feature `dev`; the deployed binary is built without it).
//!
//! | file | what it is about |
//! |---|---|
//! | [`world`] | which labs the simulated Azure has |
//! | [`git_host`] | git hosts with a repository of this machine: their interfaces and their webhooks |
//! | [`in_process`] | the factory, Azure and the host in one process under virtual time |
//! | [`broker_queues`] | the queues of that, for the doctor |
//! | [`configuration`] | which configuration is used |
//! | [`handler_process`] | a handler as a process, and how soon it answers |
//! | [`log`] | a log that is kept, to be looked at |
//! | [`outcome`] | what a run leaves behind, its critical path, the report |
//! | [`simulation`] | stories in which everything goes wrong, judged by laws |
//! | `simulate`, `dev_command` | the commands |
//! | `commits` | a repository of this machine whose commits start runs |
//! | `stage` | everything that `dev` starts |
//! | [`app`] | the app as it is deployed |
//! | `package` | the package of it for Azure |
//! | `azure_sim`, `functions_host`, `processes` | the real processes behind `dev` |
//! | `control`, `desk`, `host_watch` | how `dev` reaches them |
//! | `progress` | what a person sees meanwhile |

pub mod app;
mod azure_sim;
pub mod broker_queues;
mod commits;
pub mod configuration;
mod control;
mod desk;
mod dev_command;
mod functions_host;
pub mod git_host;
pub mod handler_process;
mod host_watch;
pub mod in_process;
pub mod log;
pub mod outcome;
mod package;
mod processes;
mod progress;
mod simulate;
pub mod simulation;
mod stage;
pub mod world;

pub use azure_sim::AzureSimArguments;
pub use dev_command::DevArguments;
pub use functions_host::FunctionsHostArguments;
pub use package::PackageArguments;
pub use simulate::SimulateArguments;
