//! A whole database at one position, while the application goes on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dbmirror_core::message::{DatabaseSum, LogEnd};

use super::rig::*;
use crate::sqlite::{
    Anchor, Applier, ApplierOptions, CompleteSeed, Error, Installed, SeedSink, database_sum,
};

/// A seed of that copy whose bytes are all here, to take the place of `path`.
fn received(path: &Path, bytes: &[u8], anchor: &Anchor) -> CompleteSeed {
    let mut sink = SeedSink::create(path, 4096, bytes.len() as u64).unwrap();
    sink.write(0, bytes).unwrap();
    sink.complete(anchor.end, anchor.sum).unwrap()
}

const TABLE: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);";

#[test]
fn a_seed_is_the_state_at_its_position_whatever_happens_meanwhile() {
    let mut rig = Rig::new(TABLE);
    let mut writer = Shell::open(&rig.source);
    writer.run("PRAGMA wal_autocheckpoint=5;");
    for _ in 0..30 {
        writer.run("INSERT INTO t(b) VALUES (randomblob(9000));");
    }
    rig.capture();
    rig.checkpoint();
    for _ in 0..10 {
        writer.run("INSERT INTO t(b) VALUES (randomblob(9000));");
    }
    let mut source = rig.snapshot();
    assert_eq!(source.end().position.sequence, 40);
    // The application rewrites everything, and tries to fold its log away; so do we.
    for _ in 0..5 {
        writer.run("UPDATE t SET b=randomblob(8000); DELETE FROM t WHERE a%4=0;");
        rig.capture();
        rig.checkpoint();
        writer.run(".timeout 20\nPRAGMA wal_checkpoint(TRUNCATE);\n.timeout 10000");
    }
    writer.run("VACUUM;");
    rig.capture();
    rig.checkpoint();

    let anchor = copy_seed(&mut source, &rig.mirror, 7_777).unwrap();
    assert_eq!(
        anchor,
        crate::sqlite::Anchor {
            wal: Default::default(),
            change_counter: 0,
            ..*source.anchor()
        }
    );
    assert_eq!(database_sum(&rig.mirror).unwrap(), (anchor.sum, anchor.pages));
    assert_eq!(
        shell(&rig.mirror, "PRAGMA integrity_check; SELECT count(*) FROM t;"),
        "ok\n40\n"
    );
    // (The shell was the last to close and folded its empty log away.)
    drop(source);
    rig.seeded = Some(anchor);
    rig.open_applier().unwrap();
    rig.pump();
    rig.prove_equal();
}

#[test]
fn a_reseed_replaces_a_mirror_and_leaves_its_readers_alone() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.pump();
    let mut reader = Shell::open(&rig.mirror);
    assert_eq!(reader.run("BEGIN; SELECT count(*) FROM t;"), "1\n");
    for _ in 0..5 {
        shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    }
    rig.seed();
    assert_eq!(reader.run("SELECT count(*) FROM t;"), "1\n");
    assert_eq!(shell(&rig.mirror, "SELECT count(*) FROM t;"), "6\n");
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.pump();
    assert_eq!(
        reader.run("SELECT count(*) FROM t;"),
        "1\n",
        "it keeps the file that it opened"
    );
    drop(reader);
    rig.prove_equal();
}

impl Rig {
    /// The bytes of a copy of the source, and where it is.
    fn copied(&mut self) -> (std::vec::Vec<u8>, Anchor) {
        let mut source = self.snapshot();
        let mut bytes = std::vec![0; source.bytes() as usize];
        source.read_at(0, &mut bytes).unwrap();
        (bytes, *source.anchor())
    }

    /// Replaces the mirror's copy, which is open, as an instance does: its lock goes over to the new one.
    fn replace_mirror(&mut self) -> Installed {
        let (bytes, anchor) = self.copied();
        let complete = received(&self.mirror, &bytes, &anchor);
        let mut held = self.applier.take().map(|applier| applier.retire().unwrap());
        self.seeded = Some(anchor);
        complete.install_keeping(&mut held).unwrap()
    }

    /// Opens what [`Rig::replace_mirror`] put in place.
    fn open_replaced(&mut self, installed: Installed) {
        let log = &self.log;
        let applier = Applier::open_locked(
            &self.mirror,
            &mut Some(installed.lock),
            ApplierOptions::new(FAMILY),
            &installed.anchor,
            &mut |sequence| Ok(log.header(sequence)),
        );
        self.applier = Some(applier.unwrap());
    }
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}

#[test]
fn nobody_writes_while_a_copy_is_replaced() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    rig.open_applier().unwrap();
    let stop = AtomicBool::new(false);
    let mut retired = std::vec::Vec::new();
    std::thread::scope(|scope| {
        let writers: std::vec::Vec<_> = (0..2)
            .map(|_| {
                let (mirror, stop) = (rig.mirror.clone(), &stop);
                scope.spawn(move || {
                    let mut tries = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let sql = ".timeout 30\nINSERT INTO t(b) VALUES (99);";
                        let answer = shell_result(&mirror, sql);
                        let error = answer.expect_err("it is written to");
                        assert!(error.contains("locked"), "{error}");
                        tries += 1;
                    }
                    tries
                })
            })
            .collect();
        for _ in 0..20 {
            shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
            rig.capture();
            let mut installed = rig.replace_mirror();
            retired.extend(installed.retired.take());
            retired.retain(crate::sqlite::WriteLock::is_wanted);
            std::thread::sleep(std::time::Duration::from_millis(5));
            rig.open_replaced(installed);
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.join().unwrap() > 10, "they tried");
        }
    });
    retired.retain(crate::sqlite::WriteLock::is_wanted);
    assert_eq!(retired.len(), 0, "nobody has any of them open");
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.pump();
    assert_eq!(shell(&rig.mirror, "SELECT count(*) FROM t;"), "21\n");
    rig.prove_equal();
}

#[test]
fn who_has_a_replaced_copy_open_is_told_and_takes_nothing_with_it() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    rig.seed();
    rig.open_applier().unwrap();
    let mut open = Shell::open(&rig.mirror);
    assert_eq!(open.run("SELECT count(*) FROM t;"), "1\n");
    shell(&rig.source, "INSERT INTO t(b) VALUES (2);");
    rig.capture();
    let mut installed = rig.replace_mirror();
    let retired = installed.retired.take().unwrap();
    rig.open_replaced(installed);
    let beside = |suffix: &str| {
        let mut name = rig.mirror.clone().into_os_string();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    let logs = [beside("-wal"), beside("-shm")];
    let before = logs.clone().map(|path| inode(&path));
    // It goes on with the copy that it opened, and can not write there.
    assert!(retired.is_wanted());
    let answer = open.run(".timeout 20\nINSERT INTO t(b) VALUES (3);\nSELECT count(*) FROM t;");
    assert_eq!(answer, "1\n");
    // SQLite's last connection to a database removes its log by name: that name is another's by now.
    open.quit();
    assert!(!retired.is_wanted());
    assert_eq!(logs.map(|path| inode(&path)), before);
    drop(retired);
    shell(&rig.source, "INSERT INTO t(b) VALUES (4);");
    rig.pump();
    assert_eq!(shell(&rig.mirror, "SELECT count(*) FROM t;"), "3\n");
    rig.prove_equal();
}

#[test]
fn a_file_that_cannot_be_opened_stays_locked() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    rig.open_applier().unwrap();
    let mut lock = Some(rig.applier.take().unwrap().retire().unwrap());
    let mut wrong = rig.seeded.unwrap();
    wrong.sum.0 ^= 1;
    for _ in 0..2 {
        let options = ApplierOptions::new(FAMILY);
        let opened = Applier::open_locked(&rig.mirror, &mut lock, options, &wrong, &mut |_| Ok(None));
        assert!(matches!(opened.map(drop), Err(Error::NoSuchContent)));
        assert!(lock.is_some());
        let sql = ".timeout 20\nINSERT INTO t(b) VALUES (1);";
        assert!(shell_result(&rig.mirror, sql).unwrap_err().contains("locked"));
        assert_eq!(shell(&rig.mirror, "SELECT count(*) FROM t;"), "0\n");
    }
    drop(lock);
    shell(&rig.mirror, "INSERT INTO t(b) VALUES (1);");
}

#[test]
fn a_fence_that_goes_on_leaves_a_running_backup_its_locks() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (1);");
    let source = rig.snapshot();
    let tail = rig.tail.take().unwrap();
    tail.fence(std::time::Duration::from_secs(1)).unwrap();
    let mut lock = Some(tail.keep_fence());
    drop(tail);
    let write = ".timeout 20\nINSERT INTO t(b) VALUES (2);";
    assert!(shell_result(&rig.source, write).unwrap_err().contains("locked"));
    let options = ApplierOptions::new(FAMILY);
    let opened = Applier::open_locked(&rig.source, &mut lock, options, source.anchor(), &mut |_| {
        Ok(None)
    });
    assert!(matches!(opened.map(drop), Err(Error::InUse(_))));
    assert!(shell_result(&rig.source, write).unwrap_err().contains("locked"));
    drop(lock);
    shell(&rig.source, write);
    // The reader still has its mark: its log is not started over under it.
    let mut other = Shell::open(&rig.source);
    let fold = ".timeout 20\nPRAGMA wal_checkpoint(TRUNCATE);";
    assert!(other.run(fold).starts_with("1|"));
    drop(source);
    assert_eq!(other.run(fold), "0|0|0\n");
}

#[test]
fn a_file_without_a_log_is_replaced_when_nobody_uses_it() {
    let mut rig = Rig::new(TABLE);
    let mut source = rig.snapshot();
    let mut bytes = std::vec![0; source.bytes() as usize];
    source.read_at(0, &mut bytes).unwrap();
    let old = rig.source.with_file_name("old.db");
    shell(&old, "CREATE TABLE precious(a); INSERT INTO precious VALUES (7);");
    let complete = || received(&old, &bytes, source.anchor());
    let mut writer = Shell::open(&old);
    writer.run("BEGIN IMMEDIATE; INSERT INTO precious VALUES (8);");
    assert!(matches!(
        complete().install_keeping(&mut None).map(drop),
        Err(Error::Busy(_))
    ));
    writer.run("COMMIT;");
    let installed = complete().install_keeping(&mut None).unwrap();
    let retired = installed.retired.unwrap();
    assert!(retired.is_wanted(), "the writer has it open");
    assert_eq!(writer.run(".timeout 20\nINSERT INTO precious VALUES (9);"), "");
    assert!(!old.with_file_name("old.db-journal").exists());
    writer.quit();
    assert!(!retired.is_wanted());
    drop(retired);
    assert_eq!(
        shell(&installed.kept.unwrap(), "SELECT sum(a) FROM precious;"),
        "15\n"
    );
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "0\n");
}

#[test]
fn damaged_and_incomplete_seeds_leave_nothing() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(50000));");
    let mut source = rig.snapshot();
    let mut bytes = std::vec![0; source.bytes() as usize];
    assert_eq!(source.read_at(0, &mut bytes).unwrap(), bytes.len());
    assert_eq!(source.read_at(source.bytes(), &mut [0; 9]).unwrap(), 0);
    let sum = source.anchor().sum;
    let receive = |bytes: &[u8], sum: DatabaseSum| {
        let mut sink = SeedSink::create(&rig.mirror, 4096, source.bytes())?;
        sink.write(0, bytes)?;
        sink.complete(LogEnd::START, sum)?.install_new()
    };
    assert!(matches!(receive(&bytes[1..], sum), Err(Error::SeedDamaged)));
    assert!(matches!(
        receive(&bytes, DatabaseSum(sum.0 ^ 1)),
        Err(Error::SeedDamaged)
    ));
    let mut bad = bytes.clone();
    bad[9_000] ^= 1;
    assert!(matches!(receive(&bad, sum), Err(Error::SeedDamaged)));
    let mut long = bytes.clone();
    long.push(0);
    assert!(matches!(receive(&long, sum), Err(Error::SeedDamaged)));
    assert!(!fs::exists(&rig.mirror).unwrap());
    assert_eq!(
        fs::read_dir(rig.mirror.parent().unwrap()).unwrap().count(),
        3,
        "the principal's three files"
    );
    assert!(SeedSink::create(&rig.mirror, 4096, 0).is_err());
    assert!(SeedSink::create(&rig.mirror, 4096, 4097).is_err());
    assert!(SeedSink::create(&rig.mirror, 1000, 4000).is_err());
    receive(&bytes, sum).unwrap();
    assert!(matches!(database_sum(&rig.source), Err(Error::InUse(_))));
}

/// Whenever the machine stops while a file is replaced, one of the two is there, whole: what the old one's log held is in it
/// before that log goes, and where that cannot be, nothing is begun.
#[test]
fn a_file_that_is_replaced_is_folded_first() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    let (new, anchor) = rig.copied();
    let old = rig.source.with_file_name("old.db");
    shell(&old, "PRAGMA journal_mode=WAL; CREATE TABLE o(a);");
    let complete = || received(&old, &new, &anchor);
    // A reader's snapshot from before the last commits keeps them in the log.
    let mut reader = Shell::open(&old);
    let mut writer = Shell::open(&old);
    writer.run("INSERT INTO o VALUES (1);");
    reader.run("BEGIN; SELECT * FROM o;");
    for _ in 0..9 {
        writer.run("INSERT INTO o VALUES (1);");
    }
    writer.kill();
    assert!(matches!(complete().install_over(), Err(Error::Busy(_))));
    assert_eq!(shell(&old, "SELECT count(*) FROM o;"), "10\n");
    assert!(!fs::exists(old.with_file_name("old.db-seed")).unwrap());
    reader.kill();
    assert_eq!(complete().install_over().unwrap().anchor.sum, anchor.sum);
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "1\n");
    // What is no database has nothing to keep.
    fs::write(&old, b"rubbish").unwrap();
    fs::write(old.with_file_name("old.db-wal"), b"rubbish").unwrap();
    complete().install_over().unwrap();
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "1\n");
}

/// A connection that is open without a transaction goes on to commit into the file that it has: that may not be replaced.
#[test]
fn an_idle_connection_keeps_its_file() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    let (new, anchor) = rig.copied();
    let old = rig.source.with_file_name("old.db");
    shell(&old, "PRAGMA journal_mode=WAL; CREATE TABLE o(a);");
    let complete = || received(&old, &new, &anchor);
    let mut idle = Shell::open(&old);
    idle.run("SELECT * FROM o;");
    assert!(matches!(complete().install_over(), Err(Error::Busy(_))));
    idle.run("INSERT INTO o VALUES (1);");
    assert_eq!(shell(&old, "SELECT count(*) FROM o;"), "1\n");
    idle.kill();
    complete().install_over().unwrap();
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "1\n");
}

/// SQLite opens a database's log and wal-index by name, after the file itself. Who has opened the file that is replaced, and waits for its lock
/// meanwhile, would have that one with the new one's log; and who comes first to the new one would write what the copy's owner never hears of.
#[test]
fn who_was_about_to_open_a_restored_database_gets_no_further() {
    let mut rig = Rig::new(TABLE);
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
    let (new, anchor) = rig.copied();
    let old = rig.source.with_file_name("old.db");
    shell(&old, "PRAGMA journal_mode=WAL; CREATE TABLE o(a);");
    let complete = received(&old, &new, &anchor);
    // One that has opened the old file and nothing more.
    let late = fs::File::open(&old).unwrap();
    let Installed { lock, retired, .. } = complete.install_over().unwrap();
    let retired = retired.unwrap();
    let shared = || crate::sqlite::sys::try_share(&late, 0x4000_0002, 510).unwrap();
    assert!(!shared(), "it would go on beside the new log");
    assert!(retired.is_wanted(), "as long as it is there");
    // The new one can be read, and is written by nobody before its owner has it.
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "1\n");
    let refused = shell_result(&old, ".timeout 30\nINSERT INTO t(b) VALUES (99);").unwrap_err();
    assert!(refused.contains("locked"), "{refused}");
    drop(lock);
    shell(&old, "INSERT INTO t(b) VALUES (99);");
    drop(retired);
    assert!(shared());
}

#[test]
fn a_file_that_nobody_owns_is_not_replaced() {
    let mut rig = Rig::new(TABLE);
    let (new, anchor) = rig.copied();
    let old = rig.source.with_file_name("old.db");
    let complete = || received(&old, &new, &anchor);
    shell(&old, "PRAGMA journal_mode=WAL; CREATE TABLE precious(a);");
    assert!(matches!(complete().install_new(), Err(Error::Exists(_))));
    assert_eq!(shell(&old, "SELECT count(*) FROM precious;"), "0\n");
    fs::remove_file(&old).unwrap();
    fs::write(old.with_file_name("old.db-wal"), b"a log").unwrap();
    assert!(matches!(complete().install_new(), Err(Error::Exists(_))));
    fs::remove_file(old.with_file_name("old.db-wal")).unwrap();
    complete().install_new().unwrap();
    assert!(!fs::exists(old.with_file_name("old.db-seed")).unwrap());
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "0\n");
}

#[test]
fn a_mirrors_old_copy_is_kept_and_their_number_bounded() {
    let mut rig = Rig::new(TABLE);
    let (new, anchor) = rig.copied();
    let old = rig.source.with_file_name("old.db");
    let install = |sequence: u64| {
        let mut end = anchor.end;
        end.position.sequence = sequence;
        let mut sink = SeedSink::create(&old, 4096, new.len() as u64).unwrap();
        sink.write(0, &new).unwrap();
        sink.complete(end, anchor.sum)
            .unwrap()
            .install_keeping(&mut None)
            .unwrap()
    };
    assert_eq!(install(1).kept, None, "nothing was there");
    shell(&old, "CREATE TABLE precious(a); INSERT INTO precious VALUES (7);");
    // A reader's snapshot keeps the last commit from being folded: the log is kept with the file.
    let mut reader = Shell::open(&old);
    let mut writer = Shell::open(&old);
    reader.run("BEGIN; SELECT * FROM precious;");
    writer.run("INSERT INTO precious VALUES (8);");
    let kept = install(20).kept.unwrap();
    reader.kill();
    writer.kill();
    assert_eq!(shell(&kept, "SELECT sum(a) FROM precious;"), "15\n");
    assert_eq!(shell(&old, "SELECT count(*) FROM t;"), "0\n");
    for sequence in [20, 100, 101, 102] {
        assert!(install(sequence).kept.is_some());
    }
    let mut left: std::vec::Vec<std::string::String> = fs::read_dir(old.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("-before-") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    left.sort();
    let position = |n: u64| std::format!("old.db-before-{}-{n}", anchor.end.position.timeline);
    assert_eq!(left, [position(101), position(102), position(20)]);
    assert_eq!(shell(&kept, "SELECT sum(a) FROM precious;"), "15\n");
}
