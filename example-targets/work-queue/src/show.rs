//! `check` and `status`.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use work_queue::{Graph, SqliteStore, Store, StoreCounts, Workflow};

use crate::Place;
use crate::bench::place;

pub(crate) fn check(file: &Path) -> Result<(), Box<dyn Error>> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| named(&error))?;
    let workflow: Workflow = serde_json::from_str(&text).map_err(|error| named(&error))?;
    let graph = Graph::new(&workflow).map_err(|error| named(&error))?;
    let mut actions: Vec<&str> = graph.actions().collect();
    let nodes = actions.len();
    actions.sort_unstable();
    actions.dedup();
    writeln!(
        io::stdout(),
        "{}: {nodes} nodes, actions {}",
        graph.name(),
        actions.join(", ")
    )?;
    Ok(())
}

pub(crate) fn status(place: &Place, json: bool) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counts = match (&place.db, &place.url) {
        (Some(db), _) => {
            if !db.exists() {
                return Err(format!("{}: there is no such file", db.display()).into());
            }
            let store = SqliteStore::open(db)?;
            runtime.block_on(store.counts())?
        }
        (None, Some(url)) => runtime.block_on(async {
            let store = place::connect(url).await?;
            Ok::<_, Box<dyn Error>>(store.counts().await?)
        })?,
        (None, None) => return Err("say where: --db FILE or --url URL".into()),
    };
    print(counts, json)?;
    Ok(())
}

fn print(counts: StoreCounts, json: bool) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string(&counts)?)?;
        return Ok(());
    }
    let StoreCounts {
        waiting,
        running,
        completed,
        failed,
        actions,
        ..
    } = counts;
    writeln!(
        out,
        "instances: {waiting} waiting, {running} running, {completed} completed, {failed} failed\n\
         actions: {actions} ready or running"
    )?;
    Ok(())
}
