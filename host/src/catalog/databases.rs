//! The databases of the instance.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::{all, first};
use crate::engine;

/// A row of `database`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `database_id`.
    pub id: i32,
    /// Name.
    pub name: String,
    /// Its SQLite file.
    pub path: PathBuf,
    /// The file was there before and stays after DROP.
    pub attached: bool,
    /// The family that all copies and backups share.
    pub family_guid: [u8; 16],
    /// State.
    pub state: State,
    /// `recovery_model`: 1 FULL, 2 BULK_LOGGED, 3 SIMPLE.
    pub recovery_model: i32,
    /// Owner.
    pub owner_sid: Vec<u8>,
    /// LSN at which the last full backup ended.
    pub last_full_backup_lsn: Option<u128>,
    /// LSN at which the next log backup begins.
    pub last_log_backup_lsn: Option<u128>,
}

/// `sys.databases.state`, those that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 0.
    Online,
    /// 1.
    Restoring,
    /// 3: its file could not be taken in when the instance started.
    RecoveryPending,
}

impl State {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Online => 0,
            Self::Restoring => 1,
            Self::RecoveryPending => 3,
        }
    }

    const fn of(code: i32) -> Self {
        match code {
            0 => Self::Online,
            1 => Self::Restoring,
            _ => Self::RecoveryPending,
        }
    }
}

impl Database {
    /// As the engine knows it.
    #[must_use]
    pub fn config(&self) -> engine::DatabaseConfig {
        engine::DatabaseConfig {
            database_id: self.id,
            name: self.name.clone(),
            family_guid: self.family_guid,
            path: self.path.clone(),
            state: match self.state {
                State::Online | State::RecoveryPending => engine::DatabaseState::Online,
                State::Restoring => engine::DatabaseState::Restoring,
            },
        }
    }
}

const ROW: &str = "SELECT database_id, name, path, attached, family_guid, state, recovery_model, owner_sid,
    last_full_backup_lsn, last_log_backup_lsn FROM database";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Database> {
    let lsn = |at: usize| -> rusqlite::Result<Option<u128>> {
        Ok(row
            .get::<_, Option<String>>(at)?
            .and_then(|text| text.parse().ok()))
    };
    Ok(Database {
        id: row.get(0)?,
        name: row.get(1)?,
        path: PathBuf::from(row.get::<_, String>(2)?),
        attached: row.get(3)?,
        family_guid: row.get(4)?,
        state: State::of(row.get(5)?),
        recovery_model: row.get(6)?,
        owner_sid: row.get(7)?,
        last_full_backup_lsn: lsn(8)?,
        last_log_backup_lsn: lsn(9)?,
    })
}

/// The database `name`.
///
/// # Errors
/// SQLite's.
pub fn by_name(master: &Connection, name: &str) -> rusqlite::Result<Option<Database>> {
    first(master, &format!("{ROW} WHERE name = ?1"), [name], row)
}

/// The database with that id.
///
/// # Errors
/// SQLite's.
pub fn by_id(master: &Connection, id: i32) -> rusqlite::Result<Option<Database>> {
    first(master, &format!("{ROW} WHERE database_id = ?1"), [id], row)
}

/// Every database but `master`.
///
/// # Errors
/// SQLite's.
pub fn user_databases(master: &Connection) -> rusqlite::Result<Vec<Database>> {
    all(
        master,
        &format!("{ROW} WHERE database_id > 1 ORDER BY database_id"),
        [],
        row,
    )
}

/// What a new database is made of.
#[derive(Debug)]
pub struct New<'a> {
    /// Name.
    pub name: &'a str,
    /// File.
    pub path: &'a std::path::Path,
    /// Whether the file was there before.
    pub attached: bool,
    /// The file's identity here.
    pub database_guid: [u8; 16],
    /// The family.
    pub family_guid: [u8; 16],
    /// State.
    pub state: State,
    /// The SID of the login that owns it.
    pub owner_sid: &'a [u8],
}

/// Adds a database and its built-in users, and returns it.
///
/// # Errors
/// SQLite's.
pub fn insert(master: &Connection, new: &New<'_>) -> rusqlite::Result<Option<Database>> {
    let now = super::dates::now();
    master.execute(
        "INSERT INTO database (name, path, attached, database_guid, family_guid, state, recovery_model, owner_sid, create_date)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?8, ?7)",
        params![
            new.name,
            new.path.to_string_lossy(),
            new.attached,
            new.database_guid,
            new.family_guid,
            new.state.code(),
            now,
            new.owner_sid
        ],
    )?;
    let id = i32::try_from(master.last_insert_rowid()).unwrap_or(i32::MAX);
    super::principals::built_in_users(master, id, new.owner_sid, &now)?;
    by_id(master, id)
}

/// Whether another login owns a database of the same family as the one of that name.
///
/// # Errors
/// SQLite's.
pub fn family_is_shared(master: &Connection, name: &str) -> rusqlite::Result<bool> {
    let Some(database) = by_name(master, name)? else {
        return Ok(false);
    };
    master.query_row(
        "SELECT EXISTS (SELECT 1 FROM database WHERE family_guid = ?1 AND owner_sid <> ?2)",
        params![database.family_guid, database.owner_sid],
        |row| row.get(0),
    )
}

/// Makes the login with `sid` the owner of a database, and so its user `dbo`.
///
/// # Errors
/// SQLite's.
pub fn set_owner(master: &Connection, id: i32, sid: &[u8]) -> rusqlite::Result<()> {
    master.execute(
        "UPDATE database SET owner_sid = ?2 WHERE database_id = ?1",
        params![id, sid],
    )?;
    master
        .execute(
            "UPDATE database_principal SET sid = ?2 WHERE database_id = ?1 AND principal_id = 1",
            params![id, sid],
        )
        .map(drop)
}

/// Forgets a database and everything in it.
///
/// # Errors
/// SQLite's.
pub fn delete(master: &Connection, id: i32) -> rusqlite::Result<()> {
    for table in [
        "master_key",
        "master_key_password",
        "certificate",
        "database_principal",
        "database",
    ] {
        master.execute(&format!("DELETE FROM {table} WHERE database_id = ?1"), [id])?;
    }
    Ok(())
}

/// Sets the state.
///
/// # Errors
/// SQLite's.
pub fn set_state(master: &Connection, id: i32, state: State) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE database SET state = ?2 WHERE database_id = ?1",
            params![id, state.code()],
        )
        .map(drop)
}

/// Sets where the file lies.
///
/// # Errors
/// SQLite's.
pub fn set_path(master: &Connection, id: i32, path: &std::path::Path) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE database SET path = ?2 WHERE database_id = ?1",
            params![id, path.to_string_lossy()],
        )
        .map(drop)
}

/// Sets the family: the copy has been made anew from another database.
///
/// # Errors
/// SQLite's.
pub fn set_family(master: &Connection, id: i32, family_guid: &[u8; 16]) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE database SET family_guid = ?2 WHERE database_id = ?1",
            params![id, family_guid],
        )
        .map(drop)
}

/// Sets the recovery model. Leaving FULL ends the chain of log backups.
///
/// # Errors
/// SQLite's.
pub fn set_recovery_model(master: &Connection, id: i32, model: i32) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE database SET recovery_model = ?2, last_log_backup_lsn = iif(?2 = 3, NULL, last_log_backup_lsn)
              WHERE database_id = ?1",
            params![id, model],
        )
        .map(drop)
}

/// Stores where backups have got to.
///
/// # Errors
/// SQLite's.
pub fn set_backup_lsns(
    master: &Connection,
    id: i32,
    full: Option<u128>,
    log: Option<u128>,
) -> rusqlite::Result<()> {
    master
        .execute(
            "UPDATE database SET last_full_backup_lsn = ?2, last_log_backup_lsn = ?3 WHERE database_id = ?1",
            params![
                id,
                full.map(|lsn| lsn.to_string()),
                log.map(|lsn| lsn.to_string())
            ],
        )
        .map(drop)
}
