//! The mirror's writer: what readers see, what is refused, and what a restart finds.

use std::format;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use dbmirror_core::message::block::BlockError;

use super::rig::*;
use crate::sqlite::{Applied, Applier, ApplierOptions, Error};

const TABLE: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);";

fn insert(rig: &Rig) {
    shell(&rig.source, "INSERT INTO t(b) VALUES (randomblob(5000));");
}

#[test]
fn readers_keep_their_snapshot_and_see_what_comes() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut pinned = Shell::open(&rig.mirror);
    let count = "SELECT count(*) FROM t;";
    insert(&rig);
    rig.pump();
    assert_eq!(pinned.run(&format!("BEGIN; {count}")), "1\n");
    for round in 0..30 {
        insert(&rig);
        rig.pump();
        if round % 10 == 5 {
            assert!(
                !rig.applier().checkpoint().unwrap().complete,
                "the reader's snapshot is not backfilled over"
            );
        }
        assert_eq!(pinned.run(count), "1\n");
        assert_eq!(shell(&rig.mirror, count), format!("{}\n", round + 2));
    }
    pinned.run("COMMIT;");
    assert_eq!(pinned.run(count), "31\n");
    rig.prove_equal();
    // With the log folded and no reader in it, it starts over.
    insert(&rig);
    rig.pump();
    assert_eq!(pinned.run(count), "32\n");
    assert_eq!(pinned.run("PRAGMA integrity_check;"), "ok\n");
    rig.prove_equal();
}

/// The log of the mirror is restarted many times, with checkpoints by us and by outsiders in between.
#[test]
fn many_generations_of_the_log() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let mut reader = Shell::open(&rig.mirror);
    for round in 0..40 {
        insert(&rig);
        shell(
            &rig.source,
            "DELETE FROM t WHERE a%3=0; UPDATE t SET b=randomblob(4500) WHERE a%4=0;",
        );
        rig.pump();
        match round % 4 {
            0 => assert!(rig.applier().checkpoint().unwrap().complete),
            1 => drop(reader.run("PRAGMA wal_checkpoint(PASSIVE);")),
            2 => drop(shell(
                &rig.mirror,
                ".timeout 20\nPRAGMA wal_checkpoint(TRUNCATE);",
            )),
            _ => {}
        }
        let query = "SELECT count(*), sum(length(b)) FROM t;";
        assert_eq!(reader.run(query), shell(&rig.source, query));
    }
    rig.prove_equal();
}

#[test]
fn outsiders_cannot_write() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    let refused = shell_result(&rig.mirror, ".timeout 50\nINSERT INTO t(b) VALUES (1);").unwrap_err();
    assert!(refused.contains("database is locked"), "{refused}");
    insert(&rig);
    rig.pump();
    rig.prove_equal();
}

#[test]
fn a_foreign_write_while_nobody_held_the_file_is_found_out() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    insert(&rig);
    rig.pump();
    rig.applier = None;
    shell(&rig.mirror, "INSERT INTO t(b) VALUES (1);");
    assert!(matches!(rig.open_applier(), Err(Error::NoSuchContent)));
}

#[test]
fn damage_is_found_out() {
    let mut rig = Rig::new(TABLE);
    for _ in 0..10 {
        insert(&rig);
    }
    rig.seed();
    rig.pump();
    rig.applier().fold().unwrap();
    rig.applier = None;
    rig.open_applier().unwrap();
    rig.applier = None;
    OpenOptions::new()
        .write(true)
        .open(&rig.mirror)
        .unwrap()
        .write_all_at(b"!", 5_000)
        .unwrap();
    assert!(matches!(rig.open_applier(), Err(Error::NoSuchContent)));
}

#[test]
fn a_restart_finds_its_place_from_an_old_anchor() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    for round in 0..12_u64 {
        insert(&rig);
        rig.pump();
        if round % 5 == 4 {
            rig.applier().checkpoint().unwrap();
        }
        rig.open_applier().unwrap();
        assert_eq!(rig.applier().anchor().end.position.sequence, round + 1);
        let last = rig.log.blocks.last().unwrap().clone();
        assert_eq!(
            rig.applier().apply(&mut last.as_slice()).unwrap(),
            Applied::Before
        );
    }
    rig.prove_equal();
}

#[test]
fn blocks_that_do_not_belong_here_change_nothing() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    for _ in 0..3 {
        insert(&rig);
    }
    rig.capture();
    let blocks = rig.log.blocks.clone();
    let seen = |rig: &Rig| shell(&rig.mirror, "SELECT count(*) FROM t;");

    let refused = rig.applier().apply(&mut blocks[1].as_slice());
    assert!(matches!(refused, Err(Error::NotNext { .. })));
    for cut in [0, 1, 127, 128, 140, 200, blocks[0].len() - 1] {
        let refused = rig.applier().apply(&mut &blocks[0][..cut]);
        assert!(
            matches!(refused, Err(Error::Block(BlockError::TooShort))),
            "{cut}"
        );
    }
    for at in (0..blocks[0].len()).step_by(97) {
        let mut bad = blocks[0].clone();
        bad[at] ^= 0x10;
        assert!(rig.applier().apply(&mut bad.as_slice()).is_err(), "byte {at}");
        assert_eq!(seen(&rig), "0\n");
    }
    // All of that lies unpublished behind the log's end, where the next block is written over it.
    assert_eq!(
        rig.applier().apply(&mut blocks[0].as_slice()).unwrap(),
        Applied::Now
    );
    assert_eq!(seen(&rig), "1\n");
    rig.apply();
    rig.prove_equal();

    let mirror = rig.mirror.clone();
    let anchor = *rig.applier().anchor();
    rig.applier = None;
    let mut stranger = Applier::open(
        &mirror,
        ApplierOptions::new(dbmirror_core::message::FamilyGuid([9; 16])),
        &anchor,
        &mut |_| Ok(None),
    )
    .unwrap();
    insert(&rig);
    rig.capture();
    let refused = stranger.apply(&mut rig.log.blocks[3].as_slice());
    assert!(matches!(refused, Err(Error::WrongDatabase)));
}

/// A principal that lost its last commits takes them from its mirror before it opens: into its own file, then captures on.
#[test]
fn a_principal_adopts_the_tail_that_only_the_mirror_has() {
    let mut rig = Rig::new(TABLE);
    rig.seed();
    insert(&rig);
    rig.pump();
    let early = rig.source.with_extension("early");
    rig.tail.as_mut().unwrap().fold(&mut rig.log).unwrap();
    // What the disk still had after the power cut.
    assert!(
        std::process::Command::new("cp")
            .arg(&rig.source)
            .arg(&early)
            .status()
            .unwrap()
            .success()
    );
    let own = rig.log.last().unwrap();
    for _ in 0..4 {
        insert(&rig);
    }
    rig.pump();
    rig.tail = None;
    for suffix in ["-wal", "-shm"] {
        let mut name = rig.source.clone().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(&early, &rig.source).unwrap();

    let log = &rig.log;
    let mut adopting =
        Applier::open(&rig.source, ApplierOptions::new(FAMILY), &own, &mut |_| Ok(None)).unwrap();
    for block in &log.blocks[1..] {
        assert_eq!(adopting.apply(&mut block.as_slice()).unwrap(), Applied::Now);
    }
    drop(adopting);
    rig.resume().unwrap();
    assert_eq!(rig.capture(), 0);
    insert(&rig);
    rig.pump();
    assert_eq!(rig.log.blocks.len(), 6);
    rig.prove_equal();
}
