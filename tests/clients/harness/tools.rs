//! The tools of the judges: Python and Node.js of this machine, and pinned packages, installed once.
//!
//! Packages are kept in `clients/` of the target directory, in a folder for each state of the file that names them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// The oldest Python that the pinned packages are for.
const LEAST_PYTHON: (u32, u32) = (3, 11);
/// The oldest Node.js that the pinned packages are for, by its major version.
const LEAST_NODE: u32 = 20;
/// What is there once a folder is whole.
const WHOLE: &str = "whole";

/// A folder beside this program's sources: `python` or `javascript`.
pub fn folder_of(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(language)
}

/// Python with the packages that `requirements` lists, each with its version, those that others need included.
///
/// # Errors
/// If Python is missing or too old, or a package cannot be installed; says what to do.
pub fn python(requirements: &Path) -> anyhow::Result<PathBuf> {
    const MISSING: &str =
        "install Python 3.11 or newer with its module venv (Debian: apt-get install python3 python3-venv)";
    let program = "import sys; print(*sys.version_info[:2])";
    let said = run(Command::new("python3").args(["-c", program])).context(MISSING)?;
    let mut numbers = said.split_whitespace().filter_map(|number| number.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < LEAST_PYTHON {
        bail!("python3 is version {}.{}: {MISSING}", version.0, version.1);
    }
    let list = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = installed("python", &[said.as_bytes(), &list], |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder)).context(MISSING)?;
        let pip = |arguments: &[&OsStr]| {
            let mut command = Command::new(python_in(folder));
            run(command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).args(arguments))
        };
        // Nothing but what is listed, and then: is anything missing from the list?
        pip(&["install".as_ref(), "--no-deps".as_ref(), "--requirement".as_ref(), requirements.as_os_str()])
            .context("the packages come from PyPI: is it reachable?")?;
        pip(&["check".as_ref()])
            .with_context(|| format!("{} does not list everything", requirements.display()))?;
        Ok(())
    })?;
    Ok(python_in(&folder))
}

fn python_in(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// The folder that has the `node_modules` of package.json and package-lock.json in `manifest`.
///
/// # Errors
/// If Node.js is missing or too old, or a package cannot be installed; says what to do.
pub fn node_packages(manifest: &Path) -> anyhow::Result<PathBuf> {
    const MISSING: &str = "install Node.js 20 or newer with npm (Debian: apt-get install nodejs npm)";
    let said = run(Command::new("node").arg("--version")).context(MISSING)?;
    let major = said.trim_start_matches('v').split('.').next().and_then(|number| number.parse().ok());
    if major.is_none_or(|major: u32| major < LEAST_NODE) {
        bail!("node is version {said}: {MISSING}");
    }
    run(Command::new("npm").arg("--version")).context(MISSING)?;
    let files = ["package.json", "package-lock.json"].map(|name| (name, manifest.join(name)));
    let contents = files
        .iter()
        .map(|(_, path)| fs::read(path).with_context(|| format!("cannot read {}", path.display())));
    let contents = contents.collect::<anyhow::Result<Vec<_>>>()?;
    let key: Vec<&[u8]> =
        std::iter::once(said.as_bytes()).chain(contents.iter().map(Vec::as_slice)).collect();
    installed("node", &key, |folder| {
        fs::create_dir_all(folder)?;
        for ((name, _), bytes) in files.iter().zip(&contents) {
            fs::write(folder.join(name), bytes)?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        run(&mut npm).context("the packages come from the npm registry: is it reachable?")?;
        Ok(())
    })
}

/// The folder for what `key` describes, filled by `install` if nobody did before. Whoever else wants the same one waits.
fn installed(
    kind: &str,
    key: &[&[u8]],
    install: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let digest = key
        .iter()
        .fold(Sha256::new(), |digest, part| digest.chain_update(part.len().to_le_bytes()).chain_update(part));
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let all = temporary.parent().unwrap_or(temporary).join("clients");
    let folder = all.join(format!("{kind}-{digest}"));
    fs::create_dir_all(&all)?;
    // Environments of Python cannot be moved, so each is made where it stays, under a lock of threads and processes.
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock().context("cannot lock the folder of the packages")?;
    if !folder.join(WHOLE).exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        install(&folder)?;
        File::create(folder.join(WHOLE))?;
    }
    Ok(folder)
}

/// Runs `command` to its end; answers what it printed, without white space around it.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{name} cannot be started"))?;
    let said = String::from_utf8_lossy(&stdout).trim().to_owned();
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let errors = String::from_utf8_lossy(&stderr);
        bail!("{name} {} failed ({status}):\n{said}\n{}", arguments.join(" "), errors.trim());
    }
    Ok(said)
}
