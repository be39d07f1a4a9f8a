//! How fast a database comes to its mirror, beside copies of the same file on the same disk that cross no network and are not
//! encrypted: SQLite's online backup, and plain reading and writing.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use dbmirror_tests::processes::{mirror, open, pair};
use rusqlite::backup::Backup;

use crate::median;
use crate::report::{Chart, Row, Section};

/// Measures a database of `megabytes`, `turns` times.
#[must_use]
pub fn measure(turns: usize, megabytes: u32) -> Section {
    let mut rates = [const { Vec::new() }; 3];
    let pair = pair(202);
    for turn in 0..turns {
        let name = format!("big{turn}");
        let file = pair.attached(&name);
        fill(&file, megabytes);
        let bytes = fs::metadata(&file).expect("a file").len() as f64;
        let rate = |begun: Instant| bytes / 1e6 / begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        copy(&file, &pair.root.path().join("copy.db"));
        rates[0].push(rate(begun));

        let begun = Instant::now();
        back_up(&file, &pair.root.path().join("backup.db"));
        rates[1].push(rate(begun));

        // As an operator has it: from the statement to SYNCHRONIZED.
        let begun = Instant::now();
        mirror(&pair.a, &pair.b, &name);
        rates[2].push(rate(begun));
        pair.assert_level_and_equal(&name, &file);
        pair.a.ok(&format!("ALTER DATABASE [{name}] SET PARTNER OFF"));
        pair.a.ok(&format!("DROP DATABASE [{name}]"));
    }
    let rates = rates.map(median);
    let names = ["copied and synced", "SQLite's online backup", "dbmirror, seeded"];
    Section {
        title: "Seeding a mirror",
        about: format!(
            "A database of {megabytes} MB of random bytes, {turns} turns, medians of MB/s. The copies stay on one disk and cross no network; a seed is read out of the running principal, \
             encrypted, sent over loopback, checked page by page, written and synced, and counted from the statement to SYNCHRONIZED. Afterwards both files are byte-identical."
        ),
        columns: vec!["MB/s".to_owned(), "ratio to the backup".to_owned()],
        rows: names
            .iter()
            .zip(rates)
            .map(|(name, rate)| Row {
                name: (*name).to_owned(),
                cells: vec![format!("{rate:.0}"), format!("{:.2}", rate / rates[1])],
            })
            .collect(),
        charts: vec![Chart {
            file: "seeding",
            title: "MB/s of a whole database".to_owned(),
            bars: names.iter().map(|name| (*name).to_owned()).zip(rates).collect(),
            line: None,
        }],
        aims: Vec::new(),
    }
}

fn fill(file: &Path, megabytes: u32) {
    let db = open(file);
    for _ in 0..megabytes {
        db.execute("INSERT INTO t (v) VALUES (randomblob(1000000))", [])
            .expect("a row");
    }
    db.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
        .expect("a checkpoint");
}

fn copy(from: &Path, to: &Path) {
    let mut to = File::create(to).expect("a file");
    io::copy(&mut File::open(from).expect("a file"), &mut to).expect("a copy");
    to.sync_all().expect("a sync");
}

fn back_up(from: &Path, to: &Path) {
    let _ = fs::remove_file(to);
    let from = open(from);
    let mut copy = open(to);
    Backup::new(&from, &mut copy)
        .and_then(|backup| backup.run_to_completion(1_000, Duration::ZERO, None))
        .expect("a backup");
    drop(copy);
    File::open(to).and_then(|file| file.sync_all()).expect("a sync");
}
