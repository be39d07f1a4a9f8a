//! CREATE, ALTER, BACKUP CERTIFICATE.

use super::{Parsed, Parser};
use crate::tsql::ast::{
    BackupCertificate, Blob, CertificateChange, CertificateSource, CreateCertificate, Name,
    PrivateKeyOptions, StatementKind,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};

impl Parser<'_> {
    pub(super) fn create_certificate(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of the certificate")?;
        let authorization = self.authorization()?;
        let source = if self.accept("FROM") {
            self.import()?
        } else {
            self.generate()?
        };
        let active_for_begin_dialog = if self.is("ACTIVE") {
            Some(self.active_for_begin_dialog()?)
        } else {
            None
        };
        Ok(StatementKind::CreateCertificate(CreateCertificate {
            name,
            authorization,
            source,
            active_for_begin_dialog,
        }))
    }

    /// `[AUTHORIZATION name]`
    pub(super) fn authorization(&mut self) -> Parsed<Option<Name>> {
        if self.accept("AUTHORIZATION") {
            self.name("the name of the owner").map(Some)
        } else {
            Ok(None)
        }
    }

    fn active_for_begin_dialog(&mut self) -> Parsed<bool> {
        self.expect_all(&["ACTIVE", "FOR", "BEGIN_DIALOG"])?;
        self.equal()?;
        self.on_off()
    }

    fn generate(&mut self) -> Parsed<CertificateSource> {
        let password = if self.accept("ENCRYPTION") {
            self.expect("BY")?;
            Some(self.password_clause()?)
        } else {
            None
        };
        if !self.is("WITH") {
            return Err(self.unexpected("WITH SUBJECT, or FROM"));
        }
        self.expect("WITH")?;
        let line = self.line();
        let (mut subject, mut start_date, mut expiry_date) = (None, None, None);
        loop {
            let line = self.line();
            let slots = [
                ("SUBJECT", &mut subject),
                ("START_DATE", &mut start_date),
                ("EXPIRY_DATE", &mut expiry_date),
            ];
            let Some((option, slot)) = slots.into_iter().find(|(option, _)| self.is(option)) else {
                return Err(self.unexpected("SUBJECT, START_DATE or EXPIRY_DATE"));
            };
            self.advance();
            self.equal()?;
            let value = self.string("a string between quotes")?;
            self.once(slot, value, option, line)?;
            if !self.accept_symbol(Symbol::Comma) {
                break;
            }
        }
        let subject =
            subject.ok_or_else(|| SyntaxError::missing_parameter(line, "SUBJECT", "CREATE CERTIFICATE"))?;
        Ok(CertificateSource::Generate {
            password,
            subject,
            start_date,
            expiry_date,
        })
    }

    fn import(&mut self) -> Parsed<CertificateSource> {
        let line = self.line();
        if self.accept("ASSEMBLY") {
            return Err(SyntaxError::not_supported(
                line,
                "CREATE CERTIFICATE FROM ASSEMBLY",
                "Use FROM FILE.",
            ));
        }
        if self.accept("EXECUTABLE") {
            let what = "CREATE CERTIFICATE FROM EXECUTABLE FILE";
            return Err(SyntaxError::not_supported(line, what, "Use FROM FILE."));
        }
        let certificate = self.blob()?;
        let (mut pfx, mut private_key) = (false, None);
        // WITH may belong to the next statement only behind a semicolon, so here it is ours.
        if self.accept("WITH") {
            pfx = self.format_pfx()?;
            self.expect_all(&["PRIVATE", "KEY"])?;
            private_key = Some(self.private_key_options()?);
        }
        Ok(CertificateSource::Import {
            certificate,
            pfx,
            private_key,
        })
    }

    fn blob(&mut self) -> Parsed<Blob> {
        if self.accept("FILE") {
            self.equal()?;
            return Ok(Blob::File(self.string("the name of a file between quotes")?));
        }
        if self.accept("BINARY") {
            self.equal()?;
            return Ok(Blob::Binary(self.binary()?));
        }
        Err(self.unexpected("FILE or BINARY"))
    }

    /// `[FORMAT = 'PFX' ,]`
    fn format_pfx(&mut self) -> Parsed<bool> {
        if !self.accept("FORMAT") {
            return Ok(false);
        }
        self.equal()?;
        let is_pfx = self.peek().kind == Kind::String
            && ["'PFX'", "N'PFX'"]
                .iter()
                .any(|pfx| self.source(self.peek().span).eq_ignore_ascii_case(pfx));
        if !is_pfx {
            return Err(self.unexpected("'PFX'"));
        }
        self.advance();
        self.expect_symbol(Symbol::Comma, ",")?;
        Ok(true)
    }

    fn private_key_options(&mut self) -> Parsed<PrivateKeyOptions> {
        self.open()?;
        let mut options = PrivateKeyOptions::default();
        loop {
            let line = self.line();
            if self.is_any(&["FILE", "BINARY"]) {
                let source = self.blob()?;
                self.once(&mut options.source, source, "FILE or BINARY", line)?;
            } else if self.accept("DECRYPTION") {
                self.expect("BY")?;
                let password = self.password_clause()?;
                self.once(&mut options.decryption, password, "DECRYPTION BY PASSWORD", line)?;
            } else if self.accept("ENCRYPTION") {
                self.expect("BY")?;
                let password = self.password_clause()?;
                self.once(&mut options.encryption, password, "ENCRYPTION BY PASSWORD", line)?;
            } else if self.accept("ALGORITHM") {
                self.equal()?;
                let algorithm = self.string("'AES_256'")?;
                self.once(&mut options.algorithm, algorithm, "ALGORITHM", line)?;
            } else {
                return Err(self.unexpected("FILE, BINARY, DECRYPTION BY PASSWORD or ENCRYPTION BY PASSWORD"));
            }
            if !self.accept_symbol(Symbol::Comma) {
                break;
            }
        }
        self.close()?;
        Ok(options)
    }

    pub(super) fn alter_certificate(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of a certificate")?;
        let change = if self.accept("REMOVE") {
            self.expect_all(&["PRIVATE", "KEY"])?;
            CertificateChange::RemovePrivateKey
        } else {
            self.expect("WITH")?;
            if self.is("ACTIVE") {
                CertificateChange::ActiveForBeginDialog(self.active_for_begin_dialog()?)
            } else {
                self.expect_all(&["PRIVATE", "KEY"])?;
                CertificateChange::PrivateKey(self.private_key_options()?)
            }
        };
        Ok(StatementKind::AlterCertificate { name, change })
    }

    /// `AUTHORIZATION ON CERTIFICATE::name TO user`, or `ON DATABASE::name TO login`
    pub(super) fn alter_authorization(&mut self, line: u32) -> Parsed<StatementKind> {
        self.expect("ON")?;
        let certificate = self.is("CERTIFICATE");
        if !certificate && !self.is("DATABASE") {
            return Err(SyntaxError::not_supported(
                line,
                "ALTER AUTHORIZATION ON anything but CERTIFICATE::… and DATABASE::…",
                "",
            ));
        }
        self.expect(if certificate { "CERTIFICATE" } else { "DATABASE" })?;
        self.expect_symbol(Symbol::Scope, "::")?;
        let name = self.name(if certificate {
            "the name of a certificate"
        } else {
            "the name of a database"
        })?;
        self.expect("TO")?;
        let owner = self.name("the name of the owner")?;
        Ok(if certificate {
            StatementKind::CertificateAuthorization { name, owner }
        } else {
            StatementKind::DatabaseAuthorization { name, owner }
        })
    }

    pub(super) fn backup_certificate(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of a certificate")?;
        self.expect_all(&["TO", "FILE"])?;
        self.equal()?;
        let file = self.string("the name of a file between quotes")?;
        let (mut pfx, mut private_key) = (false, None);
        if self.accept("WITH") {
            pfx = self.format_pfx()?;
            self.expect_all(&["PRIVATE", "KEY"])?;
            private_key = Some(self.private_key_options()?);
        }
        Ok(StatementKind::BackupCertificate(BackupCertificate {
            name,
            file,
            pfx,
            private_key,
        }))
    }
}
