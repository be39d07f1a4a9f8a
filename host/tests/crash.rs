//! Processes die at random moments of a write load, and the session heals itself.
//!
//! `DBMIRROR_KILLS` sets the number of kills (default 10), `DBMIRROR_SEED` repeats a run.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Server, count, equal_files, level, pair, sample};
use rusqlite::Connection;

/// A small generator: the moments of the kills are chosen, not secret.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A process that commits rows to the database until it is killed: Debian's own SQLite shell where there is one, and ours.
fn writer(file: &Path, shell: bool) -> Child {
    if shell {
        let mut child = Command::new("sqlite3")
            .arg("-bail")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::thread::spawn(move || {
            let _ = writeln!(input, ".timeout 10000");
            while writeln!(input, "INSERT INTO orders (note) VALUES (hex(randomblob(40)));").is_ok() {}
        });
        return child;
    }
    Command::new(env!("CARGO_BIN_EXE_dbmirror"))
        .args(["quickstart-writer"])
        .arg(file)
        .arg("100000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kills(addresses: [&str; 2], shell: bool, count_of_kills: u64) {
    let root = tempfile::tempdir().unwrap();
    let [mut a, mut b] = pair(root.path(), addresses);
    let seed = number("DBMIRROR_SEED").unwrap_or_else(|| std::process::id().into());
    let mut random = Random(seed);
    eprintln!("DBMIRROR_SEED={seed}");
    let file = root.path().join("sales.db");
    sample(&file, 20);
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE quickstart_orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        .unwrap();
    a.ok(&format!(
        "CREATE DATABASE Sales ON (FILENAME = '{}') FOR ATTACH",
        file.display()
    ));
    b.ok(&format!(
        "ALTER DATABASE Sales SET PARTNER = 'TCP://{}:7024' WITH (SEEDING_MODE = AUTOMATIC)",
        addresses[0]
    ));
    a.ok(&format!(
        "ALTER DATABASE Sales SET PARTNER = 'TCP://{}:7024'",
        addresses[1]
    ));
    for kill in 0..count_of_kills {
        let mut writing = writer(&file, shell);
        std::thread::sleep(Duration::from_millis(random.below(700)));
        match random.below(3) {
            0 => {
                let dir = a.dir.clone();
                a.kill();
                a = Server::start_at(&dir, "HOST_A", addresses[0]);
            }
            1 => {
                let dir = b.dir.clone();
                b.kill();
                b = Server::start_at(&dir, "HOST_B", addresses[1]);
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
        writing.kill().unwrap();
        writing.wait().unwrap();
        if kill % 4 == 3 {
            level(&a, &b, "FULL");
        }
    }
    level(&a, &b, "FULL");
    let (_, copy) = equal_files(&a, &b);
    assert_eq!(count(&copy), count(&file));
    let check: String = Connection::open(&copy)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn killed_at_random_under_load() {
    kills(
        ["127.86.1.1", "127.86.1.2"],
        false,
        number("DBMIRROR_KILLS").unwrap_or(10),
    );
}

#[test]
fn killed_under_the_load_of_another_sqlite() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no sqlite3 here");
        return;
    }
    kills(
        ["127.86.2.1", "127.86.2.2"],
        true,
        number("DBMIRROR_KILLS").unwrap_or(5),
    );
}
