//! CREATE DATABASE, DROP DATABASE, and who may use a database.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use dbmirror_adapters::beside::beside;
use rusqlite::Connection;

use super::{Done, SqlSession, Stop};
use crate::catalog::MASTER_ID;
use crate::catalog::databases::{self, Database, New, State};
use crate::catalog::principals;
use crate::engine::MirroringRole;
use crate::instance::random;
use crate::messages::{
    M911, M921, M927, M954, M1801, M1802, M3701, M3702, M3708, M3743, M5120, M5123, M5133, M5170, M5172,
    M15109, M15110, M15151, M40510, Raised,
};
use crate::tsql::ast::{CreateDatabase, Name};

/// The database `name`, or 911.
pub(super) fn find(master: &Connection, name: &str) -> Result<Database, Stop> {
    Ok(databases::by_name(master, name)?.ok_or_else(|| M911.refuse(&[&name]))?)
}

/// The files that SQLite may keep beside a database, and a seed that was cut off.
const BESIDE: &[&str] = &["-wal", "-shm", "-journal", "-seed"];

impl SqlSession {
    /// Whether a session may have `database` as its current one.
    pub(super) fn usable(&self, database: &Database) -> Done {
        match database.state {
            State::Online => Ok(()),
            State::RecoveryPending => {
                Err(M921.refuse(&[&database.name, &"its file could not be taken in when the instance started; EXEC sp_readerrorlog says why, SET ONLINE tries again"]).into())
            }
            State::Restoring => match self.mirrors(database.id) {
                Some(partner) => Err(M954.refuse(&[&database.name, &partner]).into()),
                None => Err(M927.refuse(&[&database.name]).into()),
            },
        }
    }

    /// The partner's address when this instance is the mirror of that database.
    pub(super) fn mirrors(&self, database_id: i32) -> Option<String> {
        let sessions = self.instance.engine().sessions();
        let session = sessions
            .into_iter()
            .find(|session| session.database_id == database_id)?;
        (session.role == MirroringRole::Mirror).then_some(session.partner_name)
    }

    /// Whether a mirroring session is set on that database.
    pub(super) fn mirrored(&self, database_id: i32) -> bool {
        self.instance
            .engine()
            .sessions()
            .iter()
            .any(|session| session.database_id == database_id)
    }

    pub(super) fn create_database(&mut self, create: &CreateDatabase) -> Done {
        let name = &create.name.value;
        let made = if create.attach {
            self.attach_database(name, create)
        } else if create.files.is_empty() && create.log_files.is_empty() {
            self.new_database(name)
        } else {
            let file = self.instance.dir().database_file(name);
            return Err(M40510
                .refuse(&[
                    &"CREATE DATABASE … ON (FILENAME = …) without FOR ATTACH",
                    &format!("the file of a new database is {}; an existing SQLite file is taken in where it lies by FOR ATTACH", file.display()),
                ])
                .into());
        };
        made.map_err(|stop| stop.followed_by(M1802.refuse(&[])))
    }

    /// A new, empty SQLite file in WAL mode under `data/`.
    fn new_database(&mut self, name: &str) -> Done {
        let path = self.instance.dir().database_file(name);
        let (instance, owner) = (&self.instance, self.owner_sid());
        self.change(|catalog| {
            if databases::by_name(catalog, name)?.is_some() {
                return Err(M1801.refuse(&[&name]).into());
            }
            create_file(&path)?;
            let taken_in = insert(catalog, name, &path, false, &owner).and_then(|database| {
                instance.engine().begin_database(database.id)?;
                Ok(instance.engine().attach_database(database.config())?)
            });
            if taken_in.is_err() {
                remove_files(&path);
            }
            taken_in
        })
    }

    /// An existing SQLite file, taken in where it lies.
    fn attach_database(&mut self, name: &str, create: &CreateDatabase) -> Done {
        let [file] = create.files.as_slice() else {
            return Err(M40510
                .refuse(&[&"Several files", &"a SQLite database is one file"])
                .into());
        };
        let written = &file.filename.value;
        let path = Path::new(written);
        if !path.is_absolute() {
            return Err(M5133
                .refuse(&[written, &"FOR ATTACH takes an absolute path"])
                .into());
        }
        let path = path
            .canonicalize()
            .map_err(|error| M5133.refuse(&[written, &error]))?;
        if path.starts_with(self.instance.dir().root())
            && !path.starts_with(self.instance.dir().root().join("data"))
        {
            return Err(M5120
                .refuse(&[written, &"it belongs to the instance itself"])
                .into());
        }
        let mut attached_before = None;
        let (instance, owner) = (&self.instance, self.owner_sid());
        self.change(|catalog| {
            if databases::by_name(catalog, name)?.is_some() {
                return Err(M1801.refuse(&[&name]).into());
            }
            for other in databases::user_databases(catalog)? {
                if same_file(&other.path, &path) {
                    attached_before = Some(other.name);
                }
            }
            if let Some(other) = &attached_before {
                return Err(M5120
                    .refuse(&[written, &format!("it is the file of database '{other}' already")])
                    .into());
            }
            // Only now: opening and closing a file that is captured would drop SQLite's locks on it (`docs/capture.md` §6).
            check_file(&path)?;
            let database = insert(catalog, name, &path, true, &owner)?;
            instance.engine().begin_database(database.id)?;
            Ok(instance.engine().attach_database(database.config())?)
        })
    }

    /// ALTER AUTHORIZATION ON DATABASE: another login owns it, and is its `dbo`.
    pub(super) fn alter_database_owner(&mut self, name: &Name, owner: &Name) -> Done {
        self.change(|catalog| {
            let database = databases::by_name(catalog, &name.value)?
                .ok_or_else(|| M15151.refuse(&[&"find", &"database", &name.value]))?;
            if database.id == MASTER_ID {
                return Err(M15109.refuse(&[]).into());
            }
            let login = principals::login(catalog, &owner.value)?
                .filter(|login| login.kind != "C")
                .ok_or_else(|| M15151.refuse(&[&"find", &"login", &owner.value]))?;
            if database.owner_sid == login.sid {
                return Ok(());
            }
            if let Some(user) = principals::user_of_sid(catalog, database.id, &login.sid)? {
                return Err(M15110.refuse(&[&login.name, &user.name, &database.name]).into());
            }
            Ok(databases::set_owner(catalog, database.id, &login.sid)?)
        })
    }

    pub(super) fn drop_database(&mut self, names: &[Name], if_exists: bool) -> Done {
        for name in names {
            self.drop_one(&name.value, if_exists)?;
        }
        Ok(())
    }

    fn drop_one(&mut self, name: &str, if_exists: bool) -> Done {
        let database = match databases::by_name(&self.instance.master(), name)? {
            Some(database) => database,
            None if if_exists => return Ok(()),
            None => return Err(M3701.refuse(&[&"database", &name]).into()),
        };
        if database.id == MASTER_ID {
            return Err(M3708.refuse(&[&"database", &name]).into());
        }
        if database.id == self.database_id {
            return Err(M3702.refuse(&[&database.name]).into());
        }
        if self.mirrored(database.id) {
            return Err(M3743.refuse(&[&database.name]).into());
        }
        let instance = &self.instance;
        self.change(|catalog| {
            databases::delete(catalog, database.id)?;
            match instance.engine().detach_database(database.id) {
                // Its file was lost before: there was nothing to detach.
                Err(error) if error.number == 911 => Ok(()),
                other => Ok(other?),
            }
        })?;
        self.opened.remove(&database.id);
        if !database.attached {
            remove_files(&database.path);
        }
        Ok(())
    }
}

/// Adds the catalog's row of a database that is of a family of its own.
fn insert(
    catalog: &Connection,
    name: &str,
    path: &Path,
    attached: bool,
    owner_sid: &[u8],
) -> Result<Database, Stop> {
    let added = databases::insert(
        catalog,
        &New {
            name,
            path,
            attached,
            database_guid: random()?,
            family_guid: random()?,
            state: State::Online,
            owner_sid,
        },
    )?;
    Ok(added.ok_or_else(|| M911.refuse(&[&name]))?)
}

/// Makes an empty SQLite database in WAL mode, of the owner alone.
fn create_file(path: &Path) -> Result<(), Raised> {
    let failed = |error: &dyn std::fmt::Display| M5123.refuse(&[&path.display(), error]);
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => M5170.refuse(&[&path.display()]),
            _ => failed(&error),
        })?;
    let make = || -> rusqlite::Result<()> {
        let file = Connection::open(path)?;
        file.pragma_update(None, "journal_mode", "WAL")?;
        // The first page: a file of no bytes has no journal mode to speak of.
        file.execute_batch(
            "BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);",
        )
    };
    make().map_err(|error| {
        remove_files(path);
        failed(&error)
    })
}

/// Refuses a file that is not a SQLite database in WAL mode.
fn check_file(path: &Path) -> Result<(), Raised> {
    let shown = path.display();
    // Asked before it is opened: to open a pipe is to wait for its other end.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(M5120.refuse(&[&shown, &"it is not a regular file"]));
    }
    let mut file = std::fs::File::open(path).map_err(|error| M5120.refuse(&[&shown, &error]))?;
    let mut header = [0; 20];
    file.read_exact(&mut header)
        .map_err(|error| M5172.refuse(&[&shown, &format!("its header cannot be read ({error})")]))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(M5172.refuse(&[&shown, &"its header is another"]));
    }
    // Bytes 18 and 19 of the header (SQLite file format §1.3.3): 2 means WAL.
    if header.get(18..) != Some(&[2, 2]) {
        return Err(M5120.refuse(&[
            &shown,
            &"it is not in WAL mode. Run PRAGMA journal_mode = WAL on it with your SQLite, then attach it",
        ]));
    }
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => one == other,
    }
}

/// Removes a database file and what SQLite keeps beside it.
pub(super) fn remove_files(path: &Path) {
    let others = BESIDE.iter().map(|suffix| beside(path, suffix));
    for file in std::iter::once(path.to_owned()).chain(others) {
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!("the file {} could not be removed: {error}", file.display()),
        }
    }
}
