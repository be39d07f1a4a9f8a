//! CREATE, OPEN, CLOSE, ALTER, BACKUP, RESTORE and DROP MASTER KEY.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{DatabaseMasterKey, KeyError, WrappedKey};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::{Done, Opened, Out, SqlSession, Stop, passwords};
use crate::catalog::certificates;
use crate::catalog::keys::{self, ByServiceMasterKey, MasterKeyRow};
use crate::instance::{read_bounded, write_new};
use crate::messages::{
    M7801, M15151, M15240, M15313, M15315, M15317, M15320, M15329, M15557, M15558, M15578, M15579, M15580,
    M15581, M15585, M50112, Raised,
};
use crate::tsql::ast::{AlterMasterKey, BackupMasterKey, KeyProtector, Password, RestoreMasterKey, Text};

/// Most bytes of a master key file.
const FILE_MAX: u64 = 4096;
/// What to do about a master key that is closed and needed.
const OPEN_FIRST: &str = "open it first, or FORCE gives up what it protects";

/// A password that does not open `what`, and everything else that may be wrong with a key.
fn not_opened(what: &str, error: KeyError) -> Raised {
    match error {
        KeyError::Rejected => M15313.refuse(&[&what]),
        other => keys::failed(other),
    }
}

impl SqlSession {
    /// CREATE MASTER KEY: random, wrapped by the password and by the service master key.
    pub(super) fn create_master_key(&mut self, password: Option<&Password>) -> Done {
        let Some(password) = password else {
            return Err(M7801.refuse(&[&"ENCRYPTION BY PASSWORD"]).into());
        };
        if keys::row(&self.instance.master(), self.database_id)?.is_some() {
            return Err(M15578.refuse(&[&self.database]).into());
        }
        passwords::check_policy(password.expose(), None)?;
        // The password costs a while: the catalog is not held meanwhile.
        let key = DatabaseMasterKey::generate(&mut OsEntropy).map_err(keys::failed)?;
        let mut row = MasterKeyRow::wrap(&key, password.expose())?;
        self.change(|catalog| {
            if keys::row(catalog, self.database_id)?.is_some() {
                return Err(M15578.refuse(&[&self.database]).into());
            }
            row.by_service_master_key = Some(self.wrap_by_service_master_key(&key)?);
            Ok(keys::store(catalog, self.database_id, &row)?)
        })
    }

    /// To be called while the catalog is held: the service master key changes only under that lock.
    fn wrap_by_service_master_key(&self, key: &DatabaseMasterKey) -> Result<ByServiceMasterKey, Raised> {
        ByServiceMasterKey::wrap(key, &self.instance.service_master_key())
    }

    /// How a message names the master key of the current database.
    fn master_key_name(&self) -> String {
        format!("master key of database '{}'", self.database)
    }

    /// OPEN MASTER KEY: for this session.
    pub(super) fn open_master_key(&mut self, password: &Password) -> Done {
        let row = keys::row(&self.instance.master(), self.database_id)?;
        let row = row.ok_or_else(|| M15581.refuse(&[&self.database]))?;
        let (_, key) = row
            .open_by_password(password.expose().as_bytes())
            .map_err(|error| not_opened(&self.master_key_name(), error))?;
        self.opened.insert(
            self.database_id,
            std::sync::Arc::new(Opened { guid: row.guid, key }),
        );
        Ok(())
    }

    /// CLOSE MASTER KEY: undoes OPEN.
    pub(super) fn close_master_key(&mut self) -> Done {
        if self.opened.remove(&self.database_id).is_some() {
            return Ok(());
        }
        match keys::row(&self.instance.master(), self.database_id)? {
            Some(_) => Err(M15315.refuse(&[&"##MS_DatabaseMasterKey##"]).into()),
            None => Err(M15581.refuse(&[&self.database]).into()),
        }
    }

    pub(super) fn alter_master_key(&mut self, change: &AlterMasterKey, out: &mut Out<'_>) -> Done {
        match change {
            AlterMasterKey::Regenerate { force, password } => {
                passwords::check_policy(password.expose(), None)?;
                self.key_ring().try_kept()?;
                let above = {
                    let master = self.instance.master();
                    let row = self.master_key_row(&master)?;
                    if !force && self.master_key(&master).is_err() {
                        return Err(M15329.refuse(&[&OPEN_FIRST]).into());
                    }
                    row.by_service_master_key.is_some()
                };
                let new = DatabaseMasterKey::generate(&mut OsEntropy).map_err(keys::failed)?;
                self.replace_master_key(new, password, above, *force, out)
            }
            AlterMasterKey::AddEncryption(protector) => self.add_encryption(protector),
            AlterMasterKey::DropEncryption(protector) => self.drop_encryption(protector),
        }
    }

    fn add_encryption(&mut self, protector: &KeyProtector) -> Done {
        match protector {
            KeyProtector::ServiceMasterKey => {
                // A copy that another service master key made is of no use here, and is replaced.
                let row = self.master_key_row(&self.instance.master())?;
                if row.closed_because(&self.instance.service_master_key()).is_none() {
                    return Err(M15579.refuse(&[&self.database, &"the service master key"]).into());
                }
                self.key_ring().try_kept()?;
                self.change(|catalog| {
                    let mut row = self.master_key_row(catalog)?;
                    let key = self.master_key(catalog)?;
                    row.by_service_master_key = Some(self.wrap_by_service_master_key(key.get())?);
                    Ok(keys::store(catalog, self.database_id, &row)?)
                })
            }
            KeyProtector::Password(password) => {
                passwords::check_policy(password.expose(), None)?;
                self.key_ring().try_kept()?;
                let row = self.master_key_row(&self.instance.master())?;
                let wrapped = {
                    let master = self.instance.master();
                    let key = self.master_key(&master)?;
                    drop(master);
                    if row.open_by_password(password.expose().as_bytes()).is_ok() {
                        return Err(M15579.refuse(&[&self.database, &"this password"]).into());
                    }
                    keys::wrap_by_password(key.get(), password.expose())?
                };
                self.change(|catalog| {
                    let mut now = self.master_key_row(catalog)?;
                    if now.guid != row.guid {
                        return Err(M15329
                            .refuse(&[&"it was changed by another session meanwhile; try again"])
                            .into());
                    }
                    now.by_passwords.push(wrapped);
                    Ok(keys::store(catalog, self.database_id, &now)?)
                })
            }
        }
    }

    fn drop_encryption(&mut self, protector: &KeyProtector) -> Done {
        match protector {
            KeyProtector::ServiceMasterKey => self.change(|catalog| {
                let mut row = self.master_key_row(catalog)?;
                if row.by_service_master_key.take().is_none() {
                    return Err(M15558.refuse(&[&self.database, &"the service master key"]).into());
                }
                if row.by_passwords.is_empty() {
                    return Err(M15557.refuse(&[&self.database]).into());
                }
                Ok(keys::store(catalog, self.database_id, &row)?)
            }),
            KeyProtector::Password(password) => {
                let row = self.master_key_row(&self.instance.master())?;
                let (at, _) = row
                    .open_by_password(password.expose().as_bytes())
                    .map_err(|error| not_opened(&self.master_key_name(), error))?;
                let dropped = row.by_passwords.get(at).cloned();
                self.change(|catalog| {
                    let mut now = self.master_key_row(catalog)?;
                    now.by_passwords
                        .retain(|wrapped| Some(wrapped) != dropped.as_ref());
                    // A copy under a service master key lives and dies with that; a password is what a person has.
                    if now.by_passwords.is_empty() {
                        return Err(M15557.refuse(&[&self.database]).into());
                    }
                    Ok(keys::store(catalog, self.database_id, &now)?)
                })
            }
        }
    }

    fn master_key_row(&self, catalog: &Connection) -> Result<MasterKeyRow, Stop> {
        Ok(keys::row(catalog, self.database_id)?.ok_or_else(|| M15581.refuse(&[&self.database]))?)
    }

    /// Puts `new` in the place of the master key: every private key under the old one is put under it, and one that is under
    /// `new` already stays. With `force` the ones that open by neither are given up, and named.
    fn replace_master_key(
        &mut self,
        new: DatabaseMasterKey,
        password: &Password,
        above: bool,
        force: bool,
        out: &mut Out<'_>,
    ) -> Done {
        let database_id = self.database_id;
        let mut row = MasterKeyRow::wrap(&new, password.expose())?;
        self.key_ring().try_kept()?;
        let lost = self.change(|catalog| {
            let old = self.master_key(catalog).ok();
            let mut lost = Vec::new();
            for certificate in certificates::every(catalog, database_id)? {
                let (Some(wrapped), "MK") = (&certificate.private_key, certificate.protection.as_str())
                else {
                    continue;
                };
                let opened = old
                    .as_ref()
                    .and_then(|old| keys::open_private_key(wrapped, old.get()).ok())
                    // A restored key may be the very one that it is under already.
                    .or_else(|| keys::open_private_key(wrapped, &new).ok());
                let (wrapped, protection) = match opened {
                    Some(private) => {
                        let wrapped = private
                            .wrap_by_database_master_key(&new)
                            .and_then(|wrapped| wrapped.to_der())
                            .map_err(keys::failed)?;
                        (Some(wrapped.to_vec()), "MK")
                    }
                    None if force => {
                        lost.push(certificate.name.clone());
                        (None, "NA")
                    }
                    None if old.is_none() => return Err(M15329.refuse(&[&OPEN_FIRST]).into()),
                    None => return Err(M15320.refuse(&[&certificate.name]).into()),
                };
                catalog.execute(
                    "UPDATE certificate SET private_key = ?2, private_key_protection = ?3 WHERE certificate_id = ?1",
                    params![certificate.id, wrapped, protection],
                )?;
            }
            if above {
                row.by_service_master_key = Some(self.wrap_by_service_master_key(&new)?);
            }
            keys::store(catalog, database_id, &row)?;
            Ok(lost)
        })?;
        self.opened.remove(&database_id);
        if !lost.is_empty() {
            self.refresh_pins()?;
        }
        for name in lost {
            out.message(&M15585.inform(&[&name]))?;
        }
        Ok(())
    }

    /// BACKUP MASTER KEY: the key under a password of the file's own.
    pub(super) fn backup_master_key(&self, backup: &BackupMasterKey) -> Done {
        passwords::check_policy(backup.password.expose(), None)?;
        self.key_ring().try_kept()?;
        let key = {
            let master = self.instance.master();
            self.master_key_row(&master)?;
            self.master_key(&master)?
        };
        let wrapped = keys::wrap_by_password(key.get(), backup.password.expose())?;
        self.write_key_file(&backup.file, &wrapped)
    }

    /// Writes a file that must not be there yet.
    pub(super) fn write_key_file(&self, file: &Text, bytes: &[u8]) -> Done {
        let refused = |why: &dyn std::fmt::Display| M15240.refuse(&[&file.value, why]);
        let path = self
            .instance
            .dir()
            .statement_file(&file.value)
            .map_err(|why| refused(&why))?;
        write_new(&path, bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => refused(&format!("{} exists", path.display())),
            _ => refused(&format!("{}: {error}", path.display())),
        })?;
        Ok(())
    }

    /// Reads what [`SqlSession::write_key_file`] wrote of a master key.
    pub(super) fn read_key_file(&self, file: &Text) -> Result<WrappedKey, Raised> {
        let refused = |why: &dyn std::fmt::Display| M15317.refuse(&[&file.value, why]);
        let path = self
            .instance
            .dir()
            .statement_file(&file.value)
            .map_err(|why| refused(&why))?;
        let bytes = read_bounded(&path, FILE_MAX)
            .map(Zeroizing::new)
            .map_err(|error| refused(&error))?;
        WrappedKey::from_der(&bytes).map_err(|error| refused(&error))
    }

    /// RESTORE MASTER KEY: what was under the old key goes under the restored one. A key that comes into a database without
    /// one is not put under the service master key by itself, as operators of the original know (and miss).
    pub(super) fn restore_master_key(&mut self, restore: &RestoreMasterKey, out: &mut Out<'_>) -> Done {
        let Some(password) = &restore.encryption else {
            return Err(M7801.refuse(&[&"ENCRYPTION BY PASSWORD"]).into());
        };
        passwords::check_policy(password.expose(), None)?;
        let wrapped = self.read_key_file(&restore.file)?;
        let key = DatabaseMasterKey::unwrap_by_password(&wrapped, restore.decryption.expose().as_bytes())
            .map_err(|error| match error {
                KeyError::Rejected => M15313.refuse(&[&format!("key in the file '{}'", restore.file.value)]),
                other => M15317.refuse(&[&restore.file.value, &other]),
            })?;
        let old = keys::row(&self.instance.master(), self.database_id)?;
        let above = old.is_some_and(|old| old.by_service_master_key.is_some());
        self.replace_master_key(key, password, above, restore.force, out)?;
        if !above {
            out.message(&M50112.inform(&[&self.database]))?;
        }
        Ok(())
    }

    /// DROP MASTER KEY: not while a private key is under it.
    pub(super) fn drop_master_key(&mut self) -> Done {
        let database_id = self.database_id;
        self.change(|catalog| {
            if keys::row(catalog, database_id)?.is_none() {
                return Err(M15151
                    .refuse(&[&"drop", &"symmetric key", &"##MS_DatabaseMasterKey##"])
                    .into());
            }
            if let Some(name) = keys::dependant(catalog, database_id)? {
                return Err(M15580.refuse(&[&name]).into());
            }
            Ok(keys::delete(catalog, database_id)?)
        })?;
        self.opened.remove(&database_id);
        Ok(())
    }
}
