//! What a program needs of the system that runs it, as its ELF headers say.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, bail};
use object::{
    Endianness,
    elf::{DT_NEEDED, ELFOSABI_GNU, ELFOSABI_SYSV, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, VER_FLG_WEAK},
    read::elf::{FileHeader as _, ProgramHeader as _, SectionTable},
};

#[cfg(test)]
mod tests;

/// What starts a program that needs the GNU C library.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// The libraries that are part of the GNU C library, or of the compiler's support that every image of Azure has, since .NET needs it.
const LIBRARIES: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];
/// The names of the versions of the GNU C library begin so.
const GLIBC: &str = "GLIBC_";
/// Asked for by a program whose relocations are packed closely, which glibc reads since 2.36.
const COMPACT_RELOCATIONS: &[u8] = b"GLIBC_ABI_DT_RELR";

type Header = FileHeader64<Endianness>;

/// A version of the GNU C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
}

impl GlibcVersion {
    /// `major.minor`. A third number, as in `GLIBC_2.2.5`, makes no difference to anything here.
    pub(super) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for GlibcVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{text:?} is no version of glibc: write it as 2.36")),
        }
    }
}

/// What a program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// The oldest GNU C library with which it starts; `None` if it needs none.
    pub(super) glibc: Option<GlibcVersion>,
}

impl Needs {
    /// Reads what `program` needs.
    ///
    /// # Errors
    /// If it is no program for Linux on x86-64, or needs anything besides the GNU C library.
    pub(super) fn of(program: &[u8]) -> anyhow::Result<Self> {
        let header = Header::parse(program).ok().context(
            "it is no program for Linux (no ELF file of 64 bits): build it for x86_64-unknown-linux-gnu",
        )?;
        let endian = header.endian()?;
        if header.e_machine(endian) != EM_X86_64 {
            bail!("it is for another processor than x86-64, which is what Azure Functions has");
        }
        if ![ELFOSABI_SYSV, ELFOSABI_GNU].contains(&header.e_ident().os_abi) {
            bail!("it is for another system than Linux");
        }
        if ![ET_EXEC, ET_DYN].contains(&header.e_type(endian)) {
            bail!("it is no program, but a part of one");
        }
        for segment in header.program_headers(endian, program)? {
            let loader = segment.interpreter(endian, program)?.map(String::from_utf8_lossy);
            if let Some(loader) = loader.filter(|loader| loader != LOADER) {
                bail!(
                    "it is started by {loader}, which Azure's image does not have: link it statically or with glibc"
                );
            }
        }
        let sections = header.sections(endian, program)?;
        let foreign: Vec<_> = libraries(&sections, endian, program)?
            .into_iter()
            .filter(|library| !LIBRARIES.contains(&library.as_str()))
            .collect();
        if !foreign.is_empty() {
            bail!(
                "it needs {}, which Azure's image need not have: link it into the program",
                foreign.join(", ")
            );
        }
        Ok(Self { glibc: glibc(&sections, endian, program)? })
    }
}

/// The shared libraries that it asks for.
fn libraries(
    sections: &SectionTable<'_, Header>,
    endian: Endianness,
    program: &[u8],
) -> anyhow::Result<Vec<String>> {
    let dynamic = sections.dynamic_table(endian, program)?;
    let needed = dynamic.iter().filter(|entry| entry.tag == DT_NEEDED);
    needed.map(|entry| Ok(String::from_utf8_lossy(dynamic.string(entry)?).into_owned())).collect()
}

/// The newest version of the GNU C library that a symbol of it needs. Symbols that may be missing do not count: the standard
/// library asks for some that are newer than what it needs, and does without them.
fn glibc(
    sections: &SectionTable<'_, Header>,
    endian: Endianness,
    program: &[u8],
) -> anyhow::Result<Option<GlibcVersion>> {
    let Some((needs, names)) = sections.gnu_verneed(endian, program)? else { return Ok(None) };
    let names = sections.strings(endian, program, names)?;
    let mut newest = None;
    for need in needs {
        let (_, versions) = need?;
        for version in versions {
            let version = version?;
            if version.vna_flags.get(endian).contains(VER_FLG_WEAK) {
                continue;
            }
            // Other names are of other libraries.
            newest = newest.max(match version.name(endian, names)? {
                COMPACT_RELOCATIONS => Some(GlibcVersion::new(2, 36)),
                name => {
                    std::str::from_utf8(name)?.strip_prefix(GLIBC).and_then(|version| version.parse().ok())
                }
            });
        }
    }
    Ok(newest)
}
