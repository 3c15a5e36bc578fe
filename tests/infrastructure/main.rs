//! `infra/` agrees with the code: what is deployed is what the program needs, and the other way round.
//!
//! Nothing here compiles Bicep, which needs Microsoft's compiler; but names, modules and their parameters are followed as it would.
//! A second parser judges the syntax in `tests/clients`.

mod alerts;
mod bicep;
mod cost;
mod deployment;
mod names;
mod pipelines;
mod queries;
mod queues;
mod roles;
mod settings;
mod yaml;

use std::path::{Path, PathBuf};

use bicep::File;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn infra() -> PathBuf {
    root().join("infra")
}

/// A module, by its name.
fn module(name: &str) -> File {
    File::read(&infra(), &format!("modules/{name}.bicep"))
}

/// The names of a folder's entries, sorted.
fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every file of `infra/` with this ending, by its path below it.
fn files(ending: &str) -> Vec<String> {
    let modules = entries(&infra().join("modules")).into_iter().map(|name| format!("modules/{name}"));
    let all = entries(&infra()).into_iter().chain(modules);
    all.filter(|path| Path::new(path).extension().is_some_and(|own| own == ending)).collect()
}

/// The function.json of every function, by the function's name.
fn functions() -> Vec<(String, serde_json::Value)> {
    let folder = root().join("functions");
    let read = |name: &String| {
        let text = std::fs::read_to_string(folder.join(name).join("function.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    entries(&folder).into_iter().map(|name| (name.clone(), read(&name))).collect()
}
