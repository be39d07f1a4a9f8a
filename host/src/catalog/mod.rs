//! The catalog: what `master.db` holds, and the views that show it.

pub mod certificates;
pub mod columns;
pub mod databases;
pub mod dates;
pub mod endpoints;
pub mod functions;
pub mod keys;
pub mod principals;
pub mod rotations;
pub mod schema;
pub mod traveling;
pub mod views;

use std::path::Path;

use dbmirror_core::entropy::Entropy;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

/// `master`'s database_id.
pub const MASTER_ID: i32 = 1;
/// The login of whoever administers the instance.
pub const SA_ID: i32 = 1;
/// `sa`'s and `dbo`'s SID.
pub const SA_SID: &[u8] = &[1];

/// Fills a new catalog: the instance itself, its built-in principals, `master`.
///
/// # Errors
/// SQLite's; a failed entropy source shows as a NULL that the schema refuses.
pub fn first_rows(
    master: &mut Connection,
    name: &str,
    path: &Path,
    entropy: &mut dyn Entropy,
) -> rusqlite::Result<()> {
    let mut guid = || {
        let mut guid = [0; 16];
        entropy.fill_public(&mut guid).ok().map(|()| guid)
    };
    let now = dates::now();
    let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO instance (only, instance_id, name, service_master_key_guid, create_date) VALUES (1, ?1, ?2, ?3, ?4)",
        params![guid(), name, guid(), now],
    )?;
    for (id, name, sid, kind) in [
        (SA_ID, "sa", SA_SID, "S"),
        (2, "public", &[2], "R"),
        (3, "sysadmin", &[3], "R"),
    ] {
        transaction.execute(
            "INSERT INTO server_principal (principal_id, name, sid, type, create_date, modify_date, default_database,
                                           default_language)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, iif(?4 = 'S', 'master', NULL), iif(?4 = 'S', 'us_english', NULL))",
            params![id, name, sid, kind, now],
        )?;
    }
    transaction.execute(
        "INSERT INTO database (database_id, name, path, database_guid, family_guid, state, recovery_model, owner_sid, create_date)
         VALUES (1, 'master', ?1, ?2, ?3, 0, 3, x'01', ?4)",
        params![path.to_string_lossy(), guid(), guid(), now],
    )?;
    principals::built_in_users(&transaction, MASTER_ID, SA_SID, &now)?;
    transaction.commit()
}

/// The instance's id and name.
///
/// # Errors
/// SQLite's.
pub fn identity(master: &Connection) -> rusqlite::Result<([u8; 16], String)> {
    master.query_row("SELECT instance_id, name FROM instance", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The first row of `sql`, if any.
pub(crate) fn first<T>(
    master: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    master.prepare_cached(sql)?.query_row(parameters, read).optional()
}

/// Every row of `sql`.
pub(crate) fn all<T>(
    master: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    master.prepare_cached(sql)?.query_map(parameters, read)?.collect()
}
