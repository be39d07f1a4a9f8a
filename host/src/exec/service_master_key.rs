//! BACKUP, RESTORE and ALTER SERVICE MASTER KEY, and the passwords that are kept under it.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::keys::{KeyError, STORED_PASSWORD_MAX, ServiceMasterKey};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use super::procedures::{bind, text_ref};
use super::{Done, Out, SqlSession, Stop, passwords};
use crate::catalog::keys::{self, ByServiceMasterKey, Sha256};
use crate::catalog::{MASTER_ID, databases, dates};
use crate::instance::random;
use crate::messages::{
    M911, M15151, M15233, M15276, M15313, M15317, M15329, M15448, M15451, M15530, M15584, M40510, M50113,
    Raised,
};
use crate::tsql::ast::{AlterServiceMasterKey, BackupMasterKey, Execute, RestoreMasterKey};

/// Most passwords that are kept for one family: each is tried on a key that does not open.
const KEPT_MAX: usize = 16;

impl SqlSession {
    /// The service master key under a password of the file's own.
    pub(super) fn backup_service_master_key(&self, backup: &BackupMasterKey) -> Done {
        passwords::check_policy(backup.password.expose(), None)?;
        let key = self.instance.service_master_key();
        let wrapped = key
            .wrap_by_password(
                backup.password.expose().as_bytes(),
                keys::iterations()?,
                &mut OsEntropy,
            )
            .and_then(|wrapped| wrapped.to_der())
            .map_err(keys::failed)?;
        self.write_key_file(&backup.file, &wrapped)
    }

    /// What was under the old key goes under the restored one; what had been under the restored one opens again.
    pub(super) fn restore_service_master_key(&self, restore: &RestoreMasterKey, out: &mut Out<'_>) -> Done {
        let wrapped = self.read_key_file(&restore.file)?;
        let key = ServiceMasterKey::unwrap_by_password(&wrapped, restore.decryption.expose().as_bytes())
            .map_err(|error| match error {
                KeyError::Rejected => M15313.refuse(&[&format!("key in the file '{}'", restore.file.value)]),
                other => M15317.refuse(&[&restore.file.value, &other]),
            })?;
        if key.guid::<Sha256>() == self.instance.service_master_key().guid::<Sha256>() {
            return Ok(out.message(&M50113.inform(&[]))?);
        }
        self.change_service_master_key(key, restore.force, out)
    }

    pub(super) fn alter_service_master_key(&self, change: &AlterServiceMasterKey, out: &mut Out<'_>) -> Done {
        match change {
            AlterServiceMasterKey::Regenerate { force } => {
                let key = ServiceMasterKey::generate(&mut OsEntropy).map_err(keys::failed)?;
                self.change_service_master_key(key, *force, out)
            }
            AlterServiceMasterKey::Account => Err(M40510
                .refuse(&[
                    &"ALTER SERVICE MASTER KEY WITH …_ACCOUNT",
                    &"the key is not protected by an account of the system. --service-key names what protects it",
                ])
                .into()),
            AlterServiceMasterKey::MachineKey { add: true } => Err(M15448.refuse(&[]).into()),
            AlterServiceMasterKey::MachineKey { add: false } => Err(M15451.refuse(&[]).into()),
        }
    }

    fn change_service_master_key(&self, key: ServiceMasterKey, force: bool, out: &mut Out<'_>) -> Done {
        let lost = self
            .instance
            .change_service_master_key(key, |catalog, old, new| rewrap(catalog, old, new, force))?;
        for what in lost {
            out.message(&M15584.inform(&[&what]))?;
        }
        Ok(())
    }

    /// `sp_control_dbmasterkey_password @db_name, @password, @action`: keeps (or forgets) a password that opens the master
    /// key of a database's family, for the day when this instance serves it.
    pub(super) fn control_master_key_password(&self, execute: &Execute) -> Done {
        const NAMES: [&str; 3] = ["db_name", "password", "action"];
        let arguments = bind(execute, &NAMES)?;
        let name = text_ref(execute, &arguments, 0, "@db_name")?;
        let password = text_ref(execute, &arguments, 1, "@password")?;
        let action = text_ref(execute, &arguments, 2, "@action")?;
        let add = match action.to_ascii_lowercase().as_str() {
            "add" => true,
            "drop" => false,
            _ => return Err(M15233.refuse(&[&"@action", &"it is 'add' or 'drop'"]).into()),
        };
        if password.is_empty() || password.len() > STORED_PASSWORD_MAX {
            let why = format!("a password of 1 to {STORED_PASSWORD_MAX} bytes is wanted");
            return Err(M15233.refuse(&[&"@password", &why]).into());
        }
        let database_id = self.change(|catalog| {
            let database = databases::by_name(catalog, name)?.ok_or_else(|| M911.refuse(&[&name]))?;
            if database.id == MASTER_ID {
                return Err(M15276.refuse(&[]).into());
            }
            let family = database.family_guid;
            let above = self.instance.service_master_key();
            let kept = keys::credentials(catalog, Some(&family))?;
            let full = kept.len() >= KEPT_MAX;
            let same = kept.into_iter().find(|kept| {
                above
                    .unwrap_stored_password(&kept.password, &family)
                    .is_ok_and(|kept| kept.expose() == password.as_bytes())
            });
            match (add, same) {
                (true, Some(_)) => Err(M15530
                    .refuse(&[&"kept password", &database.name])
                    .into()),
                (true, None) if full => {
                    let why = format!("{KEPT_MAX} passwords are kept for this database already; drop one first");
                    Err(M15233.refuse(&[&"@password", &why]).into())
                }
                (true, None) => {
                    let wrapped = above
                        .wrap_stored_password(password.as_bytes(), &family)
                        .map_err(keys::failed)?;
                    let guid = |guid: &[u8; 16]| crate::catalog::views::guid_text(guid);
                    catalog.execute(
                        "INSERT INTO master_key_credential (name, family_guid, password, create_date) VALUES (?1, ?2, ?3, ?4)",
                        params![
                            format!("##DBMKEY_{}_{}##", guid(&family), guid(&random()?)),
                            family,
                            wrapped.as_slice(),
                            dates::now()
                        ],
                    )?;
                    Ok(database.id)
                }
                (false, Some(kept)) => {
                    catalog.execute("DELETE FROM master_key_credential WHERE credential_id = ?1", [kept.id])?;
                    Ok(database.id)
                }
                (false, None) => Err(M15151
                    .refuse(&[&"drop", &"kept password of", &database.name])
                    .into()),
            }
        })?;
        if add {
            // It may open the key that is there; the guess takes a while, and the catalog is not held meanwhile.
            self.instance.open_by_kept_password(database_id)?;
        }
        Ok(())
    }
}

/// Takes everything that is under `old` to `new`; with `force` what does not open is given up, and named. What is under
/// another key than `old` stays as it is: it may be under `new`, which then opens it.
pub(super) fn rewrap(
    catalog: &Connection,
    old: &ServiceMasterKey,
    new: &ServiceMasterKey,
    force: bool,
) -> Result<Vec<String>, Stop> {
    let guid = old.guid::<Sha256>();
    let mut lost = Vec::new();
    let mut give_up = |what: String| -> Result<(), Raised> {
        if !force {
            return Err(M15329.refuse(&[&format!(
                "{what} does not open with the present service master key; FORCE gives it up"
            )]));
        }
        lost.push(what);
        Ok(())
    };
    for (id, name) in keys::databases(catalog)? {
        let Some(mut row) = keys::row(catalog, id)? else {
            continue;
        };
        let Some(by) = row
            .by_service_master_key
            .take()
            .filter(|by| by.guid == Some(guid))
        else {
            continue;
        };
        match by.open(old) {
            Ok(key) => row.by_service_master_key = Some(ByServiceMasterKey::wrap(&key, new)?),
            Err(_) => give_up(format!("the master key of '{name}'"))?,
        }
        keys::store(catalog, id, &row)?;
    }
    for kept in keys::credentials(catalog, None)? {
        match old.unwrap_stored_password(&kept.password, &kept.family_guid) {
            Ok(password) => {
                let password = Zeroizing::new(password.expose().to_vec());
                let wrapped = new
                    .wrap_stored_password(&password, &kept.family_guid)
                    .map_err(keys::failed)?;
                catalog.execute(
                    "UPDATE master_key_credential SET password = ?2 WHERE credential_id = ?1",
                    params![kept.id, wrapped.as_slice()],
                )?;
            }
            // Perhaps it was kept under the key that comes back.
            Err(_)
                if new
                    .unwrap_stored_password(&kept.password, &kept.family_guid)
                    .is_ok() => {}
            Err(_) => {
                give_up(format!("the kept password {}", kept.id))?;
                catalog.execute(
                    "DELETE FROM master_key_credential WHERE credential_id = ?1",
                    [kept.id],
                )?;
            }
        }
    }
    Ok(lost)
}
