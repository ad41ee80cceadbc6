//! What a decision leaves behind in a directory.

use std::fs;
use std::io;
use std::path::Path;

use super::decision::Decision;
use super::history::{self, Repetition, Side};
use super::insights::insights;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}")]
pub(crate) struct ArtifactError {
    path: String,
    source: io::Error,
}

/// Writes `decision.json`, `insights.md`, `baseline/history.jsonl` (with the control's
/// repetitions) and `candidate/history.jsonl`, each as a whole.
///
/// # Errors
/// When a file can't be written.
pub(crate) fn write(
    directory: &Path,
    decision: &Decision,
    repetitions: &[Repetition],
) -> Result<(), ArtifactError> {
    write_histories(directory, repetitions)?;
    let json = serde_json::to_string_pretty(decision).map_err(io::Error::from);
    file(directory, "decision.json", json.map(|json| json + "\n"))?;
    file(directory, "insights.md", Ok(insights(decision)))
}

/// The histories alone: what is kept when there is no decision.
///
/// # Errors
/// When a file can't be written.
pub(crate) fn write_histories(
    directory: &Path,
    repetitions: &[Repetition],
) -> Result<(), ArtifactError> {
    for (name, is_candidate) in [
        ("baseline/history.jsonl", false),
        ("candidate/history.jsonl", true),
    ] {
        let of_side = repetitions
            .iter()
            .filter(|repetition| (repetition.side == Side::Candidate) == is_candidate);
        file(
            directory,
            name,
            history::text(of_side).map_err(io::Error::from),
        )?;
    }
    Ok(())
}

fn file(directory: &Path, name: &str, text: io::Result<String>) -> Result<(), ArtifactError> {
    let path = directory.join(name);
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        crate::calibrate::replace(&path, &text?)
    };
    write().map_err(|source| ArtifactError {
        path: path.display().to_string(),
        source,
    })
}
