//! `dbmirror pair`: holds a window open on an instance, or pairs it with one that does (`docs/pairing.md`). The instance does the
//! work; this asks for it and prints each step.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::admin::{Cancelled, Client, Message, Sink};
use crate::cli::{Format, PairArgs};
use crate::exit;
use crate::tsql::{Column, Value};

/// How long to wait for the instance to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Runs one side; returns the exit code: 6 when there is no pairing in the end.
#[must_use]
pub fn run(args: &PairArgs) -> u8 {
    let batch = match batch(args) {
        Ok(batch) => batch,
        Err(error) => {
            eprintln!("dbmirror: {error}");
            return exit::USAGE;
        }
    };
    let mut client = match Client::connect(&args.server, CONNECT_WAIT) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("dbmirror: {}: {error}", args.server.display());
            return exit::NOT_REACHED;
        }
    };
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

/// The statement that this side's instance runs.
fn batch(args: &PairArgs) -> Result<String, String> {
    let text = |text: &str| format!("N'{}'", text.replace('\'', "''"));
    let or_null = |value: Option<&String>| value.map_or_else(|| "NULL".to_owned(), |value| text(value));
    if args.show {
        return Ok("EXEC sp_dbmirror_fingerprint".to_owned());
    }
    let fingerprint = or_null(args.fingerprint.as_ref());
    let name = or_null(args.name.as_ref());
    let Some(address) = &args.with else {
        return Ok(format!(
            "EXEC sp_dbmirror_pair_open @fingerprint = {fingerprint}, @minutes = {}, @name = {name}",
            args.minutes
        ));
    };
    let code = match (&args.code, &args.fingerprint) {
        (Some(code), _) => text(code),
        (None, Some(_)) => "NULL".to_owned(),
        // Typed here, it stands in no list of processes and in no shell's history.
        (None, None) => text(&read_code()?),
    };
    Ok(format!(
        "EXEC sp_dbmirror_pair_with @address = {}, @code = {code}, @fingerprint = {fingerprint}, @name = {name}",
        text(address)
    ))
}

fn read_code() -> Result<String, String> {
    if std::io::stdin().is_terminal() {
        eprint!("The code that the other side shows: ");
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| format!("the code cannot be read: {error}"))?;
    let code = line.trim();
    if code.is_empty() {
        return Err("no code was given: --code, or on standard input".to_owned());
    }
    Ok(code.to_owned())
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
        let [Value::Text(step), Value::Text(detail)] = values else {
            return Ok(());
        };
        let line = match self.format {
            Format::Json => serde_json::json!({"step": step, "detail": detail}).to_string(),
            Format::Table => format!("{step:<12} {detail}"),
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
