//! Programs that the C compiler of this machine makes, and what becomes of them when single bytes of them are others.

use super::*;

#[test]
fn versions_are_compared_by_their_numbers() {
    let version = |text: &str| text.parse::<GlibcVersion>().unwrap();
    assert!(version("2.9") < version("2.28") && version("2.36") < version("3.0"));
    assert_eq!(version("2.2.5"), GlibcVersion::new(2, 2));
    assert_eq!(version("2.36").to_string(), "2.36");
    for wrong in ["", "2", "2.x", "glibc 2.36"] {
        assert!(wrong.parse::<GlibcVersion>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_program_for_linux_is_refused() {
    for (bytes, what) in
        [(&b""[..], "an empty file"), (b"MZ\x90\0\x03", "one of Windows"), (b"#!/bin/sh\n", "a script")]
    {
        let error = Needs::of(bytes).unwrap_err().to_string();
        assert!(error.starts_with("it is no program for Linux"), "{what}: {error}");
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod compiled {
    use std::process::Command;

    use super::*;

    const WITH_LIBRARY: &str = "#include <stdio.h>\nint main(void) { puts(\"here\"); return 0; }\n";

    fn compile(source: &str, arguments: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("program.c"), folder.path().join("program"));
        std::fs::write(&input, source).unwrap();
        let status = Command::new("cc").args(arguments).arg("-o").args([&output, &input]).status().unwrap();
        assert!(status.success(), "cc {arguments:?}");
        std::fs::read(output).unwrap()
    }

    fn refusal(program: &[u8]) -> String {
        Needs::of(program).unwrap_err().to_string()
    }

    /// With `new` in the place of `old` wherever that stands.
    fn replaced(program: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len());
        let places: Vec<usize> = program
            .windows(old.len())
            .enumerate()
            .filter(|(_, window)| *window == old)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{old:?} is nowhere");
        let mut program = program.to_vec();
        for at in places {
            program[at..at + new.len()].copy_from_slice(new);
        }
        program
    }

    fn newest(program: &[u8]) -> GlibcVersion {
        Needs::of(program).unwrap().glibc.unwrap()
    }

    #[test]
    fn a_program_that_runs_here_needs_no_newer_c_library_than_there_is_here() {
        let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
        let here = String::from_utf8(said.stdout).unwrap();
        let here: GlibcVersion = here.trim().strip_prefix("glibc ").unwrap().parse().unwrap();
        let needed = newest(&compile(WITH_LIBRARY, &[]));
        assert!(needed <= here && needed >= GlibcVersion::new(2, 2), "{needed} of {here}");
    }

    #[test]
    fn the_newest_version_that_a_symbol_asks_for_is_what_a_program_needs() {
        let program = compile(WITH_LIBRARY, &[]);
        let asked = format!("GLIBC_{}", newest(&program));
        let newer = "GLIBC_9.9999999";
        let program = replaced(&program, asked.as_bytes(), &newer.as_bytes()[..asked.len()]);
        let needed = newest(&program);
        assert!(needed >= GlibcVersion::new(9, 9), "{needed}");
    }

    #[test]
    fn a_version_that_only_symbols_ask_for_that_may_be_missing_is_not_needed() {
        let program = compile(WITH_LIBRARY, &[]);
        let needed = newest(&program);
        // An entry begins with the hash of the version's name and two bytes of flags.
        let entry = |flags: u8| {
            let hash = object::elf::hash(format!("GLIBC_{needed}").as_bytes());
            [&hash.to_le_bytes()[..], &[flags, 0]].concat()
        };
        let weak = replaced(&program, &entry(0), &entry(2));
        assert!(Needs::of(&weak).unwrap().glibc < Some(needed));
    }

    #[test]
    fn a_static_program_needs_no_c_library() {
        let source = "void _start(void) { for (;;) {} }\n";
        let program = compile(source, &["-static", "-nostdlib"]);
        assert_eq!(Needs::of(&program).unwrap(), Needs { glibc: None });
    }

    #[test]
    fn programs_for_other_processors_and_systems_and_parts_of_programs_are_refused() {
        let mut program = compile(WITH_LIBRARY, &[]);
        let whole = program.clone();
        program[18] = 183; // e_machine: AArch64
        assert!(refusal(&program).contains("another processor"), "{}", refusal(&program));
        program = whole.clone();
        program[7] = 9; // EI_OSABI: FreeBSD
        assert!(refusal(&program).contains("another system"), "{}", refusal(&program));
        let part = compile(WITH_LIBRARY, &["-c"]);
        assert!(refusal(&part).contains("a part of one"), "{}", refusal(&part));
        assert!(Needs::of(&whole[..whole.len() / 2]).is_err(), "one that is cut off");
    }

    #[test]
    fn a_program_that_is_started_by_another_loader_is_refused() {
        let program = compile(WITH_LIBRARY, &[]);
        let program = replaced(&program, LOADER.as_bytes(), b"/lib/ld-musl-x86_64.so.1\0\0\0");
        assert!(refusal(&program).contains("/lib/ld-musl-x86_64.so.1"), "{}", refusal(&program));
    }

    #[test]
    fn a_program_that_needs_another_library_is_refused_by_its_name() {
        let program = replaced(&compile(WITH_LIBRARY, &[]), b"libc.so.6", b"libz.so.1");
        assert!(refusal(&program).contains("it needs libz.so.1"), "{}", refusal(&program));
    }
}
