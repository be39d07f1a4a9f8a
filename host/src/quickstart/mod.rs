//! `dbmirror quickstart`: the main job, end to end, on one machine.
//!
//! Two instances start as separate processes and are configured by the documented scripts; a SQLite file is attached to HOST_A,
//! mirrored to HOST_B, written to by a third process with an ordinary SQLite connection, and both copies are compared
//! byte for byte. Everything goes through the same commands that an operator types, so what is shown here is what works.
//!
//! `docs/operations.md` tells the same walk by hand.

mod instance;
mod report;
mod sample;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use self::instance::Instance;
use self::report::Report;
use crate::cli::{QuickstartArgs, QuickstartWriterArgs};
use crate::{exit, terminal};

/// The documented scripts, run as they stand.
const OUTBOUND_A: &str = include_str!("scripts/host_a_outbound.sql");
const OUTBOUND_B: &str = include_str!("scripts/host_b_outbound.sql");
const INBOUND_A: &str = include_str!("scripts/host_a_inbound.sql");
const INBOUND_B: &str = include_str!("scripts/host_b_inbound.sql");

/// The port that the documented scripts name.
const PORT: u16 = 7024;
/// Where HOST_A listens, and HOST_B: one port, two loopback addresses.
const HOSTS: [(&str, &str); 2] = [("HOST_A", "127.0.0.1"), ("HOST_B", "127.0.0.2")];
/// How many transactions the writer commits.
const TRANSACTIONS: u64 = 1_000;
/// How long seeding, writing and catching up may take together before the run is called failed.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a run could not go on. The text is for the operator: what happened, the likely cause, what to do.
#[derive(Debug)]
struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Runs the walk and prints its report; returns the exit code: 6 when a check did not pass, or a step could not be done.
#[must_use]
pub fn run(args: &QuickstartArgs) -> u8 {
    code(walk(args))
}

/// The process that `quickstart` writes with; returns the exit code.
#[must_use]
pub fn run_writer(args: &QuickstartWriterArgs) -> u8 {
    code(sample::write_transactions(&args.file, args.transactions).map(|()| true))
}

fn code(done: Result<bool, Failure>) -> u8 {
    match done {
        Ok(true) => exit::DONE,
        Ok(false) => exit::CHECK_FAILED,
        Err(failure) => {
            terminal::complain(format_args!("dbmirror: {failure}"));
            exit::CHECK_FAILED
        }
    }
}

/// `true` when every check passed.
///
/// # Errors
/// [`Failure`] when a step could not be done at all: a busy port, an instance that does not start, a script that is
/// refused. Instances that were started are stopped before it returns.
fn walk(options: &QuickstartArgs) -> Result<bool, Failure> {
    let stop = instance::stop_flag()?;
    // Before anything is made.
    for (_, address) in HOSTS {
        instance::port_is_free(address, PORT)?;
    }
    let dir = directory(options)?;
    say(format_args!(
        "quickstart: everything lives under {}",
        dir.display()
    ))?;

    let mut report = Report::default();
    let a = Instance::start(&dir, HOSTS[0].0, HOSTS[0].1)?;
    let b = Instance::start(&dir, HOSTS[1].0, HOSTS[1].1)?;
    report.check(
        "two instances run as separate processes",
        true,
        format!("pid {} and {}", a.pid(), b.pid()),
    );

    identities(&a, &b, &mut report)?;
    let (name, file) = database(options, &dir, &a, &mut report)?;
    session(&name, &a, &b, &mut report)?;
    load(&name, &file, &a, &b, &mut report)?;
    show(&name, &a, &b)?;
    compare(&name, &file, &a, &b, &mut report)?;

    let passed = report.print()?;
    if options.exit {
        a.stop()?;
        b.stop()?;
    } else {
        what_next(&name, &file, &a, &b)?;
        instance::wait_until(&stop);
        say("stopping both instances")?;
        a.stop()?;
        b.stop()?;
    }
    Ok(passed)
}

/// A line of output.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    terminal::say(line).map_err(|error| Failure::new(format!("the output cannot be written: {error}")))
}

/// The directory to work in, made if need be.
fn directory(options: &QuickstartArgs) -> Result<PathBuf, Failure> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => instance::temporary_directory()?,
    };
    std::fs::create_dir_all(&dir).map_err(|e| {
        Failure::new(format!(
            "cannot make {}: {e}. Choose a writable place with --dir.",
            dir.display()
        ))
    })?;
    dir.canonicalize()
        .map_err(|e| Failure::new(format!("cannot use {}: {e}", dir.display())))
}

/// Runs the documented scripts on both hosts unless a run before this one did.
fn identities(a: &Instance, b: &Instance, report: &mut Report) -> Result<(), Failure> {
    const CONFIGURED: &str =
        "SELECT count(*) FROM sys.server_permissions WHERE permission_name = 'CONNECT' AND class = 105;";
    let fresh = [a, b].map(|host| host.value(CONFIGURED));
    for ((host, outbound), configured) in [(a, OUTBOUND_A), (b, OUTBOUND_B)].into_iter().zip(fresh) {
        if configured?.as_deref() == Some("0") {
            host.script(outbound)?;
        }
    }
    // The documents say: copy each certificate to the other system by any secure method. On one machine that is a copy.
    instance::copy_certificate(a, b, "HOST_A_cert.cer")?;
    instance::copy_certificate(b, a, "HOST_B_cert.cer")?;
    for (host, inbound) in [(a, INBOUND_A), (b, INBOUND_B)] {
        if host.value(CONFIGURED)?.as_deref() == Some("0") {
            host.script(inbound)?;
        }
    }
    for host in [a, b] {
        let row = host.value(
            "SELECT state_desc + ' ' + connection_auth_desc + ' ' + encryption_algorithm_desc \
             FROM sys.database_mirroring_endpoints;",
        )?;
        let shown = row.unwrap_or_default();
        report.check(
            &format!("{} has a started endpoint with its own certificate", host.name()),
            shown == "STARTED CERTIFICATE AES",
            shown,
        );
    }
    for (from, to) in [(a, b), (b, a)] {
        let (ok, last) = from.test_connection(to)?;
        report.check(
            &format!("{} authenticates {} and is authenticated", from.name(), to.name()),
            ok,
            last,
        );
    }
    Ok(())
}

/// Attaches a database to HOST_A unless a run before this one did; gives its name and file.
fn database(
    options: &QuickstartArgs,
    dir: &Path,
    a: &Instance,
    report: &mut Report,
) -> Result<(String, PathBuf), Failure> {
    let (name, file) = sample::prepare(options.database.as_deref(), dir)?;
    let known = a.value(&format!(
        "SELECT count(*) FROM sys.databases WHERE name = {};",
        instance::quote(&name)
    ))?;
    if known.as_deref() == Some("0") {
        a.statement(&format!(
            "CREATE DATABASE {} ON (FILENAME = {}) FOR ATTACH;",
            instance::bracket(&name),
            instance::quote(&file.to_string_lossy())
        ))?;
    }
    report.check(
        "a real SQLite file is attached to HOST_A",
        true,
        file.display().to_string(),
    );
    Ok((name, file))
}

/// Starts the session, the mirror first, unless a run before this one did.
fn session(name: &str, a: &Instance, b: &Instance, report: &mut Report) -> Result<(), Failure> {
    let guid = format!(
        "SELECT mirroring_guid FROM sys.database_mirroring WHERE database_id = DB_ID({});",
        instance::quote(name)
    );
    let before = a.value(&guid)?.filter(|shown| shown != "NULL");
    if before.is_none() {
        b.statement(&format!(
            "ALTER DATABASE {} SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC);",
            instance::bracket(name),
            a.url()
        ))?;
        a.statement(&format!(
            "ALTER DATABASE {} SET PARTNER = '{}';",
            instance::bracket(name),
            b.url()
        ))?;
    }
    let after = a.value(&guid)?.filter(|shown| shown != "NULL");
    let how = if before.is_some() { "resumed" } else { "new" };
    report.check(
        "the mirroring session exists",
        after.is_some(),
        format!("{} ({how})", after.unwrap_or_default()),
    );
    Ok(())
}

/// Writes the transactions from another process and waits until the mirror is level.
fn load(name: &str, file: &Path, a: &Instance, b: &Instance, report: &mut Report) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut writer = sample::spawn_writer(file, TRANSACTIONS)?;
    let bar = ProgressBar::new(TRANSACTIONS);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix("transactions on HOST_A");
    let start = sample::transactions(file)?;
    let written = loop {
        if let Some(status) = writer
            .try_wait()
            .map_err(|e| Failure::new(format!("cannot watch the writing process: {e}")))?
        {
            break status.success();
        }
        bar.set_position(
            sample::transactions(file)?
                .saturating_sub(start)
                .min(TRANSACTIONS),
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    bar.set_position(
        sample::transactions(file)?
            .saturating_sub(start)
            .min(TRANSACTIONS),
    );
    let write_time = begun.elapsed();
    bar.set_message("waiting for SYNCHRONIZED");

    let state = format!(
        "SELECT mirroring_state_desc FROM sys.database_mirroring WHERE database_id = DB_ID({});",
        instance::quote(name)
    );
    let lsn = format!(
        "SELECT mirroring_end_of_log_lsn FROM sys.database_mirroring WHERE database_id = DB_ID({});",
        instance::quote(name)
    );
    let deadline = Instant::now() + LEVEL_TIMEOUT;
    let (shown, level) = loop {
        let shown = a.value(&state)?.unwrap_or_default();
        let ends = (a.value(&lsn)?, b.value(&lsn)?);
        let level = shown == "SYNCHRONIZED" && ends.0 == ends.1 && ends.0.is_some();
        if level || Instant::now() > deadline {
            break (shown, level);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    bar.finish_and_clear();
    report.check(
        "another process committed its transactions with an ordinary SQLite connection",
        written,
        format!("{TRANSACTIONS} in {:.1} s", write_time.as_secs_f64()),
    );
    report.check(
        "the mirror is level",
        level,
        format!("{shown} {:.1} s after the start", begun.elapsed().as_secs_f64()),
    );
    Ok(())
}

/// Prints what an administrator would look at.
fn show(name: &str, a: &Instance, b: &Instance) -> Result<(), Failure> {
    for host in [a, b] {
        let query = format!(
            "SELECT mirroring_role_desc, mirroring_state_desc, mirroring_safety_level_desc, mirroring_partner_name, \
             mirroring_end_of_log_lsn FROM sys.database_mirroring WHERE database_id = DB_ID({});\n\
             SELECT principal_name, state_desc, login_state_desc, encryption_algorithm_desc, is_accept, \
             total_bytes_sent, total_bytes_received FROM sys.dm_db_mirroring_connections;",
            instance::quote(name)
        );
        say(format_args!(
            "\n{}> {}",
            host.name(),
            query.replace('\n', "\n        ")
        ))?;
        say(host.table(&query)?.trim_end())?;
    }
    Ok(())
}

/// Folds both logs into their files and compares the files, the rows and the integrity of the copy.
fn compare(name: &str, file: &Path, a: &Instance, b: &Instance, report: &mut Report) -> Result<(), Failure> {
    let fold = format!("EXEC sp_dbmirror_checkpoint {};", instance::quote(name));
    let (row_a, row_b) = (a.row(&fold)?, b.row(&fold)?);
    let (Some(row_a), Some(row_b)) = (row_a, row_b) else {
        report.check(
            "both copies were checkpointed",
            false,
            "sp_dbmirror_checkpoint returned no row".to_owned(),
        );
        return Ok(());
    };
    let column = |row: &[String], index: usize| row.get(index).cloned().unwrap_or_default();
    report.check(
        "both copies stand at the same LSN with the same database sum",
        row_a.get(1..) == row_b.get(1..) && row_a.len() >= 3,
        format!("LSN {} sum {}", column(&row_b, 1), column(&row_b, 2)),
    );
    let copy = PathBuf::from(column(&row_b, 0));
    let (same, detail) = sample::compare_files(file, &copy)?;
    report.check("both files are byte-identical", same, detail);
    let (here, there) = (sample::transactions(file)?, sample::transactions(&copy)?);
    report.check(
        "no transaction is missing on the mirror",
        here == there,
        format!("{there} of {here}"),
    );
    let verdict = sample::integrity(&copy)?;
    report.check(
        "PRAGMA integrity_check on the mirror's file",
        verdict == "ok",
        verdict,
    );
    Ok(())
}

/// What to try while both instances are up.
fn what_next(name: &str, file: &Path, a: &Instance, b: &Instance) -> Result<(), Failure> {
    say("\nBoth instances are up. In another terminal:")?;
    say(format_args!(
        "  sqlite3 '{}' \"INSERT INTO quickstart_orders (note) VALUES ('by hand')\"",
        file.display()
    ))?;
    say(format_args!(
        "  dbmirror sql -S '{}' -Q \"EXEC sp_dbmirror_checkpoint '{name}'\"",
        b.dir().display()
    ))?;
    say(format_args!(
        "  dbmirror sql -S '{}' -Q \"SELECT mirroring_state_desc FROM sys.database_mirroring\"",
        a.dir().display()
    ))?;
    say(format_args!(
        "  kill -9 {}     (HOST_B; then: dbmirror serve --data '{}' --name HOST_B --bind 127.0.0.2)",
        b.pid(),
        b.dir().display()
    ))?;
    say("Ctrl-C stops both.")
}
