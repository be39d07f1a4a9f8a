//! Logins of the instance and users of its databases.

use rusqlite::{Connection, params};

use super::{all, first};

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `principal_id`.
    pub id: i32,
    /// Name.
    pub name: String,
    /// SID: what users refer to.
    pub sid: Vec<u8>,
    /// `type`: S, U, C or R.
    pub kind: String,
}

/// A user of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `principal_id` in its database.
    pub id: i32,
    /// Name.
    pub name: String,
    /// `type`: S, U, C or R.
    pub kind: String,
    /// SID of its login; of its own without one.
    pub sid: Option<Vec<u8>>,
    /// Whether it belongs to the system.
    pub built_in: bool,
}

fn login_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Login> {
    Ok(Login {
        id: row.get(0)?,
        name: row.get(1)?,
        sid: row.get(2)?,
        kind: row.get(3)?,
    })
}

/// The server principal `name`, role or login.
///
/// # Errors
/// SQLite's.
pub fn principal(master: &Connection, name: &str) -> rusqlite::Result<Option<Login>> {
    first(
        master,
        "SELECT principal_id, name, sid, type FROM server_principal WHERE name = ?1",
        [name],
        login_row,
    )
}

/// The login `name`; roles are none.
///
/// # Errors
/// SQLite's.
pub fn login(master: &Connection, name: &str) -> rusqlite::Result<Option<Login>> {
    Ok(principal(master, name)?.filter(|found| found.kind != "R"))
}

/// The login with `sid`.
///
/// # Errors
/// SQLite's.
pub fn login_of_sid(master: &Connection, sid: &[u8]) -> rusqlite::Result<Option<Login>> {
    first(
        master,
        "SELECT principal_id, name, sid, type FROM server_principal WHERE sid = ?1 AND type <> 'R'",
        [sid],
        login_row,
    )
}

const USER: &str =
    "SELECT principal_id, name, type, sid, principal_id < 5 OR is_fixed_role FROM database_principal";

fn user_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        kind: row.get(2)?,
        sid: row.get(3)?,
        built_in: row.get(4)?,
    })
}

/// The user or role `name` of a database.
///
/// # Errors
/// SQLite's.
pub fn user(master: &Connection, database_id: i32, name: &str) -> rusqlite::Result<Option<User>> {
    first(
        master,
        &format!("{USER} WHERE database_id = ?1 AND name = ?2"),
        params![database_id, name],
        user_row,
    )
}

/// The users of a database that stand for the login with `sid`.
///
/// # Errors
/// SQLite's.
pub fn user_of_sid(master: &Connection, database_id: i32, sid: &[u8]) -> rusqlite::Result<Option<User>> {
    first(
        master,
        &format!("{USER} WHERE database_id = ?1 AND sid = ?2"),
        params![database_id, sid],
        user_row,
    )
}

/// The users and roles that every database has.
///
/// # Errors
/// SQLite's.
pub fn built_in_users(
    master: &Connection,
    database_id: i32,
    owner_sid: &[u8],
    now: &str,
) -> rusqlite::Result<()> {
    let dbo = Some(owner_sid);
    let guest: Option<&[u8]> = Some(&[0]);
    let users = [
        (0, "public", "R", None, 0, None),
        (1, "dbo", "S", dbo, 1, Some("dbo")),
        (2, "guest", "S", guest, 0, Some("guest")),
        (3, "INFORMATION_SCHEMA", "S", None, 0, None),
        (4, "sys", "S", None, 0, None),
        (16384, "db_owner", "R", None, 0, None),
    ];
    for (id, name, kind, sid, authentication, schema) in users {
        master.execute(
            "INSERT INTO database_principal (database_id, principal_id, name, type, sid, authentication_type, default_schema,
                                             is_fixed_role, create_date, modify_date)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?2 >= 16384, ?8, ?8)",
            params![database_id, id, name, kind, sid, authentication, schema, now],
        )?;
    }
    Ok(())
}

/// The names of what a database's user owns: certificates.
///
/// # Errors
/// SQLite's.
pub fn owned_certificates(
    master: &Connection,
    database_id: i32,
    user_id: i32,
) -> rusqlite::Result<Vec<String>> {
    all(
        master,
        "SELECT name FROM certificate WHERE database_id = ?1 AND principal_id = ?2 ORDER BY certificate_id",
        params![database_id, user_id],
        |row| row.get(0),
    )
}
