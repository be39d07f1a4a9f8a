//! `kill -9` of the principal, the mirror and the writer at random moments of a load; and frames that were lost meanwhile.
//!
//! `DBMIRROR_KILLS=50 cargo test -p dbmirror --test e2e crash` runs the long form; `DBMIRROR_SEED` repeats one run.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use dbmirror_tests::processes::*;

/// A small generator, so that a run can be repeated from its printed seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("DBMIRROR_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| {
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(1, |d| d.as_nanos() as u64)
                    | 1
            });
        eprintln!("DBMIRROR_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn kills() -> u32 {
    std::env::var("DBMIRROR_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10)
}

/// A writer of its own process: Debian's `sqlite3` shell, another SQLite version than ours.
fn shell_writer(file: &Path) -> Child {
    let mut child = Command::new("sqlite3")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the sqlite3 shell starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::spawn(move || {
        let _ = writeln!(stdin, ".timeout 20000");
        for n in 0u64.. {
            let line = if n % 40 == 39 {
                // Now and then a transaction that spills, and one that rolls back.
                "BEGIN; WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM i WHERE x < 300) \
                 INSERT INTO t (v) SELECT hex(randomblob(500)) FROM i; DELETE FROM t WHERE id % 7 = 0; COMMIT;"
                    .to_owned()
            } else if n % 40 == 20 {
                "BEGIN; DELETE FROM t; ROLLBACK;".to_owned()
            } else {
                format!("INSERT INTO t (v) VALUES ('shell {n}');")
            };
            if writeln!(stdin, "{line}").is_err() {
                break;
            }
        }
    });
    child
}

/// A writer that goes through this project's own SQLite build.
fn own_writer(file: &Path) -> Child {
    Command::new(program())
        .arg("quickstart-writer")
        .arg(file)
        .arg("100000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the writer starts")
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn kills_at_random_moments_lose_nothing() {
    kills_under(pair(101), shell_writer, "t");
}

#[test]
fn kills_under_the_load_of_our_own_sqlite_lose_nothing() {
    kills_under(pair(105), own_writer, "quickstart_orders");
}

fn kills_under(mut pair: Pair, start: fn(&Path) -> Child, table: &str) {
    let mut random = Random::new();
    let file = pair.mirrored("load");
    open(&file)
        .execute_batch("CREATE TABLE quickstart_orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        .expect("a table");
    let rows_of = |file: &Path| -> i64 {
        open(file)
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .expect("a count")
    };
    let mut writer = start(&file);
    for round in 0..kills() {
        std::thread::sleep(Duration::from_millis(50 + random.below(400)));
        match random.below(3) {
            0 => {
                pair.a.kill();
                std::thread::sleep(Duration::from_millis(random.below(300)));
                pair.a.up();
            }
            1 => {
                pair.b.kill();
                std::thread::sleep(Duration::from_millis(random.below(300)));
                pair.b.up();
            }
            _ => {
                end(writer);
                writer = start(&file);
            }
        }
        if round % 5 == 4 {
            // Now and then the session may come to rest before the next blow.
            pair.a.wait("connected again", || {
                let state = pair.a.mirroring("load", "mirroring_state_desc");
                if state == "DISCONNECTED" {
                    Err(state)
                } else {
                    Ok(())
                }
            });
        }
    }
    end(writer);
    // A commit whose writer died before it published it is there or not as it happens, until the next commit takes its place.
    open(&file)
        .execute_batch("CREATE TABLE settled (x)")
        .expect("a commit");
    let rows = rows_of(&file);
    assert!(rows > 0, "the writer wrote");
    pair.assert_level_and_equal("load", &file);
    assert_eq!(
        rows_of(&pair.b.checkpoint("load").0),
        rows,
        "no row is missing on the mirror"
    );
}

#[test]
fn both_instances_at_once() {
    let mut pair = pair(102);
    let file = pair.mirrored("both");
    for _ in 0..2 {
        let writer = shell_writer(&file);
        std::thread::sleep(Duration::from_millis(300));
        pair.a.kill();
        pair.b.kill();
        std::thread::sleep(Duration::from_millis(200));
        end(writer);
        pair.b.up();
        pair.a.up();
        pair.assert_level_and_equal("both", &file);
    }
}

#[test]
fn commits_made_while_the_daemon_was_down_cross_later() {
    let mut pair = pair(103);
    let file = pair.mirrored("down");
    pair.a.kill();
    // An application keeps the log open, so nothing is checkpointed away.
    let db = open(&file);
    db.pragma_update(None, "wal_autocheckpoint", 0)
        .expect("no checkpoints");
    for n in 0..20 {
        db.execute("INSERT INTO t (v) VALUES (?1)", [format!("alone {n}")])
            .expect("a commit");
    }
    pair.a.up();
    pair.assert_level_and_equal("down", &file);
    drop(db);
}

/// A principal that starts alone does not know whether it is the principal still. A checkpoint waits for that: what was committed
/// meanwhile is no damage.
#[test]
fn a_checkpoint_waits_until_the_role_is_known() {
    let mut pair = pair(106);
    let file = pair.mirrored("early");
    pair.b.kill();
    pair.a.kill();
    let db = open(&file);
    db.pragma_update(None, "wal_autocheckpoint", 0)
        .expect("no checkpoints");
    db.execute("INSERT INTO t (v) VALUES ('alone')", [])
        .expect("a commit");
    pair.a.up();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| pair.a.checkpoint("early"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!asked.is_finished(), "nobody has told A its role");
        pair.b.up();
        let _ = asked.join().expect("a checkpoint");
    });
    pair.assert_level_and_equal("early", &file);
    drop(db);
}

#[test]
fn frames_that_were_checkpointed_away_are_noticed_and_healed() {
    let mut pair = pair(104);
    let file = pair.mirrored("lost");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('seen')", [])
        .expect("a commit");
    pair.level("lost");
    pair.a.kill();
    {
        let db = open(&file);
        for n in 0..50 {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("lost {n}")])
                .expect("a commit");
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .expect("a checkpoint");
        }
    }
    pair.a.up();
    pair.assert_level_and_equal("lost", &file);
    assert_eq!(count(&pair.b.checkpoint("lost").0), count(&file));
}
