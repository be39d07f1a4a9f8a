//! `dbmirror test-connection`: the instance dials, authenticates and reports each step; this prints them.

use std::io::Write as _;
use std::time::Duration;

use crate::admin::{Cancelled, Client, Message, Sink};
use crate::cli::{Format, TestConnectionArgs};
use crate::exit;
use crate::tsql::{Column, Value};

/// How long to wait for the instance to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Runs the test; returns the exit code: 6 when a step failed.
#[must_use]
pub fn run(args: &TestConnectionArgs) -> u8 {
    let mut client = match Client::connect(&args.server, CONNECT_WAIT) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("dbmirror: {}: {error}", args.server.display());
            return exit::NOT_REACHED;
        }
    };
    let batch = format!(
        "EXEC sp_dbmirror_test_connection N'{}', {}",
        args.address.replace('\'', "''"),
        args.hold
    );
    let mut steps = Steps {
        format: args.format,
        refused: false,
    };
    match client.batch(&batch, &mut steps) {
        Ok(()) if steps.refused => exit::CHECK_FAILED,
        Ok(()) => exit::DONE,
        Err(error) => {
            eprintln!("dbmirror: {}: {error}", args.server.display());
            exit::NOT_REACHED
        }
    }
}

/// Prints a line per step as it comes.
struct Steps {
    format: Format,
    refused: bool,
}

impl Sink for Steps {
    fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
        Ok(())
    }

    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        let [Value::Text(step), Value::Int(ok), Value::Text(detail)] = values else {
            return Ok(());
        };
        let line = match self.format {
            Format::Json => serde_json::json!({"step": step, "ok": *ok != 0, "detail": detail}).to_string(),
            Format::Table => format!("{:<4} {step:<12} {detail}", if *ok != 0 { "ok" } else { "FAIL" }),
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
