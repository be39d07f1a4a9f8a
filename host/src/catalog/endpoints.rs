//! The mirroring endpoint of the catalog, and the permissions on it.

use rusqlite::{Connection, params};

use super::{all, dates, first};
use crate::engine::Connect;

/// `sys.server_permissions.class` of endpoints.
pub const CLASS_ENDPOINT: i32 = 105;

/// A row of `endpoint`. Codes are those of the views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `endpoint_id`; 0 for one that is not stored yet.
    pub id: i32,
    /// Name.
    pub name: String,
    /// The owning login.
    pub principal_id: i32,
    /// 0 STARTED, 1 STOPPED, 2 DISABLED: as asked for.
    pub state: i32,
    /// Why it cannot run although it was asked to.
    pub stopped_reason: Option<String>,
    /// LISTENER_PORT.
    pub port: u16,
    /// LISTENER_IP; nothing for ALL.
    pub ip_address: Option<String>,
    /// 1 PARTNER, 2 WITNESS, 3 ALL.
    pub role: i32,
    /// 1 to 10.
    pub connection_auth: i32,
    /// 0: none.
    pub certificate_id: i32,
    /// 0 to 8.
    pub encryption_algorithm: i32,
}

const ROW: &str =
    "SELECT endpoint_id, name, principal_id, state, stopped_reason, port, ip_address, role, connection_auth,
    certificate_id, encryption_algorithm FROM endpoint";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Endpoint> {
    Ok(Endpoint {
        id: row.get(0)?,
        name: row.get(1)?,
        principal_id: row.get(2)?,
        state: row.get(3)?,
        stopped_reason: row.get(4)?,
        port: row.get(5)?,
        ip_address: row.get(6)?,
        role: row.get(7)?,
        connection_auth: row.get(8)?,
        certificate_id: row.get(9)?,
        encryption_algorithm: row.get(10)?,
    })
}

/// The one mirroring endpoint.
///
/// # Errors
/// SQLite's.
pub fn mirroring(master: &Connection) -> rusqlite::Result<Option<Endpoint>> {
    first(master, &format!("{ROW} ORDER BY endpoint_id"), [], row)
}

/// The endpoint `name`.
///
/// # Errors
/// SQLite's.
pub fn by_name(master: &Connection, name: &str) -> rusqlite::Result<Option<Endpoint>> {
    first(master, &format!("{ROW} WHERE name = ?1"), [name], row)
}

/// Stores a new endpoint, or what has changed of one.
///
/// # Errors
/// SQLite's.
pub fn store(master: &Connection, endpoint: &Endpoint) -> rusqlite::Result<()> {
    master
        .execute(
            "INSERT INTO endpoint (endpoint_id, name, principal_id, state, stopped_reason, port, ip_address, role, connection_auth,
                                   certificate_id, encryption_algorithm, create_date)
             VALUES (nullif(?1, 0), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (endpoint_id) DO UPDATE SET state = excluded.state, stopped_reason = excluded.stopped_reason,
               port = excluded.port, ip_address = excluded.ip_address, role = excluded.role,
               connection_auth = excluded.connection_auth, certificate_id = excluded.certificate_id,
               encryption_algorithm = excluded.encryption_algorithm",
            params![
                endpoint.id,
                endpoint.name,
                endpoint.principal_id,
                endpoint.state,
                endpoint.stopped_reason,
                endpoint.port,
                endpoint.ip_address,
                endpoint.role,
                endpoint.connection_auth,
                endpoint.certificate_id,
                endpoint.encryption_algorithm,
                dates::now(),
            ],
        )
        .map(drop)
}

/// Forgets an endpoint and every permission on it.
///
/// # Errors
/// SQLite's.
pub fn delete(master: &Connection, id: i32) -> rusqlite::Result<()> {
    master.execute("DELETE FROM endpoint WHERE endpoint_id = ?1", [id])?;
    master
        .execute(
            "DELETE FROM server_permission WHERE class = ?1 AND major_id = ?2",
            params![CLASS_ENDPOINT, id],
        )
        .map(drop)
}

/// Whether `login` may CONNECT: a denial of it or of CONTROL beats everything, then a grant of either counts. Owning the
/// endpoint or administering the instance does not count.
///
/// # Errors
/// SQLite's.
pub fn connect_of(master: &Connection, endpoint_id: i32, login_id: i32) -> rusqlite::Result<Connect> {
    let states: Vec<String> = all(
        master,
        "SELECT state FROM server_permission WHERE class = ?1 AND major_id = ?2 AND grantee = ?3 AND type IN ('CO', 'CL')",
        params![CLASS_ENDPOINT, endpoint_id, login_id],
        |row| row.get(0),
    )?;
    Ok(if states.iter().any(|state| state == "D") {
        Connect::Denied
    } else if states.is_empty() {
        Connect::None
    } else {
        Connect::Granted
    })
}
