//! A user database's master key as it travels with its mirroring session, and the passwords that are kept to open it
//! (`docs/keys.md`, "A master key that travels").

use dbmirror_core::keys::{
    DatabaseMasterKey, KeyKind, OpenedPassword, Protection, ServiceMasterKey, WrappedKey,
};
use rusqlite::{Connection, params};

use super::databases;
use super::keys::{self, ByServiceMasterKey, MasterKeyRow, failed};
use crate::messages::Raised;

/// The form of what travels.
const VERSION: u8 = 1;
/// Most passwords that travel.
const PASSWORDS_MAX: usize = 8;
/// The most that one of them may cost here: another instance chose the count.
const ITERATIONS_MAX: u32 = 1_000_000;

/// What the partner is told: the key wrapped by its passwords; empty without a key. The copy under this instance's service
/// master key stays here: it is of no use there.
#[must_use]
pub fn encode(row: Option<&MasterKeyRow>) -> Vec<u8> {
    let Some(row) = row else { return Vec::new() };
    let mut bytes = vec![VERSION];
    bytes.extend(row.guid);
    let passwords = row
        .by_passwords
        .iter()
        .filter(|wrapped| wrapped.len() < 256)
        .take(PASSWORDS_MAX);
    bytes.push(u8::try_from(passwords.clone().count()).unwrap_or(0));
    for wrapped in passwords {
        bytes.push(u8::try_from(wrapped.len()).unwrap_or(0));
        bytes.extend(wrapped);
    }
    bytes
}

/// What a principal said; nothing when it has no master key.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Option<MasterKeyRow>, &'static str> {
    let Some((version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if *version != VERSION {
        return Err("it has a form of a newer version");
    }
    let cut = "it is cut short";
    let (guid, rest) = rest.split_first_chunk::<16>().ok_or(cut)?;
    let (count, mut rest) = rest.split_first().ok_or(cut)?;
    if !(1..=PASSWORDS_MAX).contains(&usize::from(*count)) {
        return Err("it has no password, or too many");
    }
    let mut by_passwords = Vec::new();
    for _ in 0..*count {
        let (length, behind) = rest.split_first().ok_or(cut)?;
        let (wrapped, behind) = behind.split_at_checked(usize::from(*length)).ok_or(cut)?;
        let read = WrappedKey::from_der(wrapped).map_err(|_| "it holds no wrapped key")?;
        match read.protection() {
            Protection::Password { iterations, .. }
                if read.kind() == KeyKind::DatabaseMasterKey && iterations.get() <= ITERATIONS_MAX => {}
            _ => {
                return Err(
                    "it holds another key than a master key under a password of at most 1,000,000 iterations",
                );
            }
        }
        by_passwords.push(wrapped.to_vec());
        rest = behind;
    }
    if !rest.is_empty() {
        return Err("something stands behind its end");
    }
    Ok(Some(MasterKeyRow {
        guid: *guid,
        by_passwords,
        by_service_master_key: None,
    }))
}

/// Takes the principal's master key over. Whether anything has changed.
///
/// # Errors
/// `master.db` failed.
pub fn take(catalog: &Connection, database_id: i32, told: Option<MasterKeyRow>) -> rusqlite::Result<bool> {
    let own = keys::row(catalog, database_id)?;
    match (&own, told) {
        (None, None) => return Ok(false),
        (Some(_), None) => keys::delete(catalog, database_id)?,
        (Some(own), Some(told)) if own.guid == told.guid && own.by_passwords == told.by_passwords => {
            return Ok(false);
        }
        (own, Some(told)) => {
            // The same key with other passwords opens by itself as before.
            let by_service_master_key = own
                .as_ref()
                .filter(|own| own.guid == told.guid)
                .and_then(|own| own.by_service_master_key.clone());
            let row = MasterKeyRow {
                by_service_master_key,
                ..told
            };
            keys::store(catalog, database_id, &row)?;
        }
    }
    Ok(true)
}

/// A master key that does not open by itself, and the passwords that were kept for its database's family: each costs a while
/// to try, so it can be done without holding the catalog.
pub struct Closed {
    database_id: i32,
    row: MasterKeyRow,
    passwords: Vec<OpenedPassword>,
}

impl Closed {
    /// The master key of a database, when it is closed and passwords were kept for it.
    ///
    /// # Errors
    /// `master.db` failed.
    pub fn find(
        catalog: &Connection,
        database_id: i32,
        above: &ServiceMasterKey,
    ) -> rusqlite::Result<Option<Self>> {
        let row = keys::row(catalog, database_id)?.filter(|row| row.closed_because(above).is_some());
        let (Some(row), Some(database)) = (row, databases::by_id(catalog, database_id)?) else {
            return Ok(None);
        };
        let passwords: Vec<_> = keys::credentials(catalog, Some(&database.family_guid))?
            .iter()
            .filter_map(|kept| {
                above
                    .unwrap_stored_password(&kept.password, &kept.family_guid)
                    .ok()
            })
            .collect();
        Ok((!passwords.is_empty()).then_some(Self {
            database_id,
            row,
            passwords,
        }))
    }

    /// Tries the passwords.
    #[must_use]
    pub fn open(&self) -> Option<DatabaseMasterKey> {
        self.passwords
            .iter()
            .find_map(|password| self.row.open_by_password(password.expose()).ok())
            .map(|(_, key)| key)
    }

    /// Puts the opened key under the service master key, unless it was exchanged meanwhile.
    ///
    /// # Errors
    /// `master.db` failed, or a key operation.
    pub fn keep_open(
        &self,
        catalog: &Connection,
        key: &DatabaseMasterKey,
        above: &ServiceMasterKey,
    ) -> Result<(), Raised> {
        let now = keys::row(catalog, self.database_id)?.filter(|now| now.guid == self.row.guid);
        if let Some(mut row) = now {
            row.by_service_master_key = Some(ByServiceMasterKey::wrap(key, above)?);
            keys::store(catalog, self.database_id, &row)?;
        }
        Ok(())
    }
}

/// Opens a master key that does not open by itself by a password that was kept for the database's family; it opens by itself
/// from then on.
///
/// # Errors
/// `master.db` failed, or a key operation.
pub fn open_by_kept(
    catalog: &Connection,
    database_id: i32,
    above: &ServiceMasterKey,
) -> Result<Option<DatabaseMasterKey>, Raised> {
    let Some(closed) = Closed::find(catalog, database_id, above)? else {
        return Ok(None);
    };
    let Some(key) = closed.open() else { return Ok(None) };
    closed.keep_open(catalog, &key, above)?;
    Ok(Some(key))
}

/// The database has become a copy of another family (automatic seeding): the passwords that were kept for it go along, unless
/// another database is of the old family too.
///
/// # Errors
/// `master.db` failed, or a key operation.
pub fn change_family(
    catalog: &Connection,
    database_id: i32,
    family: &[u8; 16],
    above: &ServiceMasterKey,
) -> Result<(), Raised> {
    let Some(database) = databases::by_id(catalog, database_id)? else {
        return Ok(());
    };
    let old = database.family_guid;
    databases::set_family(catalog, database_id, family)?;
    if old != *family {
        let shared = databases::user_databases(catalog)?
            .iter()
            .any(|other| other.id != database_id && other.family_guid == old);
        for kept in keys::credentials(catalog, Some(&old))?
            .into_iter()
            .filter(|_| !shared)
        {
            let Ok(password) = above.unwrap_stored_password(&kept.password, &old) else {
                continue;
            };
            let wrapped = above
                .wrap_stored_password(password.expose(), family)
                .map_err(failed)?;
            catalog.execute(
                "UPDATE master_key_credential SET family_guid = ?2, password = ?3 WHERE credential_id = ?1",
                params![kept.id, family, wrapped.as_slice()],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(passwords: usize) -> MasterKeyRow {
        let key = DatabaseMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy).unwrap();
        let few = dbmirror_core::keys::Iterations::new(1).unwrap();
        let wrap = |_| {
            let wrapped = key
                .wrap_by_password(b"x", few, &mut dbmirror_adapters::entropy::OsEntropy)
                .unwrap();
            wrapped.to_der().unwrap().to_vec()
        };
        MasterKeyRow {
            guid: [7; 16],
            by_passwords: (0..passwords).map(wrap).collect(),
            by_service_master_key: None,
        }
    }

    #[test]
    fn there_and_back() {
        assert!(decode(&encode(None)).unwrap().is_none());
        for passwords in [1, 8] {
            let row = row(passwords);
            let bytes = encode(Some(&row));
            assert!(bytes.len() <= dbmirror_core::session::ATTACHMENT_LEN_MAX);
            let told = decode(&bytes).unwrap().unwrap();
            assert_eq!((told.guid, told.by_passwords), (row.guid, row.by_passwords));
        }
        // More passwords than travel: the first ones do.
        assert_eq!(
            decode(&encode(Some(&row(9))))
                .unwrap()
                .unwrap()
                .by_passwords
                .len(),
            8
        );
    }

    #[test]
    fn what_a_hostile_principal_says_is_refused_whole() {
        let bytes = encode(Some(&row(2)));
        for length in 1..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(decode(&with(0, 2)).is_err(), "version");
        assert!(decode(&with(17, 0)).is_err(), "no password");
        assert!(decode(&with(17, 9)).is_err(), "too many");
        assert!(decode(&with(18, 1)).is_err(), "no wrapped key");
        let costly = {
            let key = DatabaseMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy).unwrap();
            let many = dbmirror_core::keys::Iterations::new(ITERATIONS_MAX + 1).unwrap();
            let wrapped = key
                .wrap_by_password(b"x", many, &mut dbmirror_adapters::entropy::OsEntropy)
                .unwrap();
            MasterKeyRow {
                guid: [7; 16],
                by_passwords: vec![wrapped.to_der().unwrap().to_vec()],
                by_service_master_key: None,
            }
        };
        assert!(
            decode(&encode(Some(&costly))).is_err(),
            "a password that costs too much"
        );
        // Kind 3, a private key.
        assert!(decode(&with(19 + 7, 3)).is_err());
    }
}
