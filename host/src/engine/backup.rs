//! BACKUP and RESTORE as the engine sees them: the bodies of backup sets (`docs/backup.md` has the container).
//!
//! ```text
//! full = "DBMFULL1" ‖ at ‖ timelines ‖ page size u32 ‖ bytes u64 ‖ sum u64 ‖ pages, page 1 first
//! log  = "DBMLOGS1" ‖ at ‖ timelines ‖ { length u32 ‖ block as stored } … ‖ length 0
//! at   = timeline u32 ‖ sequence u64 ‖ chain 16;  timelines = count u32 ‖ count × 36 bytes (number u32, fork id u64,
//!        first sequence u64, chain before 16)
//! ```
//! `at` is the position that the pages are the content of, or that the blocks follow. Numbers are little-endian. The container
//! around these bytes carries the checksums; pages are proved by their sum, blocks by their chain.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use dbmirror_adapters::sqlite::{self, CompleteSeed, SeedSink};
use dbmirror_core::message::block::{BlockHeader, HEADER_LEN};
use dbmirror_core::message::{Chain, DatabaseSum, FamilyGuid, LogEnd, Position, TIMELINES_MAX, Timelines};
use dbmirror_core::session::DatabaseId;

use super::incoming::check;
use super::records::{DatabaseRow, decode_timelines, encode_timelines};
use super::run::{Handle, Instance};
use super::sessions::{core_id, detach_database, unknown, wait_until_served};
use super::worker::{Command, Snapshot, file_error};
use super::{DatabaseConfig, DatabaseState, EngineError, Lsn, STATEMENT_TIMEOUT};

const FULL: &[u8; 8] = b"DBMFULL1";
const LOG: &[u8; 8] = b"DBMLOGS1";
/// Largest block that is read back: what the block log takes.
const BLOCK_MAX: u32 = 1 << 30;

/// What lies before pages or blocks.
struct Start {
    at: LogEnd,
    timelines: Timelines,
}

pub(super) fn backup_database(
    handle: &Handle,
    database_id: i32,
    out: &mut dyn Write,
) -> Result<Lsn, EngineError> {
    let id = core_id(database_id);
    wait_until_served(handle, id)?;
    let (reply, taken) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        i.not_a_mirror(id)?;
        let d = i.database(id)?;
        d.worker.send(Command::Snapshot(reply));
        Ok(())
    })??;
    let Snapshot {
        mut source,
        info,
        sum,
    } = taken.recv_timeout(STATEMENT_TIMEOUT).map_err(|_| busy())??;
    let mut write = || -> io::Result<()> {
        out.write_all(FULL)?;
        write_start(
            out,
            &Start {
                at: info.at,
                timelines: info.timelines,
            },
        )?;
        out.write_all(&info.page_size.to_le_bytes())?;
        out.write_all(&info.bytes.to_le_bytes())?;
        out.write_all(&sum.0.to_le_bytes())?;
        let (mut buf, mut at) = (vec![0; 1 << 20], 0);
        while at < info.bytes {
            let n = source
                .read_at(at, &mut buf)
                .map_err(|e| io::Error::other(e.to_string()))?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&buf[..n])?;
            at += n as u64;
        }
        Ok(())
    };
    write().map_err(|e| terminated("BACKUP DATABASE", &e))?;
    Ok(lsn(info.at.position))
}

pub(super) fn backup_log(
    handle: &Handle,
    database_id: i32,
    after: Lsn,
    out: &mut dyn Write,
) -> Result<Lsn, EngineError> {
    let id = core_id(database_id);
    wait_until_served(handle, id)?;
    let (reply, level) = sync_channel(1);
    let (log, log_id) = handle.ask(move |i: &mut Instance<'_>| {
        i.not_a_mirror(id)?;
        let d = i.database(id)?;
        d.worker.send(Command::CatchUp(reply));
        Ok((std::sync::Arc::clone(&i.world.logs.log), d.log_id))
    })??;
    let (timelines, end) = level.recv_timeout(STATEMENT_TIMEOUT).map_err(|_| busy())??;
    let first = position(after);
    let gone = || {
        EngineError::new(
            4214,
            "The log does not reach back to the last backup: take a full backup to begin a new chain of log backups.",
        )
    };
    let at = log
        .chain_at(log_id, first.sequence)
        .filter(|at| at.position == first)
        .ok_or_else(gone)?;
    let mut write = || -> io::Result<()> {
        out.write_all(LOG)?;
        write_start(
            out,
            &Start {
                at,
                timelines: timelines.until(end.position.sequence),
            },
        )?;
        let mut block = Vec::new();
        for sequence in first.sequence + 1..=end.position.sequence {
            let lost = || io::Error::other(format!("block {sequence} is not in the log any more"));
            block.resize(HEADER_LEN, 0);
            let read = |offset: usize, out: &mut [u8]| {
                log.read(log_id, sequence, offset, out)
                    .map_err(|e| io::Error::other(e.to_string()))
            };
            let total = read(0, &mut block)?.ok_or_else(lost)?.total;
            block.resize(total, 0);
            let got = read(0, &mut block)?.ok_or_else(lost)?;
            if got.len != total {
                return Err(lost());
            }
            out.write_all(&u32::try_from(total).map_err(io::Error::other)?.to_le_bytes())?;
            out.write_all(&block)?;
        }
        out.write_all(&0_u32.to_le_bytes())
    };
    write().map_err(|e| terminated("BACKUP LOG", &e))?;
    Ok(lsn(end.position))
}

/// A database out of a full backup, complete on disk beside the place where it is to be; removed when dropped.
pub struct RestoredFile {
    seed: CompleteSeed,
    start: Start,
}

/// Reads the whole backup into a file beside `path`.
pub(super) fn read_backup(
    name: &str,
    path: &Path,
    input: &mut dyn Read,
) -> Result<RestoredFile, EngineError> {
    let start = read_start(input, FULL)?;
    let mut fixed = [0; 20];
    read_exact(input, &mut fixed)?;
    let (page_size, bytes, sum) = (u32_at(&fixed, 0), u64_at(&fixed, 4), u64_at(&fixed, 12));
    let file = |e| restore_error(name, &e);
    let mut sink = SeedSink::create(path, page_size, bytes).map_err(file)?;
    let (mut buf, mut at) = (vec![0; 1 << 20], 0);
    while at < bytes {
        let n = buf.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        read_exact(input, &mut buf[..n])?;
        sink.write(at, &buf[..n]).map_err(file)?;
        at += n as u64;
    }
    let seed = sink.complete(start.at, DatabaseSum(sum)).map_err(file)?;
    Ok(RestoredFile { seed, start })
}

/// What is the backup's fault, and what is the machine's.
fn restore_error(name: &str, e: &sqlite::Error) -> EngineError {
    match e {
        sqlite::Error::SeedDamaged
        | sqlite::Error::WrongDatabase
        | sqlite::Error::NotADatabase(_)
        | sqlite::Error::NotWal(_) => damaged(),
        sqlite::Error::Busy(_) | sqlite::Error::InUse(_) => EngineError::new(
            3101,
            format!(
                "Exclusive access to database '{name}' could not be had: {e}. Likely an application has the file open: a commit of its would be \
                 in no database afterwards. Stop it, then restore. Nothing has changed."
            ),
        ),
        sqlite::Error::Exists(_) => EngineError::new(
            5170,
            format!("The file of database '{name}' cannot be created: {e}. Nothing has changed."),
        ),
        e => file_error(name, e),
    }
}

/// Takes the database in, RESTORING, and then puts its file in place, over that of an older one.
pub(super) fn restore_database(
    handle: &Handle,
    database: &DatabaseConfig,
    file: RestoredFile,
    replace: bool,
) -> Result<Lsn, EngineError> {
    let RestoredFile { seed, start } = file;
    let id = core_id(database.database_id);
    let to_loop = handle.clone();
    let config = database.clone();
    let (log, log_id, begun) = handle.ask(move |i: &mut Instance<'_>| {
        i.add_database(&config, to_loop)?;
        let d = i
            .world
            .logs
            .databases
            .get_mut(&id)
            .ok_or_else(|| unknown(config.database_id))?;
        d.hardened = start.at;
        let log = std::sync::Arc::clone(&i.world.logs.log);
        let begun = log.start_log(d.log_id, start.at);
        let begun = begun.map_err(|e| EngineError::new(3013, e.to_string()))?;
        Ok((log, d.log_id, begun))
    })??;
    // The log's beginning is durable before the record that names the log, and both before the file.
    let install = || {
        log.wait(begun)
            .map_err(|e| EngineError::new(3013, e.to_string()))?;
        let family = FamilyGuid(database.family_guid);
        let row = DatabaseRow::new(log_id, family, start.timelines, seed.anchor());
        handle.ask(move |i: &mut Instance<'_>| i.world.records().set_database(id, &row))??;
        let failed = |e| restore_error(&database.name, &e);
        if !replace {
            return seed.install_new().map_err(failed);
        }
        let sqlite::Installed {
            anchor,
            lock,
            retired,
            ..
        } = seed.install_over().map_err(failed)?;
        // From here on the file is the thread's, which keeps writers out of the copy.
        handle.ask(move |i: &mut Instance<'_>| {
            i.database(id)?.worker.send(Command::Installed { lock, retired });
            Ok(())
        })??;
        Ok(anchor)
    };
    match install() {
        Ok(anchor) => Ok(lsn(anchor.end.position)),
        Err(e) => {
            // As if it had never been begun.
            let _ = detach_database(handle, database.database_id);
            Err(e)
        }
    }
}

/// Appends the blocks that are new and brings the file up to them.
pub(super) fn restore_log(
    handle: &Handle,
    database_id: i32,
    input: &mut dyn Read,
) -> Result<Lsn, EngineError> {
    let id = core_id(database_id);
    let start = read_start(input, LOG)?;
    let (log, log_id, family) = handle.ask(move |i: &mut Instance<'_>| {
        i.restoring(id)?;
        let d = i.database(id)?;
        Ok((std::sync::Arc::clone(&i.world.logs.log), d.log_id, d.family))
    })??;
    let first_end = log.extent(log_id).ok_or_else(|| unknown(database_id))?.end;
    if start.at.position.sequence > first_end.position.sequence {
        return Err(EngineError::new(
            4305,
            format!(
                "The log in this backup set begins at {}, after the database's {}: an earlier log backup is missing.",
                start.at.position.lsn(),
                first_end.position.lsn()
            ),
        ));
    }
    let other = || {
        EngineError::new(
            4330,
            "The log in this backup set does not continue this database: it was taken on another recovery path.",
        )
    };
    let mut last = start.at;
    while let Some(block) = read_block(input)? {
        let end = log.extent(log_id).ok_or_else(|| unknown(database_id))?.end;
        let header: &[u8; HEADER_LEN] = block.first_chunk().ok_or_else(damaged)?;
        let header = BlockHeader::parse(header).map_err(|_| damaged())?;
        let this = LogEnd {
            position: header.position,
            chain: header.chain,
        };
        if header.position.sequence <= end.position.sequence {
            // What the database already has must be the same.
            let held = log.chain_at(log_id, header.position.sequence);
            if held.is_some_and(|held| held != this) {
                return Err(other());
            }
        } else {
            check(&block, header.position, family, end).map_err(|_| other())?;
            let appended = log.append(log_id, end.chain, this, &block);
            appended.map_err(|e| {
                EngineError::new(3013, format!("RESTORE LOG is terminating abnormally: {e}."))
            })?;
        }
        last = this;
    }
    if last.position.sequence < first_end.position.sequence {
        return Err(EngineError::new(
            4326,
            format!(
                "The log in this backup set ends at {}, before the database's {}: a later log backup is wanted.",
                last.position.lsn(),
                first_end.position.lsn()
            ),
        ));
    }
    log.wait_all()
        .map_err(|e| EngineError::new(3013, e.to_string()))?;
    let (reply, folded) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        let mut row = i
            .world
            .records()
            .database(id)?
            .ok_or_else(|| unknown(database_id))?;
        if row.timelines.last().map(|t| t.number) < start.timelines.last().map(|t| t.number) {
            row.timelines = start.timelines;
            i.world.records().set_database(id, &row)?;
        }
        let d = i.database(id)?;
        d.worker.send(Command::Apply {
            upto: last.position,
            adopt: false,
        });
        d.worker.send(Command::Fold(reply));
        Ok(())
    })??;
    let at = folded.recv_timeout(STATEMENT_TIMEOUT).map_err(|_| busy())??.lsn;
    Ok(at)
}

/// The end of a database's log, and the sum of its content there.
pub(super) fn end_of_log(handle: &Handle, database_id: i32) -> Result<(Lsn, u64), EngineError> {
    let id = core_id(database_id);
    let (reply, told) = sync_channel(1);
    handle.ask(move |i: &mut Instance<'_>| {
        let d = i.database(id)?;
        d.worker.send(Command::End(reply));
        Ok(())
    })??;
    let (end, sum) = told.recv_timeout(STATEMENT_TIMEOUT).map_err(|_| busy())??;
    Ok((lsn(end.position), sum.0))
}

impl Instance<'_> {
    /// 954 for a mirror or a copy that is being restored.
    fn not_a_mirror(&self, id: DatabaseId) -> Result<(), EngineError> {
        let config = self
            .world
            .names
            .get(&id)
            .ok_or_else(|| unknown(id.0.cast_signed()))?;
        if config.state == DatabaseState::Restoring {
            return Err(EngineError::new(
                954,
                format!(
                    "The database '{}' acts as a mirror or is being restored: back up its principal.",
                    config.name
                ),
            ));
        }
        Ok(())
    }

    /// 3117 unless the database is RESTORING, 3104 while a session is set on it.
    pub(super) fn restoring(&self, id: DatabaseId) -> Result<(), EngineError> {
        let config = self
            .world
            .names
            .get(&id)
            .ok_or_else(|| unknown(id.0.cast_signed()))?;
        if config.state != DatabaseState::Restoring {
            let text = format!(
                "The database '{}' is not RESTORING: no log can be restored to it.",
                config.name
            );
            return Err(EngineError::new(3117, text));
        }
        if self.endpoint.sessions().any(|s| s.database == id) {
            let text = format!(
                "The database '{}' is mirrored: ALTER DATABASE … SET PARTNER OFF first.",
                config.name
            );
            return Err(EngineError::new(3104, text));
        }
        Ok(())
    }
}

fn write_start(out: &mut dyn Write, start: &Start) -> io::Result<()> {
    out.write_all(&start.at.position.timeline.to_le_bytes())?;
    out.write_all(&start.at.position.sequence.to_le_bytes())?;
    out.write_all(&start.at.chain.0)?;
    out.write_all(&(start.timelines.as_slice().len() as u32).to_le_bytes())?;
    out.write_all(&encode_timelines(&start.timelines))
}

fn read_start(input: &mut dyn Read, magic: &[u8; 8]) -> Result<Start, EngineError> {
    let mut fixed = [0; 40];
    read_exact(input, &mut fixed)?;
    if &fixed[..8] != magic {
        return Err(damaged());
    }
    let count = u32_at(&fixed, 36) as usize;
    if count > TIMELINES_MAX {
        return Err(damaged());
    }
    let mut timelines = vec![0; count * 36];
    read_exact(input, &mut timelines)?;
    let mut chain = Chain::START;
    chain.0.copy_from_slice(&fixed[20..36]);
    let position = Position {
        timeline: u32_at(&fixed, 8),
        sequence: u64_at(&fixed, 12),
    };
    Ok(Start {
        at: LogEnd { position, chain },
        timelines: decode_timelines(&timelines).ok_or_else(damaged)?,
    })
}

fn read_block(input: &mut dyn Read) -> Result<Option<Vec<u8>>, EngineError> {
    let mut len = [0; 4];
    read_exact(input, &mut len)?;
    let len = u32::from_le_bytes(len);
    if len == 0 {
        return Ok(None);
    }
    if len > BLOCK_MAX {
        return Err(damaged());
    }
    // Grows with what is there, not with what a damaged length promises.
    let mut block = Vec::new();
    let got = input
        .take(u64::from(len))
        .read_to_end(&mut block)
        .map_err(|e| terminated("RESTORE", &e))?;
    if got != len as usize {
        return Err(damaged());
    }
    Ok(Some(block))
}

fn read_exact(input: &mut dyn Read, out: &mut [u8]) -> Result<(), EngineError> {
    input.read_exact(out).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => terminated("RESTORE", &e),
    })
}

fn damaged() -> EngineError {
    EngineError::new(
        3241,
        "The backup set is damaged, or was not written by this product.",
    )
}

fn terminated(verb: &str, e: &io::Error) -> EngineError {
    EngineError::new(3013, format!("{verb} is terminating abnormally: {e}."))
}

fn busy() -> EngineError {
    EngineError::new(3013, "The database did not answer in time; see the error log.")
}

fn lsn(position: Position) -> Lsn {
    Lsn::new(position.timeline, position.sequence)
}

/// The position that is shown as `lsn`; beyond all positions when it is none.
fn position(lsn: Lsn) -> Position {
    let split = 1_000_000_000_000_000;
    Position {
        timeline: u32::try_from(lsn.0 / split).unwrap_or(u32::MAX),
        sequence: u64::try_from(lsn.0 % split).unwrap_or(u64::MAX),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b))
}
