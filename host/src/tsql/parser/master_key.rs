//! CREATE, ALTER, OPEN, CLOSE, BACKUP, RESTORE MASTER KEY, and the same of the service master key.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    AlterMasterKey, AlterServiceMasterKey, BackupMasterKey, KeyProtector, MasterKeyKind, RestoreMasterKey,
    StatementKind,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::Symbol;

const MASTER_KEY: &[&str] = &["MASTER", "KEY"];

impl Parser<'_> {
    pub(super) fn create_master_key(&mut self) -> Parsed<StatementKind> {
        self.expect_all(MASTER_KEY)?;
        let password = if self.accept("ENCRYPTION") {
            self.expect("BY")?;
            Some(self.password_clause()?)
        } else {
            None
        };
        Ok(StatementKind::CreateMasterKey { password })
    }

    pub(super) fn alter_master_key(&mut self) -> Parsed<StatementKind> {
        self.expect_all(MASTER_KEY)?;
        let alter = if self.is_any(&["FORCE", "REGENERATE"]) {
            let force = self.accept("FORCE");
            self.expect_all(&["REGENERATE", "WITH", "ENCRYPTION", "BY"])?;
            AlterMasterKey::Regenerate {
                force,
                password: self.password_clause()?,
            }
        } else {
            let add = self.choice(&[("ADD", true), ("DROP", false)])?;
            self.expect_all(&["ENCRYPTION", "BY"])?;
            let protector = if self.accept("SERVICE") {
                self.expect_all(MASTER_KEY)?;
                KeyProtector::ServiceMasterKey
            } else {
                KeyProtector::Password(self.password_clause()?)
            };
            if add {
                AlterMasterKey::AddEncryption(protector)
            } else {
                AlterMasterKey::DropEncryption(protector)
            }
        };
        Ok(StatementKind::AlterMasterKey(alter))
    }

    /// `SERVICE MASTER KEY …`
    pub(super) fn alter_service_master_key(&mut self) -> Parsed<StatementKind> {
        self.expect("SERVICE")?;
        self.expect_all(MASTER_KEY)?;
        let alter = if self.is_any(&["FORCE", "REGENERATE"]) {
            let force = self.accept("FORCE");
            self.expect("REGENERATE")?;
            AlterServiceMasterKey::Regenerate { force }
        } else if self.accept("WITH") {
            let old = self.choice(&[("OLD_ACCOUNT", true), ("NEW_ACCOUNT", false)])?;
            self.equal()?;
            self.string("the name of an account between quotes")?;
            self.expect_symbol(Symbol::Comma, ",")?;
            self.expect(if old { "OLD_PASSWORD" } else { "NEW_PASSWORD" })?;
            self.equal()?;
            self.password()?;
            AlterServiceMasterKey::Account
        } else {
            let add = self.choice(&[("ADD", true), ("DROP", false)])?;
            self.expect_all(&["ENCRYPTION", "BY", "MACHINE", "KEY"])?;
            AlterServiceMasterKey::MachineKey { add }
        };
        Ok(StatementKind::AlterServiceMasterKey(alter))
    }

    /// Whether `[SERVICE] MASTER KEY` is next.
    pub(super) fn is_master_key(&self) -> bool {
        self.is("MASTER") || self.are(&["SERVICE", "MASTER"])
    }

    fn master_key_kind(&mut self) -> Parsed<MasterKeyKind> {
        let kind = if self.accept("SERVICE") {
            MasterKeyKind::Service
        } else {
            MasterKeyKind::Database
        };
        self.expect_all(MASTER_KEY)?;
        Ok(kind)
    }

    pub(super) fn backup_master_key(&mut self) -> Parsed<StatementKind> {
        let kind = self.master_key_kind()?;
        self.expect_all(&["TO", "FILE"])?;
        self.equal()?;
        let file = self.string("the name of a file between quotes")?;
        self.expect_all(&["ENCRYPTION", "BY"])?;
        let password = self.password_clause()?;
        Ok(StatementKind::BackupMasterKey(BackupMasterKey {
            kind,
            file,
            password,
        }))
    }

    pub(super) fn restore_master_key(&mut self) -> Parsed<StatementKind> {
        let kind = self.master_key_kind()?;
        self.expect_all(&["FROM", "FILE"])?;
        self.equal()?;
        let file = self.string("the name of a file between quotes")?;
        self.expect_all(&["DECRYPTION", "BY"])?;
        let decryption = self.password_clause()?;
        let encryption = match kind {
            MasterKeyKind::Service => None,
            MasterKeyKind::Database => {
                self.expect_all(&["ENCRYPTION", "BY"])?;
                Some(self.password_clause()?)
            }
        };
        let force = self.accept("FORCE");
        Ok(StatementKind::RestoreMasterKey(RestoreMasterKey {
            kind,
            file,
            decryption,
            encryption,
            force,
        }))
    }

    pub(super) fn open_master_key(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is_any(&["SYMMETRIC"]) || !self.is("MASTER") && self.is_name_at(0) {
            return Err(SyntaxError::not_supported(
                line,
                "OPEN of anything but MASTER KEY",
                "",
            ));
        }
        self.expect_all(MASTER_KEY)?;
        self.expect_all(&["DECRYPTION", "BY"])?;
        Ok(StatementKind::OpenMasterKey {
            password: self.password_clause()?,
        })
    }

    pub(super) fn close_master_key(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is_any(&["SYMMETRIC", "ALL"]) || !self.is("MASTER") && self.is_name_at(0) {
            return Err(SyntaxError::not_supported(
                line,
                "CLOSE of anything but MASTER KEY",
                "",
            ));
        }
        self.expect_all(MASTER_KEY)?;
        Ok(StatementKind::CloseMasterKey)
    }
}
