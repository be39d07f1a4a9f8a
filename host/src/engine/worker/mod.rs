//! One thread per database: everything that waits for its file.
//!
//! The loop never touches a database file; it sends a [`Command`] here and hears of the outcome as a job of its own. At one
//! moment a file has at most one user here: the capture of a principal, the writer of a mirror, or nobody.

mod capture;
pub(super) mod continuity;
mod fence;
mod mirror;
mod seed;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dbmirror_adapters::blocklog::{BlockLog, LogError, LogId, Ticket};
use dbmirror_adapters::sqlite::{self, Anchor, Applier, Block, Identity, SeedSink, Tail, WriteLock};
use dbmirror_core::message::block::{BlockHeader, HEADER_LEN};
use dbmirror_core::message::{DatabaseSum, FamilyGuid, LogEnd, Position, Timelines};
use dbmirror_core::session::{DatabaseId, SeedInfo};

use super::records::{DatabaseRow, Records};
use super::run::Handle;
use super::{Checkpoint, EngineError, Lsn};
use continuity::FileLook;
pub(super) use seed::{PIECE, SeedReader, Snapshot};

/// After a failed capture, until it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// After a file was found locked, until it is tried again.
const LOCKED: Duration = Duration::from_millis(200);

/// What a database's thread is asked to do.
pub(super) enum Command {
    /// Capture the file from where its log ends; `restart` begins a new timeline first.
    Capture { restart: bool },
    /// Whose copy the database is.
    Family(FamilyGuid),
    /// Capture no more.
    StopCapture,
    /// Shut writers out; with `settle` say so when everything that they committed is durable in the log.
    Fence { settle: bool },
    /// Let writers in again.
    LiftFence,
    /// Another history is the log's: that of the session in which the database has just got its role.
    History(Timelines),
    /// Say again whether the log covers what the file holds: a session has begun that was not told.
    TellLevel,
    /// Begin a new timeline after what has been captured, and answer with the history and the end of the log.
    NewTimeline(SyncSender<Result<(Timelines, LogEnd), EngineError>>),
    /// Write the log's blocks up to this one into the file. `adopt`: on a principal that is closed.
    Apply { upto: Position, adopt: bool },
    /// Capture what is committed now, and answer with the history and the durable end of the log.
    CatchUp(SyncSender<Result<(Timelines, LogEnd), EngineError>>),
    /// The end of the log, and the sum of the content there.
    End(SyncSender<Result<(LogEnd, DatabaseSum), EngineError>>),
    /// Hold a snapshot for a backup.
    Snapshot(SyncSender<Result<Snapshot, EngineError>>),
    /// Hold a snapshot to be read as a seed.
    SeedOpen,
    /// A seed arrives.
    SeedBegin(SeedInfo),
    /// The next bytes of it.
    SeedWrite { offset: u64, bytes: Vec<u8> },
    /// All of it is there.
    SeedFinish {
        seed: SeedInfo,
        sum: DatabaseSum,
        family: FamilyGuid,
    },
    /// It will not be continued.
    SeedAbort,
    /// A restored file has come to its place: its write lock, and that of the file that was there.
    Installed {
        lock: WriteLock,
        retired: Option<WriteLock>,
    },
    /// Fold the file and say what it holds.
    Fold(SyncSender<Result<Checkpoint, EngineError>>),
    /// End.
    Stop,
}

/// What one thread works on.
pub(super) struct Subject {
    pub database: DatabaseId,
    pub name: String,
    pub path: PathBuf,
    pub log_id: LogId,
    pub family: FamilyGuid,
    pub log: Arc<BlockLog>,
    pub records: Arc<Mutex<Records>>,
    pub handle: Handle,
    /// How far the mirror's file is; shared with the views.
    pub redone: Arc<Mutex<Option<Position>>>,
}

/// The loop's end of a thread.
pub(super) struct Worker {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn spawn(subject: Subject) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("db-{}", subject.database.0))
            .spawn(move || {
                Thread {
                    subject,
                    inbox,
                    using: Using::Nothing,
                    sink: None,
                    pause: RETRY,
                    wants_capture: false,
                    level_told: false,
                    seed_wanted: false,
                    apply_again: None,
                    pending: None,
                    restart: false,
                    known: None,
                    held: None,
                    fence: None,
                    retired: Vec::new(),
                }
                .run();
            })?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Hands a command over.
    pub(super) fn send(&self, command: Command) {
        // A thread that has panicked answers nothing; the statements that wait for it say so.
        let _ = self.commands.send(command);
    }

    /// Asks the thread to end without waiting for it.
    pub(super) fn stop(&self) {
        self.send(Command::Stop);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who uses the file.
enum Using {
    Nothing,
    Capture(Box<Tail>),
    Mirror(Box<Applier>),
    /// Nobody may write, and nobody captures.
    Fenced {
        lock: WriteLock,
    },
}

struct Thread {
    subject: Subject,
    inbox: Receiver<Command>,
    using: Using,
    sink: Option<SeedSink>,
    /// What could not be redone because the file was locked for the moment.
    apply_again: Option<(Position, bool)>,
    /// A snapshot for a seed is to be held as soon as the capture runs.
    seed_wanted: bool,
    /// Between two looks at a captured file.
    pause: Duration,
    /// The file is to be captured, whether or not that works at the moment.
    wants_capture: bool,
    /// The loop was told that the log covers what the file holds.
    level_told: bool,
    /// A captured block that the log could not take, on a full disk: it is the next one that the log takes.
    pending: Option<Block>,
    /// The log is to go on in a new timeline as soon as the capture runs.
    restart: bool,
    /// The captured file as it is recorded, and since when.
    known: Option<(Identity, Instant)>,
    /// The file that was refused, and when: it is not read again before it has changed.
    held: Option<(FileLook, Instant)>,
    /// Writers are to be shut out, or are.
    fence: Option<fence::Fencing>,
    /// The write locks of copies that were replaced while applications had them open.
    retired: Vec<WriteLock>,
}

/// How often it is looked whether anybody still has a replaced copy open.
const LET_GO: Duration = Duration::from_secs(1);
/// Most replaced copies whose applications are kept from writing; the oldest is given up for one more.
const RETIRED_MOST: usize = 16;

impl Thread {
    fn run(mut self) {
        loop {
            let fencing = self.is_fencing();
            let command = if self.wants_capture || self.apply_again.is_some() || fencing {
                let pause = match (fencing, self.wants_capture) {
                    (true, _) => fence::TRY,
                    (false, true) => self.pause,
                    (false, false) => LOCKED,
                };
                match self.inbox.recv_timeout(pause) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.fence_some();
                        match self.apply_again {
                            Some((upto, adopt)) => self.apply(upto, adopt),
                            None => self.capture_some(),
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else if self.retired.is_empty() {
                match self.inbox.recv() {
                    Ok(command) => command,
                    Err(_) => return,
                }
            } else {
                match self.inbox.recv_timeout(LET_GO) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.let_go();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            match command {
                Command::Stop => {
                    // What was committed up to now is still captured.
                    self.capture_some();
                    self.keep_identity(Duration::ZERO);
                    return;
                }
                command => self.obey(command),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        self.let_go();
        match command {
            Command::Capture { restart } => self.capture(restart),
            Command::StopCapture => {
                self.wants_capture = false;
                self.restart = false;
                self.pending = None;
                self.leave_capture();
                self.keep_fence();
            }
            Command::Fence { settle } => self.fence(settle),
            Command::LiftFence => self.lift_fence(),
            Command::History(timelines) => self.take_history(timelines),
            Command::TellLevel => self.level_told = false,
            Command::Family(family) => self.subject.family = family,
            Command::NewTimeline(reply) => {
                let _ = reply.send(self.new_timeline());
            }
            Command::Apply { upto, adopt } => self.apply(upto, adopt),
            Command::CatchUp(reply) => {
                let _ = reply.send(self.catch_up());
            }
            Command::End(reply) => {
                let _ = reply.send(self.end());
            }
            Command::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Command::SeedOpen => self.seed_open(),
            Command::SeedBegin(seed) => self.seed_begin(&seed),
            Command::SeedWrite { offset, bytes } => self.seed_write(offset, &bytes),
            Command::SeedFinish { seed, sum, family } => self.seed_finish(&seed, sum, family),
            Command::SeedAbort => self.sink = None,
            Command::Installed { lock, retired } => self.take_file(lock, retired),
            Command::Fold(reply) => {
                let _ = reply.send(self.fold());
            }
            Command::Stop => {}
        }
    }

    /// Gives up the locks of replaced copies that nobody has open any more.
    fn let_go(&mut self) {
        self.retired.retain(WriteLock::is_wanted);
        let surplus = self.retired.len().saturating_sub(RETIRED_MOST);
        self.retired.drain(..surplus);
    }

    fn fold(&mut self) -> Result<Checkpoint, EngineError> {
        if matches!(self.using, Using::Nothing) && !self.wants_capture {
            self.open_mirror()
                .map_err(|e| file_error(&self.subject.name, &e))?;
        }
        self.store_pending()
            .map_err(|e| file_error(&self.subject.name, &e))?;
        let subject = &self.subject;
        let pending = &mut self.pending;
        let folded = match &mut self.using {
            Using::Capture(tail) => {
                // Write-ahead (`docs/safety.md`): what goes into the file is durable in the log first.
                subject
                    .log
                    .wait_all()
                    .map_err(|e| EngineError::new(1499, e.to_string()))?;
                tail.fold(&mut Hardening::new(subject, pending))
            }
            Using::Mirror(applier) => applier.fold(),
            Using::Nothing | Using::Fenced { .. } => {
                let text = format!(
                    "The file of database '{}' cannot be used now; see the error log.",
                    subject.name
                );
                return Err(EngineError::new(5120, text));
            }
        };
        let folded = folded.map_err(|e| file_error(&subject.name, &e))?;
        let position = folded.anchor.end.position;
        if matches!(self.using, Using::Mirror(_)) {
            self.subject.store_anchor(&folded.anchor)?;
        }
        Ok(Checkpoint {
            path: folded.path,
            lsn: Lsn::new(position.timeline, position.sequence),
            sum: folded.anchor.sum.0,
        })
    }
}

impl Thread {
    fn end(&self) -> Result<(LogEnd, DatabaseSum), EngineError> {
        let subject = &self.subject;
        let row = subject
            .row()?
            .ok_or_else(|| EngineError::new(1451, "The database has no log."))?;
        let anchor = subject
            .last_anchor(row.anchor.as_deref())
            .map_err(|e| file_error(&subject.name, &e))?;
        let anchor =
            anchor.ok_or_else(|| EngineError::new(1451, "The end of the database's log is not known."))?;
        Ok((anchor.end, anchor.sum))
    }
}

/// The block log as a checkpoint or a snapshot needs it. A block that it cannot take at the moment is kept in `pending`.
struct Hardening<'s> {
    subject: &'s Subject,
    pending: &'s mut Option<Block>,
    last: Option<Ticket>,
}

impl<'s> Hardening<'s> {
    const fn new(subject: &'s Subject, pending: &'s mut Option<Block>) -> Self {
        Self {
            subject,
            pending,
            last: None,
        }
    }
}

impl sqlite::BlockSink for Hardening<'_> {
    fn append(&mut self, block: Block) -> sqlite::Result<()> {
        self.last = Some(self.subject.append(block, self.pending)?);
        Ok(())
    }

    fn wait(&mut self) -> sqlite::Result<()> {
        let Some(last) = self.last.take() else {
            return Ok(());
        };
        self.subject
            .log
            .wait(last)
            .map_err(|e| sqlite::Error::Caller(e.to_string()))
    }
}

impl Subject {
    /// The end of the log.
    fn log_end(&self) -> LogEnd {
        self.log.extent(self.log_id).map_or(LogEnd::START, |e| e.end)
    }

    /// Appends a captured block, which is durable later. One that the log cannot take at the moment is kept in `pending`.
    fn append(&self, block: Block, pending: &mut Option<Block>) -> sqlite::Result<Ticket> {
        let bytes = block.to_vec().map_err(|source| sqlite::Error::Io {
            doing: "read a block",
            source,
        })?;
        self.log
            .append(self.log_id, block.before(), block.end(), &bytes)
            .map_err(|e| {
                if matches!(e, LogError::Io(_) | LogError::Poisoned(_)) {
                    *pending = Some(block);
                }
                sqlite::Error::Caller(e.to_string())
            })
    }

    fn row(&self) -> Result<Option<DatabaseRow>, EngineError> {
        self.records().database(self.database)
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn store_anchor(&self, anchor: &Anchor) -> Result<(), EngineError> {
        let records = self.records();
        if let Some(mut row) = records.database(self.database)? {
            row.anchor = Some(anchor.to_bytes().to_vec());
            records.set_database(self.database, &row)?;
        }
        Ok(())
    }

    fn set_redone(&self, position: Position) {
        *self
            .redone
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(position);
    }

    /// The header of the block numbered `sequence`.
    fn header(&self, sequence: u64) -> sqlite::Result<Option<BlockHeader>> {
        let mut bytes = [0; HEADER_LEN];
        match self.log.read(self.log_id, sequence, 0, &mut bytes) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Ok(Some(BlockHeader::parse(&bytes)?)),
            Err(e) => Err(sqlite::Error::Caller(e.to_string())),
        }
    }

    /// Where the file was last known to be: at the log's last block, or where the log begins.
    fn last_anchor(&self, stored: Option<&[u8]>) -> sqlite::Result<Option<Anchor>> {
        let Some(extent) = self.log.extent(self.log_id) else {
            return Ok(None);
        };
        if extent.end != extent.base
            && let Some(header) = self.header(extent.end.position.sequence)?
        {
            return Ok(Some(Anchor::of(&header)));
        }
        Ok(stored
            .and_then(Anchor::from_bytes)
            .filter(|a| a.end == extent.end))
    }
}

/// A refusal of a database's file as its operator sees it.
pub(super) fn file_error(name: &str, e: &sqlite::Error) -> EngineError {
    EngineError::new(
        5120,
        format!("The file of database '{name}' cannot be used: {e}."),
    )
}

/// Reads a block's stored bytes out of the log.
struct BlockReader<'l> {
    log: &'l BlockLog,
    id: LogId,
    sequence: u64,
    offset: usize,
}

impl std::io::Read for BlockReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.log.read(self.id, self.sequence, self.offset, out) {
            Ok(Some(read)) => {
                self.offset += read.len;
                Ok(read.len)
            }
            Ok(None) => Err(std::io::ErrorKind::NotFound.into()),
            Err(LogError::Io(e)) => Err(e),
            Err(e) => Err(std::io::Error::other(e.to_string())),
        }
    }
}
