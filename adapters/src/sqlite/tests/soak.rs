//! Thousands of random transactions from two writers, applied as they come, under readers that check what they see.

use std::format;
use std::println;
use std::process::Command;
use std::string::ToString;
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::rig::*;
use super::workload::{SETUP, soak_time};
use crate::sqlite::{Applied, Applier, ApplierOptions};

#[test]
fn random_transactions_end_in_equal_files() {
    let started = Instant::now();
    let mut rig = Rig::new(SETUP);
    rig.seed();
    let stop = rig.mirror.with_extension("stop");
    let mut readers: Vec<_> = (0..2)
        .map(|_| {
            child(
                "workload::reader_process",
                &[("READER_DATABASE", &rig.mirror), ("READER_STOP", &stop)],
            )
        })
        .collect();
    let count = soak_time(4).as_secs() * 300;
    let mut writers: Vec<_> = ["17", "4711"]
        .into_iter()
        .map(|seed| {
            let writer = Command::new(std::env::current_exe().unwrap())
                .args(["sqlite::tests::workload::writer_process", "--exact"])
                .env("WRITER_DATABASE", &rig.source)
                .env("WRITER_SEED", seed)
                .env("WRITER_COUNT", count.to_string())
                .env("WRITER_AUTOCHECKPOINT", "10")
                .stdout(std::process::Stdio::null())
                .spawn();
            Guard(writer.unwrap())
        })
        .collect();
    let mut dice = Dice(99);
    let mut checkpoints = 0;
    while !writers.iter_mut().all(|w| w.0.try_wait().unwrap().is_some()) {
        rig.pump();
        if rig.tail().wants_checkpoint() || dice.below(500) == 0 {
            checkpoints += u32::from(rig.checkpoint());
        }
        if rig.applier().wants_checkpoint() || dice.below(500) == 0 {
            rig.applier().checkpoint().unwrap();
        }
        std::thread::sleep(Duration::from_micros(dice.below(1_500)));
    }
    for writer in &mut writers {
        assert!(writer.0.wait().unwrap().success());
    }
    rig.pump();
    // A fast machine's load is over before a checkpoint came between two readers: under readers alone one must come soon.
    let soon = Instant::now() + Duration::from_secs(20);
    while checkpoints == 0 && Instant::now() < soon {
        rig.pump();
        checkpoints += u32::from(rig.checkpoint());
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::write(&stop, b"").unwrap();
    for reader in &mut readers {
        assert!(reader.0.wait().unwrap().success(), "a reader saw a broken state");
    }
    assert!(checkpoints > 0);
    rig.prove_equal();
    println!(
        "{} blocks, {checkpoints} complete checkpoints, {:?}",
        rig.log.blocks.len(),
        started.elapsed()
    );
}

/// How fast blocks are captured and applied, without any reader or writer beside: small orders with random keys.
#[test]
#[ignore = "a measurement"]
fn rates() {
    let mut rig = Rig::new(
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, note TEXT); \
         CREATE INDEX by_customer ON orders(customer); CREATE TABLE stock(item INTEGER PRIMARY KEY, left INTEGER); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) \
         INSERT INTO stock SELECT i, 1000000 FROM n;",
    );
    rig.seed();
    let writer = application(&rig.source);
    writer
        .execute_batch("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;")
        .unwrap();
    let mut dice = Dice(5);
    for _ in 0..5_000 {
        writer
            .execute_batch(&format!(
                "BEGIN; INSERT INTO orders(customer, note) VALUES ({}, hex(randomblob(100))); \
                 UPDATE stock SET left=left-1 WHERE item IN ({}, {}, {}); COMMIT;",
                dice.below(5_000),
                dice.below(20_000),
                dice.below(20_000),
                dice.below(20_000)
            ))
            .unwrap();
    }
    drop(writer);
    let begun = Instant::now();
    let blocks = rig.capture();
    let captured = begun.elapsed();
    let bytes: usize = rig.log.blocks.iter().map(Vec::len).sum();
    let anchor = *rig.applier().anchor();
    rig.applier = None;
    let mut applier = Applier::open(&rig.mirror, ApplierOptions::new(FAMILY), &anchor, &mut |_| {
        Ok(None)
    })
    .unwrap();
    let begun = Instant::now();
    for block in &rig.log.blocks {
        assert_eq!(applier.apply(&mut block.as_slice()).unwrap(), Applied::Now);
        if applier.wants_checkpoint() {
            applier.checkpoint().unwrap();
        }
    }
    let applied = begun.elapsed();
    let rate = |time: Duration| blocks as f64 / time.as_secs_f64();
    println!(
        "{blocks} blocks of {} bytes: capture {:.0}/s {:.0} MB/s, apply {:.0}/s {:.0} MB/s",
        bytes / blocks,
        rate(captured),
        bytes as f64 / captured.as_secs_f64() / 1e6,
        rate(applied),
        bytes as f64 / applied.as_secs_f64() / 1e6,
    );
    rig.applier = Some(applier);
    rig.prove_equal();
}
