//! BACKUP DATABASE / LOG and RESTORE DATABASE / LOG. The engine writes and reads the bodies; the container is `crate::backup`.

use std::io;
use std::path::PathBuf;

use super::databases::find;
use super::{Done, Out, SqlSession, Stop};
use crate::backup::{self, Header, Kind, Set};
use crate::catalog::databases::{self, Database, New, State};
use crate::catalog::{MASTER_ID, dates};
use crate::engine::Lsn;
use crate::errorlog;
use crate::instance::random;
use crate::messages::{
    M3013, M3014, M3101, M3102, M3104, M3117, M3118, M3135, M3136, M3154, M3159, M3201, M3202, M3241, M3287,
    M4208, M4214, M4305, M4326, M4330, M5058, M40510, Raised,
};
use crate::tsql::ast::{Backup, BackupKind, Restore, RestoreRecovery, Text};

/// `recovery_model` SIMPLE.
const SIMPLE: i32 = 3;

/// A failure on the way of a body into a file: the file's, or the engine's own.
enum Failed {
    File(io::Error),
    Engine(Raised),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl SqlSession {
    pub(super) fn backup(&mut self, statement: &Backup, out: &mut Out<'_>) -> Done {
        let verb = match statement.kind {
            BackupKind::Database => "BACKUP DATABASE",
            BackupKind::Log => "BACKUP LOG",
        };
        self.back_up(verb, statement, out)
            .map_err(|stop| stop.followed_by(M3013.refuse(&[&verb])))
    }

    fn back_up(&mut self, verb: &str, statement: &Backup, out: &mut Out<'_>) -> Done {
        let options = &statement.options;
        if options.differential {
            return Err(later(
                "WITH DIFFERENTIAL",
                "take a full backup, or a log backup, which is as small",
            ));
        }
        if options.norecovery {
            return Err(later(
                "BACKUP LOG … WITH NORECOVERY",
                "take a log backup, then DROP the database or restore over it WITH REPLACE",
            ));
        }
        let database = find(&self.instance.master(), &statement.database.value)?;
        if database.id == MASTER_ID {
            return Err(M5058.refuse(&[&verb, &database.name]).into());
        }
        self.usable(&database)?;
        let path = self.backup_file(&statement.disk)?;
        let kind = match statement.kind {
            BackupKind::Database => Kind::Full,
            BackupKind::Log => Kind::Log,
        };
        let first_lsn = match (kind, database.last_log_backup_lsn) {
            (Kind::Full, at) => at.unwrap_or(0),
            (Kind::Log, _) if database.recovery_model == SIMPLE => return Err(M4208.refuse(&[&verb]).into()),
            (Kind::Log, Some(at)) => at,
            (Kind::Log, None) => return Err(M4214.refuse(&[&database.name]).into()),
        };
        let header = Header {
            kind,
            number: 0,
            copy_only: options.copy_only,
            family_guid: database.family_guid,
            first_lsn,
            time: dates::now_unix(),
            database: database.name.clone(),
            name: options
                .name
                .as_ref()
                .map_or_else(String::new, |name| name.value.clone()),
        };
        let replace = options.format == Some(true) || options.init == Some(true);
        let engine = self.instance.engine();
        let set = backup::write(&path, replace, header, |body| {
            let lsn = match kind {
                Kind::Full => engine.backup_database(database.id, body),
                Kind::Log => engine.backup_log(database.id, Lsn(first_lsn), body),
            };
            lsn.map(|lsn| lsn.0).map_err(|error| Failed::Engine(error.into()))
        })
        .map_err(|failed| match failed {
            Failed::Engine(raised) => raised,
            Failed::File(error) => M3202.refuse(&[&statement.disk.value, &error]),
        })?;
        if !options.copy_only {
            self.change(|catalog| {
                // Another backup may have ended meanwhile; what is stored is what this one has covered.
                let (full, log) = match kind {
                    // The chain of log backups begins with the first full backup.
                    Kind::Full => (
                        Some(set.last_lsn),
                        database.last_log_backup_lsn.or(Some(set.last_lsn)),
                    ),
                    Kind::Log => (database.last_full_backup_lsn, Some(set.last_lsn)),
                };
                Ok(databases::set_backup_lsns(catalog, database.id, full, log)?)
            })?;
        }
        Ok(out.message(&M3014.inform(&[
            &verb,
            &"up to LSN",
            &set.last_lsn,
            &set.body_len,
            &set.header.number,
            &statement.disk.value,
        ]))?)
    }

    pub(super) fn restore(&mut self, statement: &Restore, out: &mut Out<'_>) -> Done {
        let verb = match statement.kind {
            BackupKind::Database => "RESTORE DATABASE",
            BackupKind::Log => "RESTORE LOG",
        };
        self.restore_it(verb, statement, out)
            .map_err(|stop| stop.followed_by(M3013.refuse(&[&verb])))
    }

    fn restore_it(&mut self, verb: &str, statement: &Restore, out: &mut Out<'_>) -> Done {
        let options = &statement.options;
        if options.stop_at.is_some() {
            return Err(later("STOPAT", "restore up to the end of a log backup"));
        }
        if !options.moves.is_empty() {
            return Err(later("MOVE", "the file of a restored database lies under data/"));
        }
        if matches!(options.recovery, RestoreRecovery::Standby(_)) {
            return Err(later(
                "STANDBY",
                "NORECOVERY leaves a copy that takes further log",
            ));
        }
        let name = &statement.database.value;
        let found = databases::by_name(&self.instance.master(), name)?;
        if let Some(database) = &found {
            if database.id == MASTER_ID {
                return Err(M5058.refuse(&[&verb, name]).into());
            }
            if database.id == self.database_id {
                return Err(M3102.refuse(&[name]).into());
            }
            if self.mirrored(database.id) {
                return Err(M3104.refuse(&[name]).into());
            }
        }
        let restored = match (&statement.disk, statement.kind, found) {
            (None, _, Some(database)) => database,
            (None, _, None) => return Err(M3118.refuse(&[name]).into()),
            (Some(disk), kind, found) => {
                let path = self.backup_file(disk)?;
                let set = pick(&path, disk, options.file)?;
                let (database, lsn) = match kind {
                    BackupKind::Database => {
                        self.restore_full(name, found, &set, &path, disk, options.replace)?
                    }
                    BackupKind::Log => {
                        let database = found.ok_or_else(|| M3118.refuse(&[name]))?;
                        let lsn = self.restore_log(&database, &set, &path, disk)?;
                        (database, lsn)
                    }
                };
                out.message(&M3014.inform(&[
                    &verb,
                    &"up to LSN",
                    &lsn,
                    &set.body_len,
                    &set.header.number,
                    &disk.value,
                ]))?;
                database
            }
        };
        if options.recovery == RestoreRecovery::Recovery {
            self.recover(&restored)?;
        }
        Ok(())
    }

    /// RESTORE … WITH RECOVERY: the copy is opened.
    fn recover(&self, database: &Database) -> Done {
        let now = databases::by_id(&self.instance.master(), database.id)?;
        if now.is_none_or(|now| now.state != State::Restoring) {
            return Err(M3117.refuse(&[&database.name]).into());
        }
        self.instance.engine().recover_database(database.id)?;
        self.change(|catalog| Ok(databases::set_state(catalog, database.id, State::Online)?))
    }

    /// A database out of a full backup set; one of the same name is replaced when it may be.
    fn restore_full(
        &self,
        name: &str,
        found: Option<Database>,
        set: &Set,
        path: &std::path::Path,
        disk: &Text,
        replace: bool,
    ) -> Result<(Database, u128), Stop> {
        if set.header.kind != Kind::Full {
            return Err(M3135.refuse(&[&set.header.number, &disk.value]).into());
        }
        if let Some(old) = &found {
            if !replace && old.family_guid != set.header.family_guid {
                return Err(M3154.refuse(&[&name]).into());
            }
            if !replace && old.state == State::Online {
                return Err(M3159.refuse(&[&name]).into());
            }
            if old.attached {
                let file = old.path.display();
                return Err(M3101
                    .refuse(&[&name, &format!("its file {file} was attached and is the application's. DROP DATABASE leaves the file where it is; then restore")])
                    .into());
            }
        }
        let mut body = set.open(path).map_err(|error| unreadable(disk, &error))?;
        let engine = self.instance.engine();
        let file = match &found {
            Some(old) => old.path.clone(),
            None => self.instance.dir().database_file(name),
        };
        // All of the new file is on disk before anything of the old database changes.
        let restored = engine.read_backup(name, &file, &mut body)?;
        if let Some(old) = &found {
            match engine.release_database(old.id) {
                Err(error) if error.number != 911 => return Err(error.into()),
                _ => {}
            }
        }
        let owner = found
            .as_ref()
            .map_or_else(|| self.owner_sid(), |old| old.owner_sid.clone());
        let swapped = self.change(|catalog| {
            if let Some(old) = &found {
                databases::delete(catalog, old.id)?;
            }
            let added = databases::insert(
                catalog,
                &New {
                    name,
                    path: &file,
                    attached: false,
                    database_guid: random()?,
                    family_guid: set.header.family_guid,
                    state: State::Restoring,
                    owner_sid: &owner,
                },
            )?;
            let database = added.ok_or_else(|| M3118.refuse(&[&name]))?;
            engine.begin_database(database.id)?;
            let lsn = engine.restore_database(&database.config(), restored, found.is_some())?;
            Ok((database, lsn.0))
        });
        match (&swapped, &found) {
            (Ok(_), Some(old)) => engine.forget_database(old.id)?,
            // The old one goes on where it was.
            (Err(_), Some(old)) if old.state != State::RecoveryPending => {
                if let Err(error) = engine.attach_database(old.config()) {
                    errorlog::raised(&Raised::from(error));
                }
            }
            _ => {}
        }
        swapped
    }

    fn restore_log(
        &self,
        database: &Database,
        set: &Set,
        path: &std::path::Path,
        disk: &Text,
    ) -> Result<u128, Stop> {
        let name = &database.name;
        if set.header.kind != Kind::Log {
            return Err(M3136.refuse(&[&set.header.number, &disk.value]).into());
        }
        if database.state != State::Restoring {
            return Err(M3117.refuse(&[name]).into());
        }
        if database.family_guid != set.header.family_guid {
            return Err(M4330
                .refuse(&[
                    name,
                    &format!(
                        "it is of the database '{}', which is another family",
                        set.header.database
                    ),
                ])
                .into());
        }
        let engine = self.instance.engine();
        let (at, _) = engine.end_of_log(database.id)?;
        if set.header.first_lsn > at.0 {
            return Err(M4305.refuse(&[&set.header.first_lsn, name, &at]).into());
        }
        if set.last_lsn < at.0 {
            return Err(M4326.refuse(&[&set.last_lsn, name, &at]).into());
        }
        let mut body = set.open(path).map_err(|error| unreadable(disk, &error))?;
        Ok(engine.restore_log(database.id, &mut body)?.0)
    }

    fn backup_file(&self, disk: &Text) -> Result<PathBuf, Raised> {
        self.instance
            .dir()
            .statement_file(&disk.value)
            .map_err(|why| M3201.refuse(&[&disk.value, &why]))
    }
}

/// The set that FILE = n names; the first one without it.
fn pick(path: &std::path::Path, disk: &Text, file: Option<u32>) -> Result<Set, Raised> {
    let (sets, _) = backup::sets(path).map_err(|error| unreadable(disk, &error))?;
    let wanted = file.unwrap_or(1);
    let count = match sets.len() {
        0 => "none".to_owned(),
        1 => "only 1".to_owned(),
        count => format!("1 to {count}"),
    };
    sets.into_iter()
        .find(|set| set.header.number == wanted)
        .ok_or_else(|| M3287.refuse(&[&wanted, &disk.value, &count]))
}

fn unreadable(disk: &Text, error: &io::Error) -> Raised {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => M3241.refuse(&[&disk.value, error]),
        _ => M3201.refuse(&[&disk.value, error]),
    }
}

fn later(what: &str, instead: &str) -> Stop {
    M40510.refuse(&[&what, &instead]).into()
}
