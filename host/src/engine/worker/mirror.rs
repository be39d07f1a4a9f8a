//! The mirror's side of a database's thread: hardened blocks go into the file. Also the principal's, while it takes over what
//! its mirror holds beyond its own log.

use dbmirror_adapters::sqlite::{self, Anchor, Applier, ApplierOptions};
use dbmirror_core::message::Position;
use dbmirror_core::session::StorageError;

use super::{BlockReader, Thread, Using, file_error};

impl Thread {
    /// Brings the file up to `upto`, as far as the log holds it.
    pub(super) fn apply(&mut self, upto: Position, adopt: bool) {
        if matches!(self.using, Using::Capture(_)) || self.sink.is_some() {
            return;
        }
        self.apply_again = None;
        let outcome = self.open_mirror().and_then(|()| self.apply_upto(upto));
        let database = self.subject.database;
        match outcome {
            Ok(()) if adopt => {
                let Using::Mirror(applier) = &self.using else {
                    return;
                };
                let end = applier.anchor().end;
                self.subject.handle.run(move |i| i.adopted(database, end));
            }
            Ok(()) => {}
            // Somebody holds a lock for the moment.
            Err(sqlite::Error::Busy(_)) => self.apply_again = Some((upto, adopt)),
            // A backup still reads the file that is fenced.
            Err(sqlite::Error::InUse(_)) if matches!(self.using, Using::Fenced { .. }) => {
                self.apply_again = Some((upto, adopt));
            }
            Err(e) => {
                self.leave_file(!adopt);
                self.trouble("apply", &file_error(&self.subject.name, &e));
                let error = storage_error(&e);
                self.subject.handle.run(move |i| {
                    if adopt {
                        i.storage_failed(database, StorageError::CannotAdopt);
                    } else {
                        // A seed may have begun meanwhile: this is not about that.
                        i.redo_failed(database, error);
                    }
                });
            }
        }
    }

    /// Opens the file for writing blocks, wherever between its stored anchor and the log's end it is.
    pub(super) fn open_mirror(&mut self) -> sqlite::Result<()> {
        if matches!(self.using, Using::Mirror(_)) {
            return Ok(());
        }
        let subject = &self.subject;
        let row = subject.row().map_err(|e| sqlite::Error::Caller(e.text))?;
        let stored = row
            .and_then(|row| row.anchor)
            .and_then(|bytes| Anchor::from_bytes(&bytes));
        let base = subject
            .log
            .extent(subject.log_id)
            .map(|e| e.base.position.sequence);
        // A stored anchor that the log does not reach back to tells nothing.
        let from = stored.filter(|a| base.is_some_and(|base| a.end.position.sequence >= base));
        let from = from.ok_or(sqlite::Error::NoSuchContent)?;
        // The writer of a mirror's file takes the lock of a fence over, or that of a seed just installed: it keeps it for life. What cannot
        // be opened stays locked.
        let mut lock = match std::mem::replace(&mut self.using, Using::Nothing) {
            Using::Fenced { lock } => Some(lock),
            _ => None,
        };
        let opened = Applier::open_locked(
            &subject.path,
            &mut lock,
            ApplierOptions::new(subject.family),
            &from,
            &mut |sequence| subject.header(sequence),
        );
        if let Some(lock) = lock {
            self.using = Using::Fenced { lock };
        }
        let applier = opened?;
        subject.set_redone(applier.anchor().end.position);
        self.using = Using::Mirror(Box::new(applier));
        Ok(())
    }

    /// Closes a file that is of no use as it is. A mirror's stays locked until it is seeded: what is written to it is lost.
    fn leave_file(&mut self, stays_locked: bool) {
        self.using = match std::mem::replace(&mut self.using, Using::Nothing) {
            Using::Mirror(applier) if stays_locked => applier
                .retire()
                .map_or(Using::Nothing, |lock| Using::Fenced { lock }),
            Using::Fenced { lock } if stays_locked => Using::Fenced { lock },
            _ => Using::Nothing,
        };
    }

    fn apply_upto(&mut self, upto: Position) -> sqlite::Result<()> {
        let subject = &self.subject;
        let Using::Mirror(applier) = &mut self.using else {
            return Ok(());
        };
        let held = subject
            .log
            .extent(subject.log_id)
            .map_or(0, |e| e.end.position.sequence);
        while applier.anchor().end.position.sequence < upto.sequence.min(held) {
            let sequence = applier.anchor().end.position.sequence + 1;
            let mut block = BlockReader {
                log: &subject.log,
                id: subject.log_id,
                sequence,
                offset: 0,
            };
            applier.apply(&mut block)?;
            subject.set_redone(applier.anchor().end.position);
            if applier.wants_checkpoint() && applier.checkpoint()?.complete {
                let anchor = *applier.anchor();
                subject
                    .store_anchor(&anchor)
                    .map_err(|e| sqlite::Error::Caller(e.text))?;
            }
        }
        Ok(())
    }
}

/// A file's failure as the session knows it.
pub(super) fn storage_error(e: &sqlite::Error) -> StorageError {
    match e {
        sqlite::Error::NoSuchContent
        | sqlite::Error::ForeignWrite
        | sqlite::Error::PageDamaged { .. }
        | sqlite::Error::WrongDatabase
        // Neither becomes a mirror's file again by waiting.
        | sqlite::Error::NotADatabase(_)
        | sqlite::Error::NotWal(_)
        | sqlite::Error::Malformed(_) => StorageError::Corrupt,
        sqlite::Error::Block(_) | sqlite::Error::NotNext { .. } => StorageError::Chain,
        sqlite::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            StorageError::Full
        }
        // The file itself, or a block that it needs, is gone: only a seed brings it back.
        sqlite::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            StorageError::Corrupt
        }
        sqlite::Error::Io { .. } => StorageError::Failed,
        _ => StorageError::Unavailable,
    }
}
