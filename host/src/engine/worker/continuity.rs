//! Whether a file is what became of the one that was captured. One that is not may be an older copy or another database, and
//! must not cost the mirror's copy, which may be the last good one.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dbmirror_adapters::sqlite::{Anchor, Tail};
use dbmirror_core::message::Position;

use super::{Subject, Thread, Using};
use crate::engine::EngineError;
use crate::engine::records::DatabaseRow;

/// How far back the log is searched for the file's content, in blocks.
const SEARCH: u64 = 200_000;
/// A refused file that is written to is read again so often at most.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What shows from outside that a file may be another one than it was a moment ago.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileLook(Option<(u64, u64, u64, i64, i64)>);

impl FileLook {
    pub(super) fn at(path: &Path) -> Self {
        let meta = std::fs::metadata(path).ok();
        Self(meta.map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec())))
    }
}

impl Subject {
    /// Refuses the file that `tail` has open where it cannot be what became of the one in `row`, durably: what is written to
    /// it later must not make it look right.
    pub(super) fn judge(&self, mut row: DatabaseRow, tail: &Tail) -> Result<(), EngineError> {
        if let Some(why) = &row.refused {
            return Err(self.refusal(why));
        }
        let Some(last) = &row.identity else { return Ok(()) };
        let why = match tail.identity().follows(last) {
            Err(why) => why.to_string(),
            Ok(()) => match self.older(tail.anchor(), &row) {
                Some(at) => format!("it holds what the database held at LSN {}", at.lsn()),
                None => return Ok(()),
            },
        };
        let refusal = self.refusal(&why);
        row.refused = Some(why);
        self.records().set_database(self.database, &row)?;
        Err(refusal)
    }

    /// The position before the log's end that has the content of `now`.
    fn older(&self, now: &Anchor, row: &DatabaseRow) -> Option<Position> {
        let extent = self.log.extent(self.log_id)?;
        let begun = row.anchor.as_deref().and_then(Anchor::from_bytes);
        if let Some(begun) = begun
            && (begun.sum, begun.pages) == (now.sum, now.pages)
        {
            return Some(begun.end.position);
        }
        let (first, last) = (
            extent.base.position.sequence.saturating_add(1),
            extent.end.position.sequence,
        );
        (first.max(last.saturating_sub(SEARCH))..last)
            .rev()
            .find_map(|sequence| {
                let header = self.header(sequence).ok().flatten()?;
                ((header.sum_after, header.pages_after) == (now.sum, now.pages)).then_some(header.position)
            })
    }

    fn refusal(&self, why: &str) -> EngineError {
        refusal(&self.name, &self.path, why)
    }
}

/// 5173: the file of a database is refused because of `why`.
pub(in crate::engine) fn refusal(name: &str, path: &Path, why: &str) -> EngineError {
    EngineError::new(
        5173,
        format!(
            "The file of database '{name}' ({path}) does not continue what was captured of it: {why}. Likely it was replaced or \
                 restored over while nobody captured it, or the machine lost power before the last commits were on disk. It is not \
                 captured, and a mirror keeps its copy as it is. Put the right file back, and with it put back or remove '-wal' and \
                 '-shm' beside it: it is found within seconds, and a session goes on with SET PARTNER RESUME. Or accept this file as \
                 it is by EXEC sp_dbmirror_accept_file '{quoted}': its log begins anew, and a mirror is seeded from it.",
            path = path.display(),
            quoted = name.replace('\'', "''"),
        ),
    )
}

impl Thread {
    /// Whether the file was refused and is still the same.
    pub(super) fn is_held(&self) -> bool {
        self.held
            .is_some_and(|(look, at)| at.elapsed() < LOOK_AGAIN || look == FileLook::at(&self.subject.path))
    }

    /// Records what the captured file counts by now, when that has changed and was last recorded `age` ago.
    pub(super) fn keep_identity(&mut self, age: Duration) {
        let Using::Capture(tail) = &self.using else { return };
        let now = tail.identity();
        if self
            .known
            .is_some_and(|(known, at)| known == now || at.elapsed() < age)
        {
            return;
        }
        let subject = &self.subject;
        let kept = subject.row().and_then(|row| match row {
            Some(mut row) => {
                row.identity = Some(now);
                subject.records().set_database(subject.database, &row)
            }
            None => Ok(()),
        });
        match kept {
            Ok(()) => self.known = Some((now, Instant::now())),
            Err(e) => self.trouble("capture", &e),
        }
    }

    /// Tells that the right file is back.
    pub(super) fn tell_healed(&self) {
        let name = self.subject.name.clone();
        self.subject.handle.run(move |i| {
            i.world.log_own(
                10,
                format!(
                    "The file of database '{name}' continues what was captured of it again: the capture goes on. A mirroring session is \
                     SUSPENDED until SET PARTNER RESUME."
                ),
            );
        });
    }
}
