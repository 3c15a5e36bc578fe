//! Runs a suite of a judge and tells how it ended.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{process::Command, time::timeout};

use super::{
    Azure,
    azure::text_of,
    tools,
    verdict::{self, Tally},
};

/// A suite that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// What the suites of Python need, unless they say otherwise.
const REQUIREMENTS: &str = "requirements.txt";

/// A suite: a folder of `python/` for pytest, or a file of `javascript/` for `node --test`.
pub struct Suite<'a> {
    kind: Kind,
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    azure: Option<&'a Azure>,
}

enum Kind {
    Pytest { requirements: String },
    Node,
}

impl<'a> Suite<'a> {
    /// The tests in the folder `python/{name}`.
    pub fn pytest(name: &str) -> Self {
        Self::new(Kind::Pytest { requirements: REQUIREMENTS.to_owned() }, name)
    }

    /// The tests in the file `javascript/{name}`.
    pub fn node(name: &str) -> Self {
        Self::new(Kind::Node, name)
    }

    fn new(kind: Kind, name: &str) -> Self {
        let (arguments, environment) = (Vec::new(), Vec::new());
        Self { kind, name: name.to_owned(), arguments, environment, azure: None }
    }

    /// Another list of packages than `python/requirements.txt`, for what does not go with those.
    #[allow(dead_code)] // not every state of the suites needs one
    pub fn requirements(mut self, file: &str) -> Self {
        self.kind = Kind::Pytest { requirements: file.to_owned() };
        self
    }

    /// More arguments for the runner.
    pub fn arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(str::to_owned));
        self
    }

    /// An environment variable.
    #[allow(dead_code)] // not every state of the suites needs one
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The simulator that is judged: the suite learns its addresses from the environment ([`Azure::environment`]).
    pub fn azure(mut self, azure: &'a Azure) -> Self {
        self.azure = Some(azure);
        self.environment.extend(azure.environment());
        self
    }

    /// Runs it, and prints how many tests passed.
    ///
    /// # Errors
    /// Its whole output, if a test failed or was left out, if it had no tests, or if it did not end. If a tool is missing, which.
    pub async fn run(self) -> anyhow::Result<()> {
        let copies;
        let (mut command, read): (Command, fn(&str) -> Option<Tally>) = match &self.kind {
            Kind::Pytest { requirements } => (self.pytest_command(requirements)?, verdict::of_pytest),
            Kind::Node => {
                let suites = tools::folder_of("javascript");
                // Packages are looked for from a file's own folder upwards.
                copies = modules_beside(&suites, &tools::node_packages(&suites)?)?;
                (self.node_command(copies.path()), verdict::of_node)
            }
        };
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        // Both write to one file, so that lines stay in their order.
        let said = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
        let mut child =
            command.kill_on_drop(true).spawn().with_context(|| format!("cannot run {command:?}"))?;
        let ended = timeout(DEADLINE, child.wait()).await;
        let output = text_of(&said);
        let problem = match ended {
            Err(_) => format!("did not end within {} minutes", DEADLINE.as_secs() / 60),
            Ok(status) => match (status?, read(&output)) {
                (status, _) if !status.success() => format!("failed ({status})"),
                (_, Some(tally)) if tally.is_clean() => {
                    println!("{}: {tally}", self.name);
                    return Ok(());
                }
                (_, Some(tally)) => format!("did not judge everything: {tally}"),
                (_, None) => "did not say how many tests it ran".to_owned(),
            },
        };
        let simulator = self.azure.map(Azure::log).filter(|log| !log.is_empty());
        let simulator = simulator.map(|log| format!("\nthe simulator wrote:\n{log}")).unwrap_or_default();
        bail!("the suite {} {problem}\n{output}{simulator}", self.name)
    }

    fn pytest_command(&self, requirements: &str) -> anyhow::Result<Command> {
        let suites = tools::folder_of("python");
        let mut command = Command::new(tools::python(&suites.join(requirements))?);
        command.current_dir(&suites).args(["-m", "pytest", "--quiet"]).arg(&self.name);
        // Nothing is left in the source tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    fn node_command(&self, folder: &Path) -> Command {
        let mut command = Command::new("node");
        command.current_dir(folder).args(["--test", "--test-reporter=tap"]).arg(&self.name);
        command
    }
}

/// Copies of the modules in `suites`, in a folder of their own below `packages`.
fn modules_beside(suites: &Path, packages: &Path) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(packages)?;
    for entry in std::fs::read_dir(suites)? {
        let path = entry?.path();
        if let (Some("mjs"), Some(name)) = (path.extension().and_then(|e| e.to_str()), path.file_name()) {
            std::fs::copy(&path, folder.path().join(name))?;
        }
    }
    Ok(folder)
}
