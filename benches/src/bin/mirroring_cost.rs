//! What mirroring costs the application: commits per second of one ordinary SQLite writer on a file that nobody watches, on a
//! file that an instance captures, and on a file that is mirrored, in turns of one run, as ratios to the first.
//!
//! ```sh
//! cargo build --release -p dbmirror && cargo run --release -p dbmirror-benches --bin mirroring_cost
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use dbmirror_tests::processes::{Pair, open, pair};

/// How long one turn writes.
const TURN: Duration = Duration::from_secs(2);
/// How many turns each case gets.
const TURNS: usize = 5;

fn main() {
    let pair = pair(201);
    let plain = pair.root.path().join("plain.db");
    prepare(&plain);
    let captured = pair.attached("captured");
    let mirrored = pair.mirrored("mirrored");
    println!(
        "one writer, one row of 100 bytes a commit, {TURNS} turns of {} s each, medians",
        TURN.as_secs()
    );
    println!(
        "{:<12} {:>12} {:>12} {:>12} {:>10} {:>10}",
        "synchronous", "plain/s", "captured/s", "mirrored/s", "captured", "mirrored"
    );
    for synchronous in ["NORMAL", "FULL"] {
        let mut rates = [const { Vec::new() }; 3];
        let mut catch_up = Vec::new();
        for _ in 0..TURNS {
            for (file, rates) in [&plain, &captured, &mirrored].into_iter().zip(&mut rates) {
                rates.push(turn(file, synchronous));
                settle(&pair, &mut catch_up);
            }
        }
        let [plain, captured, mirrored] = rates.map(median);
        println!(
            "{synchronous:<12} {plain:>12.0} {captured:>12.0} {mirrored:>12.0} {:>9.2}x {:>9.2}x   level again after {:.2} s",
            captured / plain,
            mirrored / plain,
            median(catch_up)
        );
    }
    pair.assert_level_and_equal("mirrored", &mirrored);
    println!("both files of the mirrored database are byte-identical");
}

fn prepare(file: &Path) {
    let db = open(file);
    db.pragma_update(None, "journal_mode", "WAL").expect("WAL mode");
    db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
}

/// Commits a second over one turn.
fn turn(file: &Path, synchronous: &str) -> f64 {
    let db = open(file);
    db.pragma_update(None, "synchronous", synchronous)
        .expect("a pragma");
    let row = "x".repeat(100);
    let mut insert = db.prepare("INSERT INTO t (v) VALUES (?1)").expect("a statement");
    let begun = Instant::now();
    let mut commits = 0u32;
    while begun.elapsed() < TURN {
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
