//! Writers shut out: while it is not known whether this member still owns the role, and while it gives the role away.
//!
//! The fence is SQLite's write lock: a program that writes is told that the database is locked, for as long as the fence stands. One that is
//! within a transaction keeps that lock as long as it likes; then the fence waits, and is tried again.

use std::time::{Duration, Instant};

use dbmirror_adapters::sqlite::{self, WriteLock};
use dbmirror_core::message::Timelines;

use super::{Thread, Using, file_error};

/// Between two tries to take the lock, and how long one waits.
pub(super) const TRY: Duration = Duration::from_millis(5);
/// How long a new principal waits for what is still to be written into its file.
const FINISH: Duration = Duration::from_secs(30);

/// How far a fence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fencing {
    /// The lock is somebody else's.
    Waiting { settle: bool },
    /// It is ours.
    Stands,
}

impl Thread {
    /// Whether the lock is still to be had.
    pub(super) fn is_fencing(&self) -> bool {
        matches!(self.fence, Some(Fencing::Waiting { .. }))
    }

    /// Shuts writers out, now or as soon as they let go.
    pub(super) fn fence(&mut self, settle: bool) {
        self.fence = Some(Fencing::Waiting { settle });
        self.fence_some();
    }

    /// Tries once more.
    pub(super) fn fence_some(&mut self) {
        let Some(Fencing::Waiting { settle }) = self.fence else {
            return;
        };
        match self.take_lock() {
            Ok(()) => {
                self.fence = Some(Fencing::Stands);
                if settle {
                    self.settled();
                }
            }
            Err(sqlite::Error::Busy(_)) => {}
            Err(e) => {
                // Nobody writes a file that cannot be used.
                self.fence = None;
                self.trouble("fence", &file_error(&self.subject.name, &e));
                if settle {
                    self.settled();
                }
            }
        }
    }

    fn take_lock(&mut self) -> sqlite::Result<()> {
        match &self.using {
            Using::Capture(tail) => tail.fence(TRY),
            Using::Mirror(_) | Using::Fenced { .. } => Ok(()),
            Using::Nothing => {
                let lock = WriteLock::take(&self.subject.path, TRY)?;
                self.using = Using::Fenced { lock };
                Ok(())
            }
        }
    }

    /// Everything that was committed is made durable in the log, and the loop is told.
    fn settled(&mut self) {
        let database = self.subject.database;
        // What nobody captures cannot be settled: then the log ends where it ends.
        let end = self
            .catch_up()
            .map_or_else(|_| self.subject.log_end(), |(_, end)| end);
        self.subject.handle.run(move |i| i.fenced(database, end));
    }

    /// The file is used by somebody else here than before: the lock is taken again.
    pub(super) fn keep_fence(&mut self) {
        if self.fence == Some(Fencing::Stands) {
            self.fence(false);
        }
    }

    /// Ends the capture; a fence that stands goes on without a gap.
    pub(super) fn leave_capture(&mut self) {
        let lock = match &self.using {
            Using::Capture(tail) if self.fence == Some(Fencing::Stands) => Some(tail.keep_fence()),
            _ => None,
        };
        self.using = lock.map_or(Using::Nothing, |lock| Using::Fenced { lock });
    }

    /// Lets writers in.
    pub(super) fn lift_fence(&mut self) {
        self.fence = None;
        match &self.using {
            Using::Capture(tail) => {
                if let Err(e) = tail.lift_fence() {
                    self.trouble("fence", &file_error(&self.subject.name, &e));
                }
            }
            Using::Fenced { .. } => self.using = Using::Nothing,
            // The writer of a mirror's file keeps the lock for life.
            Using::Mirror(_) | Using::Nothing => {}
        }
    }

    /// What a new principal has hardened is in its file before anything is captured from it.
    pub(super) fn finish_applying(&mut self) {
        let until = Instant::now() + FINISH;
        while let Some((upto, adopt)) = self.apply_again {
            self.apply(upto, adopt);
            if Instant::now() > until {
                return;
            }
            if self.apply_again.is_some() {
                std::thread::sleep(TRY);
            }
        }
    }

    /// The session's history takes the place of the log's, which a mirror does not follow.
    pub(super) fn take_history(&mut self, timelines: Timelines) {
        let stored = self.subject.row().and_then(|row| {
            let Some(mut row) = row else { return Ok(()) };
            if row.timelines.last().map_or(0, |t| t.number) < timelines.last().map_or(0, |t| t.number) {
                row.timelines = timelines;
                self.subject.records().set_database(self.subject.database, &row)?;
            }
            Ok(())
        });
        if let Err(e) = stored {
            self.trouble("records", &e);
        }
    }
}
