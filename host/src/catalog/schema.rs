//! The tables of `master.db`, with the version they have and the steps from one version to the next.
//!
//! The catalog's tables are those below. What the engine keeps lies in a file of its own, `engine.db` (docs/engine.md).

use rusqlite::{Connection, TransactionBehavior};

/// The version that this build reads and writes (`PRAGMA user_version`).
const VERSION: i64 = 3;
/// Marks the file as ours (`PRAGMA application_id`): "DBMm".
const APPLICATION_ID: i64 = 0x4442_4d6d;

/// One step per version: `STEPS[n]` leads from version n to n + 1.
const STEPS: &[&str] = &[FIRST, ROTATION, KEYS];

/// Version 1.
///
/// Identities are never used twice (AUTOINCREMENT): a login or certificate that was dropped must not lend its number to the
/// next one while a connection still carries it. Dates are UTC, `YYYY-MM-DD hh:mm:ss.mmm`; certificate validity is in seconds since
/// 1970.
const FIRST: &str = r"
CREATE TABLE instance (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  instance_id BLOB NOT NULL CHECK (length(instance_id) = 16),
  name TEXT NOT NULL,
  service_master_key_guid BLOB NOT NULL CHECK (length(service_master_key_guid) = 16),
  create_date TEXT NOT NULL
) STRICT;

CREATE TABLE server_principal (
  principal_id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL COLLATE NOCASE UNIQUE,
  sid BLOB NOT NULL UNIQUE,
  type TEXT NOT NULL,
  is_disabled INTEGER NOT NULL DEFAULT 0,
  create_date TEXT NOT NULL,
  modify_date TEXT NOT NULL,
  default_database TEXT,
  default_language TEXT,
  check_policy INTEGER NOT NULL DEFAULT 1,
  check_expiration INTEGER NOT NULL DEFAULT 0,
  must_change INTEGER NOT NULL DEFAULT 0,
  password_salt BLOB,
  password_iterations INTEGER,
  password_hash BLOB
) STRICT;

CREATE TABLE database (
  database_id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL COLLATE NOCASE UNIQUE,
  path TEXT NOT NULL,
  attached INTEGER NOT NULL DEFAULT 0,          -- 1: the file was there before and stays after DROP
  database_guid BLOB NOT NULL,
  family_guid BLOB NOT NULL,
  state INTEGER NOT NULL,                       -- sys.databases.state
  recovery_model INTEGER NOT NULL,              -- sys.databases.recovery_model
  owner_sid BLOB NOT NULL,
  last_full_backup_lsn TEXT,                    -- end of the last full backup taken here
  last_log_backup_lsn TEXT,                     -- where the next log backup begins
  create_date TEXT NOT NULL
) STRICT;

CREATE TABLE database_principal (
  database_id INTEGER NOT NULL,
  principal_id INTEGER NOT NULL,
  name TEXT NOT NULL COLLATE NOCASE,
  type TEXT NOT NULL,
  sid BLOB,
  authentication_type INTEGER NOT NULL,
  default_schema TEXT,
  is_fixed_role INTEGER NOT NULL DEFAULT 0,
  certificate_id INTEGER,
  create_date TEXT NOT NULL,
  modify_date TEXT NOT NULL,
  PRIMARY KEY (database_id, principal_id),
  UNIQUE (database_id, name)
) STRICT;

CREATE TABLE master_key (
  database_id INTEGER PRIMARY KEY,
  key_guid BLOB NOT NULL,
  by_password BLOB NOT NULL,                    -- docs/keys.md, wrapped key
  by_service_master_key BLOB,                   -- absent: every session must OPEN MASTER KEY
  create_date TEXT NOT NULL,
  modify_date TEXT NOT NULL
) STRICT;

CREATE TABLE certificate (
  certificate_id INTEGER PRIMARY KEY AUTOINCREMENT,
  database_id INTEGER NOT NULL,
  name TEXT NOT NULL COLLATE NOCASE,
  principal_id INTEGER NOT NULL,
  der BLOB NOT NULL,
  point BLOB NOT NULL CHECK (length(point) = 65),
  serial BLOB NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  private_key BLOB,                             -- docs/keys.md, wrapped key
  private_key_protection TEXT NOT NULL,         -- NA, MK or PW
  is_active_for_begin_dialog INTEGER NOT NULL DEFAULT 1,
  private_key_last_backup TEXT,
  UNIQUE (database_id, name),
  UNIQUE (database_id, der)
) STRICT;

CREATE TABLE endpoint (
  endpoint_id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL COLLATE NOCASE UNIQUE,
  principal_id INTEGER NOT NULL,
  state INTEGER NOT NULL,                       -- as asked for; codes of sys.endpoints.state
  stopped_reason TEXT,                          -- why it cannot run although it was asked to
  port INTEGER NOT NULL,
  ip_address TEXT,                              -- NULL: ALL
  role INTEGER NOT NULL,
  connection_auth INTEGER NOT NULL,
  certificate_id INTEGER NOT NULL,              -- 0: none
  encryption_algorithm INTEGER NOT NULL,
  create_date TEXT NOT NULL
) STRICT;

CREATE TABLE server_permission (
  class INTEGER NOT NULL,
  major_id INTEGER NOT NULL,
  grantee INTEGER NOT NULL,
  grantor INTEGER NOT NULL,
  type TEXT NOT NULL,
  state TEXT NOT NULL,                          -- G, W or D
  PRIMARY KEY (class, major_id, grantee, type)
) STRICT, WITHOUT ROWID;

-- User-made identities begin where operators expect them.
INSERT INTO sqlite_sequence (name, seq) VALUES
  ('server_principal', 256), ('database', 4), ('certificate', 255), ('endpoint', 65535);
";

/// Version 2: certificates that are replaced over standing connections (`docs/operations.md`, "Renewing certificates").
const ROTATION: &str = r"
CREATE TABLE rotation (
  rotation_id INTEGER PRIMARY KEY AUTOINCREMENT,
  state INTEGER NOT NULL,                       -- 1 DISTRIBUTING … 6 CANCELLED
  notice INTEGER NOT NULL UNIQUE,               -- the number under which peers are told now
  endpoint_id INTEGER NOT NULL,
  old_certificate_id INTEGER NOT NULL,
  old_certificate TEXT NOT NULL,
  old_digest BLOB NOT NULL CHECK (length(old_digest) = 32),
  new_certificate_id INTEGER NOT NULL,
  new_certificate TEXT NOT NULL,
  new_digest BLOB NOT NULL CHECK (length(new_digest) = 32),
  start_date TEXT NOT NULL,
  switch_date TEXT,
  end_date TEXT
) STRICT;

CREATE TABLE rotation_peer (
  rotation_id INTEGER NOT NULL,
  login_id INTEGER NOT NULL,
  instance_id BLOB NOT NULL CHECK (length(instance_id) = 16),
  confirmed_date TEXT,                          -- it has stored the successor
  completed_date TEXT,                          -- it has completed a handshake with the successor
  told_date TEXT,                               -- it knows that the predecessor is gone
  refusal INTEGER,
  refusal_reason INTEGER,
  PRIMARY KEY (rotation_id, login_id, instance_id)
) STRICT, WITHOUT ROWID;

-- Pins that no operator imported: their peer handed them over.
CREATE TABLE certificate_origin (
  certificate_id INTEGER PRIMARY KEY,
  login_id INTEGER NOT NULL,
  instance_id BLOB NOT NULL,
  predecessor TEXT NOT NULL,
  received_date TEXT NOT NULL,
  used_date TEXT                                -- NULL: the peer has not come with it yet
) STRICT;
";

/// Version 3: a master key may have several passwords; the catalog knows by which service master key it is wrapped (its guid is
/// made from the key; zero, or none in `master_key`, until the next start has found out); passwords that open the master
/// key of a database's family.
const KEYS: &str = r"
CREATE TABLE master_key_password (
  master_key_password_id INTEGER PRIMARY KEY AUTOINCREMENT,
  database_id INTEGER NOT NULL,
  wrapped BLOB NOT NULL                         -- docs/keys.md, wrapped key
) STRICT;
CREATE INDEX master_key_password_of ON master_key_password (database_id);
INSERT INTO master_key_password (database_id, wrapped) SELECT database_id, by_password FROM master_key;
ALTER TABLE master_key DROP COLUMN by_password;
ALTER TABLE master_key ADD COLUMN service_master_key_guid BLOB; -- which one by_service_master_key is wrapped by
UPDATE instance SET service_master_key_guid = zeroblob(16);

CREATE TABLE master_key_credential (
  credential_id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,                    -- ##DBMKEY_family_random##
  family_guid BLOB NOT NULL,
  password BLOB NOT NULL,                       -- docs/keys.md, stored password
  create_date TEXT NOT NULL
) STRICT;
";

/// Brings the catalog behind `master` to this build's version, and tells whether it was new.
///
/// # Errors
/// Why the file cannot be the catalog of this build.
pub fn migrate(master: &mut Connection) -> Result<bool, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let version: i64 = master
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(text)?;
    if version > VERSION {
        return Err(format!(
            "it has version {version}, and this dbmirror knows versions up to {VERSION}. Use a newer dbmirror."
        ));
    }
    let new = version == 0;
    if new {
        let tables: i64 = master
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(text)?;
        if tables > 0 {
            return Err("it is a SQLite database, but not one of dbmirror".to_owned());
        }
    } else {
        let id: i64 = master
            .query_row("PRAGMA application_id", [], |row| row.get(0))
            .map_err(text)?;
        if id != APPLICATION_ID {
            return Err("it is a SQLite database, but not one of dbmirror".to_owned());
        }
    }
    let mut at = version;
    while at < VERSION {
        let step = usize::try_from(at).ok().and_then(|at| STEPS.get(at));
        let step = step.ok_or_else(|| format!("there is no way from version {at}"))?;
        let transaction = master
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        transaction.execute_batch(step).map_err(text)?;
        at += 1;
        transaction
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {at};"
            ))
            .map_err(text)?;
        transaction.commit().map_err(text)?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_catalog_is_made_once() {
        let mut master = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut master), Ok(true));
        assert_eq!(migrate(&mut master), Ok(false));
        master.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(migrate(&mut master).unwrap_err().contains("version 99"));
    }

    /// A step that has shipped stays as it is: catalogs of that version are out there. What changes is a further step.
    #[test]
    fn the_steps_are_frozen() {
        use sha2::{Digest, Sha256};
        let digests: Vec<_> = STEPS
            .iter()
            .map(|step| hex::encode(&Sha256::digest(step)[..8]))
            .collect();
        assert_eq!(
            digests,
            ["8fd10bf44ff5b151", "8e3007876874760e", "00efbde32ccbdd4e"]
        );
    }

    /// A catalog of version 1, with its one password beside the master key: both open as before.
    #[test]
    fn a_master_key_of_the_first_version_goes_on_opening() {
        use crate::catalog::keys;
        use dbmirror_core::keys::{DatabaseMasterKey, Iterations, ServiceMasterKey};
        let entropy = &mut dbmirror_adapters::entropy::OsEntropy;
        let above = ServiceMasterKey::generate(entropy).unwrap();
        let key = DatabaseMasterKey::generate(entropy).unwrap();
        let few = Iterations::new(10).unwrap();
        let by_password = key
            .wrap_by_password(b"secret", few, entropy)
            .unwrap()
            .to_der()
            .unwrap();
        let by_service = key.wrap_by_service_master_key(&above).unwrap().to_der().unwrap();
        let mut master = Connection::open_in_memory().unwrap();
        master.execute_batch(FIRST).unwrap();
        master
            .execute_batch(&format!(
                "INSERT INTO instance VALUES (1, randomblob(16), 'A', randomblob(16), 'now');
                 INSERT INTO database VALUES (1, 'master', '', 0, x'00', x'00', 0, 3, x'01', NULL, NULL, 'now');
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
            ))
            .unwrap();
        master
            .execute(
                "INSERT INTO master_key VALUES (1, zeroblob(16), ?1, ?2, 'then', 'then')",
                (by_password.as_slice(), by_service.as_slice()),
            )
            .unwrap();
        assert_eq!(migrate(&mut master), Ok(false));
        assert_eq!(keys::service_master_key_guid(&master), Ok(None));
        keys::set_service_master_key(&master, &above).unwrap();
        let row = keys::row(&master, 1).unwrap().unwrap();
        assert!(row.open(&above).unwrap().unwrap().ct_eq(&key));
        assert!(row.open_by_password(b"secret").unwrap().1.ct_eq(&key));
        // Another service master key is recognised as such.
        let other = ServiceMasterKey::generate(entropy).unwrap();
        assert!(
            row.closed_because(&other)
                .unwrap()
                .contains("another service master key")
        );
    }

    #[test]
    fn other_databases_are_refused() {
        let mut other = Connection::open_in_memory().unwrap();
        other.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(migrate(&mut other).unwrap_err().contains("not one of dbmirror"));
    }
}
