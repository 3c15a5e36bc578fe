//! The app as it is deployed: host.json, a folder for each function, and the program that host.json starts.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use include_dir::{Dir, include_dir};
use serde_json::json;
use zip::ZipArchive;

static FUNCTIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/functions");
static HOST_JSON: &str = include_str!("../../host.json");

/// What the host reads first.
const HOST_FILE: &str = "host.json";
/// What makes a folder a function.
const FUNCTION_FILE: &str = "function.json";
/// The executable's name in host.json.
pub const EXECUTABLE: &str = "image-factory";

/// Everything of the app but the executable: host.json and each function's file, by their paths in the app, sorted.
pub fn files() -> BTreeMap<String, &'static [u8]> {
    let functions = FUNCTIONS.dirs().filter_map(|folder| {
        let file = folder.get_file(folder.path().join(FUNCTION_FILE))?;
        // The host looks into the direct children of the app's root, and no deeper.
        Some((format!("{}/{FUNCTION_FILE}", folder.path().display()), file.contents()))
    });
    functions.chain([(HOST_FILE.to_owned(), HOST_JSON.as_bytes())]).collect()
}

/// Where the app's program comes from.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// This very program.
    This,
    /// A package, with everything else of the app in it.
    Packed(&'a Path),
}

/// Lays out an app as it is deployed, with the local settings beside it.
///
/// # Errors
/// If a file cannot be written, or the package holds no app.
pub fn lay_out(
    app_root: &Path,
    program: Program<'_>,
    settings: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    match program {
        Program::This => {
            for (path, contents) in files() {
                write(&app_root.join(path), contents)?;
            }
            link_this_program(&app_root.join(EXECUTABLE))?;
        }
        Program::Packed(package) => unpack(package, app_root)?,
    }
    let local = json!({"IsEncrypted": false, "Values": settings});
    write(&app_root.join("local.settings.json"), serde_json::to_string_pretty(&local)?.as_bytes())
}

fn write(path: &PathBuf, contents: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file of the app has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

fn link_this_program(executable: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    // A link where the file systems allow it: the program may be large.
    if std::fs::hard_link(&program, executable).is_err() {
        std::fs::copy(&program, executable)
            .with_context(|| format!("cannot write {}", executable.display()))?;
    }
    Ok(())
}

/// With the files' modes: where the package says nothing of an executable bit, there is none afterwards.
fn unpack(package: &Path, app_root: &Path) -> anyhow::Result<()> {
    let name = package.display();
    let file = File::open(package).with_context(|| format!("cannot open {name}"))?;
    let mut archive = ZipArchive::new(file).with_context(|| format!("{name} is no good zip file"))?;
    archive.extract(app_root).with_context(|| format!("cannot unpack {name}"))?;
    if !app_root.join(HOST_FILE).is_file() {
        bail!("{name} holds no {HOST_FILE} at its root: make it with `image-factory package`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_app_has_host_json_and_the_file_of_each_function_in_the_repository_and_nothing_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut expected = vec![HOST_FILE.to_owned()];
        for entry in std::fs::read_dir(root.join("functions")).unwrap() {
            expected.push(format!("{}/{FUNCTION_FILE}", entry.unwrap().file_name().to_str().unwrap()));
        }
        expected.sort();
        let files = files();
        assert_eq!(files.keys().cloned().collect::<Vec<_>>(), expected);
        for (path, contents) in files {
            let folder = if path == HOST_FILE { root.to_owned() } else { root.join("functions") };
            assert_eq!(std::fs::read(folder.join(&path)).unwrap(), contents, "{path}");
        }
    }

    #[test]
    fn host_json_starts_the_executable_of_the_app() {
        let host: Value = serde_json::from_str(HOST_JSON).unwrap();
        assert_eq!(host["customHandler"]["description"]["defaultExecutablePath"], EXECUTABLE);
    }
}
