//! CREATE, ALTER, OPEN, CLOSE MASTER KEY.

use super::{Parsed, Parser};
use crate::tsql::ast::{AlterMasterKey, KeyProtector, StatementKind};
use crate::tsql::error::SyntaxError;

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
