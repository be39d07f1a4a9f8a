//! SIGKILL at random moments: of the writer, of the capture, of the mirror's writer. Nothing is lost and nothing is torn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::string::ToString;
use std::time::{Duration, Instant};

use dbmirror_core::message::block::{BlockHeader, HEADER_LEN};

use super::rig::*;
use super::workload::{Folder, SETUP, soak_time, until};
use crate::sqlite::{Anchor, Applied, Applier, ApplierOptions, BlockSink as _, Tail, TailOptions};

/// The header of a block in `folder`.
fn header(folder: &Folder, sequence: u64) -> Option<BlockHeader> {
    let block = folder.block(sequence)?;
    Some(BlockHeader::parse(block[..HEADER_LEN].try_into().unwrap()).unwrap())
}

/// The anchor that was put under `name`.
fn anchor(folder: &Folder, name: &str) -> Anchor {
    Anchor::from_bytes(&folder.get(name).unwrap()).unwrap()
}

/// The capture as another process: resumes, and puts block after block into a folder, until it is killed.
#[test]
fn capture_process() {
    let (Some(path), Some(folder)) = (role("CAPTURE_DATABASE"), role("CAPTURE_FOLDER")) else {
        return;
    };
    let mut folder = Folder(folder);
    let start = anchor(&folder, "start");
    let last = folder.end(0);
    let from = header(&folder, last.max(1)).map_or(start, |header| Anchor::of(&header));
    let options = TailOptions {
        checkpoint_frames: 60,
        ..tail_options()
    };
    let mut tail = Tail::resume(&path, options, &from, 1).unwrap();
    loop {
        while let Some(block) = tail.next_block().unwrap() {
            folder.append(block).unwrap();
        }
        if tail.wants_checkpoint() {
            tail.checkpoint(&mut folder).unwrap();
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// The mirror's writer as another process: applies the folder's blocks as they come, until it is killed.
#[test]
fn mirror_process() {
    let (Some(path), Some(folder)) = (role("MIRROR_DATABASE"), role("MIRROR_FOLDER")) else {
        return;
    };
    let folder = Folder(folder);
    let seeded = anchor(&folder, "seeded");
    let mut applier = Applier::open(&path, ApplierOptions::new(FAMILY), &seeded, &mut |n| {
        Ok(header(&folder, n))
    })
    .unwrap();
    let mut dice = Dice(std::process::id().into());
    loop {
        let next = applier.anchor().end.position.sequence + 1;
        match folder.block(next) {
            Some(block) => assert_eq!(applier.apply(&mut block.as_slice()).unwrap(), Applied::Now),
            None => std::thread::sleep(Duration::from_micros(300)),
        }
        if dice.below(40) == 0 {
            applier.checkpoint().unwrap();
        }
    }
}

struct Killed {
    name: &'static str,
    env: [(&'static str, PathBuf); 2],
    child: Option<Guard>,
}

impl Killed {
    fn start(&mut self) {
        let role: [(&str, &Path); 2] = [
            (self.env[0].0, self.env[0].1.as_path()),
            (self.env[1].0, self.env[1].1.as_path()),
        ];
        self.child = Some(child(self.name, &role));
    }

    fn kill(&mut self) {
        if let Some(Guard(child)) = &mut self.child {
            assert_eq!(child.try_wait().unwrap(), None, "{} ended by itself", self.name);
            child.kill().unwrap();
            child.wait().unwrap();
            self.child = None;
        }
    }
}

fn writer(path: &Path, seed: u64) -> Guard {
    let writer = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite::tests::workload::writer_process", "--exact"])
        .env("WRITER_DATABASE", path)
        .env("WRITER_SEED", seed.to_string())
        .env("WRITER_COUNT", u64::MAX.to_string())
        // While nobody captures, a checkpoint of the application would be a gap.
        .env("WRITER_AUTOCHECKPOINT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Guard(writer.unwrap())
}

#[test]
fn kills_at_random_lose_nothing() {
    let mut rig = Rig::new(SETUP);
    rig.seed();
    let folder = Folder::at(&rig.source.with_extension("blocks"));
    folder.put("start", &rig.start.to_bytes());
    folder.put("seeded", &rig.seeded.unwrap().to_bytes());
    rig.tail = None;
    rig.applier = None;
    let stop = rig.mirror.with_extension("stop");
    // Keeps log and wal-index of the principal in use, as an application that never closes does.
    let mut idle = Shell::open(&rig.source);
    idle.run("SELECT count(*) FROM total;");
    let mut reader = child(
        "workload::reader_process",
        &[("READER_DATABASE", &rig.mirror), ("READER_STOP", &stop)],
    );
    let mut capture = Killed {
        name: "crash::capture_process",
        env: [
            ("CAPTURE_DATABASE", rig.source.clone()),
            ("CAPTURE_FOLDER", folder.0.clone()),
        ],
        child: None,
    };
    let mut mirror = Killed {
        name: "crash::mirror_process",
        env: [
            ("MIRROR_DATABASE", rig.mirror.clone()),
            ("MIRROR_FOLDER", folder.0.clone()),
        ],
        child: None,
    };
    capture.start();
    mirror.start();
    let mut dice = Dice(Instant::now().elapsed().as_nanos() as u64 | 1);
    let mut writing = writer(&rig.source, 1);
    let end = until(soak_time(8));
    let mut kills = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100 + dice.below(400)));
        match dice.below(3) {
            0 => {
                writing.0.kill().unwrap();
                writing.0.wait().unwrap();
                writing = writer(&rig.source, dice.next() | 1);
            }
            1 => {
                capture.kill();
                std::thread::sleep(Duration::from_millis(dice.below(50)));
                capture.start();
            }
            _ => {
                mirror.kill();
                mirror.start();
            }
        }
        kills += 1;
    }
    writing.0.kill().unwrap();
    writing.0.wait().unwrap();
    capture.kill();
    mirror.kill();
    std::fs::write(&stop, b"").unwrap();
    let reader_ok = reader.0.wait().unwrap().success();
    assert!(reader_ok, "a reader saw a broken state");

    // Everything starts once more, in this process, and ends equal.
    for sequence in 1..=folder.end(0) {
        rig.log.blocks.push(folder.block(sequence).unwrap());
    }
    rig.resume().unwrap();
    rig.open_applier().unwrap();
    rig.pump();
    std::println!("{kills} kills, {} blocks", rig.log.blocks.len());
    drop(idle);
    rig.prove_equal();
}
