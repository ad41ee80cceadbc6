//! Functions that programs call themselves: what each of them issues.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use rustix::fs::OFlags;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use crate::Result;
use crate::cell::{Cell, Group, Store};

pub(super) fn cells() -> Vec<Cell> {
    [files(), moves(), maps(), asynchronous(), controls()]
        .into_iter()
        .flatten()
        .collect()
}

/// A call, with what it needs from one time to the next.
struct Call<F>(F);

impl<F: FnMut() -> Result<()>> Store for Call<F> {
    fn commit(&mut self, _rows: u32) -> Result<()> {
        self.0()
    }
}

/// `prepare` opens what the call needs, in an empty directory.
fn call<F: FnMut() -> Result<()> + 'static>(
    name: &'static str,
    setting: &'static str,
    prepare: impl Fn(&Path) -> Result<F> + Send + Sync + 'static,
) -> Cell {
    Cell::new(name, Group::Calls, setting, move |directory| {
        Ok(Call(prepare(directory)?))
    })
}

fn new_file(directory: &Path) -> Result<File> {
    Ok(File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(directory.join("file"))?)
}

fn files() -> Vec<Cell> {
    vec![
        call("std/sync-all", "std, `File::sync_all`", |directory| {
            let mut file = new_file(directory)?;
            Ok(move || {
                file.write_all(b"text")?;
                Ok(file.sync_all()?)
            })
        }),
        call("std/sync-data", "std, `File::sync_data`", |directory| {
            let mut file = new_file(directory)?;
            Ok(move || {
                file.write_all(b"text")?;
                Ok(file.sync_data()?)
            })
        }),
        call(
            "std/directory",
            "std, `File::open(directory)`, `sync_all`",
            |directory| {
                let directory = directory.to_path_buf();
                Ok(move || Ok(File::open(&directory)?.sync_all()?))
            },
        ),
        call("std/write", "std, `fs::write`", |directory| {
            let path = directory.join("file");
            Ok(move || Ok(fs::write(&path, "text")?))
        }),
    ]
}

/// Replacing a file by a new one.
fn moves() -> Vec<Cell> {
    let paths =
        |directory: &Path| -> [PathBuf; 2] { ["new", "file"].map(|name| directory.join(name)) };
    vec![
        call(
            "std/rename",
            "std, `fs::write`, `fs::rename`",
            move |directory| {
                let [new, path] = paths(directory);
                Ok(move || {
                    fs::write(&new, "text")?;
                    Ok(fs::rename(&new, &path)?)
                })
            },
        ),
        call(
            "tempfile/persist",
            "tempfile, write, `persist`",
            |directory| {
                let directory = directory.to_path_buf();
                Ok(move || {
                    let mut file = NamedTempFile::new_in(&directory)?;
                    file.write_all(b"text")?;
                    file.persist(directory.join("file"))?;
                    Ok(())
                })
            },
        ),
        call(
            "tempfile/durable",
            "tempfile, write, `sync_all`, `persist`, the directory's `sync_all`",
            |directory| {
                let directory = directory.to_path_buf();
                Ok(move || {
                    let mut file = NamedTempFile::new_in(&directory)?;
                    file.write_all(b"text")?;
                    file.as_file().sync_all()?;
                    file.persist(directory.join("file"))?;
                    Ok(File::open(&directory)?.sync_all()?)
                })
            },
        ),
    ]
}

fn maps() -> Vec<Cell> {
    let cell = |name, setting, flush: fn(&MmapMut) -> std::io::Result<()>| {
        call(name, setting, move |directory| {
            let mut map = map_new_file(directory)?;
            Ok(move || {
                map[0] = map[0].wrapping_add(1);
                Ok(flush(&map)?)
            })
        })
    };
    vec![
        cell("memmap2/flush", "memmap2, `flush`", MmapMut::flush),
        cell("memmap2/flush-range", "memmap2, `flush_range`", |map| {
            map.flush_range(0, 10)
        }),
        cell(
            "memmap2/flush-async",
            "memmap2, `flush_async`",
            MmapMut::flush_async,
        ),
    ]
}

fn map_new_file(directory: &Path) -> Result<MmapMut> {
    let file = new_file(directory)?;
    file.set_len(64 * 1024)?;
    #[expect(
        unsafe_code,
        reason = "memmap2: a mapped file that others could change"
    )]
    // SAFETY: the file was made here, in this run's own directory: nobody else changes or
    // truncates it while it is mapped.
    let map = unsafe { MmapMut::map_mut(&file) }?;
    Ok(map)
}

fn asynchronous() -> Vec<Cell> {
    fn runtime() -> Result<Runtime> {
        Ok(tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()?)
    }
    fn open(runtime: &Runtime, directory: &Path) -> Result<tokio::fs::File> {
        Ok(runtime.block_on(tokio::fs::File::create(directory.join("file")))?)
    }
    vec![
        call(
            "tokio/sync-all",
            "tokio, `fs::File::sync_all`",
            |directory| {
                let runtime = runtime()?;
                let file = open(&runtime, directory)?;
                Ok(move || Ok(runtime.block_on(file.sync_all())?))
            },
        ),
        call(
            "tokio/sync-data",
            "tokio, `fs::File::sync_data`",
            |directory| {
                let runtime = runtime()?;
                let file = open(&runtime, directory)?;
                Ok(move || Ok(runtime.block_on(file.sync_data())?))
            },
        ),
    ]
}

/// What shows that the columns of the table can tell things apart.
fn controls() -> Vec<Cell> {
    vec![
        call("rustix/fsync", "rustix, `fs::fsync`", |directory| {
            let file = new_file(directory)?;
            Ok(move || Ok(rustix::fs::fsync(&file)?))
        }),
        call("rustix/fdatasync", "rustix, `fs::fdatasync`", |directory| {
            let file = new_file(directory)?;
            Ok(move || Ok(rustix::fs::fdatasync(&file)?))
        }),
        call(
            "std/o-dsync",
            "std, a `write` to a file opened with `O_DSYNC`",
            |directory| {
                let mut file = File::options()
                    .write(true)
                    .create_new(true)
                    .custom_flags(OFlags::DSYNC.bits().cast_signed())
                    .open(directory.join("file"))?;
                Ok(move || Ok(file.write_all(b"text")?))
            },
        ),
    ]
}
