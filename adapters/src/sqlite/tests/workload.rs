//! What other processes do in soak and crash tests: write at random under an invariant, read and check it.

use std::format;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::vec::Vec;

use rusqlite::{Connection, ErrorCode, params};

use super::rig::{Dice, application, role};
use crate::sqlite::{Block, BlockSink, Result};

/// Balances always sum to zero, and the pads' lengths to what `total` says: half a transaction shows.
pub const SETUP: &str = "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, pad BLOB);
CREATE TABLE total(one INTEGER PRIMARY KEY CHECK (one=1), accounts INTEGER, bytes INTEGER);
CREATE INDEX by_balance ON account(balance);
INSERT INTO total VALUES (1, 0, 0);";

/// Exit code of a reader that saw a broken state.
const BROKEN: i32 = 3;

/// Begins a transaction, waiting as long as it takes.
fn begin(connection: &Connection) {
    loop {
        match connection.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => return,
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            Err(e) => panic!("{e}"),
        }
    }
}

/// One random transaction.
pub fn transaction(connection: &Connection, dice: &mut Dice) {
    if dice.below(400) == 0 {
        // VACUUM may be refused while others write.
        let _ = connection.execute_batch("VACUUM");
        return;
    }
    begin(connection);
    let last: i64 = connection
        .query_row("SELECT coalesce(max(id),0)+1 FROM account", [], |row| row.get(0))
        .unwrap();
    let last = last as u64;
    for _ in 0..=dice.below(6) {
        // randomblob(0) has one byte.
        let pad = 1 + dice.below(3_000) as i64;
        match dice.below(12) {
            0..=4 => {
                let amount = dice.below(1_000) as i64;
                let insert = "INSERT INTO account(balance, pad) VALUES (?1, randomblob(?2))";
                connection.execute(insert, params![amount, pad]).unwrap();
                connection.execute(insert, params![-amount, pad]).unwrap();
                connection
                    .execute("UPDATE total SET accounts=accounts+2, bytes=bytes+2*?1", [pad])
                    .unwrap();
            }
            5..=8 => {
                let pick = "SELECT id FROM account WHERE id>=?1 ORDER BY id LIMIT 1";
                let id = |dice: &mut Dice| {
                    connection.query_row(pick, [dice.below(last) as i64], |row| row.get::<_, i64>(0))
                };
                if let (Ok(from), Ok(to)) = (id(dice), id(dice)) {
                    let amount = dice.below(100) as i64;
                    let change = "UPDATE account SET balance=balance+?2 WHERE id=?1";
                    connection.execute(change, [from, -amount]).unwrap();
                    connection.execute(change, [to, amount]).unwrap();
                }
            }
            9 => {
                // All pairs in a range go, with their balance put on one that stays.
                let low = dice.below(last) as i64;
                let range = [low, low + dice.below(last / 10 + 10) as i64];
                let (count, balance, bytes): (i64, i64, i64) = connection
                    .query_row(
                        "SELECT count(*), coalesce(sum(balance),0), coalesce(sum(length(pad)),0) FROM account \
                         WHERE id BETWEEN ?1 AND ?2",
                        range,
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                    )
                    .unwrap();
                connection
                    .execute("DELETE FROM account WHERE id BETWEEN ?1 AND ?2", range)
                    .unwrap();
                connection
                    .execute("INSERT INTO account(balance, pad) VALUES (?1, x'')", [balance])
                    .unwrap();
                connection
                    .execute(
                        "UPDATE total SET accounts=accounts-?1+1, bytes=bytes-?2",
                        [count, bytes],
                    )
                    .unwrap();
            }
            10 => connection
                .execute_batch(
                    "CREATE TABLE IF NOT EXISTS extra(x); INSERT INTO extra VALUES (randomblob(9000));",
                )
                .unwrap(),
            _ => connection
                .execute_batch("DROP TABLE IF EXISTS extra; REINDEX by_balance;")
                .unwrap(),
        }
    }
    let end = if dice.below(15) == 0 { "ROLLBACK" } else { "COMMIT" };
    connection.execute_batch(end).unwrap();
}

/// Whether the database is in a state between transactions.
fn is_whole(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT coalesce(sum(balance),0)=0 AND count(*)=(SELECT accounts FROM total) \
         AND coalesce(sum(length(pad)),0)=(SELECT bytes FROM total) FROM account",
        [],
        |row| row.get(0),
    )
}

/// A writer as another process: `count` transactions, or until it is killed.
#[test]
fn writer_process() {
    let Some(path) = role("WRITER_DATABASE") else {
        return;
    };
    let number = |key| role(key).map(|v| v.to_str().unwrap().parse::<u64>().unwrap());
    let connection = application(&path);
    connection
        .execute_batch("PRAGMA cache_size=20; PRAGMA synchronous=NORMAL;")
        .unwrap();
    let autocheckpoint = number("WRITER_AUTOCHECKPOINT").unwrap();
    connection
        .execute_batch(&format!("PRAGMA wal_autocheckpoint={autocheckpoint};"))
        .unwrap();
    let mut dice = Dice(number("WRITER_SEED").unwrap());
    for _ in 0..number("WRITER_COUNT").unwrap() {
        transaction(&connection, &mut dice);
        if autocheckpoint > 0 && dice.below(300) == 0 {
            connection.busy_timeout(Duration::from_millis(20)).unwrap();
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}

/// A reader as another process: reads until the file `READER_STOP` exists.
#[test]
fn reader_process() {
    let (Some(path), Some(stop)) = (role("READER_DATABASE"), role("READER_STOP")) else {
        return;
    };
    let mut connection = application(&path);
    let mut dice = Dice(std::process::id().into());
    let mut reads = 0_u64;
    while !fs::exists(&stop).unwrap() {
        if dice.below(20) == 0 {
            connection = application(&path);
        }
        let whole = is_whole(&connection).unwrap();
        let held = dice.below(10) == 0;
        let mut stays = true;
        if held {
            connection.execute_batch("BEGIN").unwrap();
            let look = || {
                connection.query_row("SELECT total_changes(), bytes, accounts FROM total", [], |row| {
                    Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
            };
            let before = look().unwrap();
            std::thread::sleep(Duration::from_millis(dice.below(40)));
            stays = before == look().unwrap() && is_whole(&connection).unwrap();
            connection.execute_batch("COMMIT").unwrap();
        }
        let sound = dice.below(25) != 0
            || connection
                .query_row("PRAGMA integrity_check", [], |row| {
                    row.get::<_, std::string::String>(0)
                })
                .unwrap()
                == "ok";
        if !(whole && stays && sound) {
            std::eprintln!("whole {whole} stays {stays} sound {sound} after {reads} reads");
            std::process::exit(BROKEN);
        }
        reads += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(reads > 0);
}

/// How long soak and crash tests run: a few seconds, or `DBMIRROR_SOAK_SECONDS`.
pub fn soak_time(default: u64) -> Duration {
    let seconds = std::env::var("DBMIRROR_SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

/// A deadline that far from now.
pub fn until(time: Duration) -> Instant {
    Instant::now() + time
}

/// Blocks and anchors as files, for processes that are killed: a file is whole, since it is renamed when it is.
pub struct Folder(pub PathBuf);

impl BlockSink for Folder {
    fn append(&mut self, block: Block) -> Result<()> {
        self.put(
            &format!("{}", block.header().position.sequence),
            &block.to_vec().unwrap(),
        );
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Folder {
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.0.join(format!("{name}.new"));
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.0.join(name)).unwrap();
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(name)).ok()
    }

    pub fn block(&self, sequence: u64) -> Option<Vec<u8>> {
        self.get(&format!("{sequence}"))
    }

    /// The last block's number, counted on from `from`.
    pub fn end(&self, from: u64) -> u64 {
        (from + 1..)
            .find(|n| !fs::exists(self.0.join(format!("{n}"))).unwrap())
            .unwrap()
            - 1
    }

    pub fn at(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        Self(path.to_path_buf())
    }
}
