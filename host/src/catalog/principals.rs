//! Logins of the instance and users of its databases.

use rusqlite::{Connection, params};

use super::{SA_ID, all, dates, first};

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

pub(crate) fn login_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Login> {
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

/// `sys.server_permissions.class` of the server.
pub const CLASS_SERVER: i32 = 100;

/// `sys.server_permissions.class` of a login.
pub const CLASS_LOGIN: i32 = 101;

/// A login before it is stored.
#[derive(Debug)]
pub struct NewLogin<'a> {
    /// Name.
    pub name: &'a str,
    /// SID.
    pub sid: &'a [u8],
    /// `type`: S or C.
    pub kind: &'a str,
    /// Its default database.
    pub default_database: &'a str,
    /// Its default language.
    pub default_language: &'a str,
    /// CHECK_POLICY.
    pub check_policy: bool,
    /// CHECK_EXPIRATION.
    pub check_expiration: bool,
    /// MUST_CHANGE.
    pub must_change: bool,
    /// Salt, iterations and hash of its password, if it has one.
    pub password: Option<([u8; 16], u32, [u8; 32])>,
}

/// Stores a login, with the right to connect to the server that every login with a password is born with. Returns its id.
///
/// # Errors
/// SQLite's.
pub fn insert_login(master: &Connection, new: &NewLogin<'_>) -> rusqlite::Result<i32> {
    let (salt, iterations, hash) = match new.password {
        None => (None, None, None),
        Some((salt, iterations, hash)) => (Some(salt), Some(iterations), Some(hash)),
    };
    master.execute(
        "INSERT INTO server_principal (name, sid, type, create_date, modify_date, default_database, default_language,
                                       check_policy, check_expiration, must_change, password_salt, password_iterations,
                                       password_hash)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            new.name,
            new.sid,
            new.kind,
            dates::now(),
            new.default_database,
            new.default_language,
            new.check_policy,
            new.check_expiration,
            new.must_change,
            salt,
            iterations,
            hash,
        ],
    )?;
    let id = i32::try_from(master.last_insert_rowid()).unwrap_or(i32::MAX);
    if new.kind == "S" {
        put_permission(master, CLASS_SERVER, 0, id, "COSQ", SA_ID, "G")?;
    }
    Ok(id)
}

/// A user before it is stored.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Its database.
    pub database_id: i32,
    /// Name.
    pub name: &'a str,
    /// `type`: S or C.
    pub kind: &'a str,
    /// SID of its login, or of its own.
    pub sid: &'a [u8],
    /// `authentication_type`: 0 or 1.
    pub authentication: i32,
    /// Its default schema.
    pub default_schema: &'a str,
    /// The certificate that it was made from.
    pub certificate_id: Option<i32>,
}

/// Stores a user and returns its id.
///
/// # Errors
/// SQLite's.
pub fn insert_user(master: &Connection, new: &NewUser<'_>) -> rusqlite::Result<i32> {
    master.query_row(
        "INSERT INTO database_principal (database_id, principal_id, name, type, sid, authentication_type, default_schema,
                                         certificate_id, create_date, modify_date)
         VALUES (?1, (SELECT max(max(principal_id), 4) + 1 FROM database_principal
                       WHERE database_id = ?1 AND principal_id < 16384),
                 ?2, ?3, ?4, ?5, iif(?3 = 'S', ?6, NULL), ?7, ?8, ?8)
         RETURNING principal_id",
        params![
            new.database_id,
            new.name,
            new.kind,
            new.sid,
            new.authentication,
            new.default_schema,
            new.certificate_id,
            dates::now()
        ],
        |row| row.get(0),
    )
}

/// Grants or denies: `state` is G, W or D.
///
/// # Errors
/// SQLite's.
pub fn put_permission(
    master: &Connection,
    class: i32,
    major_id: i32,
    grantee: i32,
    code: &str,
    grantor: i32,
    state: &str,
) -> rusqlite::Result<()> {
    master
        .execute(
            "INSERT INTO server_permission (class, major_id, grantee, type, grantor, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET grantor = excluded.grantor, state = excluded.state",
            params![class, major_id, grantee, code, grantor, state],
        )
        .map(drop)
}
