//! The database of the walk: a sample or a copy of the user's own, the writer, and the comparison at the end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use dbmirror_adapters::beside::beside;
use rusqlite::{Connection, OpenFlags};

use super::{Failure, instance};

/// The table that the writer appends to. In a copy of the user's file it is the only thing added.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS quickstart_orders (\
    id INTEGER PRIMARY KEY, placed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), note TEXT)";

/// The database's name and its file under `dir`, made on the first run: a copy of `source`, or a sample.
pub(super) fn prepare(source: Option<&Path>, dir: &Path) -> Result<(String, PathBuf), Failure> {
    let name = match source {
        Some(source) => source
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .filter(|stem| !stem.is_empty() && stem.chars().count() <= 100)
            .unwrap_or_else(|| "copy".to_owned()),
        None => "orders".to_owned(),
    };
    let folder = dir.join("database");
    let file = folder.join(format!("{name}.db"));
    if !file.exists() {
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", folder.display())))?;
        // Made under another name first, so that an interrupted run never leaves half a database behind.
        let making = folder.join(format!("{name}.making"));
        for path in [making.clone(), beside(&making, "-wal"), beside(&making, "-shm")] {
            let _ = std::fs::remove_file(path);
        }
        match source {
            Some(source) => copy(source, &making)?,
            None => sample(&making)?,
        }
        std::fs::rename(&making, &file)
            .map_err(|e| Failure::new(format!("cannot make {}: {e}", file.display())))?;
    }
    Ok((name, file))
}

/// Copies the user's file by SQLite's backup API, which sees a consistent state even while it is written to.
fn copy(source: &Path, target: &Path) -> Result<(), Failure> {
    let said = |e: rusqlite::Error| {
        Failure::new(format!(
            "cannot copy {}: {e}. Is it a SQLite database that you may read?",
            source.display()
        ))
    };
    if !source.is_file() {
        return Err(Failure::new(format!(
            "{} is not a file. --database takes a SQLite file.",
            source.display()
        )));
    }
    let from = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(said)?;
    from.busy_timeout(Duration::from_secs(5)).map_err(said)?;
    let mut to = Connection::open(target).map_err(said)?;
    rusqlite::backup::Backup::new(&from, &mut to)
        .and_then(|backup| backup.run_to_completion(1_000, Duration::from_millis(1), None))
        .map_err(said)?;
    finish(to).map_err(said)
}

/// A small shop.
fn sample(target: &Path) -> Result<(), Failure> {
    let made = || -> rusqlite::Result<()> {
        let mut db = Connection::open(target)?;
        let tx = db.transaction()?;
        tx.execute_batch(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL)",
        )?;
        {
            let mut insert = tx.prepare("INSERT INTO customers (name, city) VALUES (?1, ?2)")?;
            for n in 0..500u32 {
                let city = ["Arendal", "Bergen", "Chur", "Delft"][n as usize % 4];
                insert.execute((format!("Customer {n}"), city))?;
            }
        }
        tx.commit()?;
        finish(db)
    };
    made().map_err(|e| {
        Failure::new(format!(
            "cannot make the sample database {}: {e}",
            target.display()
        ))
    })
}

/// Switches to WAL, adds the writer's table and folds everything into the one file, which is renamed next.
fn finish(db: Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.execute_batch(TABLE)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, e)| e)
}

/// Starts this same program as the writing process.
pub(super) fn spawn_writer(file: &Path, transactions: u64) -> Result<Child, Failure> {
    instance::command()?
        .arg("quickstart-writer")
        .arg(file)
        .arg(transactions.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| Failure::new(format!("cannot start the writing process: {e}")))
}

/// The body of the writing process: `count` transactions of one row each, with SQLite as an application uses it.
///
/// # Errors
/// [`Failure`] with SQLite's own words.
pub(super) fn write_transactions(file: &Path, count: u64) -> Result<(), Failure> {
    let write = || -> rusqlite::Result<()> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(Duration::from_secs(10))?;
        let mut insert = db.prepare("INSERT INTO quickstart_orders (note) VALUES (?1)")?;
        for n in 0..count {
            insert.execute([format!("order {n} of this run")])?;
        }
        Ok(())
    };
    write().map_err(|e| Failure::new(format!("cannot write to {}: {e}", file.display())))
}

/// How many transactions the writer's table holds.
pub(super) fn transactions(file: &Path) -> Result<u64, Failure> {
    let count = || -> rusqlite::Result<u64> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.query_row("SELECT count(*) FROM quickstart_orders", [], |row| {
            row.get::<_, i64>(0)
        })
        .map(|n| u64::try_from(n).unwrap_or(0))
    };
    count().map_err(|e| Failure::new(format!("cannot read {}: {e}", file.display())))
}

/// SQLite's own verdict on a file.
pub(super) fn integrity(file: &Path) -> Result<String, Failure> {
    let check = || -> rusqlite::Result<String> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    };
    check().map_err(|e| Failure::new(format!("cannot check {}: {e}", file.display())))
}

/// Whether two files hold the same bytes, and the size or the first difference in words.
pub(super) fn compare_files(a: &Path, b: &Path) -> Result<(bool, String), Failure> {
    let open = |path: &Path| {
        std::fs::File::open(path)
            .map(std::io::BufReader::new)
            .map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
    };
    let (mut left, mut right) = (open(a)?.bytes(), open(b)?.bytes());
    let mut offset = 0u64;
    loop {
        match (left.next(), right.next()) {
            (None, None) => {
                return Ok((
                    true,
                    format!("{offset} bytes, {} and {}", a.display(), b.display()),
                ));
            }
            (Some(Ok(x)), Some(Ok(y))) if x == y => offset += 1,
            (Some(Err(e)), _) | (_, Some(Err(e))) => {
                return Err(Failure::new(format!("cannot compare: {e}")));
            }
            (Some(_), None) | (None, Some(_)) => {
                return Ok((
                    false,
                    format!("one file ends at byte {offset}, the other goes on"),
                ));
            }
            (Some(_), Some(_)) => return Ok((false, format!("they differ at byte {offset}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_made_once_and_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (name, file) = prepare(None, dir.path()).unwrap();
        assert_eq!(name, "orders");
        write_transactions(&file, 5).unwrap();
        assert_eq!(transactions(&file).unwrap(), 5);
        prepare(None, dir.path()).unwrap();
        assert_eq!(
            transactions(&file).unwrap(),
            5,
            "a second run keeps what is there"
        );
        assert_eq!(integrity(&file).unwrap(), "ok");
    }

    #[test]
    fn a_users_file_is_copied_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("my shop.sqlite");
        let db = Connection::open(&own).unwrap();
        db.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)")
            .unwrap();
        drop(db);
        let before = std::fs::read(&own).unwrap();
        let (name, file) = prepare(Some(&own), dir.path()).unwrap();
        assert_eq!(name, "my shop");
        let copy = Connection::open(&file).unwrap();
        assert_eq!(
            copy.query_row("SELECT x FROM t", [], |r| r.get::<_, i64>(0))
                .unwrap(),
            7
        );
        assert_eq!(
            copy.pragma_query_value(None, "journal_mode", |r| r.get::<_, String>(0))
                .unwrap(),
            "wal"
        );
        assert_eq!(std::fs::read(&own).unwrap(), before);
        assert!(prepare(Some(&dir.path().join("absent")), dir.path()).is_err());
    }

    #[test]
    fn files_are_compared_to_the_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, b"abc").unwrap();
        std::fs::write(&b, b"abc").unwrap();
        assert!(compare_files(&a, &b).unwrap().0);
        std::fs::write(&b, b"abx").unwrap();
        assert_eq!(
            compare_files(&a, &b).unwrap(),
            (false, "they differ at byte 2".to_owned())
        );
        std::fs::write(&b, b"abcd").unwrap();
        assert!(!compare_files(&a, &b).unwrap().0);
    }
}
