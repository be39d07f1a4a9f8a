//! A batch and the first words of each statement.

use super::{Parsed, Parser};
use crate::tsql::ast::{Batch, Statement, StatementKind};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};

/// What may be tried with a statement that is known and not available.
const UNAVAILABLE: &[(&[&str], &str)] = &[
    (
        &["BEGIN"],
        "Each statement stands for itself: there are no transactions and blocks.",
    ),
    (&["BREAK"], ""),
    (&["BULK"], ""),
    (
        &["CHECKPOINT"],
        "EXEC sp_dbmirror_checkpoint 'database' folds the write-ahead log into the file.",
    ),
    (&["COMMIT"], ""),
    (&["CONTINUE"], ""),
    (&["DBCC"], ""),
    (
        &["DECLARE"],
        "Scripting variables $(NAME) of the client can take the place of variables.",
    ),
    (
        &["DELETE"],
        "Write to the database's file with SQLite; the mirror follows.",
    ),
    (&["FETCH"], ""),
    (&["GOTO"], ""),
    (&["IF"], "DROP DATABASE and DROP USER take IF EXISTS."),
    (
        &["INSERT"],
        "Write to the database's file with SQLite; the mirror follows.",
    ),
    (&["KILL"], ""),
    (
        &["MERGE"],
        "Write to the database's file with SQLite; the mirror follows.",
    ),
    (&["RAISERROR"], "PRINT shows a text."),
    (&["RECONFIGURE"], ""),
    (&["RETURN"], ""),
    (&["ROLLBACK"], ""),
    (&["SAVE"], ""),
    (&["SET"], ""),
    (&["SHUTDOWN"], "Send SIGTERM to the process."),
    (&["THROW"], "PRINT shows a text."),
    (
        &["TRUNCATE"],
        "Write to the database's file with SQLite; the mirror follows.",
    ),
    (
        &["UPDATE"],
        "Write to the database's file with SQLite; the mirror follows.",
    ),
    (&["WAITFOR"], ""),
    (&["WHILE"], ""),
];

impl Parser<'_> {
    pub(super) fn batch(mut self) -> Parsed<Batch> {
        let mut statements = Vec::new();
        loop {
            while self.accept_symbol(Symbol::Semicolon) {}
            if self.peek().kind == Kind::End {
                return match self.lexer_error.take() {
                    Some(error) => Err(error),
                    None => Ok(Batch { statements }),
                };
            }
            let start = self.peek().span;
            let kind = self.statement(statements.is_empty())?;
            statements.push(Statement {
                kind,
                span: start.to(self.last_span()),
            });
        }
    }

    fn statement(&mut self, first_of_batch: bool) -> Parsed<StatementKind> {
        let line = self.line();
        if self.accept("CREATE") {
            return self.create(line);
        }
        if self.accept("ALTER") {
            return self.alter(line);
        }
        if self.accept("DROP") {
            return self.drop_object(line);
        }
        if self.accept("BACKUP") {
            return if self.accept("CERTIFICATE") {
                self.backup_certificate()
            } else if self.is_master_key() {
                self.backup_master_key()
            } else {
                self.backup(line)
            };
        }
        if self.accept("RESTORE") {
            if self.is_master_key() {
                return self.restore_master_key();
            }
            return self.restore(line);
        }
        if self.accept("OPEN") {
            return self.open_master_key(line);
        }
        if self.accept("CLOSE") {
            return self.close_master_key(line);
        }
        if self.is_any(&["GRANT", "DENY", "REVOKE"]) {
            return self.permission_statement();
        }
        if self.accept("USE") {
            return Ok(StatementKind::Use {
                database: self.name("the name of a database")?,
            });
        }
        if self.accept("EXEC") || self.accept("EXECUTE") {
            return self.execute(line);
        }
        if self.accept("REVERT") {
            return Ok(StatementKind::Revert);
        }
        if self.accept("PRINT") {
            return Ok(StatementKind::Print {
                expression: self.print_expression()?,
            });
        }
        if self.is("SELECT") {
            return Ok(StatementKind::Select(self.select_statement()?));
        }
        if self.is("WITH") {
            return Err(if first_of_batch || self.after_semicolon() {
                SyntaxError::not_supported(line, "WITH (common table expressions)", "")
            } else {
                SyntaxError::with_needs_semicolon(line)
            });
        }
        for (words, instead) in UNAVAILABLE {
            if self.are(words) {
                return Err(SyntaxError::not_supported(line, &words.join(" "), instead));
            }
        }
        // A batch may begin with the bare name of a procedure.
        if first_of_batch && self.is_name_at(0) {
            return self.execute(line);
        }
        Err(self.unexpected("a statement"))
    }

    fn after_semicolon(&self) -> bool {
        self.source(self.last_span()) == ";"
    }

    fn create(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is("MASTER") {
            self.create_master_key()
        } else if self.accept("CERTIFICATE") {
            self.create_certificate()
        } else if self.accept("ENDPOINT") {
            self.create_endpoint()
        } else if self.accept("LOGIN") {
            self.create_login()
        } else if self.accept("USER") {
            self.create_user()
        } else if self.accept("DATABASE") {
            self.create_database()
        } else {
            Err(self.unknown_object(line, "CREATE"))
        }
    }

    fn alter(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is("MASTER") {
            self.alter_master_key()
        } else if self.are(&["SERVICE", "MASTER"]) {
            self.alter_service_master_key()
        } else if self.accept("CERTIFICATE") {
            self.alter_certificate()
        } else if self.accept("AUTHORIZATION") {
            self.alter_authorization(line)
        } else if self.accept("ENDPOINT") {
            self.alter_endpoint()
        } else if self.accept("DATABASE") {
            self.alter_database()
        } else {
            Err(self.unknown_object(line, "ALTER"))
        }
    }

    fn drop_object(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is("MASTER") {
            self.expect_all(&["MASTER", "KEY"])?;
            Ok(StatementKind::DropMasterKey)
        } else if self.accept("CERTIFICATE") {
            Ok(StatementKind::DropCertificate {
                name: self.name("the name of a certificate")?,
            })
        } else if self.accept("ENDPOINT") {
            Ok(StatementKind::DropEndpoint {
                name: self.name("the name of an endpoint")?,
            })
        } else if self.accept("LOGIN") {
            Ok(StatementKind::DropLogin {
                name: self.name("the name of a login")?,
            })
        } else if self.accept("USER") {
            let if_exists = self.if_exists()?;
            Ok(StatementKind::DropUser {
                name: self.name("the name of a user")?,
                if_exists,
            })
        } else if self.accept("DATABASE") {
            let if_exists = self.if_exists()?;
            let databases = self.list(|parser| parser.name("the name of a database"))?;
            Ok(StatementKind::DropDatabase { databases, if_exists })
        } else {
            Err(self.unknown_object(line, "DROP"))
        }
    }

    fn if_exists(&mut self) -> Parsed<bool> {
        let written = self.accept("IF");
        if written {
            self.expect("EXISTS")?;
        }
        Ok(written)
    }

    /// `verb` is followed by a kind of object that exists elsewhere, or by something that is no statement at all.
    pub(super) fn unknown_object(&self, line: u32, verb: &str) -> SyntaxError {
        const ELSEWHERE: &[&str] = &[
            "APPLICATION",
            "ASSEMBLY",
            "ASYMMETRIC",
            "AUTHORIZATION",
            "AVAILABILITY",
            "COLUMN",
            "CREDENTIAL",
            "EVENT",
            "FULLTEXT",
            "FUNCTION",
            "INDEX",
            "LOGIN",
            "MESSAGE",
            "PARTITION",
            "PROC",
            "PROCEDURE",
            "QUEUE",
            "ROLE",
            "ROUTE",
            "RULE",
            "SCHEMA",
            "SEQUENCE",
            "SERVER",
            "SERVICE",
            "STATISTICS",
            "SYMMETRIC",
            "SYNONYM",
            "TABLE",
            "TRIGGER",
            "TYPE",
            "USER",
            "VIEW",
            "XML",
        ];
        if self.is_any(ELSEWHERE) {
            let object = self.source(self.peek().span).to_ascii_uppercase();
            let instead = if matches!(object.as_str(), "TABLE" | "INDEX" | "VIEW" | "TRIGGER") {
                "Change the database's file with SQLite; the mirror follows."
            } else {
                ""
            };
            return SyntaxError::not_supported(line, &format!("{verb} {object}"), instead);
        }
        self.unexpected("MASTER KEY, CERTIFICATE, ENDPOINT, LOGIN, USER or DATABASE")
    }
}
