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

/// What came of a master key that a principal told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the one that is stored.
    Same,
    /// There was none.
    New,
    /// It took the place of another key.
    Replaced,
    /// It is the same key with other passwords.
    Passwords,
    /// The principal has none any more; the stored one was removed.
    Removed,
    /// The stored one stays: the private key of this certificate lies under it, and would be lost.
    Kept(String),
}

/// Takes the principal's master key over, in the caller's transaction.
///
/// A stored key under which private keys lie is neither removed nor exchanged, and loses no password: it was this
/// instance's own, and a partner's word must not cost what only it opens.
///
/// # Errors
/// `master.db` failed.
pub fn take(catalog: &Connection, database_id: i32, told: Option<MasterKeyRow>) -> rusqlite::Result<Taken> {
    let Some(own) = keys::row(catalog, database_id)? else {
        let Some(told) = told else { return Ok(Taken::Same) };
        keys::store(catalog, database_id, &told)?;
        return Ok(Taken::New);
    };
    let same_key = told.as_ref().is_some_and(|told| told.guid == own.guid);
    if same_key
        && told
            .as_ref()
            .is_some_and(|told| told.by_passwords == own.by_passwords)
    {
        return Ok(Taken::Same);
    }
    let loses = told.as_ref().is_none_or(|told| {
        !same_key
            || own
                .by_passwords
                .iter()
                .any(|own| !told.by_passwords.contains(own))
    });
    if loses && let Some(name) = keys::dependant(catalog, database_id)? {
        return Ok(Taken::Kept(name));
    }
    let Some(told) = told else {
        keys::delete(catalog, database_id)?;
        return Ok(Taken::Removed);
    };
    // The same key with other passwords opens by itself as before.
    let by_service_master_key = own.by_service_master_key.filter(|_| same_key);
    let row = MasterKeyRow {
        by_service_master_key,
        ..told
    };
    keys::store(catalog, database_id, &row)?;
    Ok(if same_key {
        Taken::Passwords
    } else {
        Taken::Replaced
    })
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

    /// A catalog with a database and, below its master key, a certificate's private key or none.
    fn catalog(own: Option<&MasterKeyRow>, dependant: bool) -> Connection {
        let mut catalog = Connection::open_in_memory().unwrap();
        crate::catalog::schema::migrate(&mut catalog).unwrap();
        if let Some(own) = own {
            keys::store(&catalog, 5, own).unwrap();
        }
        if dependant {
            catalog
                .execute(
                    "INSERT INTO certificate (database_id, name, principal_id, der, point, serial, issuer, subject, not_before,
                                              not_after, private_key, private_key_protection)
                     VALUES (5, 'theirs', 1, x'00', zeroblob(65), x'00', '', '', 0, 0, x'00', 'MK')",
                    [],
                )
                .unwrap();
        }
        catalog
    }

    fn by_service(row: MasterKeyRow) -> MasterKeyRow {
        MasterKeyRow {
            by_service_master_key: Some(ByServiceMasterKey {
                wrapped: vec![1],
                guid: Some([9; 16]),
            }),
            ..row
        }
    }

    #[test]
    fn a_master_key_with_private_keys_under_it_is_not_lost_on_a_partners_word() {
        let own = by_service(row(2));
        let mut other = row(1);
        other.guid = [8; 16];
        let mut more = own.clone();
        more.by_passwords.extend(row(1).by_passwords);
        let mut fewer = own.clone();
        fewer.by_passwords.pop();
        let exchanged = MasterKeyRow {
            by_passwords: row(2).by_passwords,
            ..own.clone()
        };
        let stored = |catalog: &Connection| {
            let row = keys::row(catalog, 5).unwrap().unwrap();
            (row.guid, row.by_passwords, row.by_service_master_key.is_some())
        };
        for told in [None, Some(other.clone()), Some(fewer), Some(exchanged.clone())] {
            let catalog = catalog(Some(&own), true);
            assert_eq!(take(&catalog, 5, told).unwrap(), Taken::Kept("theirs".to_owned()));
            assert_eq!(stored(&catalog), (own.guid, own.by_passwords.clone(), true));
        }
        // One password more costs nothing.
        let with = catalog(Some(&own), true);
        assert_eq!(take(&with, 5, Some(more.clone())).unwrap(), Taken::Passwords);
        assert_eq!(stored(&with), (own.guid, more.by_passwords, true));
        assert_eq!(take(&with, 5, keys::row(&with, 5).unwrap()).unwrap(), Taken::Same);
        // With nothing under it the principal's word counts.
        let without = || catalog(Some(&own), false);
        let at = without();
        assert_eq!(take(&at, 5, Some(exchanged.clone())).unwrap(), Taken::Passwords);
        assert_eq!(stored(&at), (own.guid, exchanged.by_passwords, true));
        let at = without();
        assert_eq!(take(&at, 5, Some(other.clone())).unwrap(), Taken::Replaced);
        assert_eq!(stored(&at), (other.guid, other.by_passwords.clone(), false));
        let at = without();
        assert_eq!(take(&at, 5, None).unwrap(), Taken::Removed);
        assert!(keys::row(&at, 5).unwrap().is_none());
        let empty = catalog(None, false);
        assert_eq!(take(&empty, 5, None).unwrap(), Taken::Same);
        assert_eq!(take(&empty, 5, Some(other)).unwrap(), Taken::New);
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
