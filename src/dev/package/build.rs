//! Builds the program for Azure from the sources in the current folder, so that the same sources make the same bytes, whoever builds
//! them wherever.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::GlibcVersion;
use crate::dev::app;

/// What cargo-zigbuild builds for: older than in any image of Azure Functions 4, of which the oldest are of Debian 11 with 2.31.
pub(super) const OLDEST_GLIBC: GlibcVersion = GlibcVersion::new(2, 28);
/// Linux on x86-64.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The package and its program.
const NAME: &str = "image-factory";
/// Compilers that write the time into what they build write this one: the first of 1980, which is the earliest that a zip file can say.
const SOURCE_DATE: &str = "315532800";

/// What cargo says of a workspace.
#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

/// One line of what cargo says while it builds.
#[derive(Deserialize)]
struct Line {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the program; answers where it is.
///
/// # Errors
/// If it cannot be built, or if the sources are others than those of this program, whose functions are packed.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let workspace: Metadata =
        serde_json::from_str(&said(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?)
            .context("cargo metadata does not say where things are")?;
    check_functions(&workspace.workspace_root)?;
    // It refuses `--version` as a command of cargo.
    let has_zigbuild = is_there(cargo().args(["zigbuild", "--help"]));
    let (tool, target) = match has_zigbuild {
        true => ("zigbuild", format!("{TARGET}.{OLDEST_GLIBC}")),
        false => ("build", TARGET.to_owned()),
    };
    eprintln!("cargo {tool} for {target}: the program for Azure, which takes some minutes …");
    let renamed = Renamed::of(&workspace)?;
    let mut command = cargo();
    command
        .current_dir(&workspace.workspace_root)
        .arg(tool)
        .args([
            "--package",
            NAME,
            "--bin",
            NAME,
            "--release",
            "--locked",
            "--no-default-features",
            "--target",
        ])
        .arg(target)
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_ENCODED_RUSTFLAGS", renamed.for_rust())
        .env(format!("CFLAGS_{}", TARGET.replace('-', "_")), renamed.for_c())
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE);
    let lines = said(&mut command)?;
    // Build scripts may print lines of their own.
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut built = lines.filter(|line| {
        line.reason == "compiler-artifact" && line.target.as_ref().is_some_and(|target| target.name == NAME)
    });
    built.find_map(|line| line.executable).context("cargo does not say where it has put the program")
}

/// The functions that are packed are those that this program was built with.
fn check_functions(root: &Path) -> anyhow::Result<()> {
    for (path, contents) in app::files() {
        let file = match path.contains('/') {
            true => root.join("functions").join(&path),
            false => root.join(&path),
        };
        if std::fs::read(&file).ok().as_deref() != Some(contents) {
            bail!(
                "{} is not what this program was built with: start it as `cargo run -- package` in the folder of its sources",
                file.display()
            );
        }
    }
    Ok(())
}

/// Folders of this machine, with the names that they have in the program in place of their own.
struct Renamed(BTreeMap<PathBuf, String>);

impl Renamed {
    fn of(workspace: &Metadata) -> anyhow::Result<Self> {
        let rustc = || Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let sysroot = PathBuf::from(said(rustc().args(["--print", "sysroot"]))?.trim());
        let version = said(rustc().arg("-vV"))?;
        let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        let home = std::env::home_dir().map(|home| home.join(".cargo"));
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
        let mut folders = BTreeMap::from([
            (workspace.workspace_root.clone(), "/image-factory".to_owned()),
            (workspace.target_directory.clone(), "/image-factory/target".to_owned()),
            // As the standard library names itself where its sources are not installed.
            (sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", commit.unwrap_or("unknown"))),
        ]);
        folders.extend(home.map(|home| (home, "/cargo".to_owned())));
        Ok(Self(folders))
    }

    /// Of several names for one folder the last counts: those that are deeper come later.
    fn for_rust(&self) -> OsString {
        let flags = self.0.iter().map(|(folder, name)| flag("--remap-path-prefix=", folder, name));
        flags.collect::<Vec<_>>().join("\u{1f}".as_ref())
    }

    fn for_c(&self) -> OsString {
        // Compilers of C get their flags as one text, with blanks between them.
        let whole = self.0.iter().filter(|(folder, _)| !folder.to_string_lossy().contains(' '));
        let flags = whole.map(|(folder, name)| flag("-ffile-prefix-map=", folder, name));
        flags.collect::<Vec<_>>().join(" ".as_ref())
    }
}

fn flag(flag: &str, folder: &Path, name: &str) -> OsString {
    let mut text = OsString::from(flag);
    text.push(folder);
    text.push(format!("={name}"));
    text
}

/// The cargo that has started this program, else the one on the path.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a command succeeds.
fn is_there(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a command prints; its errors are seen.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}: is Rust installed?"))?;
    if !output.status.success() {
        bail!("{name} ended with {}; what it said stands above", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} prints no text"))
}
