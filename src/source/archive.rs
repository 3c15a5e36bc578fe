//! Configuration in a zip file, as git hosts send a commit's files.

use std::io::Cursor;

use zip::{ZipArchive, result::ZipError};

use super::{
    Folder, SourceError,
    place::unsafe_name,
    selection::{Selection, kept_as},
};
use crate::domain::config::ConfigurationFiles;

/// Largest archive, in bytes: it is in memory while it is read. The files of a repository that holds nothing else than
/// configuration have a few MiB.
pub(super) const LARGEST_ARCHIVE: u64 = 256 << 20;
/// Most entries of an archive, the configuration's and others: a few times what the largest repositories have.
const MOST_ENTRIES: usize = 500_000;

/// How an archive names its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As the repository does.
    Plain,
    /// Below one folder of its own, such as GitHub's `{owner}-{repository}-{commit}/`.
    OneTopFolder,
}

/// The configuration in `folder` of the archive that came from `place`. Nothing is ever written to a disk; names that would lead
/// elsewhere if they were are refused all the same, since no git host sends them.
pub(super) fn read(
    place: &str,
    bytes: &[u8],
    layout: Layout,
    folder: &Folder,
) -> Result<ConfigurationFiles, SourceError> {
    let malformed = |reason: String| SourceError::Malformed { place: place.to_owned(), reason };
    let damaged = |error: ZipError| malformed(format!("its archive is no good zip file: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    if archive.len() > MOST_ENTRIES {
        let reason = format!("its archive holds more than {MOST_ENTRIES} files");
        return Err(SourceError::TooLarge { path: place.to_owned(), reason });
    }
    if archive.has_duplicate_names() {
        return Err(malformed("its archive holds a name twice".to_owned()));
    }
    let mut top = None;
    let mut is_folder_there = folder.names().is_empty();
    let mut selection = Selection::of(place);
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        check(&name).map_err(|reason| malformed(format!("its archive holds {name:?}: {reason}")))?;
        let path = match layout {
            Layout::Plain => name.as_str(),
            Layout::OneTopFolder => {
                let (own, path) = name.split_once('/').unwrap_or((&name, ""));
                if *top.get_or_insert_with(|| own.to_owned()) != own {
                    return Err(malformed("its archive has more than one top folder".to_owned()));
                }
                path
            }
        };
        let Some(relative) = folder.strip(path) else { continue };
        is_folder_there = true;
        // Links are left alone: they may lead out of the configuration.
        if entry.is_dir() || entry.is_symlink() {
            continue;
        }
        if let Some(kept) = kept_as(relative) {
            selection.keep(kept, path, archive.by_index(index).map_err(damaged)?)?;
        }
    }
    selection.found(folder, is_folder_there)
}

/// As [`read`], where unpacking holds nobody up.
pub(super) async fn read_aside(
    place: String,
    bytes: Vec<u8>,
    layout: Layout,
    folder: Folder,
) -> Result<ConfigurationFiles, SourceError> {
    let name = place.clone();
    let failed =
        |error: tokio::task::JoinError| SourceError::Malformed { place: name, reason: error.to_string() };
    tokio::task::spawn_blocking(move || read(&place, &bytes, layout, &folder)).await.map_err(failed)?
}

/// Refuses names that lead elsewhere.
fn check(name: &str) -> Result<(), &'static str> {
    if name.starts_with('/') {
        return Err("it is absolute");
    }
    let name = name.strip_suffix('/').unwrap_or(name);
    name.split('/').find_map(unsafe_name).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
