//! What happens when an instance starts: every key and certificate is checked, so that the log says what will fail before
//! it fails; then databases and endpoint go to the engine.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::Instance;
use super::endpoint;
use crate::catalog::{MASTER_ID, certificates, databases, dates, endpoints, keys};
use crate::errorlog;
use crate::messages::{M1444, M28024, M28037, M50106, M50107, Raised};
use crate::provider::CHANNEL_CRYPTO;

/// Checks and starts everything; what fails is logged, and kept from nothing else.
pub(super) fn run(instance: &Instance) {
    errorlog::raised(&M50107.inform(&[
        &instance.name(),
        &std::process::id(),
        &instance.dir().root().display(),
        &env!("CARGO_PKG_VERSION"),
        &CHANNEL_CRYPTO,
    ]));
    let master = instance.master();
    let checked = check(instance, &master);
    for finding in &checked {
        errorlog::raised(finding);
    }
    if let Err(error) = attach(instance, &master) {
        errorlog::raised(&error);
    }
    if let Err(error) = endpoint::refresh_pins(instance, &master) {
        errorlog::raised(&error);
    }
    if let Err(error) = crate::rotation::own::tell_engine(instance, &master) {
        errorlog::raised(&error);
    }
    match endpoint::start_if_wanted(instance, &master) {
        Ok(Some(address)) => tracing::info!("the endpoint of the catalog was started on {address}"),
        Ok(None) => {}
        Err(error) => errorlog::raised(&error),
    }
}

/// What is wrong with keys and certificates, or soon will be.
pub(super) fn check(instance: &Instance, master: &Connection) -> Vec<Raised> {
    let mut findings = Vec::new();
    let mut note = |finding: Raised| findings.push(finding);
    let master_key = match keys::row(master, MASTER_ID) {
        Ok(row) => row,
        Err(error) => {
            note(error.into());
            return findings;
        }
    };
    let opened = match &master_key {
        None => None,
        Some(row) => {
            let above = instance.service_master_key();
            match row.open(&above) {
                Ok(Some(key)) => Some(key),
                Ok(None) => {
                    let why = row.closed_because(&above).unwrap_or_default();
                    note(M50106.inform(&[&format!(
                        "the master key of master does not open by itself, so connections cannot use the private keys under it: {why}"
                    )]));
                    None
                }
                Err(error) => {
                    note(M28037.inform(&[&format!("The master key of master: {}", error.text)]));
                    None
                }
            }
        }
    };
    let now = dates::now_unix();
    let own = endpoints::mirroring(master)
        .ok()
        .flatten()
        .map_or(0, |endpoint| endpoint.certificate_id);
    for certificate in certificates::every(master, MASTER_ID).unwrap_or_default() {
        let name = &certificate.name;
        if now < certificate.not_before {
            let at = dates::from_unix(certificate.not_before).unwrap_or_default();
            note(M28024.inform(&[name, &at]));
        } else if let Some(warning) = crate::rotation::expiry_warning(&certificate, now) {
            note(warning);
        }
        if let (Some(wrapped), "MK", Some(key)) =
            (&certificate.private_key, certificate.protection.as_str(), &opened)
        {
            match keys::open_private_key(wrapped, key) {
                Ok(private) if private.belongs_to::<keys::Crypto>(&certificate.point) => {}
                Ok(_) => note(M28037.inform(&[&format!(
                    "The stored private key does not fit the certificate '{name}'"
                )])),
                Err(error) => note(M28037.inform(&[&format!("Certificate '{name}': {error}")])),
            }
        }
    }
    findings.extend(endpoint_key(instance, master, own));
    findings.extend(other_master_keys(instance, master));
    findings
}

/// Whether the endpoint can prove itself; if not, which key of the chain does not open, and what to do.
fn endpoint_key(instance: &Instance, master: &Connection, certificate_id: i32) -> Option<Raised> {
    if certificate_id == 0 {
        return None;
    }
    Some(match endpoint::identity(instance, master, certificate_id) {
        Ok(_) => M50106.inform(&[
            &"the key of the endpoint can be opened: service master key, master key of master, private key of its certificate",
        ]),
        Err(error) => M28037.inform(&[&format!("Start-up check: the key of the endpoint cannot be opened. {}", error.text)]),
    })
}

/// Master keys of user databases that do not open by themselves, and by no kept password.
fn other_master_keys(instance: &Instance, master: &Connection) -> Vec<Raised> {
    let above = instance.service_master_key();
    let mut findings = Vec::new();
    for (id, name) in keys::databases(master).unwrap_or_default() {
        if id == MASTER_ID {
            continue;
        }
        let Ok(Some(row)) = keys::row(master, id) else {
            continue;
        };
        let kept = databases::by_id(master, id)
            .ok()
            .flatten()
            .and_then(|database| keys::credentials(master, Some(&database.family_guid)).ok())
            .is_some_and(|kept| !kept.is_empty());
        match (row.open(&above), row.closed_because(&above)) {
            (Err(error), _) => {
                findings.push(M50106.inform(&[&format!("the master key of '{name}': {}", error.text)]))
            }
            (Ok(None), Some(why)) if !kept => {
                findings.push(M50106.inform(&[&format!(
                    "the master key of '{name}' does not open by itself: {why}"
                )]));
            }
            (Ok(_), _) => {}
        }
    }
    findings
}

/// Removes the files of seeds and restores that an instance which ended left unfinished; both begin anew. They are as large as their
/// databases.
fn remove_seeds(data: &Path, databases: &[databases::Database]) {
    let Ok(entries) = std::fs::read_dir(data) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let unfinished = name.as_bytes().ends_with(b".db-seed")
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && databases.iter().all(|database| database.path != path);
        if unfinished && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(
                "{}, which an unfinished seed left, cannot be removed: {error}",
                path.display()
            );
        }
    }
}

/// Gives the databases to the engine. One whose file cannot be taken in is shown RECOVERY_PENDING, and tried again at the
/// next start.
fn attach(instance: &Instance, master: &Connection) -> Result<(), Raised> {
    for (id, _) in keys::databases(master)? {
        instance.publish_master_key(master, id)?;
    }
    let data = instance.dir().root().join("data");
    let user_databases = databases::user_databases(master)?;
    let ids = user_databases.iter().map(|database| database.id).collect();
    if let Err(error) = instance.engine().forget_databases_but(ids) {
        errorlog::raised(&error.into());
    }
    remove_seeds(&data, &user_databases);
    for mut database in user_databases {
        // A file of the instance's own lies in its directory, wherever that was moved or copied to.
        if let Some(file) = database.path.file_name().filter(|_| !database.attached)
            && database.path != data.join(file)
        {
            database.path = data.join(file);
            databases::set_path(master, database.id, &database.path)?;
        }
        if database.state == databases::State::Restoring {
            errorlog::raised(&M1444.inform(&[&database.name]));
        }
        match instance.engine().attach_database(database.config()) {
            Ok(()) if database.state == databases::State::RecoveryPending => {
                databases::set_state(master, database.id, databases::State::Online)?;
            }
            Ok(()) => {}
            Err(error) => {
                errorlog::raised(&Raised::from(error).and(&format!("Database '{}'.", database.name)));
                if database.state == databases::State::Online {
                    databases::set_state(master, database.id, databases::State::RecoveryPending)?;
                }
            }
        }
    }
    Ok(())
}
