//! Commands that ask the instance for something of several steps and print each step as it comes: `pair`, `test-connection`.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::admin::{Cancelled, Client, Message, Sink};
use crate::cli::Format;
use crate::exit;
use crate::tsql::{Column, Value};

/// How long to wait for the instance to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// A row of the answer as the line to print; `None` for one that is not a step.
pub(crate) type Line = fn(Format, &[Value]) -> Option<String>;

/// Runs `batch` on the instance at `server`; returns the exit code: 6 when a step failed.
pub(crate) fn run(server: &Path, batch: &str, format: Format, line: Line) -> u8 {
    let unreached = |error: &dyn std::fmt::Display| {
        eprintln!("dbmirror: {}: {error}", server.display());
        exit::NOT_REACHED
    };
    let mut client = match Client::connect(server, CONNECT_WAIT) {
        Ok(client) => client,
        Err(error) => return unreached(&error),
    };
    let mut steps = Steps {
        format,
        line,
        refused: false,
    };
    match client.batch(batch, &mut steps) {
        Ok(()) if steps.refused => exit::CHECK_FAILED,
        Ok(()) => exit::DONE,
        Err(error) => unreached(&error),
    }
}

/// Text as a literal of a statement.
pub(crate) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// Prints a line per step.
struct Steps {
    format: Format,
    line: Line,
    refused: bool,
}

impl Sink for Steps {
    fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
        Ok(())
    }

    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        let Some(line) = (self.line)(self.format, values) else {
            return Ok(());
        };
        let mut out = std::io::stdout();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|_| Cancelled)
    }

    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.refused |= message.is_error();
        eprintln!(
            "Msg {}, Level {}, State {}: {}",
            message.number, message.severity, message.state, message.text
        );
        Ok(())
    }

    fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
        Ok(())
    }

    fn check(&mut self) -> Result<(), Cancelled> {
        Ok(())
    }
}
