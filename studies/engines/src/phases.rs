//! Cuts what a witness saw at the marks.

use crate::drive::MARKS;
use crate::{Result, SyncCall};

/// What was synced in each phase, in the order of the phases, and after the last mark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cut {
    pub phases: Vec<Vec<SyncCall>>,
    pub late: Vec<SyncCall>,
}

/// Cuts `syncs` at the marks of `phases`, which come after the mark `begin`.
///
/// # Errors
/// When a mark is missing or not in its place: then the witness did not see everything, and its
/// counts are worth nothing. The same where it saw syncs before the first mark.
pub fn cut(witness: &str, syncs: Vec<SyncCall>, phases: &[String]) -> Result<Cut> {
    let mut expected = ["begin"]
        .into_iter()
        .chain(phases.iter().map(String::as_str))
        .enumerate()
        .map(|(at, phase)| format!("{MARKS}/{at:03}-{phase}"));
    let mut cut = Cut {
        phases: Vec::new(),
        late: Vec::new(),
    };
    let mut current = Vec::new();
    let mut marks = 0;
    for sync in syncs {
        let mark = sync
            .path
            .as_deref()
            .filter(|path| path.starts_with(&format!("{MARKS}/")));
        let Some(mark) = mark else {
            current.push(sync);
            continue;
        };
        match expected.next() {
            Some(next) if next == mark => {}
            next => {
                return Err(format!(
                    "{witness} saw the mark {mark} where {} should be: it did not see everything",
                    next.as_deref().unwrap_or("none")
                )
                .into());
            }
        }
        let done = std::mem::take(&mut current);
        if marks > 0 {
            cut.phases.push(done);
        } else if !done.is_empty() {
            return Err(format!("{witness} saw syncs before the first mark: {done:?}").into());
        }
        marks += 1;
    }
    if let Some(missing) = expected.next() {
        return Err(
            format!("{witness} did not see the mark {missing}: it did not see everything").into(),
        );
    }
    cut.late = current;
    Ok(cut)
}

/// What `more` has and `less` has not, each as often as it is missing, in the order of `more`;
/// and the other way round.
pub fn difference(more: &[SyncCall], less: &[SyncCall]) -> (Vec<SyncCall>, Vec<SyncCall>) {
    let mut unmatched = less.to_vec();
    let only_more = more
        .iter()
        .filter(|sync| match unmatched.iter().position(|it| it == *sync) {
            Some(at) => {
                unmatched.remove(at);
                false
            }
            None => true,
        })
        .cloned()
        .collect();
    (only_more, unmatched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    fn sync(path: &str) -> SyncCall {
        SyncCall {
            call: "fsync".to_owned(),
            class: Class::File,
            weak: false,
            path: Some(path.to_owned()),
            process: None,
        }
    }

    fn cut_paths(paths: &[&str]) -> Result<Cut> {
        let phases = ["create".to_owned(), "commit".to_owned()];
        cut("it", paths.iter().map(|path| sync(path)).collect(), &phases)
    }

    #[test]
    fn syncs_belong_to_the_mark_that_follows() {
        let cut = cut_paths(&[
            "marks/000-begin",
            "db/a",
            "marks/001-create",
            "marks/002-commit",
            "db/b",
        ])
        .unwrap();
        assert_eq!(cut.phases, [vec![sync("db/a")], vec![]]);
        assert_eq!(cut.late, [sync("db/b")]);
    }

    #[test]
    fn a_mark_that_was_not_seen_is_an_error() {
        for (paths, says) in [
            (vec![], "did not see the mark marks/000-begin"),
            (
                vec!["marks/000-begin", "marks/001-create"],
                "did not see the mark marks/002-commit",
            ),
            (
                vec!["marks/000-begin", "marks/002-commit"],
                "saw the mark marks/002-commit where marks/001-create should be",
            ),
            (vec!["db/a", "marks/000-begin"], "before the first mark"),
        ] {
            let error = cut_paths(&paths).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_difference_counts_repetitions() {
        let more = [sync("a"), sync("a"), sync("b")];
        let less = [sync("a"), sync("c")];
        let (only_more, only_less) = difference(&more, &less);
        assert_eq!(only_more, [sync("a"), sync("b")]);
        assert_eq!(only_less, [sync("c")]);
    }
}
