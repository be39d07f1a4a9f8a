//! The certificates of the catalog, and the pins that they make.

use rusqlite::{Connection, params};

use super::{MASTER_ID, all, endpoints, first, principals};
use crate::engine::{Connect, Pin};

/// A row of `certificate`.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// `certificate_id`.
    pub id: i32,
    /// Name.
    pub name: String,
    /// The owning user.
    pub principal_id: i32,
    /// The certificate.
    pub der: Vec<u8>,
    /// Its public key.
    pub point: [u8; 65],
    /// First moment, seconds since 1970.
    pub not_before: i64,
    /// Last moment, seconds since 1970.
    pub not_after: i64,
    /// The private key at rest.
    pub private_key: Option<Vec<u8>>,
    /// `pvt_key_encryption_type`: NA, MK or PW.
    pub protection: String,
}

const ROW: &str = "SELECT certificate_id, name, principal_id, der, point, not_before, not_after, private_key,
    private_key_protection FROM certificate";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Certificate> {
    Ok(Certificate {
        id: row.get(0)?,
        name: row.get(1)?,
        principal_id: row.get(2)?,
        der: row.get(3)?,
        point: row.get(4)?,
        not_before: row.get(5)?,
        not_after: row.get(6)?,
        private_key: row.get(7)?,
        protection: row.get(8)?,
    })
}

/// The certificate `name` of a database.
///
/// # Errors
/// SQLite's.
pub fn by_name(master: &Connection, database_id: i32, name: &str) -> rusqlite::Result<Option<Certificate>> {
    first(
        master,
        &format!("{ROW} WHERE database_id = ?1 AND name = ?2"),
        params![database_id, name],
        row,
    )
}

/// The certificate with that id.
///
/// # Errors
/// SQLite's.
pub fn by_id(master: &Connection, id: i32) -> rusqlite::Result<Option<Certificate>> {
    first(master, &format!("{ROW} WHERE certificate_id = ?1"), [id], row)
}

/// The certificate with that id, if it lies in that database.
///
/// # Errors
/// SQLite's.
pub fn in_database(master: &Connection, database_id: i32, id: i32) -> rusqlite::Result<Option<Certificate>> {
    first(
        master,
        &format!("{ROW} WHERE database_id = ?1 AND certificate_id = ?2"),
        params![database_id, id],
        row,
    )
}

/// A property of a certificate, as CERTPROPERTY names it; nothing for an unknown one.
///
/// # Errors
/// SQLite's.
pub fn property(
    master: &Connection,
    database_id: i32,
    id: i32,
    name: &str,
) -> rusqlite::Result<Option<crate::tsql::Value>> {
    let column = match name.to_ascii_lowercase().as_str() {
        "expiry_date" => "dbm_date(not_after)",
        "start_date" => "dbm_date(not_before)",
        "issuer_name" => "issuer",
        "cert_serial_number" => "dbm_spaced_hex(serial)",
        "subject" => "subject",
        "sid" => "unhex('010600000000000901000000' || hex(dbm_sha1(der)))",
        "string_sid" => "dbm_string_sid(dbm_sha1(der))",
        _ => return Ok(None),
    };
    first(
        master,
        &format!("SELECT {column} FROM certificate WHERE database_id = ?1 AND certificate_id = ?2"),
        params![database_id, id],
        |row| row.get_ref(0).map(super::views::value),
    )
}

/// The certificate of a database with the same bytes.
///
/// # Errors
/// SQLite's.
pub fn by_der(master: &Connection, database_id: i32, der: &[u8]) -> rusqlite::Result<Option<Certificate>> {
    first(
        master,
        &format!("{ROW} WHERE database_id = ?1 AND der = ?2"),
        params![database_id, der],
        row,
    )
}

/// Every certificate of a database.
///
/// # Errors
/// SQLite's.
pub fn every(master: &Connection, database_id: i32) -> rusqlite::Result<Vec<Certificate>> {
    all(
        master,
        &format!("{ROW} WHERE database_id = ?1 ORDER BY certificate_id"),
        [database_id],
        row,
    )
}

/// What a new row is made of, beside what is in [`Certificate`].
#[derive(Debug)]
pub struct New<'a> {
    /// Its database.
    pub database_id: i32,
    /// Name.
    pub name: &'a str,
    /// The owning user.
    pub principal_id: i32,
    /// The certificate.
    pub der: &'a [u8],
    /// Its public key.
    pub point: &'a [u8; 65],
    /// Serial number, big-endian.
    pub serial: &'a [u8],
    /// Issuer for people.
    pub issuer: &'a str,
    /// Subject for people.
    pub subject: &'a str,
    /// First moment, seconds since 1970.
    pub not_before: i64,
    /// Last moment, seconds since 1970.
    pub not_after: i64,
    /// The private key at rest, with its protection (MK or PW).
    pub private_key: Option<(&'a [u8], &'static str)>,
    /// ACTIVE FOR BEGIN_DIALOG.
    pub active: bool,
}

/// Adds a certificate and returns its id.
///
/// # Errors
/// SQLite's.
pub fn insert(master: &Connection, new: &New<'_>) -> rusqlite::Result<i32> {
    master.execute(
        "INSERT INTO certificate (database_id, name, principal_id, der, point, serial, issuer, subject, not_before, not_after,
                                  private_key, private_key_protection, is_active_for_begin_dialog)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            new.database_id,
            new.name,
            new.principal_id,
            new.der,
            new.point,
            new.serial,
            new.issuer,
            new.subject,
            new.not_before,
            new.not_after,
            new.private_key.map(|(key, _)| key),
            new.private_key.map_or("NA", |(_, protection)| protection),
            new.active,
        ],
    )?;
    Ok(i32::try_from(master.last_insert_rowid()).unwrap_or(i32::MAX))
}

/// The pins: every certificate of `master`, with the login that its owner stands for and that login's CONNECT on the
/// endpoint. `docs/operations.md`, "Who may connect".
///
/// # Errors
/// SQLite's.
pub fn pins(master: &Connection) -> rusqlite::Result<Vec<Pin>> {
    let endpoint = endpoints::mirroring(master)?;
    let mut pins = Vec::new();
    for certificate in every(master, MASTER_ID)? {
        let (owner, sid): (String, Option<Vec<u8>>) = first(
            master,
            "SELECT name, sid FROM database_principal WHERE database_id = ?1 AND principal_id = ?2",
            params![MASTER_ID, certificate.principal_id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .unwrap_or_default();
        let login = match sid {
            Some(sid) => principals::login_of_sid(master, &sid)?,
            None => None,
        };
        let connect = match (&login, &endpoint) {
            (Some(login), Some(endpoint)) => endpoints::connect_of(master, endpoint.id, login.id)?,
            _ => Connect::None,
        };
        pins.push(Pin {
            certificate_id: certificate.id,
            der: certificate.der,
            point: certificate.point,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            login_id: login.as_ref().map(|login| login.id),
            login_name: login.map_or(owner, |login| login.name),
            connect,
            own: certificate.private_key.is_some(),
        });
    }
    Ok(pins)
}
