//! The handlers that are compared, made ready. What is missing is an error that says so: a comparison without its peers is none.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::process::Program;

/// Node's major version below which nothing is compared.
const LEAST_NODE: u32 = 20;
/// Python's version below which nothing is compared.
const LEAST_PYTHON: (u32, u32) = (3, 11);

/// What `handler.py` needs, in `benches/peers/`.
const REQUIREMENTS: &str = "requirements.txt";

/// Where things for the benchmark are kept between runs.
fn folder() -> PathBuf {
    // The executable is target/release/deps/handler-….
    let own = std::env::current_exe().ok();
    let target = own.as_deref().and_then(|own| own.ancestors().nth(3)).map(Path::to_owned);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("bench-handler")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The handler as it is deployed: optimised, and without the simulator in it. Built in a folder of its own, because other
/// features would replace the program in `target/release`.
///
/// # Errors
/// If it cannot be built.
pub fn ours() -> anyhow::Result<Program> {
    let target = folder().join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building the handler as it is deployed (release, without the feature dev) …");
    let built = Command::new(cargo)
        .current_dir(repository())
        .args([
            "build",
            "--release",
            "--locked",
            "--no-default-features",
            "--bin",
            "image-factory",
            "--target-dir",
        ])
        .arg(&target)
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the handler could not be built");
    }
    Ok(ours_in(target.join("release/image-factory")))
}

/// A handler that was built before.
pub fn ours_in(executable: PathBuf) -> Program {
    let version = concat!("image-factory ", env!("CARGO_PKG_VERSION")).to_owned();
    program("image-factory", executable, "handler".to_owned(), version)
}

/// `benches/peers/handler.mjs` under the Node on the path.
///
/// # Errors
/// If there is no Node, or an old one.
pub fn node() -> anyhow::Result<Program> {
    let said = version("node", "Node.js")?;
    let major = said.trim_start_matches('v').split('.').next().and_then(|number| number.parse().ok());
    if major.is_none_or(|major: u32| major < LEAST_NODE) {
        bail!("the benchmark compares with Node.js {LEAST_NODE} or newer; `node --version` says {said}");
    }
    Ok(program("Node", "node".into(), peer("handler.mjs"), format!("Node.js {said}")))
}

/// `benches/peers/handler.py` in an environment of its own, into which its requirements are installed once.
///
/// # Errors
/// If there is no Python, or an old one, or the requirements cannot be installed.
pub fn python() -> anyhow::Result<Program> {
    let said = version("python3", "Python")?;
    let mut numbers = said.trim_start_matches("Python ").split('.').map(|number| number.parse().ok());
    let found = numbers.next().flatten().zip(numbers.next().flatten());
    if found.is_none_or(|found: (u32, u32)| found < LEAST_PYTHON) {
        let (major, minor) = LEAST_PYTHON;
        bail!("the benchmark compares with Python {major}.{minor} or newer; `python3 --version` says {said}");
    }
    let environment = folder().join("python");
    let requirements = std::fs::read_to_string(peer(REQUIREMENTS))?;
    let installed = environment.join("installed.txt");
    if std::fs::read_to_string(&installed).ok().as_ref() != Some(&requirements) {
        install(&environment)?;
        std::fs::write(&installed, &requirements)?;
    }
    let uvicorn = requirements.lines().next().unwrap_or_default().replace("==", " ");
    let python = environment.join("bin/python");
    Ok(program("Python", python, peer("handler.py"), format!("{said} with {uvicorn}")))
}

/// Makes the environment anew, with the requirements in it.
fn install(environment: &Path) -> anyhow::Result<()> {
    eprintln!("installing uvicorn for Python into {} …", environment.display());
    let run = |command: &mut Command, hint: &str| {
        let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
        if !status.success() {
            bail!("{command:?} ended with {status}: {hint}");
        }
        anyhow::Ok(())
    };
    let venv = ["-m", "venv", "--clear"];
    run(
        Command::new("python3").args(venv).arg(environment),
        "install the module venv (Debian: python3-venv)",
    )?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let requirements = peer(REQUIREMENTS);
    run(Command::new(environment.join("bin/python")).args(pip).arg(requirements), "is PyPI reachable?")
}

fn program(name: &'static str, executable: PathBuf, argument: String, version: String) -> Program {
    Program { name, executable, arguments: vec![argument], version }
}

fn peer(file: &str) -> String {
    repository().join("benches/peers").join(file).display().to_string()
}

/// What `{command} --version` says.
fn version(command: &str, name: &str) -> anyhow::Result<String> {
    let output = Command::new(command).arg("--version").output();
    let output = output
        .with_context(|| format!("the benchmark compares with {name}: `{command}` must be on the path"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
