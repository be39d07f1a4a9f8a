//! BACKUP and RESTORE of databases and logs.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    Backup, BackupKind, BackupOptions, Restore, RestoreOptions, RestoreRecovery, StatementKind, Text,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::Symbol;

/// STATS without a number.
const STATS_DEFAULT: u32 = 10;

impl Parser<'_> {
    pub(super) fn backup(&mut self, line: u32) -> Parsed<StatementKind> {
        let kind = self.backup_kind(line, "BACKUP")?;
        let database = self.name("the name of a database")?;
        self.expect("TO")?;
        let disk = self.disk()?;
        let options = self.backup_options(kind)?;
        Ok(StatementKind::Backup(Backup {
            kind,
            database,
            disk,
            options,
        }))
    }

    pub(super) fn restore(&mut self, line: u32) -> Parsed<StatementKind> {
        let kind = self.backup_kind(line, "RESTORE")?;
        let database = self.name("the name of a database")?;
        let disk = if self.accept("FROM") {
            Some(self.disk()?)
        } else {
            None
        };
        let options = self.restore_options()?;
        Ok(StatementKind::Restore(Restore {
            kind,
            database,
            disk,
            options,
        }))
    }

    fn backup_kind(&mut self, line: u32, verb: &str) -> Parsed<BackupKind> {
        let elsewhere = [
            "MASTER",
            "SERVICE",
            "SYMMETRIC",
            "HEADERONLY",
            "FILELISTONLY",
            "LABELONLY",
            "VERIFYONLY",
        ];
        if self.is_any(&elsewhere) {
            let object = self.source(self.peek().span).to_ascii_uppercase();
            return Err(SyntaxError::not_supported(line, &format!("{verb} {object}"), ""));
        }
        if self.accept("TRANSACTION") || self.accept("TRAN") {
            return Ok(BackupKind::Log);
        }
        self.choice(&[("DATABASE", BackupKind::Database), ("LOG", BackupKind::Log)])
    }

    /// `DISK = '…'`, once.
    fn disk(&mut self) -> Parsed<Text> {
        let line = self.line();
        if self.is_any(&["URL", "TAPE", "VIRTUAL_DEVICE"]) || self.is_name_at(0) {
            let instead = "DISK = 'file' is.";
            return Err(SyntaxError::not_supported(
                line,
                "A backup device other than DISK",
                instead,
            ));
        }
        self.expect("DISK")?;
        self.equal()?;
        let file = self.string("the name of a file between quotes")?;
        if self.is_symbol(Symbol::Comma) {
            return Err(SyntaxError::not_supported(
                line,
                "A backup striped over several files",
                "",
            ));
        }
        Ok(file)
    }

    fn backup_options(&mut self, kind: BackupKind) -> Parsed<BackupOptions> {
        let mut options = BackupOptions::default();
        if !self.accept("WITH") {
            return Ok(options);
        }
        loop {
            let line = self.line();
            let only_log = |option: &str| SyntaxError::clause_not_allowed(line, option, "BACKUP DATABASE");
            if let Some((word, yes)) = self.flag("FORMAT", "NOFORMAT") {
                self.once(&mut options.format, yes, word, line)?;
            } else if let Some((word, yes)) = self.flag("INIT", "NOINIT") {
                self.once(&mut options.init, yes, word, line)?;
            } else if let Some((word, yes)) = self.flag("COMPRESSION", "NO_COMPRESSION") {
                self.once(&mut options.compression, yes, word, line)?;
            } else if let Some((word, yes)) = self.flag("CHECKSUM", "NO_CHECKSUM") {
                self.once(&mut options.checksum, yes, word, line)?;
            } else if self.accept("DIFFERENTIAL") {
                if kind == BackupKind::Log {
                    return Err(SyntaxError::clause_not_allowed(
                        line,
                        "DIFFERENTIAL",
                        "BACKUP LOG",
                    ));
                }
                self.switch(&mut options.differential, "DIFFERENTIAL", line)?;
            } else if self.accept("COPY_ONLY") {
                self.switch(&mut options.copy_only, "COPY_ONLY", line)?;
            } else if self.accept("NORECOVERY") {
                if kind == BackupKind::Database {
                    return Err(only_log("NORECOVERY"));
                }
                self.switch(&mut options.norecovery, "NORECOVERY", line)?;
            } else if self.accept("NO_TRUNCATE") {
                if kind == BackupKind::Database {
                    return Err(only_log("NO_TRUNCATE"));
                }
                self.switch(&mut options.no_truncate, "NO_TRUNCATE", line)?;
            } else if self.accept("STATS") {
                let stats = self.stats()?;
                self.once(&mut options.stats, stats, "STATS", line)?;
            } else if self.accept("NAME") {
                self.equal()?;
                let name = self.string("a name between quotes")?;
                self.once(&mut options.name, name, "NAME", line)?;
            } else if self.accept("DESCRIPTION") {
                self.equal()?;
                let description = self.string("a text between quotes")?;
                self.once(&mut options.description, description, "DESCRIPTION", line)?;
            } else {
                return Err(self.unexpected("an option of BACKUP"));
            }
            if !self.accept_symbol(Symbol::Comma) {
                return Ok(options);
            }
        }
    }

    fn restore_options(&mut self) -> Parsed<RestoreOptions> {
        let mut options = RestoreOptions::default();
        if !self.accept("WITH") {
            return Ok(options);
        }
        let mut recovery = None;
        loop {
            let line = self.line();
            if self.accept("RECOVERY") {
                self.once(&mut recovery, RestoreRecovery::Recovery, "RECOVERY", line)?;
            } else if self.accept("NORECOVERY") {
                self.once(
                    &mut recovery,
                    RestoreRecovery::Norecovery,
                    "RECOVERY, NORECOVERY or STANDBY",
                    line,
                )?;
            } else if self.accept("STANDBY") {
                self.equal()?;
                let file = self.string("the name of a file between quotes")?;
                self.once(
                    &mut recovery,
                    RestoreRecovery::Standby(file),
                    "RECOVERY, NORECOVERY or STANDBY",
                    line,
                )?;
            } else if self.accept("REPLACE") {
                self.switch(&mut options.replace, "REPLACE", line)?;
            } else if self.accept("FILE") {
                self.equal()?;
                let file = self.integer_u32("the number of a backup set")?;
                if file == 0 {
                    return Err(SyntaxError::out_of_range(
                        line,
                        "FILE",
                        "backup sets are numbered from 1",
                    ));
                }
                self.once(&mut options.file, file, "FILE", line)?;
            } else if self.accept("MOVE") {
                let logical = self.string("a logical name between quotes")?;
                self.expect("TO")?;
                let path = self.string("the name of a file between quotes")?;
                options.moves.push((logical, path));
            } else if self.accept("STOPAT") {
                self.equal()?;
                let moment = self.string("a date and time between quotes")?;
                self.once(&mut options.stop_at, moment, "STOPAT", line)?;
            } else if let Some((word, yes)) = self.flag("CHECKSUM", "NO_CHECKSUM") {
                self.once(&mut options.checksum, yes, word, line)?;
            } else if self.accept("STATS") {
                let stats = self.stats()?;
                self.once(&mut options.stats, stats, "STATS", line)?;
            } else {
                return Err(self.unexpected("an option of RESTORE"));
            }
            if !self.accept_symbol(Symbol::Comma) {
                options.recovery = recovery.unwrap_or_default();
                return Ok(options);
            }
        }
    }

    /// One of two opposite words.
    fn flag(&mut self, yes: &'static str, no: &'static str) -> Option<(&'static str, bool)> {
        if self.accept(yes) {
            Some((yes, true))
        } else if self.accept(no) {
            Some((no, false))
        } else {
            None
        }
    }

    fn switch(&self, slot: &mut bool, name: &str, line: u32) -> Parsed<()> {
        if *slot {
            return Err(SyntaxError::duplicate_parameter(line, name));
        }
        *slot = true;
        Ok(())
    }

    /// `[= n]`
    fn stats(&mut self) -> Parsed<u32> {
        let line = self.line();
        if !self.accept_symbol(Symbol::Equal) {
            return Ok(STATS_DEFAULT);
        }
        let percent = self.integer_u32("a percentage")?;
        if !(1..=100).contains(&percent) {
            return Err(SyntaxError::out_of_range(line, "STATS", "1 to 100"));
        }
        Ok(percent)
    }
}
