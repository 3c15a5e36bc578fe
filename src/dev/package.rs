//! `image-factory package`: the program for Azure, packed as the Functions host wants it.
//!
//! | file | what it is about |
//! |---|---|
//! | `build` | the program is built so that the same sources make the same bytes |
//! | `binary` | what a program needs of the system that runs it |
//! | `archive` | the zip file |
//! | `start` | how soon a handler answers |

mod archive;
mod binary;
mod build;
mod start;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub use self::binary::GlibcVersion;
use self::binary::Needs;

/// The C library of Flex Consumption: its image for custom handlers is one of Debian 12
/// (`mcr.microsoft.com/azure-functions/bookworm/flexconsumption:4.1047.100-0-custom1.0`), which has glibc 2.36.
const GLIBC_OF_AZURE: GlibcVersion = GlibcVersion::new(2, 36);

/// What to pack.
#[derive(Debug, Args)]
pub struct PackageArguments {
    /// Packs this program, built before for Linux on x86-64, in place of building one from the sources in the current folder.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where to write the package.
    #[arg(long, value_name = "FILE", default_value = "image-factory.zip")]
    out: PathBuf,
    /// The version of the GNU C library where the package will run: a program that needs a newer one is refused. Flex Consumption
    /// has 2.36.
    #[arg(long, value_name = "VERSION", default_value_t = GLIBC_OF_AZURE)]
    glibc: GlibcVersion,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What was packed.
struct Packed {
    bytes: usize,
    sha256: String,
    binary_bytes: usize,
    needs: Needs,
    /// From its start to its first answer; `None` where it cannot be started.
    first_answer: Option<Duration>,
}

impl PackageArguments {
    /// Builds, checks and packs the program, and prints what came of it.
    ///
    /// # Errors
    /// If the program cannot be built, would not run in Azure or does not start here, or the package cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let binary = match &self.binary {
            Some(file) => file.clone(),
            None => build::build()?,
        };
        let packed = self.pack(&binary)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&packed.to_json(&self.out))?),
            false => self.print(&packed),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn pack(&self, binary: &Path) -> anyhow::Result<Packed> {
        let name = binary.display();
        let program = std::fs::read(binary).with_context(|| format!("cannot read {name}"))?;
        let needs = Needs::of(&program).with_context(|| format!("{name} cannot be packed"))?;
        if let Some(needed) = needs.glibc.filter(|needed| *needed > self.glibc) {
            bail!(
                "{name} needs glibc {needed} or newer, and would not start where there is {}: install cargo-zigbuild, with which \
                 `image-factory package` builds for glibc {}, or build on an older Linux, such as Debian 12",
                self.glibc,
                build::OLDEST_GLIBC
            );
        }
        let first_answer = start::first_answer(binary)?;
        let package = archive::archive(&program)?;
        if let Some(folder) = self.out.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&self.out, &package)
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        let sha256 = Sha256::digest(&package).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Packed { bytes: package.len(), sha256, binary_bytes: program.len(), needs, first_answer })
    }

    fn print(&self, packed: &Packed) {
        println!("package       {}, {}", self.out.display(), megabytes(packed.bytes));
        println!("sha256        {}", packed.sha256);
        println!("program       {}", megabytes(packed.binary_bytes));
        match packed.needs.glibc {
            Some(version) => {
                println!("C library     glibc {version} or newer; where it runs there is {}", self.glibc)
            }
            None => println!("C library     none: the program is linked statically"),
        }
        match packed.first_answer {
            Some(time) => println!("first answer  {:.1} ms after its start", milliseconds(time)),
            None => println!("first answer  not measured: this machine is no Linux on x86-64"),
        }
    }
}

impl Packed {
    fn to_json(&self, out: &Path) -> serde_json::Value {
        json!({
            "package": out,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "binaryBytes": self.binary_bytes,
            "glibc": self.needs.glibc.map(|version| version.to_string()),
            "firstAnswerMilliseconds": self.first_answer.map(milliseconds),
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// In units of 10^6 bytes.
fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
