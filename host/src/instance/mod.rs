//! One running instance: its directory, its catalog, its service master key, its engine.

mod dir;
pub mod endpoint;
mod follow;
mod service_key;
mod startup;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};

use self::follow::{Told, lock};
use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::keys::{RootKey as _, ServiceMasterKey, settle};
use rusqlite::Connection;

pub use dir::{DataDir, read_bounded, write_new};
pub use service_key::{ServiceKeyPlace, ServiceKeySource};

use crate::catalog::keys::Sha256;
use crate::engine::{CertificateEvent, DatabaseChange, Engine, EngineConfig, LogLine, Notices};
use crate::{catalog, exit};

/// The most characters of an instance's name.
const NAME_MAX: usize = 128;

/// Why an instance does not start.
#[derive(Debug)]
pub enum StartError {
    /// Another process serves the directory.
    InUse(String),
    /// The directory cannot be used, is damaged, or belongs to an instance of another name.
    Unusable(String),
    /// The name it was given cannot be an instance's.
    Name(String),
}

impl StartError {
    /// The exit code of the command.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::InUse(_) => exit::DIRECTORY_IN_USE,
            Self::Unusable(_) => exit::DIRECTORY_UNUSABLE,
            Self::Name(_) => exit::USAGE,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(text) | Self::Unusable(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

/// What an instance is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its directory; made when it is missing.
    pub dir: PathBuf,
    /// Its name (`@@SERVERNAME`); fixed when the directory is made.
    pub name: String,
    /// What LISTENER_IP = ALL means here.
    pub bind: Option<IpAddr>,
    /// What protects its service master key.
    pub service_key: ServiceKeySource,
    /// Whether a service master key that cannot be had may be replaced by a new one.
    pub new_service_key: bool,
    /// Its endpoint is stored and never listens: a catalog that is made here for another machine (`dbmirror provision`).
    pub offline: bool,
}

/// A running instance, shared by every session.
pub struct Instance {
    dir: DataDir,
    name: String,
    id: [u8; 16],
    bind: IpAddr,
    offline: bool,
    service_master_key: RwLock<Arc<ServiceMasterKey>>,
    place: Mutex<ServiceKeyPlace>,
    master: Mutex<Connection>,
    engine: Engine,
}

impl Instance {
    /// Opens the directory (making it on the first start), checks every key and certificate, and starts the engine with
    /// the databases and the endpoint of the catalog. What will not work is logged, and does not keep the rest from working.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: &Options, quiet: bool) -> Result<Arc<Self>, StartError> {
        check_name(&options.name)?;
        // Whatever is made from here on is the owner's alone.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let dir = DataDir::open(&options.dir)?;
        crate::errorlog::install(&dir.error_log(), quiet)
            .map_err(|error| StartError::Unusable(format!("the error log cannot be opened: {error}")))?;
        // Whoever started it may not be there to read what it says of itself.
        Self::start_in(options, dir)
            .inspect_err(|error| tracing::error!("The instance did not start: {error}"))
    }

    fn start_in(options: &Options, dir: DataDir) -> Result<Arc<Self>, StartError> {
        let unusable = |error: String| StartError::Unusable(format!("{}: {error}", dir.master().display()));
        let mut master = open_master(&dir.master()).map_err(unusable)?;
        let new = catalog::schema::migrate(&mut master).map_err(unusable)?;
        let mut place = ServiceKeyPlace::new(dir.service_master_key(), options.service_key.clone())
            .map_err(StartError::Unusable)?;
        let service_master_key = service_master_key(&mut place, &master, new, options.new_service_key)
            .map_err(StartError::Unusable)?;
        if new {
            catalog::first_rows(&mut master, &options.name, &dir.master(), &mut OsEntropy)
                .map_err(|error| unusable(error.to_string()))?;
        }
        let of_catalog =
            catalog::keys::service_master_key_guid(&master).map_err(|error| unusable(error.to_string()))?;
        // With a staged key beside it, what the catalog says is all that tells which of the two it belongs to.
        if of_catalog.is_none_or(|guid| guid == service_master_key.guid::<Sha256>()) || !place.has_staged() {
            catalog::keys::set_service_master_key(&master, &service_master_key)
                .map_err(|error| unusable(error.to_string()))?;
        }
        let (id, name) = catalog::identity(&master).map_err(|error| unusable(error.to_string()))?;
        if !name.eq_ignore_ascii_case(&options.name) {
            return Err(StartError::Unusable(format!(
                "the directory {} is another instance's: it belongs to '{name}', not to '{}'",
                dir.root().display(),
                options.name
            )));
        }
        let (changes, changes_told) = mpsc::channel();
        let told = Told::default();
        let (certificates, certificate_events) = mpsc::channel();
        let engine = Engine::start(
            EngineConfig {
                dir: dir.root().to_owned(),
                instance_id: id,
                instance_name: name.clone(),
            },
            Arc::new(Follower {
                changes: Mutex::new(changes),
                told: Arc::clone(&told),
                certificates: Mutex::new(certificates),
            }),
        )
        .map_err(|error| StartError::Unusable(error.to_string()))?;
        let instance = Arc::new(Self {
            dir,
            name,
            id,
            bind: options.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            offline: options.offline,
            service_master_key: RwLock::new(Arc::new(service_master_key)),
            place: Mutex::new(place),
            master: Mutex::new(master),
            engine,
        });
        follow::start(&instance, changes_told, told);
        startup::run(&instance);
        crate::rotation::follow(&instance, certificate_events)
            .map_err(|error| StartError::Unusable(format!("no thread can be started: {error}")))?;
        Ok(instance)
    }

    /// Its directory.
    #[must_use]
    pub const fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id: random, made with the directory.
    #[must_use]
    pub const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What LISTENER_IP = ALL means.
    #[must_use]
    pub const fn bind(&self) -> IpAddr {
        self.bind
    }

    /// Whether its endpoint never listens.
    #[must_use]
    pub const fn is_offline(&self) -> bool {
        self.offline
    }

    /// The key above the database master keys. Whoever wraps something by it holds the catalog while doing so: the key
    /// changes only under that lock.
    #[must_use]
    pub fn service_master_key(&self) -> Arc<ServiceMasterKey> {
        Arc::clone(
            &self
                .service_master_key
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Puts `key` above everything: `rewrite` brings the catalog from the old key to the new one, in one transaction. A stop
    /// at any moment leaves a catalog whose key the next start finds.
    ///
    /// # Errors
    /// What `rewrite` says, or the place of the key; nothing has changed then. After a COMMIT that failed the next start finds
    /// out which key it left, and no other change is begun before.
    pub fn change_service_master_key<T, E: From<crate::messages::Raised> + From<rusqlite::Error>>(
        &self,
        key: ServiceMasterKey,
        rewrite: impl FnOnce(&Connection, &ServiceMasterKey, &ServiceMasterKey) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |why: String| E::from(crate::messages::M15508.refuse(&[&why]));
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut master = self.master();
        place.stage(&key).map_err(failed)?;
        let old = self.service_master_key();
        let mut committing = false;
        let changed = (|| -> Result<T, E> {
            let transaction = master.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let changed = rewrite(&transaction, &old, &key)?;
            catalog::keys::set_service_master_key(&transaction, &key)?;
            committing = true;
            transaction.commit()?;
            Ok(changed)
        })();
        if changed.is_err() {
            // A COMMIT that failed may be durable.
            match committing {
                true => place.hold(),
                false => place.unstage(),
            }
            return changed;
        }
        if let Err(why) = place.promote() {
            place.hold();
            // The catalog belongs to the staged key, which the next start promotes.
            tracing::error!(
                "the new service master key stays beside the old one until the next start: {why}"
            );
        }
        *self
            .service_master_key
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        changed
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The catalog, to oneself. Not to be held over calls of the engine that wait for a partner or a disk.
    pub fn master(&self) -> MutexGuard<'_, Connection> {
        // A statement that panicked has rolled its transaction back when it dropped it.
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the engine which master key a mirror of that database is to be told.
    ///
    /// # Errors
    /// `master.db` failed.
    pub fn publish_master_key(
        &self,
        master: &Connection,
        database_id: i32,
    ) -> Result<(), crate::messages::Raised> {
        if database_id != catalog::MASTER_ID {
            let row = catalog::keys::row(master, database_id)?;
            let bytes = catalog::traveling::encode(row.as_ref());
            self.engine.set_master_key(database_id, bytes);
        }
        Ok(())
    }

    /// What is wrong with keys and certificates, or soon will be: what the error log says at every start.
    #[must_use]
    pub fn health(&self) -> Vec<crate::messages::Raised> {
        startup::check(self, &self.master())
    }

    /// Ends everything in order.
    pub fn stop(&self) {
        self.engine.shutdown();
    }
}

/// What the engine calls.
struct Follower {
    told: Told,
    changes: Mutex<mpsc::Sender<(i32, DatabaseChange)>>,
    certificates: Mutex<mpsc::Sender<CertificateEvent>>,
}

impl Notices for Follower {
    fn log(&self, line: LogLine) {
        use std::fmt::Write as _;
        let mut text = line.text;
        for (name, value) in &line.fields {
            let _ = match value.contains([' ', '"', '=']) || value.is_empty() {
                true => write!(
                    text,
                    " {name}=\"{}\"",
                    value.replace('\\', "\\\\").replace('"', "\\\"")
                ),
                false => write!(text, " {name}={value}"),
            };
        }
        let (msg, level, state) = (line.number, line.severity, line.state);
        match (level > 10, msg > 0) {
            (true, true) => tracing::error!(msg, level, state, "{text}"),
            (true, false) => tracing::error!("{text}"),
            (false, true) => tracing::info!(msg, level, state, "{text}"),
            (false, false) => tracing::info!("{text}"),
        }
    }

    fn database_changed(&self, database_id: i32, change: DatabaseChange) {
        if let DatabaseChange::MasterKey { bytes } = &change
            && lock(&self.told).insert(database_id, bytes.clone()).is_some()
        {
            // The one before is still to be looked at.
            return;
        }
        // Nobody listens any more when the instance is ending.
        let _ = lock(&self.changes).send((database_id, change));
    }

    fn certificate(&self, event: CertificateEvent) {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more when the instance is ending.
        let _ = certificates.send(event);
    }
}

fn check_name(name: &str) -> Result<(), StartError> {
    if name.is_empty()
        || name.chars().count() > NAME_MAX
        || name.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(StartError::Name(format!(
            "'{}' cannot be the name of an instance: it needs 1 to {NAME_MAX} characters without blanks",
            name.escape_default()
        )));
    }
    Ok(())
}

fn open_master(path: &Path) -> Result<Connection, String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // SQLite takes the mode of the files beside it (-wal, -shm) from the database's.
    std::fs::File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| error.to_string())?;
    let open = || {
        let master = Connection::open(path)?;
        master.busy_timeout(std::time::Duration::from_secs(10))?;
        master.pragma_update(None, "journal_mode", "WAL")?;
        master.pragma_update(None, "synchronous", "FULL")?;
        // What was dropped (wrapped keys, hashes) does not stay behind in free pages.
        master.pragma_update(None, "secure_delete", true)?;
        master.set_prepared_statement_cache_capacity(64);
        catalog::functions::register(&master)?;
        Ok(master)
    };
    open().map_err(|error: rusqlite::Error| error.to_string())
}

/// Finds the service master key, or makes it together with the catalog. A catalog without its key is refused: making a new one
/// unasked would only hide what was lost.
fn service_master_key(
    place: &mut ServiceKeyPlace,
    master: &Connection,
    new: bool,
    may_make_new: bool,
) -> Result<ServiceMasterKey, String> {
    let catalog = match new {
        true => None,
        false => catalog::keys::service_master_key_guid(master).map_err(|error| error.to_string())?,
    };
    let found = match settle::<Sha256, _>(place, catalog.as_ref()) {
        Err(why) if may_make_new => {
            tracing::warn!("{why}. A new one is made, as --new-service-key asks for");
            None
        }
        found => found?,
    };
    if let Some(key) = found {
        // Only now: a staged key that is the catalog's has been promoted.
        if place.protect()? {
            tracing::info!("the service master key was put behind the passphrase");
        }
        return Ok(key);
    }
    if !new && !may_make_new {
        return Err(format!(
            "{}: the service master key is missing. Restore the file from a backup of the directory, or start once with --new-service-key and open the master keys by their passwords",
            place.path().display()
        ));
    }
    place.set_aside()?;
    let key = ServiceMasterKey::generate(&mut OsEntropy).map_err(|error| error.to_string())?;
    place.stage(&key)?;
    place.promote()?;
    Ok(key)
}

/// Fills `out` with random bytes that may be seen.
///
/// # Errors
/// When the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], crate::messages::Raised> {
    let mut out = [0; N];
    OsEntropy
        .fill_public(&mut out)
        .map_err(|error| crate::messages::M15508.refuse(&[&error]))?;
    Ok(out)
}
