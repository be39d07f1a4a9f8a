//! Where what an instance says goes: results and information to the output, errors to standard error.

use std::io::{self, Write};

use super::json;
use super::table::{Layout, Table, plain};
use crate::admin::{Cancelled, Message, Sink};
use crate::cli::Format;
use crate::tsql::value::{Column, Value};

/// The sink of a run.
pub(super) struct Report<'a> {
    format: Format,
    layout: Layout,
    out: &'a mut dyn Write,
    errors: &'a mut dyn Write,
    /// The reader of the output is gone: statements go on, what they say is dropped.
    unread: bool,
    /// Writing the output failed for another reason than that.
    pub failed: Option<io::Error>,
    /// An error of severity above 10 was reported.
    pub error_seen: bool,
    table: Option<Table>,
    columns: Vec<Column>,
    keys: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        format: Format,
        layout: Layout,
        out: &'a mut dyn Write,
        errors: &'a mut dyn Write,
    ) -> Self {
        Self {
            format,
            layout,
            out,
            errors,
            unread: false,
            failed: None,
            error_seen: false,
            table: None,
            columns: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// The run begins.
    pub(super) fn begin(&mut self, instance: &str, database: &str) {
        let json = self.format == Format::Json;
        self.write(|report| {
            if json {
                json::begin(report.out, instance, database)
            } else {
                Ok(())
            }
        });
    }

    /// The run is over.
    pub(super) fn end(&mut self, status: u8) {
        let json = self.format == Format::Json;
        self.write(|report| {
            if json {
                json::end(report.out, status)
            } else {
                Ok(())
            }
        });
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        self.write(|report| report.out.flush());
    }

    /// A prompt, a hint: only where a person reads.
    pub(super) fn prompt(&mut self, text: &str) {
        self.write(|report| {
            report.out.write_all(text.as_bytes())?;
            report.out.flush()
        });
    }

    /// Something of the client's own goes wrong.
    pub(super) fn complain(&mut self, text: &str) {
        self.flush();
        // There is nobody left to tell if this fails.
        let _ = writeln!(self.errors, "{text}");
    }

    /// Writes, unless nobody reads. A broken pipe is a reader who has seen enough, not an error.
    fn write(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.unread || self.failed.is_some() {
            return;
        }
        match write(self) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unread = true,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Sink for Report<'_> {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns = columns.to_vec();
        self.keys = json::keys(columns);
        self.write(|report| match report.format {
            Format::Table => {
                report.table = Some(Table::begin(&report.layout, columns, report.out)?);
                Ok(())
            }
            Format::Json => json::columns(report.out, columns, &report.keys),
        });
        self.check()
    }

    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        self.write(|report| match report.format {
            Format::Table => match &mut report.table {
                Some(table) => table.row(&report.layout, values, report.out),
                None => Ok(()),
            },
            Format::Json => json::row(report.out, &report.columns, &report.keys, values),
        });
        self.check()
    }

    fn rows_affected(&mut self, rows: u64) -> Result<(), Cancelled> {
        self.table = None;
        self.write(|report| match report.format {
            Format::Table => writeln!(
                report.out,
                "\n({rows} {} affected)",
                if rows == 1 { "row" } else { "rows" }
            ),
            Format::Json => json::rows_affected(report.out, rows),
        });
        self.check()
    }

    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        if self.format == Format::Json {
            self.write(|report| json::message(report.out, message));
        }
        if message.is_error() {
            self.error_seen = true;
            self.complain(&error_text(message));
        } else if self.format == Format::Table {
            self.write(|report| {
                writeln!(report.out, "{}", plain(&message.text))?;
                report.out.flush()
            });
        }
        self.check()
    }

    fn database_changed(&mut self, name: &str) -> Result<(), Cancelled> {
        if self.format == Format::Json {
            self.write(|report| json::database(report.out, name));
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), Cancelled> {
        if self.failed.is_some() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

/// An error as it is printed: a line that programs may look for, then the text.
fn error_text(message: &Message) -> String {
    let Message {
        number,
        severity,
        state,
        line,
        procedure,
        text,
    } = message;
    let procedure = procedure
        .as_ref()
        .map(|name| format!("Procedure {}, ", plain(name)))
        .unwrap_or_default();
    format!(
        "Msg {number}, Level {severity}, State {state}, {procedure}Line {line}\n{}",
        plain(text)
    )
}
