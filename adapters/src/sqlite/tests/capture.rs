//! The tail: no commit is missed, nothing is invented, and what cannot be captured is refused.

use std::ffi::{OsStr, OsString};
use std::format;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use dbmirror_core::message::LogEnd;

use super::rig::*;
use crate::sqlite::{
    Anchor, Block, BlockSink, Discontinuity, Error, GapReason, Result, Tail, create_database,
};

const TABLE: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);";

/// Where nothing may arrive.
struct Nothing;

impl BlockSink for Nothing {
    fn append(&mut self, _: Block) -> Result<()> {
        panic!("everything is captured")
    }

    fn wait(&mut self) -> Result<()> {
        panic!("there is nothing to wait for")
    }
}

#[test]
fn one_block_per_commit() {
    let mut rig = Rig::new(TABLE);
    assert_eq!(rig.capture(), 0);
    let mut writer = Shell::open(&rig.source);
    writer.run("INSERT INTO t(b) VALUES (randomblob(100));");
    assert_eq!(rig.capture(), 1);
    writer.run("INSERT INTO t(b) VALUES (1); INSERT INTO t(b) VALUES (2); INSERT INTO t(b) VALUES (3);");
    assert_eq!(rig.capture(), 3);
    writer.run("BEGIN; INSERT INTO t(b) VALUES (1); INSERT INTO t(b) VALUES (2);");
    assert_eq!(rig.capture(), 0, "not committed");
    writer.run("COMMIT;");
    assert_eq!(rig.capture(), 1);
    writer.run("BEGIN; INSERT INTO t(b) VALUES (1); ROLLBACK;");
    assert_eq!(rig.capture(), 0);
    let chain: std::vec::Vec<_> = (1..=5).map(|n| rig.log.header(n).unwrap().chain).collect();
    assert!(chain.windows(2).all(|pair| pair[0] != pair[1]));
}

/// An application that checkpoints all the time loses no frame, and cannot get rid of its log before it is captured.
#[test]
fn an_applications_checkpoints_lose_nothing() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut writer = Shell::open(&rig.source);
    writer.run("PRAGMA wal_autocheckpoint=10;");
    for round in 0..6 {
        for _ in 0..40 {
            writer.run("INSERT INTO t(b) VALUES (randomblob(3000));");
        }
        writer.run(".timeout 50");
        writer.run("PRAGMA wal_checkpoint(TRUNCATE);");
        writer.run("PRAGMA wal_checkpoint(RESTART);");
        writer.run(".timeout 10000");
        if round % 2 == 1 {
            assert_eq!(rig.capture(), 80);
            assert!(rig.checkpoint());
            // An empty log may be truncated again and again.
            writer.run("PRAGMA wal_checkpoint(TRUNCATE);");
            writer.run("PRAGMA wal_checkpoint(TRUNCATE);");
            assert_eq!(rig.capture(), 0);
        }
    }
    assert_eq!(rig.log.blocks.len(), 240);
    rig.apply();
    rig.prove_equal();
}

#[test]
fn spilled_transactions_vacuum_drop_and_shrink() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut writer = Shell::open(&rig.source);
    // A cache of ten pages: pages go to the log before the commit and are rewritten there.
    writer.run("PRAGMA cache_size=10; PRAGMA cache_spill=10;");
    writer.run(
        "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500) \
         INSERT INTO t(b) SELECT randomblob(2000) FROM n;",
    );
    assert_eq!(rig.capture(), 0, "spilled frames are not committed");
    writer.run("UPDATE t SET b=randomblob(2100) WHERE a%3=0;");
    writer.run("COMMIT;");
    assert_eq!(rig.capture(), 1);
    writer.run("BEGIN; UPDATE t SET b=randomblob(2200); ROLLBACK;");
    writer.run("BEGIN; UPDATE t SET b=randomblob(2200) WHERE a%5=0; COMMIT;");
    writer.run("CREATE INDEX i ON t(b); DROP INDEX i;");
    writer.run("DELETE FROM t WHERE a%2=0; VACUUM;");
    let shrunk = rig.capture();
    assert_eq!(shrunk, 5);
    let vacuum = rig.log.header(rig.log.blocks.len() as u64).unwrap();
    assert!(vacuum.pages_after < vacuum.pages_before);
    // Growing again over pages that the main file still has, some of them never written: they go straight to the freelist.
    writer
        .run("BEGIN; CREATE TABLE u(x); INSERT INTO u SELECT randomblob(3000) FROM t; DROP TABLE u; COMMIT;");
    writer.run("CREATE TABLE v(x); INSERT INTO v SELECT zeroblob(20000) FROM t LIMIT 50;");
    rig.pump();
    rig.prove_equal();
}

/// A foreign reader's old snapshot, and a writer that idles in its transaction, hold a checkpoint up; they lose nothing and stop
/// nobody.
#[test]
fn checkpoints_that_are_held_up() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    rig.tail = None;
    let options = crate::sqlite::TailOptions {
        patience: Duration::from_millis(100),
        ..tail_options()
    };
    rig.tail = Some(Tail::resume(&rig.source, options, &rig.start, 1).unwrap());
    let mut writer = Shell::open(&rig.source);
    writer.run("PRAGMA wal_autocheckpoint=1;");
    let mut reader = Shell::open(&rig.source);
    writer.run("INSERT INTO t(b) VALUES (randomblob(5000));");
    assert_eq!(reader.run("BEGIN; SELECT count(*) FROM t;"), "1\n");
    for _ in 0..20 {
        writer.run("INSERT INTO t(b) VALUES (randomblob(5000));");
        writer.run(".timeout 5\nPRAGMA wal_checkpoint(TRUNCATE);\n.timeout 10000");
        rig.capture();
        assert!(!rig.checkpoint());
    }
    assert_eq!(reader.run("SELECT count(*) FROM t;"), "1\n");
    let busy = rig.tail().fold(&mut Nothing);
    assert!(matches!(busy, Err(Error::Busy(_))));
    reader.run("COMMIT;");

    writer.run("BEGIN IMMEDIATE; INSERT INTO t(b) VALUES (randomblob(5000));");
    assert!(!rig.checkpoint());
    let busy = rig.tail().fold(&mut Nothing);
    assert!(matches!(busy, Err(Error::Busy(_))));
    writer.run("COMMIT;");
    assert_eq!(rig.capture(), 1);
    assert!(rig.checkpoint());
    writer.run("INSERT INTO t(b) VALUES (randomblob(5000));");
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 23);
    rig.prove_equal();
}

#[test]
fn incremental_blobs_and_two_writers() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut other = Shell::open(&rig.source);
    let ours = application(&rig.source);
    for round in 0..20_i64 {
        other.run("INSERT INTO t(b) VALUES (zeroblob(9000));");
        ours.execute("INSERT INTO t(b) VALUES (zeroblob(?1))", [5_000 + round])
            .unwrap();
        let row = ours.last_insert_rowid();
        let mut blob = ours.blob_open("main", "t", "b", row, false).unwrap();
        std::io::Write::write_all(&mut blob, &[round as u8; 4_000]).unwrap();
        blob.close().unwrap();
        if round % 5 == 0 {
            rig.capture();
            rig.checkpoint();
        }
    }
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 60);
    drop(ours);
    rig.prove_equal();
}

#[test]
fn a_writer_killed_in_mid_transaction_leaves_nothing() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    for round in 0..5 {
        let mut writer = Shell::open(&rig.source);
        writer.run("PRAGMA cache_size=5; INSERT INTO t(b) VALUES (randomblob(10));");
        writer.run("BEGIN; UPDATE t SET b=randomblob(50);");
        writer.run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) \
             INSERT INTO t(b) SELECT randomblob(2000) FROM n;",
        );
        writer.kill();
        if round == 2 {
            rig.capture();
            rig.checkpoint();
        }
    }
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 5);
    rig.prove_equal();
    assert_eq!(shell(&rig.mirror, "SELECT count(*) FROM t;"), "5\n");
}

/// A writer that dies while it publishes leaves a header that is not whole. Its commit is in the log, so it happened.
#[test]
fn a_commit_whose_publication_was_cut_off_is_captured() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    // As if it had died between the two copies. (By another process: ours must not open that file.)
    let mut index = rig.source.clone().into_os_string();
    index.push("-shm");
    let torn = Command::new("dd")
        .args([
            "if=/dev/zero",
            "bs=1",
            "count=4",
            "seek=8",
            "conv=notrunc",
            "status=none",
        ])
        .arg(OsString::from_iter([OsStr::new("of="), &index]))
        .status()
        .unwrap();
    assert!(torn.success());
    assert_eq!(rig.capture(), 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while rig.capture() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    shell(&rig.source, "INSERT INTO t(b) VALUES (2);");
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 2);
    rig.prove_equal();
}

#[test]
fn a_restarted_capture_goes_on() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut writer = Shell::open(&rig.source);
    writer.run("PRAGMA wal_autocheckpoint=0;");
    for round in 0..6 {
        writer.run("INSERT INTO t(b) VALUES (randomblob(5000)); UPDATE t SET b=randomblob(4000);");
        if round % 2 == 0 {
            rig.capture();
        }
        if round == 3 {
            rig.checkpoint();
        }
        rig.tail = None;
        writer.run("INSERT INTO t(b) VALUES (randomblob(100)); UPDATE t SET b=a WHERE a%7=1;");
        rig.resume().unwrap();
    }
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 24);
    rig.prove_equal();
}

/// Everybody closes, the log is folded and deleted by the last application: nothing was missed, and the sum proves it.
#[test]
fn a_capture_resumes_without_the_log_when_nothing_was_missed() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    rig.capture();
    rig.tail = None;
    shell(&rig.source, "SELECT count(*) FROM t;");
    let mut log = rig.source.clone().into_os_string();
    log.push("-wal");
    assert!(!fs::exists(&log).unwrap(), "the last application deleted the log");
    rig.resume().unwrap();
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    assert_eq!(rig.capture(), 1);
    rig.apply();
    rig.prove_equal();
}

#[test]
fn commits_lost_to_a_checkpoint_are_a_gap() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    rig.capture();
    rig.tail = None;
    // The last close folds and deletes the log.
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    assert!(gap(rig.resume()));

    // The same with an application that stays, checkpoints, and writes again.
    let mut rig = Rig::new(TABLE);
    let mut writer = Shell::open(&rig.source);
    writer.run("INSERT INTO t(b) VALUES (randomblob(5000));");
    rig.capture();
    rig.tail = None;
    writer.run("INSERT INTO t(b) VALUES (randomblob(5000)); PRAGMA wal_checkpoint(TRUNCATE);");
    writer.run("INSERT INTO t(b) VALUES (randomblob(5000));");
    assert!(gap(rig.resume()));
    // What is captured after that is a new log.
    rig.tail = Some(Tail::start(&rig.source, tail_options(), LogEnd::START, 2).unwrap());
    assert!(rig.tail().next_block().unwrap().is_none());
}

#[test]
fn another_file_under_the_path_is_found_out() {
    let mut rig = Rig::new(TABLE);
    let aside = rig.source.with_extension("aside");
    fs::rename(&rig.source, &aside).unwrap();
    create_database(&rig.source, 4096).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(matches!(rig.tail().next_block(), Err(Error::Replaced(_))));
}

/// An operator who tidies up: nobody would ever see what is written into a new log beside the file, were it not found out.
#[test]
fn a_removed_log_is_found_out() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.capture();
    assert!(rig.checkpoint());
    for suffix in ["-wal", "-shm"] {
        let mut name = rig.source.clone().into_os_string();
        name.push(suffix);
        fs::remove_file(name).unwrap();
    }
    shell(&rig.source, "INSERT INTO t(b) VALUES (2);");
    std::thread::sleep(Duration::from_millis(300));
    let found = rig.tail().next_block();
    assert!(matches!(found, Err(Error::Gap(GapReason::LogRemoved))));
    rig.resume().unwrap();
    assert_eq!(rig.capture(), 1, "what the new log holds is captured");
}

#[test]
fn files_that_cannot_be_captured_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let start = |name: &str| Tail::start(&path(name), tail_options(), LogEnd::START, 1).map(drop);

    shell(&path("delete.db"), "CREATE TABLE t(a);");
    let refusal = start("delete.db").unwrap_err();
    assert!(matches!(refusal, Error::NotWal(_)));
    assert!(format!("{refusal}").contains("PRAGMA journal_mode=WAL"));
    fs::write(path("empty.db"), b"").unwrap();
    assert!(matches!(start("empty.db"), Err(Error::NotWal(_))));
    fs::write(path("text.db"), [b'x'; 5_000]).unwrap();
    assert!(matches!(start("text.db"), Err(Error::NotADatabase(_))));
    fs::write(path("short.db"), b"SQLite").unwrap();
    assert!(matches!(start("short.db"), Err(Error::NotADatabase(_))));
    assert!(matches!(start("absent.db"), Err(Error::Io { .. })));

    create_database(&path("exclusive.db"), 4096).unwrap();
    let mut holder = Shell::open(&path("exclusive.db"));
    holder.run("PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a); SELECT count(*) FROM t;");
    assert!(matches!(start("exclusive.db"), Err(Error::Exclusive(_))));
    drop(holder);
    start("exclusive.db").unwrap();

    create_database(&path("twice.db"), 4096).unwrap();
    let first = Tail::start(&path("twice.db"), tail_options(), LogEnd::START, 1).unwrap();
    assert!(matches!(start("twice.db"), Err(Error::InUse(_))));
    std::os::unix::fs::symlink(path("twice.db"), path("link.db")).unwrap();
    assert!(matches!(start("link.db"), Err(Error::InUse(_))));
    drop(first);
    start("twice.db").unwrap();
}

/// The application cannot take the log away from under the capture.
#[test]
fn an_application_cannot_leave_wal_mode() {
    let mut rig = Rig::new(TABLE);
    assert!(shell_result(&rig.source, ".timeout 100\nPRAGMA journal_mode=DELETE;").is_err());
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    assert_eq!(rig.capture(), 1);
}

#[test]
fn nothing_is_added_to_the_schema() {
    let mut rig = Rig::new(TABLE);
    let before = shell(&rig.source, "SELECT * FROM sqlite_schema;");
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.capture();
    rig.checkpoint();
    assert_eq!(shell(&rig.source, "SELECT * FROM sqlite_schema;"), before);
}

#[test]
fn other_page_sizes() {
    for page_size in [512, 1_024, 65_536] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source.db");
        create_database(&path, page_size).unwrap();
        let mut rig = Rig::over(dir, path, TABLE);
        rig.seed();
        for _ in 0..10 {
            shell(
                &rig.source,
                "INSERT INTO t(b) VALUES (randomblob(20000)); DELETE FROM t WHERE a%3=0;",
            );
            rig.pump();
        }
        assert_eq!(rig.log.header(1).unwrap().page_size, page_size);
        rig.prove_equal();
    }
}

/// A transaction above the limit is refused before it is built; one that does not fit into memory comes from the log.
#[test]
fn large_transactions() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    shell(
        &rig.source,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) \
         INSERT INTO t(b) SELECT randomblob(60000) FROM n;",
    );
    shell(&rig.source, "UPDATE t SET b=randomblob(59000) WHERE a%2=0;");
    rig.pump();
    assert!(rig.log.blocks[0].len() > 20 << 20);
    // Readers find their pages through three blocks of the mirror's wal-index, not only the checkpoint does.
    assert!(rig.log.header(2).unwrap().wal.frame > 8_200);
    assert_eq!(shell(&rig.mirror, "PRAGMA integrity_check;"), "ok\n");
    assert_eq!(shell(&rig.mirror, ".sha3sum"), shell(&rig.source, ".sha3sum"));
    rig.prove_equal();

    let options = crate::sqlite::TailOptions {
        max_block: 1 << 20,
        ..tail_options()
    };
    rig.tail = None;
    let from: Anchor = rig.log.last().unwrap();
    let mut tail = Tail::resume(&rig.source, options, &from, 1).unwrap();
    shell(&rig.source, "UPDATE t SET b=randomblob(59000) WHERE a<30;");
    let refused = tail.next_block().map(drop);
    assert!(matches!(refused, Err(Error::TooLarge { bytes }) if bytes > 1 << 20));
}

/// The lock page is at 1 GiB: no block, sum or seed holds it.
#[test]
#[ignore = "writes and compares files of more than 1 GiB"]
fn files_beyond_the_lock_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source.db");
    create_database(&path, 65_536).unwrap();
    let mut rig = Rig::over(dir, path, TABLE);
    rig.seed();
    for _ in 0..11 {
        shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(100000000));");
        rig.pump();
        rig.log.forget_bytes();
        rig.checkpoint();
    }
    assert!(rig.tail().anchor().pages > 16_385);
    rig.prove_equal();
    // A seed of it has zeros there.
    rig.seed();
    shell(
        &rig.source,
        "DELETE FROM t WHERE a=5; INSERT INTO t(b) VALUES (1);",
    );
    rig.pump();
    rig.prove_equal();
}

#[test]
fn a_gap_says_what_to_do() {
    let error = Error::Gap(GapReason::SumNotFound);
    assert!(error.needs_reseed());
    assert!(format!("{error}").contains("seeded anew"));
}

/// What a file is judged by when its log has a gap: what applications do passes, what only a copy explains does not.
#[test]
fn an_identity_follows_what_applications_do() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(50000));");
    rig.capture();
    rig.tail = None;
    shell(&rig.source, "SELECT count(*) FROM t;");
    let older = rig.source.with_extension("older");
    fs::copy(&rig.source, &older).unwrap();
    rig.resume().unwrap();
    // One connection that stays: its counter stands still, whatever it writes.
    let mut writer = Shell::open(&rig.source);
    for _ in 0..5 {
        writer.run("INSERT INTO t(b) VALUES (randomblob(50000));");
    }
    rig.capture();
    let last = rig.tail().identity();
    rig.tail = None;
    let now = |rig: &Rig| {
        let tail = Tail::start(&rig.source, tail_options(), LogEnd::START, 2).unwrap();
        tail.identity()
    };
    assert_eq!(now(&rig), last, "from the log and from the file");
    writer.run("UPDATE t SET b = randomblob(50000); PRAGMA wal_checkpoint(TRUNCATE);");
    assert_eq!(now(&rig).follows(&last), Ok(()));
    writer.run("DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
    let vacuumed = now(&rig);
    assert!(vacuumed.pages < last.pages);
    assert_eq!(vacuumed.follows(&last), Ok(()));
    drop(writer);
    shell(&rig.source, "SELECT count(*) FROM t;");
    // The bytes of the older copy in the same file.
    fs::write(&rig.source, fs::read(&older).unwrap()).unwrap();
    assert!(now(&rig).follows(&last).is_err());
    assert_eq!(now(&rig).file, last.file);
    // And a copy that was renamed over it.
    fs::rename(&older, &rig.source).unwrap();
    assert_eq!(now(&rig).follows(&last), Err(Discontinuity::OtherFile));
}

/// With one sync for each block a writer that commits faster than the disk syncs is locked out for as long as its whole backlog takes.
#[test]
fn a_checkpoint_waits_for_all_its_blocks_together() {
    let mut rig = Rig::new(TABLE);
    let mut writer = Shell::open(&rig.source);
    let many = "INSERT INTO t(b) VALUES (randomblob(10));\n".repeat(1_500);
    writer.run(&many);
    assert!(rig.checkpoint());
    assert_eq!(rig.log.blocks.len(), 1_500);
    assert_eq!(
        rig.log.waits,
        [1_500],
        "one wait, and before anything is moved into the main file"
    );

    writer.run(&many);
    drop(rig.snapshot());
    assert_eq!(rig.log.waits, [1_500, 3_000]);
}
