//! The document, made from the results alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use shared::machine;

use crate::cell::Group;
use crate::drive::{Phase, ROWS, STEADY_COMMITS};
use crate::pins::PINS;
use crate::results::{
    CellResult, PhaseResult, Postgres, PostgresRow, PostgresRun, Results, Spread,
};
use crate::stores::{self, sqlite};
use crate::{Cell, Result, Tally, notes};

/// Writes the document. What no longer holds of what its notes and the older counts say goes to
/// stderr, too.
///
/// # Errors
/// Those of the file system, and when the results are of other cells than this study has.
pub fn write(results: &Results, to: &Path) -> Result<()> {
    let text = document(results)?;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(to, text)?)
}

/// What was compiled in, by the lock file and by what the engines say of themselves.
///
/// # Errors
/// When the lock file lacks one of them.
pub fn versions() -> Result<Vec<(String, String)>> {
    const LOCK: &str = include_str!("../Cargo.lock");
    const CRATES: [&str; 10] = [
        "rusqlite",
        "redb",
        "fjall",
        "sled",
        "heed",
        "tempfile",
        "tokio",
        "memmap2",
        "rustix",
        "fsync-counter",
    ];
    let mut versions = Vec::new();
    for name in CRATES {
        let version = machine::version_in(LOCK, name)
            .ok_or_else(|| format!("the lock file has no {name}"))?;
        versions.push((name.to_owned(), version.to_owned()));
    }
    versions.extend(
        stores::bundled()
            .into_iter()
            .map(|(name, version)| (name.to_owned(), version)),
    );
    Ok(versions)
}

/// A result with the cell that it is of.
struct Row<'a> {
    cell: &'a Cell,
    result: &'a CellResult,
}

impl Row<'_> {
    fn phase(&self, phase: Phase) -> Option<&PhaseResult> {
        self.result.phases.iter().find(|it| it.phase == phase)
    }

    fn words(&self, phase: Phase) -> String {
        self.phase(phase)
            .map_or_else(|| "–".to_owned(), |phase| spread_words(phase.syncs))
    }
}

fn document(results: &Results) -> Result<String> {
    let cells = stores::all();
    let mut rows = Vec::new();
    for cell in &cells {
        let result = results.cells.iter().find(|result| result.name == cell.name);
        let result = result.ok_or_else(|| {
            format!(
                "the results have no {}: they are of another version of the study",
                cell.name
            )
        })?;
        rows.push(Row { cell, result });
    }
    let mut text = String::new();
    head(&mut text, results);
    summary(&mut text, &rows, results);
    how_to_read(&mut text, results);
    sqlite_tables(&mut text, &rows);
    engines(&mut text, &rows, results);
    calls(&mut text, &rows, results);
    postgres(&mut text, &results.postgres);
    around(&mut text, &rows);
    surprises(&mut text, results);
    earlier(&mut text, results);
    limits(&mut text, &rows, results);
    Ok(text)
}

fn head(text: &mut String, results: &Results) {
    let header = &results.header;
    text.push_str(
        "# What a commit costs in syncs\n\n\
         How many syncs one commit of one small row issues, of files and of directories: of SQLite \
         in every journal mode at every synchronous level, of redb, fjall, sled, LMDB and \
         PostgreSQL, and of the functions with which programs make files durable themselves. It \
         counts and says nothing of time: what a sync takes is the disk's business, how many there \
         are is the engine's.\n\n",
    );
    let mut versions: Vec<String> = header
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    if let Postgres::Ran(run) = &results.postgres {
        versions.push(format!("PostgreSQL {}", run.version));
    }
    // Writing into a String does not fail.
    let _ = writeln!(
        text,
        "Made by `make engines` (`scripts/engines`), which anyone can run. {}, {}, {}, {}. {}.\n",
        header.machine,
        header.file_system,
        header.rustc,
        header.date,
        versions.join(", ")
    );
    if !header.with_kernel {
        text.push_str(
            "**Without the kernel scope** (`--without-kernel`): system calls that don't go \
             through the C library are missing from every count.\n\n",
        );
    }
}

/// The cells that most people have.
const COMMON: [&str; 11] = [
    "sqlite/delete/full",
    "sqlite/wal/full",
    "sqlite/wal/normal",
    "redb/immediate",
    "redb/none",
    "fjall/buffer",
    "fjall/sync-data",
    "sled/insert",
    "sled/insert-flush",
    "lmdb/default",
    "tempfile/durable",
];

fn summary(text: &mut String, rows: &[Row<'_>], results: &Results) {
    text.push_str(
        "## What does one commit cost me?\n\n\
         Of one row, once the database is warm. \"Default\" is what you get without saying \
         anything.\n\n\
         | engine | setting | files | directories | weak | writes through `O_DSYNC` |\n\
         |---|---|---|---|---|---|\n",
    );
    for name in COMMON {
        let Some(row) = rows.iter().find(|row| row.cell.name == name) else {
            continue;
        };
        let Some(commit) = row.phase(Phase::Commit) else {
            continue;
        };
        let mut setting = row.cell.setting.clone();
        if name == "sqlite/delete/full" {
            setting.push_str(" (default)");
        }
        let _ = writeln!(
            text,
            "| {} | {setting} | {} |",
            engine(row.cell.group),
            classes(commit)
        );
    }
    if let Postgres::Ran(run) = &results.postgres {
        for row in &run.rows {
            if row.name.contains("one `INSERT`") {
                let _ = writeln!(
                    text,
                    "| PostgreSQL | {} | {} |",
                    row.name,
                    of_postgres(run, row)
                );
            }
        }
    }
    text.push('\n');
}

/// As [`classes`]; a scope that saw no descriptor opened with `O_DSYNC` says that nothing was
/// written through one.
fn of_postgres(run: &PostgresRun, row: &PostgresRow) -> String {
    let writes = if run.incomplete.is_empty() {
        "0"
    } else {
        "not counted"
    };
    match row.own.and_then(Spread::exact) {
        Some(own) => format!(
            "{} | {} | {} | {writes}",
            each(own.files, row.commits),
            each(own.dirs, row.commits),
            each(own.weak, row.commits)
        ),
        None => format!("{} | – | – | not counted", wal_each(row)),
    }
}

/// `n` in `commits`, as a number of each.
fn each(n: u64, commits: u64) -> String {
    if n.is_multiple_of(commits) {
        (n / commits).to_string()
    } else {
        format!("{n} in {commits}")
    }
}

fn wal_each(row: &PostgresRow) -> String {
    match row.wal_syncs {
        (low, high) if low == high => each(low, row.commits),
        (low, high) => format!("{low} … {high} in {}", row.commits),
    }
}

fn engine(group: Group) -> &'static str {
    match group {
        Group::Sqlite => "SQLite",
        Group::Redb => "redb",
        Group::Fjall => "fjall",
        Group::Sled => "sled",
        Group::Lmdb => "LMDB",
        Group::Calls => "files by hand",
    }
}

/// `files | directories | weak | durable writes`.
fn classes(phase: &PhaseResult) -> String {
    let Spread { low, high } = phase.syncs;
    let range = |field: fn(Tally) -> u64| range(field(low), field(high));
    let mut files = range(|tally| tally.files);
    let rest = Tally {
        files: 0,
        dirs: 0,
        weak: 0,
        ..high
    };
    if !rest.is_empty() {
        let _ = write!(files, ", {rest}");
    }
    format!(
        "{files} | {} | {} | {}",
        range(|tally| tally.dirs),
        range(|tally| tally.weak),
        phase.durable_writes.map_or_else(
            || "not counted".to_owned(),
            |(low, high)| self::range(low, high)
        )
    )
}

fn range(low: u64, high: u64) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low} … {high}")
    }
}

fn spread_words(spread: Spread) -> String {
    match spread.exact() {
        Some(tally) => tally.to_string(),
        None => format!("{} … {}", spread.low, spread.high),
    }
}

fn how_to_read(text: &mut String, results: &Results) {
    let _ = writeln!(
        text,
        "## How to read the tables\n\n\
         `3 + 1` is three syncs of files and one of a directory (`fsync`, `fdatasync`, \
         `msync(MS_SYNC)`); `3` has none of a directory. *Weak* calls start writing and promise \
         nothing (`sync_file_range`, `msync(MS_ASYNC)`), and are in no other number. A write \
         through a descriptor that was opened with `O_DSYNC` is durable when it returns: no sync \
         call, and a cost like one. *Only the kernel saw* are syncs that did not go through the C \
         library, or were another process's. A commit is a later one of one row: {STEADY_COMMITS} \
         follow the first, and in {} repetitions each must issue the same, or there is no document. \
         Where an engine syncs in the background the least and the most are told (`0 … 1`). What \
         is synced is named as from the database's directory, which is `.`.\n",
        results.header.repetitions
    );
}

fn sqlite_tables(text: &mut String, rows: &[Row<'_>]) {
    text.push_str("## SQLite\n\nOne commit, by journal mode and `synchronous` (as it comes: DELETE, FULL):\n\n| |");
    for level in sqlite::LEVELS {
        let _ = write!(text, " {level} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(sqlite::LEVELS.len()));
    text.push('\n');
    for mode in sqlite::JOURNAL_MODES {
        let _ = write!(text, "| {mode} |");
        for level in sqlite::LEVELS {
            let name = format!("sqlite/{mode}/{level}").to_lowercase();
            let row = rows.iter().find(|row| row.cell.name == name);
            let words = row.map_or_else(|| "–".to_owned(), |row| row.words(Phase::Commit));
            let _ = write!(text, " {words} |");
        }
        text.push('\n');
    }
    text.push_str("\nWhat is synced, in order:\n\n| setting | |\n|---|---|\n");
    let sqlite = rows.iter().filter(|row| row.cell.group == Group::Sqlite);
    let mut told: Vec<(Vec<&str>, &[String])> = Vec::new();
    for row in sqlite {
        let Some(commit) = row.phase(Phase::Commit) else {
            continue;
        };
        let steps = commit.in_order.as_slice();
        match told.iter_mut().find(|(_, same)| *same == steps) {
            Some((settings, _)) => settings.push(&row.cell.setting),
            None => told.push((vec![&row.cell.setting], steps)),
        }
    }
    for (settings, steps) in told {
        let _ = writeln!(text, "| {} | {} |", settings.join("; "), order(steps));
    }
    text.push('\n');
}

fn order(steps: &[String]) -> String {
    if steps.is_empty() {
        "nothing".to_owned()
    } else {
        steps.join(", ")
    }
}

/// What was synced, and what was durable without.
fn in_order(phase: &PhaseResult) -> String {
    if phase.syncs.exact().is_none() {
        return "differs from time to time".to_owned();
    }
    let writes = match phase.durable_writes {
        None | Some((_, 0)) => return order(&phase.in_order),
        Some((low, high)) => match range(low, high).as_str() {
            "1" => "one write".to_owned(),
            range => format!("{range} writes"),
        },
    };
    let mut steps = phase.in_order.clone();
    steps.push(format!(
        "{writes} through a descriptor opened with `O_DSYNC`: no sync call"
    ));
    order(&steps)
}

/// A table with the columns of a commit.
fn commits<'a>(
    text: &mut String,
    rows: impl Iterator<Item = &'a Row<'a>>,
    with_engine: bool,
    results: &Results,
) {
    let (head, rule) = if with_engine {
        ("| engine | setting |", "|---|---|")
    } else {
        ("| call |", "|---|")
    };
    let _ = writeln!(
        text,
        "{head} files | directories | weak | writes through `O_DSYNC` | only the kernel saw | in order |\n\
         {rule}---|---|---|---|---|---|"
    );
    for row in rows {
        let Some(commit) = row.phase(Phase::Commit) else {
            continue;
        };
        if with_engine {
            let _ = write!(text, "| {} ", engine(row.cell.group));
        }
        let raw = if results.header.with_kernel {
            spread_words(commit.raw)
        } else {
            "not watched".to_owned()
        };
        let _ = writeln!(
            text,
            "| {} | {} | {raw} | {} |",
            row.cell.setting,
            classes(commit),
            in_order(commit)
        );
    }
    text.push('\n');
}

fn engines(text: &mut String, rows: &[Row<'_>], results: &Results) {
    text.push_str("## redb, fjall, sled, LMDB\n\nOne commit:\n\n");
    let engines = rows
        .iter()
        .filter(|row| !matches!(row.cell.group, Group::Sqlite | Group::Calls));
    commits(text, engines, true, results);
}

fn calls(text: &mut String, rows: &[Row<'_>], results: &Results) {
    text.push_str("## What programs call themselves\n\nOne call:\n\n");
    let calls = rows.iter().filter(|row| row.cell.group == Group::Calls);
    commits(text, calls, false, results);
}

fn postgres(text: &mut String, postgres: &Postgres) {
    text.push_str("## PostgreSQL\n\n");
    let run = match postgres {
        Postgres::NotRun(reason) => {
            let _ = writeln!(
                text,
                "| setting | |\n|---|---|\n| every | not run: {reason} |\n"
            );
            return;
        }
        Postgres::Ran(run) => run,
    };
    postgres_table(text, run);
}

fn postgres_table(text: &mut String, run: &PostgresRun) {
    let _ = writeln!(
        text,
        "Version {}, a cluster of its own; `fsync = on` and everything else that matters to \
         durability as it comes. The server counts the syncs of its log itself ({}){}.\n",
        run.version,
        run.source,
        match &run.without_kernel {
            None =>
                "; beside it stands what the kernel saw of the process that serves the session, and \
                 of the server's other processes",
            Some(_) => "",
        }
    );
    text.push_str(
        "| | statements | log syncs, by the server | the session's process | other processes | by \
         call, in the first window |\n|---|---|---|---|---|---|\n",
    );
    for row in &run.rows {
        let unseen = || "not watched".to_owned();
        let waited = if row.waited_ms > 0 {
            format!(
                " and {:.0} s",
                std::time::Duration::from_millis(row.waited_ms).as_secs_f64()
            )
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "| {} | {}{waited} | {} | {} | {} | {} |",
            row.name,
            row.commits,
            range(row.wal_syncs.0, row.wal_syncs.1),
            row.own.map_or_else(unseen, spread_words),
            row.others.map_or_else(unseen, spread_words),
            if row.own.is_some() {
                order(&row.calls)
            } else {
                unseen()
            }
        );
    }
    text.push('\n');
}

fn around(text: &mut String, rows: &[Row<'_>]) {
    let _ = writeln!(
        text,
        "## Around the commit\n\n\
         *Creating*: from nothing to a database that takes commits, its table included. *First*: \
         the first commit of one row. *{ROWS} rows*: one commit of them. *Afterwards*: what makes \
         earlier commits durable, or tidies up; *next*: the commit of one row that \
         follows it. *Closing*, and *opening again* what was closed. Writes through `O_DSYNC` are in \
         no number here.\n\n\
         | engine | setting | creating | first | a commit | {ROWS} rows | afterwards | next | \
         closing | opening again |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for row in rows.iter().filter(|row| row.cell.group != Group::Calls) {
        let afterwards = match row.cell.afterwards {
            Some(what) => format!("{} ({what})", row.words(Phase::Afterwards)),
            None => "–".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {afterwards} | {} | {} | {} |",
            engine(row.cell.group),
            row.cell.setting,
            row.words(Phase::Create),
            row.words(Phase::First),
            row.words(Phase::Commit),
            row.words(Phase::Rows),
            row.words(Phase::Next),
            row.words(Phase::Close),
            row.words(Phase::Open),
        );
    }
    text.push('\n');
}

fn surprises(text: &mut String, results: &Results) {
    text.push_str("## What surprised\n\nEach of these is checked against the counts when this page is made.\n\n");
    for note in notes::all() {
        if (note.holds)(results) {
            let _ = writeln!(text, "- {}", note.text);
        } else {
            eprintln!("not borne out by these counts, and left out: {}", note.text);
        }
    }
    text.push('\n');
}

fn earlier(text: &mut String, results: &Results) {
    text.push_str(
        "## Against earlier versions\n\n\
         Counted by other means before this study existed. A difference is no error: versions \
         move.\n\n\
         | | version then | then | now | |\n|---|---|---|---|---|\n",
    );
    for pin in PINS {
        let (files, dirs, weak) = pin.counts;
        let then = Tally {
            files,
            dirs,
            weak,
            ..Tally::default()
        };
        let now = results
            .cells
            .iter()
            .find(|cell| cell.name == pin.cell)
            .and_then(|cell| cell.phases.iter().find(|it| it.phase == pin.phase));
        let now = now.map_or_else(|| "–".to_owned(), |phase| spread_words(phase.syncs));
        let verdict = match (pin.holds(results), pin.explained) {
            (Some(true), _) => "same",
            (_, Some(explained)) => explained,
            (_, None) => {
                eprintln!(
                    "{}, {}: {then} in {}, {now} now; not explained",
                    pin.cell, pin.phase, pin.version
                );
                "**differs**, not explained"
            }
        };
        let _ = writeln!(
            text,
            "| `{}`, {} | {} | {then} | {now} | {verdict} |",
            pin.cell,
            phase_words(pin.phase),
            pin.version
        );
    }
    text.push('\n');
}

fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Create => "creating",
        Phase::First => "the first commit",
        Phase::Commit => "a commit",
        Phase::Rows => "many rows",
        Phase::Afterwards => "afterwards",
        Phase::Next => "the commit after that",
        Phase::Close => "closing",
        Phase::Open => "opening again",
    }
}

fn limits(text: &mut String, rows: &[Row<'_>], results: &Results) {
    text.push_str("## How it is counted, and what it does not say\n\n");
    let cells = rows.len();
    let varying: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("`{}` ({})", row.cell.name, row.cell.varies?)))
        .collect();
    let _ = writeln!(
        text,
        "- {cells} cells, each in a process of its own, {} times. Marks, syncs of files beside the \
         database, cut what is seen into phases; a layer that misses a mark is an error. The hook \
         of fsync-counter sees what goes through the C library{}",
        results.header.repetitions,
        if results.header.with_kernel {
            ", and the kernel scope sees every system call; a sync that only the hook saw is an error."
        } else {
            "."
        }
    );
    match &results.header.without_strace {
        None => {
            let _ = writeln!(
                text,
                "- Once more each cell ran under strace, with no scope open. {}The writes through \
                 `O_DSYNC` are counted by strace alone.",
                if results.header.with_kernel {
                    format!(
                        "In all {} cells that have nothing in the background it saw the same \
                         calls on the same files, phase by phase; where it does not there is no \
                         document. ",
                        cells - varying.len()
                    )
                } else {
                    String::new()
                }
            );
        }
        Some(reason) => {
            let _ = writeln!(
                text,
                "- strace did not check these counts ({reason}), and writes through `O_DSYNC` are \
                 not counted."
            );
        }
    }
    if !varying.is_empty() {
        let _ = writeln!(
            text,
            "- May differ from run to run: {}, and what PostgreSQL's other processes do, with the \
             server's own count.",
            varying.join(", ")
        );
    }
    let mut incomplete: Vec<(&str, Vec<String>)> = Vec::new();
    let postgres = match &results.postgres {
        Postgres::Ran(run) => run.incomplete.as_slice(),
        Postgres::NotRun(_) => &[],
    };
    let reasons = rows
        .iter()
        .flat_map(|row| {
            row.result
                .incomplete
                .iter()
                .map(|it| (it, row.cell.name.as_str()))
        })
        .chain(postgres.iter().map(|it| (it, "PostgreSQL")));
    for (reason, name) in reasons {
        let name = format!("`{name}`");
        match incomplete.iter_mut().find(|(other, _)| other == reason) {
            Some((_, names)) => names.push(name),
            None => incomplete.push((reason, vec![name])),
        }
    }
    if !incomplete.is_empty() {
        text.push_str("- What the scopes say may be missing from their counts:\n");
        for (reason, names) in incomplete {
            let _ = writeln!(text, "  - {}: {reason}", names.join(", "));
        }
        text.push_str(
            "\n  sled keeps a pool of threads for the life of its process. A descriptor with \
             `O_DSYNC` matters where something is written through it: that has its own column.\n",
        );
    }
    text.push_str(
        "- Small rows, one writer, a small database: checkpoints, compactions and new log segments, \
         which come with size, are in no commit here. Several writers may share a sync; none do \
         here.\n\
         - A count does not say that the right bytes were written before, or in the right order: a \
         commit with fewer syncs may be as safe (a log) or lose data (`OFF`). What a setting \
         promises is in its engine's documentation.\n\
         - PostgreSQL 18, which counts in `pg_stat_io`, and 14 have not been tried here.\n\n\
         **To repeat it**: `make engines`; `scripts/engines --help` for the rest, `scripts/engines \
         --test` for the study's own tests.\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::phases;
    use crate::results::{Header, Spread};

    fn exact(files: u64) -> Spread {
        let tally = Tally {
            files,
            ..Tally::default()
        };
        Spread {
            low: tally,
            high: tally,
        }
    }

    /// Two syncs of a file in every phase of every cell.
    fn results() -> Results {
        let cells = stores::all()
            .iter()
            .map(|cell| {
                let mut kinds = phases(cell);
                kinds.dedup();
                CellResult {
                    name: cell.name.clone(),
                    phases: kinds
                        .into_iter()
                        .map(|phase| PhaseResult {
                            phase,
                            syncs: exact(2),
                            raw: exact(0),
                            durable_writes: None,
                            in_order: vec!["2 × `fsync` db".to_owned()],
                        })
                        .collect(),
                    incomplete: Vec::new(),
                }
            })
            .collect();
        Results {
            header: Header {
                machine: "M".to_owned(),
                file_system: "ext4".to_owned(),
                date: "2026-11-21".to_owned(),
                rustc: "rustc".to_owned(),
                versions: versions().unwrap(),
                with_kernel: true,
                without_strace: Some("strace is not installed".to_owned()),
                repetitions: 3,
            },
            cells,
            postgres: Postgres::NotRun("PostgreSQL is not installed".to_owned()),
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_said_so() {
        let text = document(&results()).unwrap();
        assert!(text.contains("| every | not run: PostgreSQL is not installed |"));
        assert!(text.contains("strace did not check these counts"));
    }

    #[test]
    fn notes_that_do_not_hold_are_left_out() {
        let text = document(&results()).unwrap();
        for note in notes::all() {
            assert_eq!(
                text.contains(note.text),
                (note.holds)(&results()),
                "{}",
                note.text
            );
        }
    }

    #[test]
    fn a_count_that_an_earlier_version_did_not_have_is_said_so() {
        let text = document(&results()).unwrap();
        assert!(text.contains(
            "| `lmdb/default`, a commit | heed, LMDB 0.9.70 | 1 | 2 | **differs**, not explained |"
        ));
        assert!(text.contains("| `redb/two-phase`, a commit | redb 3.1 | 2 | 2 | same |"));
    }

    #[test]
    fn a_cell_without_a_result_is_an_error() {
        let mut results = results();
        results.cells.pop();
        let error = document(&results).unwrap_err();
        assert!(error.to_string().contains("another version of the study"));
    }

    #[test]
    fn a_count_that_is_no_multiple_is_told_as_it_is() {
        assert_eq!(each(20, 20), "1");
        assert_eq!(each(0, 20), "0");
        assert_eq!(each(21, 20), "21 in 20");
    }
}
