//! `dbmirror pair`: holds a window open on an instance, or pairs it with one that does (`docs/pairing.md`). The instance does the
//! work; this asks for it and prints each step.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::cli::{Format, PairArgs};
use crate::terminal::complain;
use crate::tsql::Value;
use crate::{exit, steps};

/// Runs one side; returns the exit code: 6 when there is no pairing in the end.
#[must_use]
pub fn run(args: &PairArgs) -> u8 {
    let batch = match batch(args) {
        Ok(batch) => batch,
        Err(error) => {
            complain(format_args!("dbmirror: {error}"));
            return exit::USAGE;
        }
    };
    steps::run(&args.server, &batch, args.format, line)
}

/// The statement that this side's instance runs.
fn batch(args: &PairArgs) -> Result<String, String> {
    let or_null =
        |value: Option<&String>| value.map_or_else(|| "NULL".to_owned(), |value| steps::literal(value));
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
        (Some(code), _) => steps::literal(code),
        (None, Some(_)) => "NULL".to_owned(),
        // Typed here, it stands in no list of processes and in no shell's history.
        (None, None) => steps::literal(&read_code()?),
    };
    Ok(format!(
        "EXEC sp_dbmirror_pair_with @address = {}, @code = {code}, @fingerprint = {fingerprint}, @name = {name}",
        steps::literal(address)
    ))
}

fn read_code() -> Result<String, String> {
    if std::io::stdin().is_terminal() {
        let _ = write!(std::io::stderr(), "The code that the other side shows: ");
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

fn line(format: Format, row: &[Value]) -> Option<String> {
    let [Value::Text(step), Value::Text(detail)] = row else {
        return None;
    };
    Some(match format {
        Format::Json => serde_json::json!({"step": step, "detail": detail}).to_string(),
        Format::Table => format!("{step:<12} {detail}"),
    })
}
