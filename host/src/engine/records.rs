//! The engine's durable records: `DIR/engine.db`, each batch one transaction that is on disk when it returns.
//!
//! A file of its own beside `master.db`: a statement may hold the catalog's lock for as long as it derives a key, and the
//! loop that confirms records must never wait for that.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use dbmirror_adapters::blocklog::LogId;
use dbmirror_adapters::sqlite::{Anchor, Identity};
use dbmirror_core::message::{Chain, FamilyGuid, ForkId, SessionGuid, Timeline, Timelines};
use dbmirror_core::session::DatabaseId;
use rusqlite::{Connection, OptionalExtension, params};

use super::EngineError;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS engine_start (one INTEGER PRIMARY KEY CHECK (one = 1), boot INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS engine_session (database_id INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS engine_ended (guid BLOB PRIMARY KEY, database_id INTEGER NOT NULL, record BLOB NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS engine_witness (guid BLOB PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS engine_database (database_id INTEGER PRIMARY KEY, log BLOB NOT NULL,
        family BLOB NOT NULL, timelines BLOB NOT NULL, anchor BLOB, identity BLOB, refused TEXT) STRICT;
";

/// Columns of `engine_database` that an `engine.db` of before has not.
const ADDED: [&str; 2] = ["identity BLOB", "refused TEXT"];

/// The version that this build reads and writes (`PRAGMA user_version`); a file of before has 0.
const VERSION: i64 = 1;
/// `PRAGMA application_id`: "DBMe".
const APPLICATION_ID: i64 = 0x4442_4d65;

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
    Witness {
        guid: SessionGuid,
        record: Vec<u8>,
        replaces: Option<SessionGuid>,
    },
    WitnessRemoved {
        guid: SessionGuid,
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
    /// Which file was captured last, and what it counted; `None` where any is right: a mirror's, or one that an operator has
    /// accepted.
    pub identity: Option<Identity>,
    /// Why the file is not captured until an operator accepts it: it is not what became of the one that was.
    pub refused: Option<String>,
}

impl DatabaseRow {
    /// The row of a log that begins, whose file is nobody's yet.
    pub(super) fn new(log: LogId, family: FamilyGuid, timelines: Timelines, anchor: &Anchor) -> Self {
        Self {
            log,
            family,
            timelines,
            anchor: Some(anchor.to_bytes().to_vec()),
            identity: None,
            refused: None,
        }
    }
}

/// Log id, family, timelines, anchor, identity, refusal.
type Stored = (
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Option<String>,
);

/// The guid of a session that this instance is the witness of, and what it keeps of it.
type Witnessed = ([u8; 16], Vec<u8>);

pub(super) struct Records {
    connection: Connection,
}

impl Records {
    /// Opens `engine.db` in `dir`, or makes it, for its owner only. One of a newer version is left as it is: a column that this version
    /// does not know would be gone with the next write of its row.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("engine.db");
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| EngineError::new(1451, format!("{} cannot be opened: {e}.", path.display())))?;
        let open = || -> rusqlite::Result<Result<Connection, i64>> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version > VERSION {
                return Ok(Err(version));
            }
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(SCHEMA)?;
            for column in ADDED {
                let name = column.split(' ').next().unwrap_or(column);
                let there: bool = connection.query_row(
                    "SELECT count(*) FROM pragma_table_info('engine_database') WHERE name = ?1",
                    [name],
                    |r| r.get(0),
                )?;
                if !there {
                    connection.execute_batch(&format!("ALTER TABLE engine_database ADD COLUMN {column}"))?;
                }
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", VERSION)?;
            Ok(Ok(connection))
        };
        match open().map_err(failed)? {
            Ok(connection) => Ok(Self { connection }),
            Err(version) => Err(EngineError::new(
                1451,
                format!(
                    "{} has version {version}, and this dbmirror knows versions up to {VERSION}. Nothing was changed; start the newer dbmirror that wrote it.",
                    path.display()
                ),
            )),
        }
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
                    Write::Witness {
                        guid,
                        record,
                        replaces,
                    } => {
                        if let Some(replaced) = replaces {
                            tx.execute("DELETE FROM engine_witness WHERE guid = ?1", [replaced.0])?;
                        }
                        tx.execute(
                            "INSERT OR REPLACE INTO engine_witness VALUES (?1, ?2)",
                            params![guid.0, record],
                        )?;
                    }
                    Write::WitnessRemoved { guid } => {
                        tx.execute("DELETE FROM engine_witness WHERE guid = ?1", [guid.0])?;
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

    /// The records of all sessions.
    pub(super) fn sessions(&self) -> Result<Vec<Vec<u8>>, EngineError> {
        let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
            self.connection
                .prepare_cached("SELECT record FROM engine_session ORDER BY database_id")?
                .query_map([], |r| r.get(0))?
                .collect()
        };
        read().map_err(failed)
    }

    /// What is kept of each session that this instance is the witness of, by the session's guid.
    pub(super) fn witnessed(&self) -> Result<Vec<Witnessed>, EngineError> {
        let read = || -> rusqlite::Result<Vec<Witnessed>> {
            self.connection
                .prepare("SELECT guid, record FROM engine_witness ORDER BY guid")?
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect()
        };
        read().map_err(failed)
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
                "SELECT log, family, timelines, anchor, identity, refused FROM engine_database WHERE database_id = ?1",
                [database.0],
                |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)),
            )
            .optional()
            .map_err(failed)?;
        let Some((log, family, timelines, anchor, identity, refused)) = row else {
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
            identity: match identity {
                Some(bytes) => Some(Identity::from_bytes(&bytes).ok_or_else(damaged)?),
                None => None,
            },
            refused,
        }))
    }

    pub(super) fn set_database(&self, database: DatabaseId, row: &DatabaseRow) -> Result<(), EngineError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO engine_database (database_id, log, family, timelines, anchor, identity, refused)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    database.0,
                    row.log.0,
                    row.family.0,
                    encode_timelines(&row.timelines),
                    row.anchor,
                    row.identity.map(|identity| identity.to_bytes()),
                    row.refused
                ],
            )
            .map(drop)
            .map_err(failed)
    }

    /// Forgets all that is kept of a database and of a session on it. Returns its log, where there was a row; nothing else of the
    /// row is read, so that a damaged one goes too.
    pub(super) fn forget_all(&mut self, database: DatabaseId) -> Result<Option<LogId>, EngineError> {
        let mut forget = || {
            let tx = self.connection.transaction()?;
            let log: Option<Vec<u8>> = tx
                .query_row(
                    "DELETE FROM engine_database WHERE database_id = ?1 RETURNING log",
                    [database.0],
                    |r| r.get(0),
                )
                .optional()?;
            tx.execute("DELETE FROM engine_session WHERE database_id = ?1", [database.0])?;
            tx.commit()?;
            Ok(log)
        };
        let log = forget().map_err(failed)?;
        Ok(log.and_then(|log| log.try_into().ok()).map(LogId))
    }

    /// The databases that something is kept of.
    pub(super) fn known(&self) -> Result<Vec<DatabaseId>, EngineError> {
        let read = || -> rusqlite::Result<Vec<DatabaseId>> {
            self.connection
                .prepare(
                    "SELECT database_id FROM engine_database UNION SELECT database_id FROM engine_session",
                )?
                .query_map([], |r| Ok(DatabaseId(r.get(0)?)))?
                .collect()
        };
        read().map_err(failed)
    }

    /// The logs that are a database's.
    pub(super) fn logs(&self) -> Result<Vec<LogId>, EngineError> {
        let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
            self.connection
                .prepare("SELECT log FROM engine_database")?
                .query_map([], |r| r.get(0))?
                .collect()
        };
        let logs = read().map_err(failed)?;
        Ok(logs
            .into_iter()
            .filter_map(|log| log.try_into().ok().map(LogId))
            .collect())
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
        format!("the engine's records in engine.db cannot be read or written: {e}."),
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
            identity: Some(Identity {
                pages: 7,
                ..Identity::default()
            }),
            refused: Some("why".into()),
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

    /// An older program must not write into a newer one's file, not even its mode.
    #[test]
    fn records_of_a_newer_version_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Records::open(dir.path()).unwrap());
        let path = dir.path().join("engine.db");
        let newer = Connection::open(&path).unwrap();
        let found: (i64, i64) = newer
            .query_row(
                "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(found, (VERSION, APPLICATION_ID));
        newer
            .execute_batch(
                "PRAGMA journal_mode = DELETE; PRAGMA user_version = 2; DROP TABLE engine_witness;
                 ALTER TABLE engine_database ADD COLUMN later TEXT;",
            )
            .unwrap();
        drop(newer);
        let before = std::fs::read(&path).unwrap();
        let error = Records::open(dir.path()).err().unwrap();
        assert!(
            error.text.contains("engine.db has version 2") && error.text.contains("newer dbmirror"),
            "{error:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    /// The bytes of version 1, frozen: number, fork, first sequence number, chain before it; the next.
    #[test]
    fn a_history_of_version_1() {
        let mut timelines = Timelines::EMPTY;
        for (number, fork, first, chain) in [(1, 0x0102, 1, 0), (7, 0x0a0b_0c0d, 0x0203, 0x33)] {
            let chain_before = Chain([chain; 16]);
            timelines
                .push(Timeline {
                    number,
                    fork: ForkId(fork),
                    first,
                    chain_before,
                })
                .unwrap();
        }
        let mut expected = b"\x01\0\0\0\x02\x01\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[0; 16]);
        expected.extend_from_slice(b"\x07\0\0\0\x0d\x0c\x0b\x0a\0\0\0\0\x03\x02\0\0\0\0\0\0");
        expected.extend_from_slice(&[0x33; 16]);
        assert_eq!(encode_timelines(&timelines), expected);
        assert_eq!(decode_timelines(&expected), Some(timelines));
    }

    #[test]
    fn records_of_before_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join("engine.db")).unwrap();
        old.execute_batch(
            "CREATE TABLE engine_database (database_id INTEGER PRIMARY KEY, log BLOB NOT NULL,
                 family BLOB NOT NULL, timelines BLOB NOT NULL, anchor BLOB) STRICT;
             INSERT INTO engine_database VALUES (5, zeroblob(16), zeroblob(16), x'', NULL);",
        )
        .unwrap();
        drop(old);
        for _ in 0..2 {
            let records = Records::open(dir.path()).unwrap();
            let row = records.database(DatabaseId(5)).unwrap().unwrap();
            assert_eq!((row.identity, row.refused), (None, None));
        }
    }
}
