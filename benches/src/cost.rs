//! What mirroring costs the application: commits per second of one ordinary SQLite writer on a file that nobody watches, on a
//! file that an instance captures, and on a file that is mirrored, in turns of one run, as ratios to the first.

use std::path::Path;
use std::time::{Duration, Instant};

use dbmirror_tests::processes::{Pair, open, pair};

use crate::median;
use crate::report::{Chart, Row, Section};

/// Measures for `turns` turns of `turn` each.
#[must_use]
pub fn measure(turns: usize, turn: Duration) -> Section {
    let pair = pair(201);
    let plain = pair.root.path().join("plain.db");
    prepare(&plain);
    let captured = pair.attached("captured");
    let mirrored = pair.mirrored("mirrored");
    let mut section = Section {
        title: "What mirroring costs a writer",
        about: format!(
            "One writer, one row of 100 bytes a commit, {turns} turns of {} s each in turn, medians; in brackets the ratio to the file that nobody watches. \
             Both instances share the machine with the writer. At the end both files of the mirrored database are byte-identical.",
            turn.as_secs_f64()
        ),
        columns: ["plain commits/s", "captured", "mirrored", "level again after, s"]
            .map(String::from)
            .into(),
        rows: Vec::new(),
        charts: Vec::new(),
        aims: Vec::new(),
    };
    let mut bars = Vec::new();
    for synchronous in ["NORMAL", "FULL"] {
        let mut rates = [const { Vec::new() }; 3];
        let mut catch_up = Vec::new();
        for _ in 0..turns {
            for (file, rates) in [&plain, &captured, &mirrored].into_iter().zip(&mut rates) {
                rates.push(commits(file, synchronous, turn));
                settle(&pair, &mut catch_up);
            }
        }
        let [plain, captured, mirrored] = rates.map(median);
        section.rows.push(Row {
            name: format!("synchronous = {synchronous}"),
            cells: vec![
                format!("{plain:.0}"),
                format!("{captured:.0} ({:.2})", captured / plain),
                format!("{mirrored:.0} ({:.2})", mirrored / plain),
                format!("{:.2}", median(catch_up)),
            ],
        });
        for (name, rate) in [
            ("plain", plain),
            ("dbmirror, captured", captured),
            ("dbmirror, mirrored", mirrored),
        ] {
            bars.push((format!("{name}, {synchronous}"), rate));
        }
    }
    section.charts.push(Chart {
        file: "cost",
        title: "Commits a second of one writer".to_owned(),
        bars,
        line: None,
    });
    pair.assert_level_and_equal("mirrored", &mirrored);
    section
}

fn prepare(file: &Path) {
    let db = open(file);
    db.pragma_update(None, "journal_mode", "WAL").expect("WAL mode");
    db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
}

/// Commits a second over one turn.
fn commits(file: &Path, synchronous: &str, turn: Duration) -> f64 {
    let db = open(file);
    db.pragma_update(None, "synchronous", synchronous)
        .expect("a pragma");
    let row = "x".repeat(100);
    let mut insert = db.prepare("INSERT INTO t (v) VALUES (?1)").expect("a statement");
    let begun = Instant::now();
    let mut commits = 0u32;
    while begun.elapsed() < turn {
        insert.execute([&row]).expect("a commit");
        commits += 1;
    }
    f64::from(commits) / begun.elapsed().as_secs_f64()
}

/// Lets the mirror catch up, so that one case never pays for another; notes how long that took.
fn settle(pair: &Pair, catch_up: &mut Vec<f64>) {
    let begun = Instant::now();
    pair.level("mirrored");
    catch_up.push(begun.elapsed().as_secs_f64());
}
