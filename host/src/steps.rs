//! Commands that ask the instance for something of several steps and print each step as it comes: `pair`, `test-connection`.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::admin::{Cancelled, Client, Message, Sink};
use crate::cli::Format;
use crate::exit;
use crate::sqlcmd::plain;
use crate::terminal::complain;
use crate::tsql::{Column, Value};

/// How long to wait for the instance to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// A row of the answer as the line to print; `None` for one that is not a step.
pub(crate) type Line = fn(Format, &[Value]) -> Option<String>;

/// Runs `batch` on the instance at `server`; returns the exit code: 6 when a step failed.
pub(crate) fn run(server: &Path, batch: &str, format: Format, line: Line) -> u8 {
    let unreached = |error: &dyn std::fmt::Display| {
        complain(format_args!("dbmirror: {}: {error}", server.display()));
        exit::NOT_REACHED
    };
    let mut client = match Client::connect(server, CONNECT_WAIT) {
        Ok(client) => client,
        Err(error) => return unreached(&error),
    };
    let mut steps = Steps::new(format, line, io::stdout(), io::stderr());
    let done = client.batch(batch, &mut steps);
    match done {
        Ok(()) if steps.refused => exit::CHECK_FAILED,
        Ok(()) if steps.output == Output::Failed => exit::USAGE,
        Ok(()) => exit::DONE,
        Err(error) => unreached(&error),
    }
}

/// Text as a literal of a statement.
pub(crate) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// Where the lines go. Without a reader the steps go on all the same, and so does what they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Read,
    /// Whoever read has seen enough.
    Unread,
    /// They cannot be written, which was told.
    Failed,
}

/// Prints a line per step.
struct Steps<O, E> {
    format: Format,
    line: Line,
    out: O,
    errors: E,
    refused: bool,
    output: Output,
}

impl<O: Write, E: Write> Steps<O, E> {
    const fn new(format: Format, line: Line, out: O, errors: E) -> Self {
        Self {
            format,
            line,
            out,
            errors,
            refused: false,
            output: Output::Read,
        }
    }
}

impl<O: Write, E: Write> Sink for Steps<O, E> {
    fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
        Ok(())
    }

    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        let Some(line) = (self.line)(self.format, values) else {
            return Ok(());
        };
        if self.output == Output::Read
            && let Err(error) = writeln!(self.out, "{line}").and_then(|()| self.out.flush())
        {
            self.output = if error.kind() == io::ErrorKind::BrokenPipe {
                Output::Unread
            } else {
                // At once: what a person waits for may have been on that line.
                let _ = writeln!(self.errors, "dbmirror: the output cannot be written: {error}");
                Output::Failed
            };
        }
        Ok(())
    }

    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.refused |= message.is_error();
        // There is nobody left to tell if this fails.
        let _ = writeln!(
            self.errors,
            "Msg {}, Level {}, State {}: {}",
            message.number,
            message.severity,
            message.state,
            plain(&message.text)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe whose reader has seen one line.
    struct Left(u8);

    impl Write for Left {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 > 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }
    }

    /// `dbmirror pair … | head -1` is no pairing that was cancelled, and a step that fails after that is not forgotten.
    #[test]
    fn a_reader_who_leaves_ends_nothing() {
        let line: Line = |_, _| Some("a step".to_owned());
        let mut errors = Vec::new();
        let mut steps = Steps::new(Format::Table, line, Left(0), &mut errors);
        for _ in 0..3 {
            steps.row(&[]).unwrap();
        }
        assert!(!steps.refused);
        assert_eq!(steps.output, Output::Unread);
        let message = Message {
            number: 1418,
            severity: 16,
            state: 1,
            text: "no \u{1b}[31mroute".to_owned(),
            ..Message::default()
        };
        steps.message(&message).unwrap();
        assert!(steps.refused);
        assert_eq!(
            String::from_utf8(errors).unwrap(),
            "Msg 1418, Level 16, State 1: no \u{fffd}[31mroute\n",
            "what a terminal would obey is not printed"
        );
    }

    /// A disk without room.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_cannot_be_written_is_told_once_and_at_once() {
        let line: Line = |_, _| Some("a step".to_owned());
        let mut errors = Vec::new();
        let mut steps = Steps::new(Format::Table, line, Full, &mut errors);
        for _ in 0..3 {
            steps.row(&[]).unwrap();
        }
        assert_eq!(steps.output, Output::Failed);
        let said = String::from_utf8(errors).unwrap();
        assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
    }
}
