//! Database files that are replaced under an instance.

use std::path::Path;

use dbmirror_tests::processes::*;

fn without_log(file: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
}

/// Last night's copy is put over the principal's file while its instance is down: the mirror holds the only good one.
#[test]
fn a_copy_put_over_the_principals_file_waits_for_the_operators_word() {
    let mut pair = pair(150);
    let file = pair.mirrored("shop");
    let fill = |rows: i64| {
        let db = open(&file);
        for n in 0..rows {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
                .expect("a commit");
        }
    };
    fill(300);
    pair.assert_level_and_equal("shop", &file);
    let copy = file.with_extension("night");
    std::fs::copy(&file, &copy).expect("the copy");
    fill(300);
    pair.assert_level_and_equal("shop", &file);
    let mirror = pair.b.checkpoint("shop").0;
    let held = count(&mirror);

    pair.a.stop();
    without_log(&file);
    std::fs::copy(&copy, &file).expect("the copy goes over the file");
    pair.a.up();
    pair.a
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    pair.b
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    assert_eq!(
        pair.a
            .value("SELECT count(*) FROM sys.dm_dbmirror_errors WHERE number = 5173"),
        "1"
    );
    assert!(
        pair.a
            .ok("EXEC sp_readerrorlog")
            .contains("sp_dbmirror_accept_file 'shop'")
    );
    pair.a.refused("ALTER DATABASE shop SET PARTNER RESUME", 5173);
    fill(700);
    pair.a.kill();
    pair.a.up();
    pair.a
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    pair.a.refused("ALTER DATABASE shop SET ONLINE", 1468);
    assert_eq!(count(&mirror), held, "the mirror's copy stays");

    // Also while the mirror is away.
    pair.b.stop();
    pair.a
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    pair.a.refused("ALTER DATABASE shop SET PARTNER RESUME", 5173);
    pair.a.ok("EXEC sp_dbmirror_accept_file 'shop'");
    pair.b.up();
    pair.assert_level_and_equal("shop", &file);
    assert_eq!(count(&mirror), count(&file));
}

#[test]
fn a_replaced_file_without_a_mirror_is_looked_at_by_set_online_and_accepted_by_its_word() {
    let mut pair = pair(151);
    let file = pair.attached("alone");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('one')", [])
        .expect("a commit");
    pair.a.ok("EXEC sp_dbmirror_checkpoint 'alone'");
    pair.a.stop();
    let copy = file.with_extension("copy");
    std::fs::copy(&file, &copy).expect("the copy");
    open(&copy)
        .execute("INSERT INTO t (v) VALUES ('two')", [])
        .expect("a commit");
    without_log(&file);
    std::fs::rename(&copy, &file).expect("the replacement");
    pair.a.up();
    let state = "SELECT state_desc FROM sys.databases WHERE name = 'alone'";
    assert_eq!(pair.a.value(state), "RECOVERY_PENDING");
    assert!(pair.a.log().contains("Msg 5173"));
    pair.a.refused("ALTER DATABASE alone SET ONLINE", 5173);
    assert_eq!(pair.a.value(state), "RECOVERY_PENDING");
    pair.a.ok("EXEC sp_dbmirror_accept_file 'alone'");
    assert_eq!(pair.a.value(state), "ONLINE");
    pair.a.refused("EXEC sp_dbmirror_accept_file 'alone'", 50134);
    pair.a.ok("EXEC sp_dbmirror_checkpoint 'alone'");
    pair.a.stop();
    pair.a.up();
    assert_eq!(pair.a.value(state), "ONLINE");
}

/// An instance may end between the engine's record of a new database and the catalog's, which then gives the same id to the next
/// one: neither a start nor a CREATE takes the record for that one's.
#[test]
fn a_record_of_no_database_is_not_the_next_ones() {
    let mut pair = pair(148);
    let a = &mut pair.a;
    a.ok("CREATE DATABASE one");
    let engine = a.dir.join("engine.db");
    let next: i64 = open(&a.dir.join("master.db"))
        .query_row(
            "SELECT seq + 1 FROM sqlite_sequence WHERE name = 'database'",
            [],
            |r| r.get(0),
        )
        .expect("the next id");
    let (log, family) = ([7_u8; 16], [9_u8; 16]);
    let orphan = || {
        open(&engine)
            .execute(
                "INSERT INTO engine_database (database_id, log, family, timelines) VALUES (?1, ?2, ?3, x'')",
                (next, log, family),
            )
            .expect("an orphan");
    };
    let rows = |id: i64| -> i64 {
        open(&engine)
            .query_row(
                "SELECT count(*) FROM engine_database WHERE database_id = ?1",
                [id],
                |r| r.get(0),
            )
            .expect("a count")
    };
    orphan();
    let seed = a.dir.join("data/gone.db-seed");
    std::fs::write(&seed, "half of a seed").expect("a file");
    a.stop();
    a.up();
    assert_eq!((rows(next), rows(next - 1)), (0, 1));
    assert!(!seed.exists());
    // And where it comes to be while the instance runs.
    orphan();
    a.ok("CREATE DATABASE two");
    let of_engine: (Vec<u8>, Vec<u8>) = open(&engine)
        .query_row(
            "SELECT log, family FROM engine_database WHERE database_id = ?1",
            [next],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .expect("its record");
    let of_catalog: Vec<u8> = open(&a.dir.join("master.db"))
        .query_row(
            "SELECT family_guid FROM database WHERE database_id = ?1",
            [next],
            |r| r.get(0),
        )
        .expect("its family");
    assert_eq!(of_engine.1, of_catalog);
    assert_ne!(of_engine.0, log);
    // What is backed up of it can be restored: set and log are of one family.
    let file = a.dir.join("data/two.db");
    open(&file)
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
    a.ok("BACKUP DATABASE two TO DISK = 'two.bak'");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('one')", [])
        .expect("a commit");
    a.ok("BACKUP LOG two TO DISK = 'two.bak'; DROP DATABASE two");
    a.ok("RESTORE DATABASE two FROM DISK = 'two.bak' WITH FILE = 1, NORECOVERY");
    a.ok("RESTORE LOG two FROM DISK = 'two.bak' WITH FILE = 2, RECOVERY");
    assert_eq!(count(&file), 1);
}

/// RESTORE … WITH REPLACE: whatever goes wrong, the database that was there works on, with its log.
#[test]
fn a_restore_that_fails_leaves_the_old_database() {
    let pair = pair(152);
    let a = &pair.a;
    a.ok("CREATE DATABASE ledger");
    let file = a.dir.join("data/ledger.db");
    open(&file)
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
    let fill = |rows: i64| {
        let db = open(&file);
        for n in 0..rows {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
                .expect("a commit");
        }
    };
    fill(20);
    a.ok("BACKUP DATABASE ledger TO DISK = 'ledger.bak'");
    fill(10);
    a.ok("BACKUP LOG ledger TO DISK = 'logs.bak'");
    let still_there = |rows: i64| {
        assert_eq!(
            a.value("SELECT state_desc FROM sys.databases WHERE name = 'ledger'"),
            "ONLINE"
        );
        assert_eq!(count(&file), rows);
        fill(1);
        // The chain of log backups goes on too.
        a.ok("BACKUP LOG ledger TO DISK = 'logs.bak'");
    };
    // A backup that is damaged, or cut off.
    let whole = std::fs::read(a.dir.join("backup/ledger.bak")).expect("the backup");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(a.dir.join("backup/flipped.bak"), &flipped).expect("a file");
    a.refused(
        "RESTORE DATABASE ledger FROM DISK = 'flipped.bak' WITH REPLACE",
        3241,
    );
    still_there(30);
    std::fs::write(a.dir.join("backup/cut.bak"), &whole[..middle]).expect("a file");
    a.refused("RESTORE DATABASE ledger FROM DISK = 'cut.bak' WITH REPLACE", 3241);
    still_there(31);
    // No room for the new file.
    let seed = file.with_file_name("ledger.db-seed");
    std::fs::create_dir(&seed).expect("something in the way");
    std::fs::write(seed.join("x"), "x").expect("a file");
    a.refused(
        "RESTORE DATABASE ledger FROM DISK = 'ledger.bak' WITH REPLACE",
        5120,
    );
    std::fs::remove_dir_all(&seed).expect("it goes");
    still_there(32);
    // An application with an open snapshot, and commits after it that are in the log only.
    let reader = open(&file);
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM t;")
        .expect("a snapshot");
    fill(5);
    a.refused(
        "RESTORE DATABASE ledger FROM DISK = 'ledger.bak' WITH REPLACE",
        3101,
    );
    still_there(38);
    drop(reader);
    a.ok("RESTORE DATABASE ledger FROM DISK = 'ledger.bak' WITH REPLACE");
    assert_eq!(count(&file), 20);
    fill(3);
    a.ok("EXEC sp_dbmirror_checkpoint 'ledger'");
    assert_eq!(
        std::fs::read_dir(a.dir.join("data"))
            .expect("the folder")
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with("ledger.db"))
            .count(),
        0
    );
}

#[test]
fn a_login_that_a_session_knows_its_partner_by_is_not_dropped() {
    let pair = pair(153);
    pair.mirrored("shop");
    let said = pair.a.refused("DROP LOGIN HOST_B_login", 15434);
    assert!(
        said.contains("'shop'") && said.contains("SET PARTNER OFF"),
        "{said}"
    );
    pair.b.refused("DROP LOGIN HOST_A_login", 15434);
    pair.level("shop");
    pair.a.ok("ALTER DATABASE shop SET PARTNER OFF");
    pair.a.await_mirroring("shop", "mirroring_guid", "NULL");
    pair.a.ok("DROP LOGIN HOST_B_login");
}

/// The directory is moved while the instance is down: its own databases are found in the new place, and their capture goes on.
#[test]
fn a_moved_directory_keeps_its_databases() {
    let mut pair = pair(154);
    let a = &mut pair.a;
    a.ok("CREATE DATABASE inside");
    open(&a.dir.join("data/inside.db"))
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('one');")
        .expect("commits");
    let lsn = a.checkpoint("inside").1;
    a.stop();
    let moved = a.dir.with_file_name("moved");
    std::fs::rename(&a.dir, &moved).expect("the move");
    a.dir = moved;
    a.up();
    let (path, now, _) = a.checkpoint("inside");
    assert_eq!(now, lsn);
    assert_eq!(
        path,
        a.dir.canonicalize().expect("it exists").join("data/inside.db")
    );
    open(&path)
        .execute("INSERT INTO t (v) VALUES ('two')", [])
        .expect("a commit");
    let more = a.checkpoint("inside").1;
    assert!(more > lsn, "{lsn} {more}");
}
