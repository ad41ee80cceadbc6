//! What is compared: the sources of the two sides for a comparison of gates, and programs that are
//! copies of one file for everything else.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use subject::PAGES;

use crate::amounts;

/// How many builds there are of a candidate that is slower by so much, each with a layout of its own.
#[must_use]
pub const fn builds(slower_percent: u64) -> u32 {
    match slower_percent {
        0 => 4,
        5 => 2,
        _ => 1,
    }
}

/// The file in which a side differs.
const PAGES_FILE: &str = "src/pages.rs";
/// The template's. Each build has another: the version is a part of the names that the compiler
/// gives to symbols, by which the linker sorts.
const VERSION: &str = "version = \"0.7.0\"";
/// What a side is made of, below its template.
const FILES: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "src/lib.rs",
    PAGES_FILE,
    "tests/gate.rs",
];

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The study's own directory.
    pub directory: PathBuf,
    /// The tool under study.
    pub tool: PathBuf,
    /// perfgate.
    pub perfgate: PathBuf,
}

impl Places {
    /// The directory of the baseline.
    #[must_use]
    pub fn baseline(&self) -> PathBuf {
        self.side(0, "b")
    }

    /// The directory of a candidate.
    #[must_use]
    pub fn candidate(&self, slower_percent: u64, build: u32) -> PathBuf {
        self.side(slower_percent, &build.to_string())
    }

    /// Equally long for all.
    fn side(&self, slower_percent: u64, of: &str) -> PathBuf {
        let pages = amounts::pages(slower_percent);
        self.directory
            .join("sides")
            .join(format!("{pages:04}-{of}"))
    }

    /// A copy of a program of the study that has so much to do.
    #[must_use]
    pub fn program(&self, name: &str, slower_percent: u64) -> PathBuf {
        self.directory
            .join("programs")
            .join(amounts::named(name, slower_percent))
    }

    /// Makes all sides and programs; what is there as it should be stays, and is not built again.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn prepare(&self, template: &Path, slower: &[u64]) -> io::Result<()> {
        let mut sides = vec![(0, self.baseline())];
        for percent in slower {
            for build in 0..builds(*percent) {
                sides.push((*percent, self.candidate(*percent, build)));
            }
        }
        for (percent, side) in sides {
            for name in FILES {
                let mut text = fs::read_to_string(template.join(name))?;
                if name == PAGES_FILE {
                    text = with_pages(&text, percent)?;
                }
                if name.starts_with("Cargo.") {
                    text = text.replace(VERSION, &version(&side));
                }
                write_if_other(&side.join(name), text.as_bytes())?;
            }
        }
        let here = env::current_exe()?;
        for name in ["by-command", "by-criterion", "by-tango"] {
            let program = fs::read(here.with_file_name(name))?;
            for percent in slower {
                let copy = self.program(name, *percent);
                write_if_other(&copy, &program)?;
                let rights = fs::metadata(here.with_file_name(name))?.permissions();
                fs::set_permissions(&copy, rights)?;
            }
        }
        Ok(())
    }
}

/// A version that no other build of as much work has.
fn version(side: &Path) -> String {
    let name = side.file_name().unwrap_or_default().to_string_lossy();
    let build = name
        .rsplit('-')
        .next()
        .and_then(|build| build.parse::<u32>().ok());
    format!("version = \"0.7.{}\"", build.map_or(0, |build| build + 1))
}

/// The source of [`PAGES`], of code that is slower by so much.
fn with_pages(text: &str, slower_percent: u64) -> io::Result<String> {
    let old = format!("= {PAGES};");
    if text.matches(&old).count() != 1 {
        return Err(io::Error::other(format!("{PAGES_FILE} has no `{old}`")));
    }
    let pages = amounts::pages(slower_percent);
    Ok(text.replace(&old, &format!("= {pages};")))
}

fn write_if_other(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_has_its_pages_and_differs_in_nothing_else() {
        let text = include_str!("../sides/subject/src/pages.rs");
        let slower = with_pages(text, 5).expect("it");
        assert!(slower.contains(&format!("= {};", PAGES / 100 * 105)));
        assert_eq!(with_pages(text, 0).expect("it"), text);
        assert!(with_pages("nothing", 5).is_err());
    }

    #[test]
    fn every_build_has_a_version_of_its_own() {
        let versions = ["d/0500-b", "d/0500-0", "d/0500-3"].map(|side| version(Path::new(side)));
        assert_eq!(
            versions,
            ["0", "1", "4"].map(|n| format!("version = \"0.7.{n}\""))
        );
        let manifest = include_str!("../sides/subject/Cargo.toml");
        assert_eq!(manifest.matches(VERSION).count(), 1);
    }

    #[test]
    fn sides_have_names_of_one_length() {
        let places = Places {
            directory: "d".into(),
            tool: "t".into(),
            perfgate: "p".into(),
        };
        let length = |path: PathBuf| path.as_os_str().len();
        assert_eq!(length(places.baseline()), length(places.candidate(5, 3)));
        assert_ne!(places.baseline(), places.candidate(0, 0));
    }
}
