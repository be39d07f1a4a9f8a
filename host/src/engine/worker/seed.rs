//! Seeds: a whole database, read out of a principal's file by a thread of its own, or written into a mirror's.

use std::sync::mpsc::{Receiver, Sender, channel};

use dbmirror_adapters::sqlite::{self, SeedSink, SeedSource, WriteLock};
use dbmirror_core::message::{DatabaseSum, FamilyGuid};
use dbmirror_core::session::{SeedInfo, StorageError};

use super::mirror::storage_error;
use super::{Hardening, Thread, Using, file_error};
use crate::engine::EngineError;
use crate::engine::records::DatabaseRow;
use crate::engine::run::Handle;
use dbmirror_core::session::DatabaseId;

/// Bytes of one piece that is read ahead.
pub(in crate::engine) const PIECE: usize = 256 * 1024;

/// A held snapshot with what is known of it.
pub(in crate::engine) struct Snapshot {
    pub source: SeedSource,
    pub info: SeedInfo,
    pub sum: DatabaseSum,
}

/// The loop's end of a thread that reads an open snapshot.
pub(in crate::engine) struct SeedReader {
    pub info: SeedInfo,
    pub sum: DatabaseSum,
    /// Offsets of pieces that are wanted.
    pub wanted: Sender<u64>,
    /// Pieces as they are read.
    pub pieces: Receiver<(u64, Result<Vec<u8>, ()>)>,
}

impl Thread {
    pub(super) fn seed_open(&mut self) {
        if matches!(self.using, Using::Nothing | Using::Fenced { .. }) {
            // The capture is about to begin, or is tried again: the snapshot is taken when it runs.
            self.seed_wanted = true;
            return;
        }
        self.seed_wanted = false;
        let database = self.subject.database;
        let opened = self.try_seed_open();
        if let Err(e) = &opened {
            self.trouble("seed", e);
        }
        let opened = opened.map_err(|_| StorageError::Unavailable);
        self.subject.handle.run(move |i| i.seed_opened(database, opened));
    }

    /// Holds a snapshot of the file, with everything up to it in the log.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        self.store_pending()
            .map_err(|e| file_error(&self.subject.name, &e))?;
        let subject = &self.subject;
        let pending = &mut self.pending;
        let Using::Capture(tail) = &mut self.using else {
            let text = format!(
                "Database '{}' is not being captured now; see the error log.",
                subject.name
            );
            return Err(EngineError::new(1499, text));
        };
        let source = tail
            .snapshot(&mut Hardening::new(subject, pending))
            .map_err(|e| file_error(&subject.name, &e))?;
        let row = subject
            .row()?
            .ok_or_else(|| EngineError::new(1451, "The database has no log."))?;
        let anchor = *source.anchor();
        let info = SeedInfo {
            at: source.end(),
            timelines: row.timelines.until(source.end().position.sequence),
            page_size: anchor.page_size,
            bytes: source.bytes(),
        };
        Ok(Snapshot {
            source,
            info,
            sum: anchor.sum,
        })
    }

    fn try_seed_open(&mut self) -> Result<SeedReader, EngineError> {
        let Snapshot { source, info, sum } = self.snapshot()?;
        let subject = &self.subject;
        let (wanted, requests) = channel();
        let (sender, pieces) = channel();
        let (handle, database) = (subject.handle.clone(), subject.database);
        std::thread::Builder::new()
            .name(format!("seed-{}", database.0))
            .spawn(move || read_pieces(source, &requests, &sender, &handle, database))
            .map_err(|e| EngineError::new(1450, format!("No thread for the seed: {e}.")))?;
        Ok(SeedReader {
            info,
            sum,
            wanted,
            pieces,
        })
    }

    pub(super) fn seed_begin(&mut self, seed: &SeedInfo) {
        self.sink = None;
        match SeedSink::create(&self.subject.path, seed.page_size, seed.bytes) {
            Ok(sink) => self.sink = Some(sink),
            Err(e) => self.seed_failed(&e),
        }
    }

    pub(super) fn seed_write(&mut self, offset: u64, bytes: &[u8]) {
        // After a failure, which was told, the rest is dropped.
        let Some(sink) = &mut self.sink else { return };
        match sink.write(offset, bytes) {
            Ok(()) => {
                let (database, upto) = (self.subject.database, offset + bytes.len() as u64);
                self.subject.handle.run(move |i| i.seed_written(database, upto));
            }
            Err(e) => {
                self.sink = None;
                self.seed_failed(&e);
            }
        }
    }

    pub(super) fn seed_finish(&mut self, seed: &SeedInfo, sum: DatabaseSum, family: FamilyGuid) {
        let Some(sink) = self.sink.take() else { return };
        match self.install(sink, seed, sum, family) {
            Ok(()) => {
                let (database, at) = (self.subject.database, seed.at);
                self.subject
                    .handle
                    .run(move |i| i.seed_installed(database, family, at));
                self.show_file();
            }
            Err(e) => self.seed_failed(&e),
        }
    }

    fn install(
        &mut self,
        sink: SeedSink,
        seed: &SeedInfo,
        sum: DatabaseSum,
        family: FamilyGuid,
    ) -> sqlite::Result<()> {
        let caller = |e: String| sqlite::Error::Caller(e);
        let complete = sink.complete(seed.at, sum)?;
        // The lock on the old file goes over without a moment in which an application could write to either.
        let mut held = match std::mem::replace(&mut self.using, Using::Nothing) {
            Using::Mirror(applier) => Some(applier.retire()?),
            Using::Fenced { lock } => Some(lock),
            Using::Nothing | Using::Capture(_) => None,
        };
        let installed = complete.install_keeping(&mut held);
        if let Some(lock) = held {
            self.using = Using::Fenced { lock };
        }
        let sqlite::Installed {
            anchor,
            kept,
            lock,
            retired,
        } = installed?;
        self.hold_file(lock, retired);
        let subject = &mut self.subject;
        if let Some(kept) = kept {
            let text = format!(
                "The copy of database '{}' that the seed replaced is kept as '{}'. Compare it if you doubt the principal's file, which works when no \
                 application has it open any more; delete it when nobody needs it.",
                subject.name,
                kept.display()
            );
            let name = subject.name.clone();
            subject
                .handle
                .run(move |i| i.world.log(1499, 10, text, vec![("database", name)]));
        }
        subject.family = family;
        let ticket = subject
            .log
            .start_log(subject.log_id, seed.at)
            .map_err(|e| caller(e.to_string()))?;
        subject.log.wait(ticket).map_err(|e| caller(e.to_string()))?;
        let row = DatabaseRow::new(subject.log_id, family, seed.timelines, &anchor);
        subject
            .records()
            .set_database(subject.database, &row)
            .map_err(|e| caller(e.text))
    }

    /// A restored file is in its place, and its log and record are there.
    pub(super) fn take_file(&mut self, lock: WriteLock, retired: Option<WriteLock>) {
        self.hold_file(lock, retired);
        self.show_file();
    }

    /// Keeps writers out of a file that has come to its place until it is opened, and out of the one that was there.
    fn hold_file(&mut self, lock: WriteLock, retired: Option<WriteLock>) {
        self.using = Using::Fenced { lock };
        self.retired.extend(retired);
        self.let_go();
    }

    /// Readers find a database at once.
    fn show_file(&mut self) {
        if let Err(e) = self.open_mirror() {
            self.trouble("apply", &file_error(&self.subject.name, &e));
        }
    }

    fn seed_failed(&self, e: &sqlite::Error) {
        self.trouble("seed", &file_error(&self.subject.name, e));
        let (database, error) = (self.subject.database, storage_error(e));
        self.subject
            .handle
            .run(move |i| i.storage_failed(database, error));
    }
}

fn read_pieces(
    mut source: SeedSource,
    requests: &Receiver<u64>,
    pieces: &Sender<(u64, Result<Vec<u8>, ()>)>,
    handle: &Handle,
    database: DatabaseId,
) {
    // The snapshot is held, and the application's log grows, until the loop lets its end go.
    while let Ok(offset) = requests.recv() {
        let mut bytes = vec![0; PIECE];
        let mut len = 0;
        let read = loop {
            match source.read_at(offset + len as u64, &mut bytes[len..]) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    len += n;
                    if len == bytes.len() {
                        break Ok(());
                    }
                }
                Err(_) => break Err(()),
            }
        };
        bytes.truncate(len);
        if pieces.send((offset, read.map(|()| bytes))).is_err() {
            return;
        }
        handle.run(move |i| i.seed_ready(database));
    }
}
