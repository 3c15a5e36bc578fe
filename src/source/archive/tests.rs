use std::io::{Cursor, Write as _};

use hostile_bytes::{Attack, Grammar};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;
use crate::source::selection::LARGEST_FILE;

/// An archive of these files.
fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The archive with a name, or whatever else, replaced by another of its length: no well-meaning writer makes such ones.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "nothing was patched");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

fn names(bytes: &[u8], layout: Layout, folder: &str) -> Result<Vec<String>, String> {
    let files = read("octo/images at c0ffee", bytes, layout, &folder.parse().unwrap());
    files.map(|files| files.files.into_keys().collect()).map_err(|error| error.to_string())
}

#[test]
fn the_files_of_a_configuration_are_found_below_the_top_folder_wherever_they_lie() {
    let files = [
        ("octo-images-c0ffee/README.md", "no"),
        ("octo-images-c0ffee/conf/Factory/labs.json", "{}"),
        ("octo-images-c0ffee/conf/Factory/GoldenImages/Win/a.json", "{}"),
        ("octo-images-c0ffee/conf/Factory/GoldenImages/Win/a.txt", "no"),
        ("octo-images-c0ffee/conf/FactoryOld/Labs.json", "no"),
        ("octo-images-c0ffee/Labs.json", "no"),
    ];
    let found = names(&zipped(&files), Layout::OneTopFolder, "conf/Factory").unwrap();
    assert_eq!(found, ["GoldenImages/Win/a.json", "Labs.json"]);
    let plain = zipped(&[("Labs.json", "{}"), ("GoldenImages/a.json", "{}")]);
    assert_eq!(names(&plain, Layout::Plain, "").unwrap(), ["GoldenImages/a.json", "Labs.json"]);
    assert!(names(&plain, Layout::OneTopFolder, "").unwrap_err().contains("more than one top folder"));
}

#[test]
fn a_folder_that_is_not_there_is_told_apart_from_one_without_a_configuration() {
    let bytes = zipped(&[("top/ImageFactory/readme.md", "")]);
    let missing = |folder| names(&bytes, Layout::OneTopFolder, folder).unwrap_err();
    assert!(missing("imagefactory").contains("octo/images at c0ffee has no folder imagefactory"));
    assert!(missing("ImageFactory").contains("no Labs.json or GoldenImages in its folder ImageFactory"));
    assert!(missing("").contains("no Labs.json or GoldenImages at its top"));
    assert!(
        ["imagefactory", "ImageFactory", ""]
            .iter()
            .all(|folder| missing(folder).contains("IMAGE_FACTORY_FOLDER"))
    );
}

#[test]
fn links_are_left_alone() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("Labs.json", SimpleFileOptions::default()).unwrap();
    writer.add_symlink("factory.json", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    writer.add_symlink("GoldenImages/a.json", "../../b.json", SimpleFileOptions::default()).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(names(&bytes, Layout::Plain, "").unwrap(), ["Labs.json"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "GoldenImages/../a.json",
        "../GoldenImages/a.json",
        "/etc/GoldenImages/a.json",
        "C:/GoldenImages/a.json",
    ] {
        let harmless = "x".repeat(name.len());
        let bytes =
            patched(zipped(&[("Labs.json", "{}"), (&harmless, "{}")]), harmless.as_bytes(), name.as_bytes());
        let refused = names(&bytes, Layout::Plain, "").unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
    let bytes =
        patched(zipped(&[("Labs.json", "{}"), ("GoldenImages-a.json", "{}")]), b"Images-a", b"Images\\a");
    assert!(names(&bytes, Layout::Plain, "").unwrap_err().contains("backslash"));
}

#[test]
fn a_name_that_is_there_twice_is_refused_in_whatever_spelling() {
    let files = zipped(&[("Labs.json", "{}"), ("Labz.json", "{}")]);
    let twice = names(&patched(files.clone(), b"Labz", b"Labs"), Layout::Plain, "").unwrap_err();
    assert!(twice.contains("twice"), "{twice}");
    let spelt = names(&patched(files, b"Labz", b"labs"), Layout::Plain, "").unwrap_err();
    assert!(spelt.contains("twice"), "{spelt}");
}

#[test]
fn a_bomb_is_refused_whatever_it_says_of_its_size() {
    let size = usize::try_from(LARGEST_FILE).unwrap() + 1;
    let bomb = zipped(&[("Labs.json", &" ".repeat(size))]);
    assert!(bomb.len() < size / 100);
    let refused = names(&bomb, Layout::Plain, "").unwrap_err();
    assert!(refused.contains("Labs.json is too large"), "{refused}");
    let lying = patched(bomb, &u32::try_from(size).unwrap().to_le_bytes(), &10_u32.to_le_bytes());
    names(&lying, Layout::Plain, "").unwrap_err();
}

#[test]
fn other_files_may_be_as_large_as_they_like() {
    let large = " ".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1);
    let bytes = zipped(&[("Labs.json", "{}"), ("setup.exe", &large), ("GoldenImages/setup.exe", &large)]);
    assert_eq!(names(&bytes, Layout::Plain, "").unwrap(), ["Labs.json"]);
}

#[test]
fn an_archive_that_is_cut_off_or_altered_is_refused() {
    let bytes = zipped(&[("Labs.json", "the same text, the same text, the same text")]);
    for end in 0..bytes.len() {
        let refused = names(&bytes[..end], Layout::Plain, "").unwrap_err();
        assert!(refused.contains("octo/images at c0ffee"), "{refused}");
    }
    let stored = {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("Labs.json", options).unwrap();
        writer.write_all(b"unaltered").unwrap();
        writer.finish().unwrap().into_inner()
    };
    let altered = names(&patched(stored, b"unaltered", b"unalterEd"), Layout::Plain, "").unwrap_err();
    assert!(altered.contains("cannot read Labs.json"), "{altered}");
}

#[test]
fn no_archive_breaks_the_reader() {
    /// One file may be as large as is allowed before it is refused, with room for the list to grow into.
    const MEMORY: (u64, u64) = (16 << 20, 2048);
    for (name, layout, folder) in
        [("plain archives", Layout::Plain, ""), ("archives with a top folder", Layout::OneTopFolder, "conf")]
    {
        let file = |path: &str| match layout {
            Layout::Plain => path.to_owned(),
            Layout::OneTopFolder => format!("top/conf/{path}"),
        };
        let [labs, image] = ["Labs.json", "GoldenImages/Win/a.json"].map(file);
        let folder: Folder = folder.parse().unwrap();
        let attack = Attack::on(name, Grammar::Binary)
            .sample(zipped(&[(&labs, "{}")]))
            .sample(zipped(&[(&labs, "{\"Labs\": []}"), (&image, &"{}".repeat(500))]))
            .words([
                "PK\u{1}\u{2}",
                "PK\u{3}\u{4}",
                "PK\u{5}\u{6}",
                "PK\u{6}\u{6}",
                "../",
                "Labs.json",
                "GoldenImages/",
            ])
            .memory(MEMORY.0, MEMORY.1);
        attack.run(|bytes| {
            let files = read("place", bytes, layout, &folder).map_err(|error| error.to_string())?;
            for name in files.files.keys() {
                assert!(
                    name == "Labs.json" || name == "factory.json" || name.starts_with("GoldenImages/"),
                    "{name}"
                );
                assert!(!name.contains("..") || !name.split('/').any(|part| part == ".."), "{name}");
            }
            Ok(())
        });
    }
}
