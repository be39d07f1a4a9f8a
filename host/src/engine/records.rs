//! The engine's durable records: `DIR/engine.db`, each batch one transaction that is on disk when it returns.
//!
//! A file of its own beside `master.db`: a statement may hold the catalog's lock for as long as it derives a key, and the
//! loop that confirms records must never wait for that.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use dbmirror_adapters::blocklog::LogId;
use dbmirror_core::message::{Chain, FamilyGuid, ForkId, SessionGuid, Timeline, Timelines};
use dbmirror_core::session::DatabaseId;
use rusqlite::{Connection, OptionalExtension, params};

use super::EngineError;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS engine_start (one INTEGER PRIMARY KEY CHECK (one = 1), boot INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS engine_session (database_id INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS engine_ended (guid BLOB PRIMARY KEY, database_id INTEGER NOT NULL, record BLOB NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS engine_database (database_id INTEGER PRIMARY KEY, log BLOB NOT NULL,
        family BLOB NOT NULL, timelines BLOB NOT NULL, anchor BLOB) STRICT;
";

/// A write to the session records, owned.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Live {
        database: DatabaseId,
        record: Vec<u8>,
    },
    Ended {
        database: DatabaseId,
        guid: SessionGuid,
        record: Vec<u8>,
    },
    Removed {
        database: DatabaseId,
    },
}

/// What the engine keeps of a database beside its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatabaseRow {
    /// Its log within the block log.
    pub log: LogId,
    /// The family whose log it is.
    pub family: FamilyGuid,
    /// The history of its log.
    pub timelines: Timelines,
    /// Where its file stood when its log began, or later: `adapters::sqlite::Anchor`, stored form.
    pub anchor: Option<Vec<u8>>,
}

/// Log id, family, timelines, anchor.
type Stored = (Vec<u8>, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

pub(super) struct Records {
    connection: Connection,
}

impl Records {
    /// Opens `engine.db` in `dir`, or makes it, for its owner only.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("engine.db");
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| EngineError::new(1451, format!("{} cannot be opened: {e}.", path.display())))?;
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(Self { connection })
        };
        open().map_err(failed)
    }

    /// Raises the count of starts and returns it.
    pub(super) fn raise_boot(&self) -> Result<u64, EngineError> {
        let boot: i64 = self
            .connection
            .query_row(
                "INSERT INTO engine_start VALUES (1, 1) ON CONFLICT DO UPDATE SET boot = boot + 1 RETURNING boot",
                [],
                |row| row.get(0),
            )
            .map_err(failed)?;
        Ok(u64::try_from(boot).unwrap_or(1))
    }

    /// Makes `writes` durable, all or none.
    pub(super) fn write(&mut self, writes: &[Write]) -> Result<(), EngineError> {
        let mut write = || {
            let tx = self.connection.transaction()?;
            for one in writes {
                match one {
                    Write::Live { database, record } => {
                        tx.execute(
                            "INSERT OR REPLACE INTO engine_session VALUES (?1, ?2)",
                            params![database.0, record],
                        )?;
                    }
                    Write::Ended {
                        database,
                        guid,
                        record,
                    } => {
                        tx.execute("DELETE FROM engine_session WHERE database_id = ?1", [database.0])?;
                        tx.execute(
                            "INSERT OR REPLACE INTO engine_ended VALUES (?1, ?2, ?3)",
                            params![guid.0, database.0, record],
                        )?;
                    }
                    Write::Removed { database } => {
                        tx.execute("DELETE FROM engine_session WHERE database_id = ?1", [database.0])?;
                    }
                }
            }
            tx.commit()
        };
        write().map_err(failed)
    }

    /// The live record of a database's session.
    pub(super) fn session(&self, database: DatabaseId) -> Result<Option<Vec<u8>>, EngineError> {
        self.connection
            .query_row(
                "SELECT record FROM engine_session WHERE database_id = ?1",
                [database.0],
                |r| r.get(0),
            )
            .optional()
            .map_err(failed)
    }

    /// The record with which a session ended here.
    pub(super) fn ended(&self, guid: SessionGuid) -> Option<Vec<u8>> {
        self.connection
            .query_row("SELECT record FROM engine_ended WHERE guid = ?1", [guid.0], |r| {
                r.get(0)
            })
            .optional()
            .ok()
            .flatten()
    }

    pub(super) fn database(&self, database: DatabaseId) -> Result<Option<DatabaseRow>, EngineError> {
        let row: Option<Stored> = self
            .connection
            .query_row(
                "SELECT log, family, timelines, anchor FROM engine_database WHERE database_id = ?1",
                [database.0],
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
            )
            .optional()
            .map_err(failed)?;
        let Some((log, family, timelines, anchor)) = row else {
            return Ok(None);
        };
        let damaged = || {
            EngineError::new(
                1451,
                format!("the engine's record of database {} is damaged", database.0),
            )
        };
        let log = LogId(log.try_into().map_err(|_| damaged())?);
        let family = FamilyGuid(family.try_into().map_err(|_| damaged())?);
        let timelines = decode_timelines(&timelines).ok_or_else(damaged)?;
        Ok(Some(DatabaseRow {
            log,
            family,
            timelines,
            anchor,
        }))
    }

    pub(super) fn set_database(&self, database: DatabaseId, row: &DatabaseRow) -> Result<(), EngineError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO engine_database VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    database.0,
                    row.log.0,
                    row.family.0,
                    encode_timelines(&row.timelines),
                    row.anchor
                ],
            )
            .map(drop)
            .map_err(failed)
    }

    pub(super) fn forget_database(&self, database: DatabaseId) -> Result<(), EngineError> {
        self.connection
            .execute("DELETE FROM engine_database WHERE database_id = ?1", [database.0])
            .map(drop)
            .map_err(failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn failed(e: rusqlite::Error) -> EngineError {
    EngineError::new(
        1451,
        format!("the engine's records in engine.db cannot be read or written: {e}"),
    )
}

/// 36 bytes a timeline, oldest first: number, fork id, first sequence, chain before; little-endian.
pub(super) fn encode_timelines(timelines: &Timelines) -> Vec<u8> {
    let mut out = Vec::new();
    for t in timelines.as_slice() {
        out.extend_from_slice(&t.number.to_le_bytes());
        out.extend_from_slice(&t.fork.0.to_le_bytes());
        out.extend_from_slice(&t.first.to_le_bytes());
        out.extend_from_slice(&t.chain_before.0);
    }
    out
}

/// What [`encode_timelines`] made; `None` for anything else.
pub(super) fn decode_timelines(bytes: &[u8]) -> Option<Timelines> {
    let (entries, rest) = bytes.as_chunks::<36>();
    if !rest.is_empty() {
        return None;
    }
    let list: Vec<Timeline> = entries
        .iter()
        .map(|e| {
            Some(Timeline {
                number: u32::from_le_bytes(e[0..4].try_into().ok()?),
                fork: ForkId(u64::from_le_bytes(e[4..12].try_into().ok()?)),
                first: u64::from_le_bytes(e[12..20].try_into().ok()?),
                chain_before: Chain(e[20..36].try_into().ok()?),
            })
        })
        .collect::<Option<_>>()?;
    Timelines::new(&list).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_tombstones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (db, guid) = (DatabaseId(5), SessionGuid([7; 16]));
        let mut timelines = Timelines::EMPTY;
        for number in 1..=3 {
            let fork = ForkId(0x1122_3344 + u64::from(number));
            let first = u64::from(number) * 10;
            timelines
                .push(Timeline {
                    number,
                    fork,
                    first,
                    chain_before: Chain([number as u8; 16]),
                })
                .unwrap();
        }
        let row = DatabaseRow {
            log: LogId([2; 16]),
            family: FamilyGuid([3; 16]),
            timelines,
            anchor: Some(vec![1, 2]),
        };
        {
            let mut records = Records::open(dir.path()).unwrap();
            assert_eq!(records.raise_boot().unwrap(), 1);
            records
                .write(&[Write::Live {
                    database: db,
                    record: vec![1],
                }])
                .unwrap();
            records.set_database(db, &row).unwrap();
        }
        let mut records = Records::open(dir.path()).unwrap();
        assert_eq!(records.raise_boot().unwrap(), 2);
        assert_eq!(records.session(db).unwrap(), Some(vec![1]));
        assert_eq!(records.database(db).unwrap(), Some(row));
        assert_eq!(records.ended(guid), None);
        records
            .write(&[Write::Ended {
                database: db,
                guid,
                record: vec![9],
            }])
            .unwrap();
        assert_eq!(records.session(db).unwrap(), None);
        assert_eq!(records.ended(guid), Some(vec![9]));
        assert_eq!(decode_timelines(&[0; 35]), None);
    }
}
