//! One running instance: its directory, its catalog, its service master key, its engine.

mod dir;
pub mod endpoint;
mod startup;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::keys::ServiceMasterKey;
use rusqlite::Connection;

pub use dir::{DataDir, read_bounded, write_new};

use crate::catalog::keys::Sha256;
use crate::engine::{DatabaseChange, Engine, EngineConfig, LogLine, Notices};
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
}

impl StartError {
    /// The exit code of the command.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::InUse(_) => exit::DIRECTORY_IN_USE,
            Self::Unusable(_) => exit::DIRECTORY_UNUSABLE,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(text) | Self::Unusable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

/// What an instance is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory; made when it is missing.
    pub dir: PathBuf,
    /// Its name (`@@SERVERNAME`); fixed when the directory is made.
    pub name: String,
    /// What LISTENER_IP = ALL means here.
    pub bind: Option<IpAddr>,
}

/// A running instance, shared by every session.
pub struct Instance {
    dir: DataDir,
    name: String,
    id: [u8; 16],
    bind: IpAddr,
    service_master_key: ServiceMasterKey,
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
        let unusable = |error: String| StartError::Unusable(format!("{}: {error}", dir.master().display()));
        let mut master = open_master(&dir.master()).map_err(unusable)?;
        let new = catalog::schema::migrate(&mut master).map_err(unusable)?;
        let service_master_key = service_master_key(&dir.service_master_key(), new)?;
        if new {
            catalog::first_rows(&mut master, &options.name, &dir.master(), &mut OsEntropy)
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
        let (changes, follow) = mpsc::channel();
        let engine = Engine::start(
            EngineConfig {
                dir: dir.root().to_owned(),
                instance_id: id,
                instance_name: name.clone(),
            },
            Arc::new(Follower {
                changes: Mutex::new(changes),
            }),
        )
        .map_err(|error| StartError::Unusable(error.to_string()))?;
        let instance = Arc::new(Self {
            dir,
            name,
            id,
            bind: options.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            service_master_key,
            master: Mutex::new(master),
            engine,
        });
        instance.follow(follow);
        startup::run(&instance);
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

    /// The key above the database master keys.
    #[must_use]
    pub const fn service_master_key(&self) -> &ServiceMasterKey {
        &self.service_master_key
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

    /// Ends everything in order.
    pub fn stop(&self) {
        self.engine.shutdown();
    }

    /// Follows what the engine tells of databases, on a thread of its own: the engine must not wait for the catalog, which
    /// a statement may hold while it waits for the engine.
    fn follow(self: &Arc<Self>, changes: mpsc::Receiver<(i32, DatabaseChange)>) {
        let instance = Arc::downgrade(self);
        let spawned = std::thread::Builder::new()
            .name("catalog".to_owned())
            .spawn(move || {
                while let Ok((database_id, change)) = changes.recv() {
                    let Some(instance) = instance.upgrade() else {
                        return;
                    };
                    let stored = match change {
                        DatabaseChange::Seeded { family_guid } => {
                            catalog::databases::set_family(&instance.master(), database_id, &family_guid)
                        }
                    };
                    if let Err(error) = stored {
                        tracing::error!(database_id, "the catalog could not follow the engine: {error}");
                    }
                }
            });
        if let Err(error) = spawned {
            tracing::error!("no thread to follow the engine could be started: {error}");
        }
    }
}

/// What the engine calls.
struct Follower {
    changes: Mutex<mpsc::Sender<(i32, DatabaseChange)>>,
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
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more when the instance is ending.
        let _ = changes.send((database_id, change));
    }
}

fn check_name(name: &str) -> Result<(), StartError> {
    if name.is_empty()
        || name.chars().count() > NAME_MAX
        || name.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(StartError::Unusable(format!(
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

/// Reads the service master key, or makes it together with the catalog. A catalog without its key, or a key without a
/// catalog, is refused: making a new one would only hide what was lost.
fn service_master_key(path: &Path, new: bool) -> Result<ServiceMasterKey, StartError> {
    let unusable = |error: String| StartError::Unusable(format!("{}: {error}", path.display()));
    if new && !path.exists() {
        let key = ServiceMasterKey::generate(&mut OsEntropy).map_err(|error| unusable(error.to_string()))?;
        write_new(path, key.to_file::<Sha256>().expose()).map_err(|error| unusable(error.to_string()))?;
        return Ok(key);
    }
    let bytes = read_bounded(path, 4096).map(zeroize::Zeroizing::new).map_err(|error| {
        unusable(format!(
            "the service master key cannot be read: {error}. Restore the file from a backup of the directory."
        ))
    })?;
    ServiceMasterKey::from_file::<Sha256>(&bytes).map_err(|error| {
        unusable(format!(
            "the service master key is damaged: {error}. Restore the file from a backup of the directory."
        ))
    })
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
