//! `dbmirror sql`: scripts and queries for an instance, with sqlcmd's habits (`docs/tsql.md`, "dbmirror sql").

mod json;
mod report;
pub(crate) mod script;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use table::plain;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::admin::{Client, ClientError};
use crate::cli::SqlArgs;
use crate::exit;

use report::Report;
use script::{Splitter, Step};
use table::Layout;

/// Longest script file.
const SCRIPT_LENGTH_MAX: u64 = 64 << 20;

/// Longest line of standard input.
const LINE_LENGTH_MAX: u64 = 2 << 20;

/// Runs `dbmirror sql` and returns its exit code.
#[must_use]
pub fn run(args: &SqlArgs) -> u8 {
    let mut errors = io::stderr();
    let output = args
        .output
        .as_ref()
        .map(|path| File::create(path).map_err(|error| (path, error)));
    match output.transpose() {
        Ok(Some(file)) => run_with(args, &mut BufWriter::new(file), &mut errors),
        Ok(None) => run_with(args, &mut BufWriter::new(io::stdout()), &mut errors),
        Err((path, error)) => {
            let _ = writeln!(
                errors,
                "dbmirror sql: the output file {} cannot be written: {error}",
                path.display()
            );
            exit::USAGE
        }
    }
}

/// What is to be run.
struct Inputs {
    texts: Vec<Zeroizing<String>>,
    /// Behind them, standard input.
    stdin: bool,
}

fn run_with(args: &SqlArgs, out: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    let layout = Layout {
        headers: args.headers,
        trim: args.trim,
        separator: args.separator.clone(),
    };
    let mut report = Report::new(args.format, layout, out, errors);
    if args.user.is_some() || args.password.is_some() {
        let text =
            "dbmirror sql: -U and -P are reserved; on the admin connection the system tells who you are";
        report.complain(text);
        return exit::USAGE;
    }
    let inputs = match inputs(args) {
        Ok(inputs) => inputs,
        Err(text) => {
            report.complain(&format!("dbmirror sql: {text}"));
            return exit::USAGE;
        }
    };
    let wait = Duration::from_secs(args.login_timeout.into());
    session(
        &args.server,
        wait,
        Splitter::new(&args.variables),
        args.stop,
        &inputs,
        &mut report,
    )
}

/// Reads every script before any of it runs.
fn inputs(args: &SqlArgs) -> Result<Inputs, String> {
    if let Some(query) = args.query.as_ref().or(args.initial_query.as_ref()) {
        return Ok(Inputs {
            texts: vec![Zeroizing::new(query.clone())],
            stdin: args.query.is_none(),
        });
    }
    let texts = args
        .input
        .iter()
        .map(|path| script(path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Inputs {
        stdin: texts.is_empty(),
        texts,
    })
}

fn script(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read =
        |from: &mut dyn io::Read, bytes: &mut Vec<u8>| from.take(SCRIPT_LENGTH_MAX + 1).read_to_end(bytes);
    let result = if path == Path::new("-") {
        read(&mut io::stdin().lock(), &mut bytes)
    } else {
        File::open(path).and_then(|mut file| read(&mut file, &mut bytes))
    };
    result.map_err(|error| format!("the script {} cannot be read: {error}", path.display()))?;
    if bytes.len() as u64 > SCRIPT_LENGTH_MAX {
        return Err(format!(
            "the script {} is longer than {} MiB",
            path.display(),
            SCRIPT_LENGTH_MAX >> 20
        ));
    }
    decode(&bytes).ok_or_else(|| format!("the script {} is neither UTF-8 nor UTF-16", path.display()))
}

/// UTF-8, or UTF-16 with its mark, as scripts from Windows are written.
fn decode(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            return core::str::from_utf8(bytes)
                .ok()
                .map(|text| Zeroizing::new(text.to_owned()));
        }
    };
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let units = Zeroizing::new(pairs.iter().skip(1).map(|pair| unit(*pair)).collect::<Vec<_>>());
    String::from_utf16(&units).ok().map(Zeroizing::new)
}

/// Connects, runs everything, and says how it ended.
fn session(
    dir: &Path,
    wait: Duration,
    splitter: Splitter,
    stop: bool,
    inputs: &Inputs,
    report: &mut Report<'_>,
) -> u8 {
    let client = match Client::connect(dir, wait) {
        Ok(client) => client,
        Err(error) => {
            report.complain(&format!("dbmirror: {} cannot be reached: {error}", dir.display()));
            return exit::NOT_REACHED;
        }
    };
    report.begin(&client.instance, &client.database);
    let mut runner = Runner {
        client,
        splitter,
        stop,
        report,
    };
    let ended = runner.all(inputs);
    let Runner { report, .. } = runner;
    let mut status = match ended {
        Err(Ended::Lost) => exit::NOT_REACHED,
        Err(Ended::Script) => exit::STATEMENT_ERROR,
        Ok(()) | Err(Ended::Quit) if report.error_seen => exit::STATEMENT_ERROR,
        Ok(()) | Err(Ended::Quit | Ended::Output) => exit::DONE,
    };
    report.end(status);
    if let Some(error) = report.failed.take() {
        report.complain(&format!("dbmirror sql: the output cannot be written: {error}"));
        status = exit::USAGE;
    }
    status
}

/// Why a run ends before its inputs do.
enum Ended {
    /// QUIT, or an error with -b.
    Quit,
    /// The connection is lost.
    Lost,
    /// The script cannot be understood.
    Script,
    /// The output cannot be written.
    Output,
}

struct Runner<'a, 'r> {
    client: Client,
    splitter: Splitter,
    /// Stop at the first error.
    stop: bool,
    report: &'a mut Report<'r>,
}

impl Runner<'_, '_> {
    fn all(&mut self, inputs: &Inputs) -> Result<(), Ended> {
        for text in &inputs.texts {
            self.splitter.next_script();
            for line in text.lines() {
                self.line(line)?;
            }
            self.finish()?;
        }
        if inputs.stdin { self.stdin() } else { Ok(()) }
    }

    fn line(&mut self, line: &str) -> Result<(), Ended> {
        match self.splitter.line(line) {
            Ok(None) => Ok(()),
            Ok(Some(step)) => self.step(step),
            Err(error) => {
                self.report
                    .complain(&format!("dbmirror sql: script error, {error}"));
                Err(Ended::Script)
            }
        }
    }

    fn finish(&mut self) -> Result<(), Ended> {
        self.splitter.finish().map_or(Ok(()), |step| self.step(step))
    }

    fn step(&mut self, step: Step) -> Result<(), Ended> {
        match step {
            Step::Quit => Err(Ended::Quit),
            Step::OnError(stop) => {
                self.stop = stop;
                Ok(())
            }
            Step::Run { batch, times } => (0..times).try_for_each(|_| self.batch(&batch)),
        }
    }

    fn batch(&mut self, batch: &str) -> Result<(), Ended> {
        match self.client.batch(batch, self.report) {
            Ok(()) if self.stop && self.report.error_seen => Err(Ended::Quit),
            Ok(()) => Ok(()),
            Err(ClientError::Cancelled) => Err(Ended::Output),
            Err(error @ ClientError::Lost(_)) => {
                self.report.complain(&format!("dbmirror: {error}"));
                Err(Ended::Lost)
            }
        }
    }

    /// Standard input, with a prompt if a person types it.
    fn stdin(&mut self) -> Result<(), Ended> {
        let stdin = io::stdin();
        let person = stdin.is_terminal() && io::stdout().is_terminal();
        let mut input = BufReader::new(stdin.lock());
        self.splitter.next_script();
        loop {
            if person {
                let prompt = format!("{}> ", self.splitter.lines_pending() + 1);
                self.report.prompt(&prompt);
            }
            let mut line = Zeroizing::new(Vec::new());
            let read = (&mut input).take(LINE_LENGTH_MAX).read_until(b'\n', &mut line);
            let text = match read {
                Ok(0) => return self.finish(),
                Ok(_) => core::str::from_utf8(&line).ok(),
                Err(_) => None,
            };
            let Some(text) = text.filter(|text| text.len() as u64 != LINE_LENGTH_MAX) else {
                self.report
                    .complain("dbmirror sql: standard input holds a line that is too long or not UTF-8");
                return Err(Ended::Script);
            };
            match self.line(text.trim_end_matches(['\n', '\r'])) {
                // A slip of a person does not end the session.
                Err(Ended::Script) if person => {}
                ended => ended?,
            }
            self.report.flush();
        }
    }
}
