//! A database crosses: seeding, streaming, the preparation flow by backups, refusals, and what the wire shows.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbmirror_tests::processes::*;

#[test]
fn a_database_is_seeded_streamed_and_ends_byte_identical() {
    let pair = pair(91);
    let file = pair.mirrored("shop");
    let db = open(&file);
    for n in 0..200 {
        db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
            .expect("a commit");
    }
    db.execute_batch("CREATE INDEX i ON t (v); DELETE FROM t WHERE id % 3 = 0; VACUUM;")
        .expect("schema changes");
    db.execute_batch("BEGIN; CREATE TABLE big (b); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < 3000) \
                      INSERT INTO big SELECT randomblob(900) FROM n; COMMIT; DROP INDEX i;").expect("a spilled transaction");
    drop(db);
    pair.assert_level_and_equal("shop", &file);

    for (host, role) in [(&pair.a, "PRINCIPAL"), (&pair.b, "MIRROR")] {
        assert_eq!(host.mirroring("shop", "mirroring_role_desc"), role);
        assert_eq!(host.mirroring("shop", "mirroring_safety_level_desc"), "FULL");
        assert_eq!(host.mirroring("shop", "mirroring_role_sequence"), "1");
    }
    assert_eq!(
        pair.a.mirroring("shop", "mirroring_guid"),
        pair.b.mirroring("shop", "mirroring_guid")
    );
    assert_eq!(
        pair.b
            .value("SELECT state_desc FROM sys.databases WHERE name = 'shop'"),
        "RESTORING"
    );

    pair.a.ok("ALTER DATABASE shop SET PARTNER SAFETY OFF");
    pair.b
        .await_mirroring("shop", "mirroring_safety_level_desc", "OFF");
    pair.a.ok("ALTER DATABASE shop SET PARTNER SAFETY FULL");
    pair.b
        .await_mirroring("shop", "mirroring_safety_level_desc", "FULL");

    pair.a.refused("DROP DATABASE shop", 3743);
    pair.a.ok("ALTER DATABASE shop SET PARTNER OFF");
    pair.a.await_mirroring("shop", "mirroring_guid", "NULL");
    pair.b.await_mirroring("shop", "mirroring_guid", "NULL");
    pair.a.refused("ALTER DATABASE shop SET PARTNER OFF", 1416);
    pair.a.ok("DROP DATABASE shop");
}

#[test]
fn the_preparation_flow_by_backups_works() {
    let pair = pair(92);
    let file = pair.attached("ledger");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('before the full backup')", [])
        .expect("a commit");
    pair.a
        .ok("BACKUP DATABASE ledger TO DISK = 'C:\\ledger.bak' WITH FORMAT");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('between')", [])
        .expect("a commit");
    pair.a.ok("BACKUP LOG ledger TO DISK = 'C:\\ledger.bak'");
    std::fs::copy(
        pair.a.dir.join("backup/ledger.bak"),
        pair.b.dir.join("backup/ledger.bak"),
    )
    .expect("the copy");
    pair.b
        .ok("RESTORE DATABASE ledger FROM DISK = 'C:\\ledger.bak' WITH NORECOVERY");
    pair.b
        .ok("RESTORE LOG ledger FROM DISK = 'C:\\ledger.bak' WITH FILE = 2, NORECOVERY");
    assert_eq!(
        pair.b
            .value("SELECT state_desc FROM sys.databases WHERE name = 'ledger'"),
        "RESTORING"
    );
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('after the log backup')", [])
        .expect("a commit");
    pair.b
        .ok(&format!("ALTER DATABASE ledger SET PARTNER = '{}'", pair.a.url()));
    pair.a
        .ok(&format!("ALTER DATABASE ledger SET PARTNER = '{}'", pair.b.url()));
    pair.a
        .await_mirroring("ledger", "mirroring_state_desc", "SYNCHRONIZED");
    pair.assert_level_and_equal("ledger", &file);
}

#[test]
fn a_backup_restores_to_a_working_database() {
    let pair = pair(93);
    let file = pair.attached("books");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('one')", [])
        .expect("a commit");
    pair.a.ok("BACKUP DATABASE books TO DISK = 'C:\\books.bak'");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('two')", [])
        .expect("a commit");
    pair.a.ok("BACKUP LOG books TO DISK = 'C:\\books.bak'");
    std::fs::copy(
        pair.a.dir.join("backup/books.bak"),
        pair.b.dir.join("backup/books.bak"),
    )
    .expect("the copy");
    // The log set alone, or out of order, is refused.
    pair.b.refused(
        "RESTORE LOG books FROM DISK = 'C:\\books.bak' WITH FILE = 2",
        3118,
    );
    pair.b
        .ok("RESTORE DATABASE books FROM DISK = 'C:\\books.bak' WITH NORECOVERY");
    pair.b
        .ok("RESTORE LOG books FROM DISK = 'C:\\books.bak' WITH FILE = 2, RECOVERY");
    assert_eq!(
        pair.b
            .value("SELECT state_desc FROM sys.databases WHERE name = 'books'"),
        "ONLINE"
    );
    assert_eq!(count(&pair.b.dir.join("data/books.db")), 2);
    // A flipped byte is noticed.
    let path = pair.b.dir.join("backup/books.bak");
    let mut bytes = std::fs::read(&path).expect("the backup");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&path, bytes).expect("the backup");
    let output = pair
        .b
        .sql(&["-Q", "RESTORE DATABASE other FROM DISK = 'C:\\books.bak'"]);
    assert_eq!(output.status.code(), Some(1), "a damaged backup was restored");
    assert_eq!(
        pair.b
            .rows("SELECT name FROM sys.databases WHERE name = 'other'")
            .len(),
        0
    );
}

#[test]
fn what_is_written_never_shows_on_the_wire() {
    let pair = pair(94);
    // Each side names a relay as its partner; what the relays see is all there is to see.
    let (to_a, to_b) = (
        Relay::start("127.94.0.11", &pair.a.address),
        Relay::start("127.94.0.12", &pair.b.address),
    );
    let file = pair.attached("secret");
    let canary: String = (0..64u32)
        .map(|n| char::from(b'a' + ((n * 7 + std::process::id()) % 26) as u8))
        .collect();
    open(&file)
        .execute("INSERT INTO t (v) VALUES (?1)", [&canary])
        .expect("a commit");
    pair.b
        .ok("ALTER DATABASE secret SET PARTNER = 'TCP://127.94.0.11:7024' WITH (SEEDING_MODE = AUTOMATIC)");
    pair.a
        .ok("ALTER DATABASE secret SET PARTNER = 'TCP://127.94.0.12:7024'");
    pair.a
        .await_mirroring("secret", "mirroring_state_desc", "SYNCHRONIZED");
    let second: String = canary.chars().rev().collect();
    open(&file)
        .execute("INSERT INTO t (v) VALUES (?1)", [&second])
        .expect("a commit");
    pair.assert_level_and_equal("secret", &file);
    assert!(
        find_bytes(&pair.a.dir.join("blocks"), second.as_bytes(), &[]).is_some(),
        "the block that was handed to the channel holds the canary"
    );
    for relay in [&to_a, &to_b] {
        let wire = relay.captured.lock().expect("no panic");
        for needle in [
            canary.as_bytes(),
            second.as_bytes(),
            b"CREATE TABLE",
            b"SQLite format 3",
        ] {
            assert!(!contains(&wire, needle), "plain text on the wire");
        }
    }
    let bytes: usize = [&to_a, &to_b]
        .iter()
        .map(|r| r.captured.lock().expect("no panic").len())
        .sum();
    assert!(
        bytes > 8_192,
        "the database did cross these relays ({bytes} bytes)"
    );

    // A cut is healed by itself.
    to_a.cut();
    to_b.cut();
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('after the cut')", [])
        .expect("a commit");
    pair.assert_level_and_equal("secret", &file);
}

#[test]
fn a_reader_on_the_mirror_never_sees_half_a_transaction() {
    let pair = pair(95);
    let file = pair.attached("bank");
    let db = open(&file);
    db.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, n INTEGER); \
                      WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM i WHERE x < 400) \
                      INSERT INTO account SELECT x, 100 FROM i;",
    )
    .expect("accounts");
    pair.b.ok(&format!(
        "ALTER DATABASE bank SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC)",
        pair.a.url()
    ));
    pair.a
        .ok(&format!("ALTER DATABASE bank SET PARTNER = '{}'", pair.b.url()));
    pair.a
        .await_mirroring("bank", "mirroring_state_desc", "SYNCHRONIZED");
    let copy = pair.b.checkpoint("bank").0;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let db = rusqlite::Connection::open_with_flags(&copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
                .expect("the copy");
            db.busy_timeout(Duration::from_secs(5)).expect("a timeout");
            let mut reads = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let (sum, rows): (i64, i64) = db
                    .query_row("SELECT sum(n), count(*) FROM account", [], |r| {
                        Ok((r.get(0)?, r.get(1)?))
                    })
                    .expect("a read on the mirror never fails");
                assert_eq!((sum, rows), (40_000, 400), "half a transaction");
                if reads.is_multiple_of(50) {
                    let verdict: String = db
                        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
                        .expect("a check");
                    assert_eq!(verdict, "ok");
                }
                reads += 1;
            }
            reads
        })
    };
    for n in 0..400i64 {
        db.execute_batch(&format!(
            "BEGIN; UPDATE account SET n = n - 1 WHERE id = {}; UPDATE account SET n = n + 1 WHERE id = {}; COMMIT;",
            n % 400 + 1,
            (n * 17 + 5) % 400 + 1
        ))
        .expect("a transfer");
    }
    pair.level("bank");
    stop.store(true, Ordering::Relaxed);
    let reads = reader.join().expect("the reader saw nothing wrong");
    assert!(reads > 10, "the reader read {reads} times");
    drop(db);
    pair.assert_level_and_equal("bank", &file);
}

#[test]
fn partners_that_cannot_be_are_refused_by_number_and_nothing_changes() {
    let pair = pair(96);
    let file = pair.attached("x");
    let a = &pair.a;
    a.refused("ALTER DATABASE x SET PARTNER = 'TCP://127.96.0.77:7024'", 1418);
    a.refused(&format!("ALTER DATABASE x SET PARTNER = '{}'", a.url()), 1452);
    a.refused("ALTER DATABASE x SET PARTNER = 'http://127.96.0.2:7024'", 1449);
    a.refused("ALTER DATABASE x SET PARTNER = 'TCP://127.96.0.2'", 1449);
    // B has no such database and nobody asked it to make one.
    let said = a.refused(
        &format!("ALTER DATABASE x SET PARTNER = '{}'", pair.b.url()),
        1448,
    );
    assert!(!said.is_empty());
    a.refused(
        "ALTER DATABASE master SET PARTNER = 'TCP://127.96.0.2:7024'",
        5058,
    );
    a.refused(
        &format!("ALTER DATABASE absent SET PARTNER = '{}'", pair.b.url()),
        5011,
    );
    a.ok("ALTER DATABASE x SET RECOVERY SIMPLE");
    a.refused(
        &format!("ALTER DATABASE x SET PARTNER = '{}'", pair.b.url()),
        1465,
    );
    a.ok("ALTER DATABASE x SET RECOVERY FULL");
    assert_eq!(a.mirroring("x", "mirroring_guid"), "NULL");
    assert_eq!(
        a.value("SELECT state_desc FROM sys.databases WHERE name = 'x'"),
        "ONLINE"
    );
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('still writable')", [])
        .expect("a commit");
    // Another journal mode is refused by name.
    let rollback = pair.root.path().join("rollback.db");
    open(&rollback)
        .execute_batch("CREATE TABLE t (x)")
        .expect("a table");
    let output = a.sql(&[
        "-Q",
        &format!(
            "CREATE DATABASE r ON (FILENAME = '{}') FOR ATTACH",
            rollback.display()
        ),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("journal_mode"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_mirror_needs_nothing_of_the_principals_directory() {
    // HOST_B in a mount namespace in which HOST_A's directory is covered by an empty one.
    let allowed = Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|s| s.success());
    if !allowed {
        eprintln!("mount namespaces are not allowed here: not shown");
        return;
    }
    let mut pair = pair(97);
    pair.b.stop();
    let mut apart = Command::new("unshare");
    apart.args(["-m", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\""]);
    apart.arg(&pair.a.dir).arg(program());
    pair.b.up_with(apart);
    let file = pair.attached("apart");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('x')", [])
        .expect("a commit");
    pair.b.ok(&format!(
        "ALTER DATABASE apart SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC)",
        pair.a.url()
    ));
    pair.a
        .ok(&format!("ALTER DATABASE apart SET PARTNER = '{}'", pair.b.url()));
    pair.a
        .await_mirroring("apart", "mirroring_state_desc", "SYNCHRONIZED");
    pair.assert_level_and_equal("apart", &file);
}
