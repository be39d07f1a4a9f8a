//! CREATE and ALTER DATABASE.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    CreateDatabase, DatabaseOption, FileSpec, PartnerOption, RecoveryModel, RedoQueue, SafetyLevel,
    SeedingMode, StatementKind, WitnessOption,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};

impl Parser<'_> {
    pub(super) fn create_database(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of the database")?;
        let (mut files, mut log_files, mut attach) = (Vec::new(), Vec::new(), false);
        if self.accept("ON") {
            self.accept("PRIMARY");
            files = self.list(Self::file_spec)?;
            if self.are(&["LOG", "ON"]) {
                self.expect_all(&["LOG", "ON"])?;
                log_files = self.list(Self::file_spec)?;
            }
        }
        let line = self.line();
        if self.is_any(&["COLLATE", "CONTAINMENT", "WITH"]) {
            let clause = self.source(self.peek().span).to_ascii_uppercase();
            return Err(SyntaxError::not_supported(
                line,
                &format!("CREATE DATABASE … {clause}"),
                "",
            ));
        }
        if self.are(&["AS", "SNAPSHOT"]) || self.are(&["AS", "COPY"]) {
            return Err(SyntaxError::not_supported(
                line,
                "CREATE DATABASE … AS SNAPSHOT OF",
                "",
            ));
        }
        if self.accept("FOR") {
            if self.is("ATTACH_REBUILD_LOG") {
                let instead = "FOR ATTACH is: SQLite makes the log anew by itself.";
                return Err(SyntaxError::not_supported(
                    line,
                    "FOR ATTACH_REBUILD_LOG",
                    instead,
                ));
            }
            self.expect("ATTACH")?;
            attach = true;
            if files.is_empty() {
                return Err(SyntaxError::missing_parameter(
                    line,
                    "ON (FILENAME = '…')",
                    "FOR ATTACH",
                ));
            }
        }
        Ok(StatementKind::CreateDatabase(CreateDatabase {
            name,
            files,
            log_files,
            attach,
        }))
    }

    fn file_spec(&mut self) -> Parsed<FileSpec> {
        let line = self.line();
        self.open()?;
        let (mut name, mut filename) = (None, None);
        loop {
            let line = self.line();
            if self.accept("NAME") {
                self.equal()?;
                // Scripts write the logical name with quotes as well.
                let logical = if self.peek().kind == Kind::String {
                    let text = self.string("a logical name")?;
                    crate::tsql::ast::Name {
                        value: text.value,
                        span: text.span,
                    }
                } else {
                    self.name("a logical name")?
                };
                self.once(&mut name, logical, "NAME", line)?;
            } else if self.accept("FILENAME") {
                self.equal()?;
                let file = self.string("the name of a file between quotes")?;
                self.once(&mut filename, file, "FILENAME", line)?;
            } else if self.is_any(&["SIZE", "MAXSIZE", "FILEGROWTH"]) {
                let option = self.source(self.peek().span).to_ascii_uppercase();
                return Err(SyntaxError::not_supported(
                    line,
                    &option,
                    "A file grows as it needs; leave it out.",
                ));
            } else {
                return Err(self.unexpected("NAME or FILENAME"));
            }
            if !self.accept_symbol(Symbol::Comma) {
                break;
            }
        }
        self.close()?;
        let filename = filename.ok_or_else(|| SyntaxError::missing_parameter(line, "FILENAME", "A file"))?;
        Ok(FileSpec { name, filename })
    }

    pub(super) fn alter_database(&mut self) -> Parsed<StatementKind> {
        let database = if self.accept("CURRENT") {
            None
        } else {
            Some(self.name("the name of a database, or CURRENT")?)
        };
        let line = self.line();
        if self.is_any(&["MODIFY", "ADD", "REMOVE", "COLLATE"]) {
            let clause = self.source(self.peek().span).to_ascii_uppercase();
            return Err(SyntaxError::not_supported(
                line,
                &format!("ALTER DATABASE … {clause}"),
                "",
            ));
        }
        self.expect("SET")?;
        let line = self.line();
        let option = if self.accept("RECOVERY") {
            DatabaseOption::Recovery(self.choice(&[
                ("FULL", RecoveryModel::Full),
                ("BULK_LOGGED", RecoveryModel::BulkLogged),
                ("SIMPLE", RecoveryModel::Simple),
            ])?)
        } else if self.accept("PARTNER") {
            DatabaseOption::Partner(self.partner_option()?)
        } else if self.accept("WITNESS") {
            DatabaseOption::Witness(if self.accept_symbol(Symbol::Equal) {
                WitnessOption::Address(self.address()?)
            } else if self.accept("OFF") {
                WitnessOption::Off
            } else {
                return Err(self.unexpected("= 'TCP://host:port' or OFF"));
            })
        } else if self.accept("ONLINE") {
            DatabaseOption::Online
        } else if self.is_database_option() {
            let option = self.source(self.peek().span).to_ascii_uppercase();
            let instead = "RECOVERY, PARTNER, WITNESS and ONLINE are.";
            return Err(SyntaxError::not_supported(
                line,
                &format!("ALTER DATABASE … SET {option}"),
                instead,
            ));
        } else {
            return Err(self.unexpected("RECOVERY, PARTNER, WITNESS or ONLINE"));
        };
        if self.is_symbol(Symbol::Comma) {
            let what = "More than one option in ALTER DATABASE … SET";
            return Err(SyntaxError::not_supported(
                self.line(),
                what,
                "Write a statement for each.",
            ));
        }
        Ok(StatementKind::AlterDatabase { database, option })
    }

    /// Whether an option of the product that this server does not have is next.
    fn is_database_option(&self) -> bool {
        const OPTIONS: &[&str] = &[
            "ACCELERATED_DATABASE_RECOVERY",
            "ALLOW_SNAPSHOT_ISOLATION",
            "ANSI_NULLS",
            "ANSI_NULL_DEFAULT",
            "ANSI_PADDING",
            "ANSI_WARNINGS",
            "ARITHABORT",
            "AUTO_CLOSE",
            "AUTO_CREATE_STATISTICS",
            "AUTO_SHRINK",
            "AUTO_UPDATE_STATISTICS",
            "CHANGE_TRACKING",
            "COMPATIBILITY_LEVEL",
            "CONTAINMENT",
            "CURSOR_DEFAULT",
            "DB_CHAINING",
            "DELAYED_DURABILITY",
            "DISABLE_BROKER",
            "EMERGENCY",
            "ENABLE_BROKER",
            "ENCRYPTION",
            "HADR",
            "MULTI_USER",
            "NEW_BROKER",
            "OFFLINE",
            "PAGE_VERIFY",
            "PARAMETERIZATION",
            "QUERY_STORE",
            "QUOTED_IDENTIFIER",
            "READ_COMMITTED_SNAPSHOT",
            "READ_ONLY",
            "READ_WRITE",
            "RECURSIVE_TRIGGERS",
            "RESTRICTED_USER",
            "SINGLE_USER",
            "TARGET_RECOVERY_TIME",
            "TRUSTWORTHY",
        ];
        self.is_any(OPTIONS)
    }

    fn address(&mut self) -> Parsed<crate::tsql::ast::Text> {
        self.string("'TCP://host:port'")
    }

    fn partner_option(&mut self) -> Parsed<PartnerOption> {
        if self.accept_symbol(Symbol::Equal) {
            let address = self.address()?;
            let seeding_mode = self.seeding_mode()?;
            return Ok(PartnerOption::Address {
                address,
                seeding_mode,
            });
        }
        if self.accept("SAFETY") {
            let level = self.choice(&[("FULL", SafetyLevel::Full), ("OFF", SafetyLevel::Off)])?;
            return Ok(PartnerOption::Safety(level));
        }
        if self.accept("TIMEOUT") {
            return Ok(PartnerOption::Timeout(self.integer_u32("a number of seconds")?));
        }
        if self.accept("REDO_QUEUE") {
            return Ok(PartnerOption::RedoQueue(self.redo_queue()?));
        }
        let simple = [
            ("OFF", PartnerOption::Off),
            ("FAILOVER", PartnerOption::Failover),
            (
                "FORCE_SERVICE_ALLOW_DATA_LOSS",
                PartnerOption::ForceServiceAllowDataLoss,
            ),
            ("SUSPEND", PartnerOption::Suspend),
            ("RESUME", PartnerOption::Resume),
        ];
        for (word, option) in simple {
            if self.accept(word) {
                return Ok(option);
            }
        }
        let expected = "= 'TCP://host:port', FAILOVER, FORCE_SERVICE_ALLOW_DATA_LOSS, OFF, RESUME, SUSPEND, \
                        SAFETY, TIMEOUT or REDO_QUEUE";
        Err(self.unexpected(expected))
    }

    /// `[WITH (SEEDING_MODE = AUTOMATIC | MANUAL)]`
    fn seeding_mode(&mut self) -> Parsed<Option<SeedingMode>> {
        if !self.accept("WITH") {
            return Ok(None);
        }
        self.open()?;
        self.expect("SEEDING_MODE")?;
        self.equal()?;
        let mode = self.choice(&[
            ("AUTOMATIC", SeedingMode::Automatic),
            ("MANUAL", SeedingMode::Manual),
        ])?;
        self.close()?;
        Ok(Some(mode))
    }

    fn redo_queue(&mut self) -> Parsed<RedoQueue> {
        if self.accept("UNLIMITED") {
            return Ok(RedoQueue::Unlimited);
        }
        let number = self.integer("UNLIMITED or a number")?;
        let mut unit = 1024;
        for (word, kib) in [("KB", 1), ("MB", 1024), ("GB", 1024 * 1024)] {
            if self.accept(word) {
                unit = kib;
                break;
            }
        }
        Ok(RedoQueue::KiB(number.saturating_mul(unit)))
    }
}
