//! The package for Azure, as a person makes it: `image-factory package`; and what is in it runs.

#![cfg(all(feature = "dev", target_os = "linux", target_arch = "x86_64"))]

use std::{
    fs::{File, Permissions},
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zip::{ZipWriter, write::SimpleFileOptions};

const PROGRAM: &str = env!("CARGO_BIN_EXE_image-factory");
/// This machine's C library may be newer than Azure's, and the program of these tests runs here.
const ANY_GLIBC: [&str; 2] = ["--glibc", "9.9"];

fn package(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("package").args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The program of these tests, packed; answers where the package is.
fn packed(folder: &Path) -> PathBuf {
    let output = package(folder, &[&["--binary", PROGRAM][..], &ANY_GLIBC].concat());
    assert!(output.status.success(), "{}", said(&output));
    folder.join("image-factory.zip")
}

/// A program of the machine's C compiler.
fn compiled(folder: &Path, source: &str) -> PathBuf {
    let (input, output) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&input, source).unwrap();
    assert!(Command::new("cc").arg("-o").args([&output, &input]).status().unwrap().success());
    output
}

#[test]
fn the_same_program_makes_the_same_package_whenever_and_wherever_it_is_packed() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = std::fs::read(packed(first.path())).unwrap();

    let program = second.path().join("another-name");
    std::fs::copy(PROGRAM, &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    let years_ago = SystemTime::now() - Duration::from_secs(3 * 365 * 24 * 3600);
    File::options().append(true).open(&program).unwrap().set_modified(years_ago).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["package", "--binary", "another-name", "--out", "deep/down/other.zip", "--json"]);
    let command = command.args(ANY_GLIBC).current_dir(second.path());
    let output = command.env("TZ", "Pacific/Auckland").env("LANG", "de_DE.UTF-8").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let other = std::fs::read(second.path().join("deep/down/other.zip")).unwrap();
    assert!(expected == other, "{} bytes and {} bytes", expected.len(), other.len());

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sha256: String = Sha256::digest(&other).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&report["bytes"], &report["sha256"]), (&json!(other.len()), &json!(sha256)));
    assert_eq!(report["binaryBytes"], std::fs::metadata(PROGRAM).unwrap().len());
    assert!(report["firstAnswerMilliseconds"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn a_whole_run_of_the_packed_program_reaches_its_lab() {
    let folder = tempfile::tempdir().unwrap();
    let package = packed(folder.path());
    let (config, report) = (folder.path().join("config"), folder.path().join("report.json"));
    let definition = config.join("GoldenImages/Linux/DockerHost.json");
    std::fs::create_dir_all(definition.parent().unwrap()).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/GoldenImages/Linux/DockerHost.json");
    std::fs::copy(example, definition).unwrap();
    let labs = json!({"Labs": [{"SubscriptionId": "00000001-0000-4000-8000-000000000000", "ResourceGroup": "rg",
        "LabName": "red", "ImagePaths": ["Linux"]}]});
    std::fs::write(config.join("Labs.json"), labs.to_string()).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["dev", "--once", "--speed", "400", "--package"]).arg(package);
    let output = command.arg("--config").arg(&config).arg("--report").arg(&report).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["images"][0]["labs"][0]["status"], "succeeded");
    assert!(report["counts"]["invocations"].as_u64().unwrap() > 10, "{}", report["counts"]);
}

#[test]
fn the_host_cannot_start_a_package_whose_program_is_not_executable() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o644);
    for path in ["host.json", "functions/start/function.json"] {
        zip.start_file(path.trim_start_matches("functions/"), options).unwrap();
        zip.write_all(&std::fs::read(root.join(path)).unwrap()).unwrap();
    }
    zip.start_file("image-factory", options).unwrap();
    zip.write_all(b"#!/bin/sh\nexit 1\n").unwrap();
    let package = folder.path().join("package.zip");
    std::fs::write(&package, zip.finish().unwrap().into_inner()).unwrap();
    let output = Command::new(PROGRAM).args(["dev", "--once", "--package"]).arg(package).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
}

#[test]
fn a_program_that_needs_a_newer_c_library_than_where_it_will_run_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let output = package(folder.path(), &["--binary", PROGRAM, "--glibc", "2.1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("needs glibc 2.") && said.contains("where there is 2.1"), "{said}");
    assert!(said.contains("cargo-zigbuild"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_program_that_does_not_answer_as_a_handler_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "int main(void) { return 3; }\n");
    let output = package(
        folder.path(),
        &[&["--binary", program.to_str().unwrap(), "--out", "package.zip"][..], &ANY_GLIBC].concat(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("ends before it answers: exit status: 3"), "{}", said(&output));
    assert!(!folder.path().join("package.zip").exists());
}
