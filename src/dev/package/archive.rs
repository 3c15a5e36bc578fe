//! The zip file: host.json, the functions' folders at its root, the program; the same bytes for the same contents.

use std::io::{Cursor, Write as _};

use anyhow::Context as _;
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::dev::app;

/// Everybody may read it.
const FILE_MODE: u32 = 0o644;
/// Everybody may start it, too. Elastic Premium starts the program as it is in the package; only Flex Consumption makes it
/// executable itself (Azure/azure-functions-host WorkerProcess.cs).
const PROGRAM_MODE: u32 = 0o755;

/// The package of the app with this program. Nothing in it tells when, where or by whom it was made.
///
/// # Errors
/// If it cannot be compressed.
pub(super) fn archive(program: &[u8]) -> anyhow::Result<Vec<u8>> {
    // The earliest time that a zip file can say.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |path: &str, contents: &[u8], mode| {
        writer.start_file(path, options.unix_permissions(mode))?;
        writer.write_all(contents)?;
        anyhow::Ok(())
    };
    for (path, contents) in app::files() {
        add(&path, contents, FILE_MODE).with_context(|| format!("cannot pack {path}"))?;
    }
    add(app::EXECUTABLE, program, PROGRAM_MODE).context("cannot pack the program")?;
    Ok(writer.finish().context("cannot finish the package")?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use zip::ZipArchive;

    use super::*;

    #[test]
    fn the_package_holds_the_app_and_nothing_else_and_only_the_program_is_executable() {
        let package = archive(b"a program").unwrap();
        let mut zip = ZipArchive::new(Cursor::new(package)).unwrap();
        let mut found = BTreeMap::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            let name = entry.name().unwrap().into_owned();
            found.insert(name, (entry.unix_mode().unwrap() & 0o777, contents));
        }
        let mut expected: BTreeMap<_, _> =
            app::files().into_iter().map(|(path, contents)| (path, (0o644, contents.to_vec()))).collect();
        expected.insert("image-factory".to_owned(), (0o755, b"a program".to_vec()));
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_in_the_package_tells_when_or_where_it_was_made() {
        let mut zip = ZipArchive::new(Cursor::new(archive(b"a program").unwrap())).unwrap();
        assert_eq!(zip.comment(), b"");
        for index in 0..zip.len() {
            let entry = zip.by_index(index).unwrap();
            assert_eq!(entry.last_modified(), Some(DateTime::default()));
            assert_eq!(entry.extra_data().unwrap_or_default(), b"", "{:?}", entry.name());
        }
    }

    #[test]
    fn another_program_makes_another_package() {
        assert_eq!(archive(b"a program").unwrap(), archive(b"a program").unwrap());
        assert_ne!(archive(b"a program").unwrap(), archive(b"another one").unwrap());
    }
}
