//! `image-factory functions-host`: the local stand-in of the Functions host as a process of its own.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use factory_clock::Clock;
use functions_host::{HostEvent, HostExit, HostOptions};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::processes::parent_gone;

/// What the host tells `dev`, a JSON object a line on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum HostLine {
    /// It listens.
    Listening {
        /// `http://127.0.0.1:port`.
        address: String,
    },
    /// A function cannot be loaded.
    FunctionSkipped {
        /// The function.
        function: String,
        /// Why.
        reason: String,
    },
    /// The handler's process was started.
    HandlerStarted {
        /// Its process id.
        pid: u32,
    },
    /// The handler answers.
    HandlerReady,
    /// The handler's process ended.
    HandlerExited {
        /// Its exit code.
        code: i32,
        /// Whether it is started again.
        restarts: bool,
    },
    /// An invocation ended.
    Invoked {
        /// The function.
        function: String,
        /// Whether it succeeded.
        success: bool,
        /// Why not.
        reason: Option<String>,
    },
    /// A line for the log.
    Log {
        /// Its category.
        category: String,
        /// Its text.
        line: String,
    },
    /// The host stops.
    Stopping {
        /// Why.
        reason: String,
    },
}

impl HostLine {
    fn of(event: HostEvent) -> Option<Self> {
        Some(match event {
            HostEvent::FunctionSkipped { function, reason } => Self::FunctionSkipped { function, reason },
            HostEvent::HandlerStarted { pid, .. } => Self::HandlerStarted { pid },
            HostEvent::HandlerReady => Self::HandlerReady,
            HostEvent::HandlerExited { code, restarts } => Self::HandlerExited { code, restarts },
            HostEvent::InvocationStarted { .. } => return None,
            HostEvent::InvocationFinished { function, success, reason, .. } => {
                Self::Invoked { function, success, reason }
            }
            HostEvent::Log { category, line, .. } => Self::Log { category, line },
            HostEvent::HostStopping { reason } => Self::Stopping { reason },
        })
    }
}

/// How the host is started.
#[derive(Debug, Args)]
pub struct FunctionsHostArguments {
    /// The folder with host.json, local.settings.json and the function folders.
    #[arg(long)]
    app_root: PathBuf,
    /// Where timers keep their status.
    #[arg(long)]
    state: PathBuf,
    /// The port of HTTP functions and of the admin interface; any free one where 0.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// `local.settings.json`, as Azure Functions Core Tools define it.
#[derive(Deserialize)]
struct LocalSettings {
    #[serde(rename = "Values")]
    values: BTreeMap<String, String>,
}

impl FunctionsHostArguments {
    /// Hosts until its stdin closes. The clock comes from the environment.
    ///
    /// # Errors
    /// If the app cannot be read, or the handler fails too often.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let file = self.app_root.join("local.settings.json");
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let settings: LocalSettings =
                serde_json::from_str(&text).with_context(|| format!("{} cannot be used", file.display()))?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
            let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{}", self.port))?;
            tell(&HostLine::Listening { address: format!("http://{}", listener.local_addr()?) });
            let clock = Clock::from_environment()?;
            let options = HostOptions::new(self.app_root, listener, settings.values, clock, self.state);
            let exit = functions_host::run(options, parent_gone(), |event| {
                if let Some(line) = HostLine::of(event) {
                    tell(&line);
                }
            });
            Ok(match exit.await? {
                HostExit::Requested => ExitCode::SUCCESS,
                HostExit::HandlerFailed { reason } => {
                    eprintln!("error: {reason}");
                    ExitCode::FAILURE
                }
            })
        })
    }
}

fn tell(line: &HostLine) {
    // Everything in a line can be JSON; and with nobody left to read it, there is nothing to tell.
    if let Ok(text) = serde_json::to_string(line) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
