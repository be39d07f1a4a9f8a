use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::vec;

use dbmirror_core::crypto::Hash;
use dbmirror_core::crypto::rustcrypto::Sha256;

use super::format::{CRC32C, ENTRY_HEADER, Entry, Found, Kind, Place, SEGMENT_HEADER};
use super::*;

const A: LogId = LogId([0xaa; 16]);
const B: LogId = LogId([0xbb; 16]);
const SMALL: Options = Options { segment_size: 4096 };

/// A directory in memory where the system has one: thousands of openings would each wait for the disk.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn open(dir: &Path) -> (BlockLog, Recovery, Receiver<Durability>) {
    let (tx, rx) = channel();
    let (log, recovery) = BlockLog::open(
        dir,
        SMALL,
        Box::new(move |d| {
            let _ = tx.send(d);
        }),
    )
    .unwrap();
    (log, recovery, rx)
}

fn body(id: LogId, sequence: u64) -> Vec<u8> {
    let len = (sequence as usize * 37) % 300 + 1;
    (0..len).map(|i| id.0[0] ^ (sequence as u8) ^ (i as u8)).collect()
}

fn chain(previous: Chain, bytes: &[u8]) -> Chain {
    let mut hash = <Sha256 as Hash>::new();
    hash.update(&previous.0);
    hash.update(bytes);
    Chain(hash.finish()[..16].try_into().unwrap())
}

fn next(log: &BlockLog, id: LogId, timeline: u32) -> Ticket {
    let end = log.extent(id).unwrap().end;
    let sequence = end.position.sequence + 1;
    let bytes = body(id, sequence);
    let block = LogEnd {
        position: Position { timeline, sequence },
        chain: chain(end.chain, &bytes),
    };
    log.append(id, end.chain, block, &bytes).unwrap()
}

/// The last segment, by number, path and bytes, after one more block is in it.
fn one_more(dir: &Path) -> (u32, std::path::PathBuf, std::vec::Vec<u8>) {
    let (log, _, _rx) = open(dir);
    next(&log, A, 1);
    drop(log);
    let number = *segment::list(dir).unwrap().last().unwrap();
    let path = segment::path(dir, number);
    let bytes = fs::read(&path).unwrap();
    (number, path, bytes)
}

/// The entry that begins at byte `at` of a segment.
fn entry_at(bytes: &[u8], at: usize) -> Entry {
    let segment = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    match Entry::find(&bytes[at..], segment) {
        Found::Entry(entry) => entry,
        other => panic!("at {at}: {other:?}"),
    }
}

fn check(log: &BlockLog, id: LogId) -> u64 {
    let Some(extent) = log.extent(id) else {
        return 0;
    };
    let mut previous = extent.base.chain;
    for sequence in extent.base.position.sequence + 1..=extent.end.position.sequence {
        let mut bytes = vec![0; 1000];
        let read = log.read(id, sequence, 0, &mut bytes).unwrap().unwrap();
        assert_eq!(read.len, read.total);
        assert_eq!(&bytes[..read.len], body(id, sequence));
        previous = chain(previous, &bytes[..read.len]);
        assert_eq!(previous, read.chain);
        assert_eq!(log.chain_at(id, sequence).unwrap().chain, read.chain);
    }
    assert_eq!(previous, extent.end.chain);
    extent.end.position.sequence
}

/// Two databases, interleaved, over several segments.
fn filled(dir: &Path, blocks: u64) {
    let (log, _, durable) = open(dir);
    log.start_log(A, LogEnd::START).unwrap();
    log.start_log(B, LogEnd::START).unwrap();
    for n in 0..blocks {
        next(&log, A, 1);
        let ticket = if n % 3 == 0 { next(&log, B, 1) } else { Ticket(0) };
        if n % 5 == 0 {
            log.wait(ticket).unwrap();
        }
    }
    drop(log);
    assert!(durable.try_iter().all(|d| matches!(d, Durability::Durable(_))));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_was_appended_is_read_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 60);
    for _ in 0..3 {
        let (log, recovery, _) = open(dir.path());
        assert_eq!((check(&log, A), check(&log, B)), (60, 20));
        assert_eq!((recovery.blocks, recovery.torn_bytes), (80, 0));
        assert_eq!(recovery.damaged, []);
    }
    assert!(segment::list(dir.path()).unwrap().len() > 3);
}

#[test]
fn durability_is_reported_per_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, durable) = open(dir.path());
    log.start_log(A, LogEnd::START).unwrap();
    let ticket = next(&log, A, 1);
    log.wait(ticket).unwrap();
    let end = log.extent(A).unwrap().end;
    loop {
        let Durability::Durable(ends) = durable.recv_timeout(Duration::from_secs(10)).unwrap() else {
            panic!("the disk of this test failed")
        };
        if ends == [(A, end)] {
            break;
        }
    }
}

#[test]
fn only_the_next_block_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _, _rx) = open(dir.path());
    let block = LogEnd {
        position: Position {
            timeline: 1,
            sequence: 1,
        },
        chain: Chain([1; 16]),
    };
    assert!(matches!(
        log.append(A, Chain::START, block, b"x"),
        Err(LogError::UnknownLog)
    ));
    log.start_log(A, LogEnd::START).unwrap();
    assert!(matches!(
        log.append(A, Chain([9; 16]), block, b"x"),
        Err(LogError::NotNext { .. })
    ));
    log.append(A, Chain::START, block, b"x").unwrap();
    assert!(matches!(
        log.append(A, block.chain, block, b"x"),
        Err(LogError::NotNext { .. })
    ));
    let skipped = LogEnd {
        position: Position {
            timeline: 1,
            sequence: 3,
        },
        chain: Chain([3; 16]),
    };
    assert!(matches!(
        log.append(A, block.chain, skipped, b"x"),
        Err(LogError::NotNext { .. })
    ));
}

#[test]
fn a_block_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let big = vec![7; 50_000];
    let block = LogEnd {
        position: Position {
            timeline: 1,
            sequence: 1,
        },
        chain: Chain([1; 16]),
    };
    {
        let (log, _, _rx) = open(dir.path());
        log.start_log(A, LogEnd::START).unwrap();
        log.append(A, Chain::START, block, &big).unwrap();
    }
    let (log, _, _rx) = open(dir.path());
    let mut part = vec![0; 1000];
    let read = log.read(A, 1, 49_500, &mut part).unwrap().unwrap();
    assert_eq!((read.len, read.total), (500, 50_000));
    assert_eq!(part[..500], big[..500]);
    assert_eq!(log.read(A, 1, 60_000, &mut part).unwrap().unwrap().len, 0);
    assert_eq!(log.read(A, 2, 0, &mut part).unwrap(), None);
}

#[test]
fn a_fork_makes_the_tail_void_for_good() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20);
    {
        let (log, _, _rx) = open(dir.path());
        let fork = log.chain_at(A, 12).unwrap();
        log.truncate(A, fork).unwrap();
        assert_eq!(log.extent(A).unwrap().end, fork);
        next(&log, A, 2);
        next(&log, A, 2);
    }
    let (log, recovery, _rx) = open(dir.path());
    assert_eq!(check(&log, A), 14);
    assert_eq!(
        log.extent(A).unwrap().end.position,
        Position {
            timeline: 2,
            sequence: 14
        }
    );
    assert_eq!(check(&log, B), 7);
    assert!(recovery.unreachable.is_empty());
}

#[test]
fn a_forgotten_log_stays_forgotten_and_may_start_again() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20);
    {
        let (log, _, _rx) = open(dir.path());
        log.forget(A).unwrap();
        assert_eq!(log.extent(A), None);
    }
    {
        let (log, _, _rx) = open(dir.path());
        assert_eq!((log.extent(A), check(&log, B)), (None, 7));
        let base = LogEnd {
            position: Position {
                timeline: 3,
                sequence: 41,
            },
            chain: Chain([4; 16]),
        };
        log.start_log(A, base).unwrap();
        next(&log, A, 3);
    }
    let (log, _, _rx) = open(dir.path());
    assert_eq!(check(&log, A), 42);
}

#[test]
fn pruning_deletes_segments_and_keeps_every_end() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 80);
    let (log, _, _rx) = open(dir.path());
    next(&log, A, 1);
    let (before, a, b) = (log.size(), log.extent(A).unwrap().end, log.extent(B).unwrap().end);
    log.prune(&HashMap::from([(A, 70), (B, b.position.sequence)]))
        .unwrap();
    assert!(log.size() < before);
    assert_eq!(log.read(A, 70, 0, &mut [0; 8]).unwrap(), None);
    drop(log);
    let (log, recovery, _rx) = open(dir.path());
    assert_eq!((log.extent(A).unwrap().end, log.extent(B).unwrap().end), (a, b));
    assert!(recovery.unreachable.is_empty());
    check(&log, A);
    next(&log, B, 1);
    check(&log, B);
}

/// What a kill leaves, for every length that the last segment can have: a prefix of both logs that can be gone on with.
#[test]
fn a_log_cut_at_any_byte_keeps_a_prefix() {
    let dir = in_memory();
    {
        let (log, _, _rx) = open(dir.path());
        log.start_log(A, LogEnd::START).unwrap();
        log.start_log(B, LogEnd::START).unwrap();
        for _ in 0..4 {
            next(&log, A, 1);
            next(&log, B, 1);
        }
    }
    let last = *segment::list(dir.path()).unwrap().last().unwrap();
    let whole = fs::read(segment::path(dir.path(), last)).unwrap();
    let used = whole.len() - whole.iter().rev().take_while(|b| **b == 0).count();
    let mut ends = (4, 4);
    for cut in (0..=used).rev() {
        let copied = in_memory();
        copy(dir.path(), copied.path());
        // Zeros as in a preallocated segment in every second case, a short file in the others.
        let mut bytes = whole[..cut].to_vec();
        if cut % 2 == 0 {
            bytes.resize(whole.len(), 0);
        }
        fs::write(segment::path(copied.path(), last), bytes).unwrap();
        let now = {
            let (log, _, _rx) = open(copied.path());
            let now = (check(&log, A), check(&log, B));
            if log.extent(A).is_some() {
                next(&log, A, 1);
            }
            now
        };
        assert!(
            now.0 <= ends.0 && now.1 <= ends.1,
            "cut at {cut}: {now:?} after {ends:?}"
        );
        ends = now;
        let (log, recovery, _rx) = open(copied.path());
        assert_eq!(recovery.torn_bytes, 0, "the first opening cuts the tear off");
        let expected = if log.extent(A).is_some() { now.0 + 1 } else { 0 };
        assert_eq!((check(&log, A), check(&log, B)), (expected, now.1));
    }
    assert_eq!(ends, (0, 0));
}

/// Entries of a batch that never became durable may survive behind one that did not: they must not come back.
#[test]
fn what_lies_behind_a_tear_never_comes_back() {
    let dir = in_memory();
    let (log, _, _rx) = open(dir.path());
    log.start_log(A, LogEnd::START).unwrap();
    let ticket = next(&log, A, 1);
    log.wait(ticket).unwrap();
    drop(log);
    // One batch of two blocks: both say that the log was durable before the first of them.
    let path = {
        let (log, _, _rx) = open(dir.path());
        next(&log, A, 1);
        segment::path(dir.path(), *segment::list(dir.path()).unwrap().last().unwrap())
    };
    let mut bytes = fs::read(&path).unwrap();
    let one = entry_at(&bytes, SEGMENT_HEADER);
    let second_at = SEGMENT_HEADER + one.span() as usize;
    let previous = one.end();
    let text = body(A, 3);
    let second = Entry {
        body_len: text.len() as u32,
        body_crc: CRC32C.checksum(&text),
        position: Position {
            timeline: 1,
            sequence: 3,
        },
        previous: previous.chain,
        chain: chain(previous.chain, &text),
        ..one
    };
    bytes.resize(4096, 0);
    bytes[second_at..second_at + ENTRY_HEADER].copy_from_slice(&second.emit());
    bytes[second_at + ENTRY_HEADER..second_at + ENTRY_HEADER + text.len()].copy_from_slice(&text);
    bytes[SEGMENT_HEADER + ENTRY_HEADER] ^= 1;
    fs::write(&path, bytes).unwrap();
    for round in 0..2 {
        let (log, recovery, _rx) = open(dir.path());
        assert_eq!(check(&log, A), 1 + round, "round {round}");
        assert_eq!(recovery.torn_bytes > 0, round == 0);
        assert_eq!(recovery.damaged, []);
        next(&log, A, 1);
    }
}

/// A flipped bit anywhere in a log that was durable is told from a tear, and costs only the log it hits.
#[test]
fn damage_is_told_and_costs_only_its_log() {
    let dir = in_memory();
    filled(dir.path(), 60);
    let segments = segment::list(dir.path()).unwrap();
    let (mut a_hit, mut b_hit) = (0, 0);
    // Both logs go on behind every byte of the first two segments.
    for number in &segments[..2] {
        let whole = fs::read(segment::path(dir.path(), *number)).unwrap();
        let used = whole.len() - whole.iter().rev().take_while(|b| **b == 0).count();
        for at in (SEGMENT_HEADER..used).step_by(13) {
            let copied = in_memory();
            copy(dir.path(), copied.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(segment::path(copied.path(), *number), bytes).unwrap();
            let (log, recovery, _rx) = open(copied.path());
            let (a, b) = (check(&log, A), check(&log, B));
            assert!(a == 60 || b == 20, "byte {at} cost both: {a} {b}");
            a_hit += u32::from(a < 60);
            b_hit += u32::from(b < 20);
            assert_eq!(recovery.lost.contains(&A), a < 60, "byte {at}");
            assert_eq!(recovery.lost.contains(&B), b < 20, "byte {at}");
            if a < 60 || b < 20 {
                assert_eq!(recovery.damaged.len(), 1, "byte {at}");
                assert_eq!(recovery.torn_bytes, 0, "byte {at}");
                assert!(!recovery.unreachable.is_empty(), "byte {at}");
            }
            if a < 60 {
                next(&log, A, 1);
                drop(log);
                let (log, recovery, _rx) = open(copied.path());
                assert_eq!(check(&log, A), a + 1, "byte {at}: the log goes on where it ended");
                assert!(!recovery.lost.contains(&A), "byte {at}: it was told once");
            }
        }
    }
    assert!(a_hit > 10 && b_hit > 2, "{a_hit} {b_hit}");
}

/// The last batch has nothing behind it but the mark that says that it was durable.
#[test]
fn damage_to_the_last_durable_block_is_no_tear() {
    let dir = in_memory();
    let (log, _, _durable) = open(dir.path());
    log.start_log(A, LogEnd::START).unwrap();
    for _ in 0..3 {
        let ticket = next(&log, A, 1);
        log.wait(ticket).unwrap();
    }
    let last = log.extent(A).unwrap().end.position.sequence;
    drop(log);
    let path = segment::path(dir.path(), segment::list(dir.path()).unwrap()[0]);
    let whole = fs::read(&path).unwrap();
    let used = whole.len() - whole.iter().rev().take_while(|b| **b == 0).count();
    let (mut lost, mut torn) = (0, 0);
    for at in SEGMENT_HEADER..used {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let copied = in_memory();
        copy(dir.path(), copied.path());
        let (log, recovery, _rx) = open(copied.path());
        let end = check(&log, A);
        // Damage to what began the log leaves one that begins later, and reaches as far.
        assert_eq!(recovery.lost.contains(&A), end < last, "byte {at}: {end}");
        lost += u32::from(end + 1 == last);
        torn += u32::from(end == last && recovery.torn_bytes > 0);
    }
    // What is torn off without having been told durable is only the mark of the last batch itself.
    assert!(lost > 96 && torn > 0 && torn <= 96, "{lost} {torn}");
}

#[test]
fn a_failed_fsync_poisons() {
    let dir = in_memory();
    let (log, _, durable) = open(dir.path());
    log.start_log(A, LogEnd::START).unwrap();
    let ticket = next(&log, A, 1);
    log.wait(ticket).unwrap();
    while durable.try_recv().is_ok() {}
    // A pipe takes writes at no offset and cannot be synchronised: the disk that fails.
    let (reader, writer) = std::io::pipe().unwrap();
    {
        let mut state = log.shared.lock();
        state
            .dirty
            .push(Arc::new(File::from(std::os::fd::OwnedFd::from(writer))));
        state.appended += 1;
    }
    log.shared.work.notify_all();
    let failed = loop {
        match durable.recv_timeout(Duration::from_secs(10)).unwrap() {
            Durability::Failed(why) => break why,
            Durability::Durable(_) => {}
        }
    };
    assert!(!failed.is_empty());
    drop(reader);
    assert!(matches!(
        log.start_log(B, LogEnd::START),
        Err(LogError::Poisoned(_))
    ));
    assert!(matches!(log.wait(Ticket(u64::MAX)), Err(LogError::Poisoned(_))));
    drop(log);
    let (log, ..) = open(dir.path());
    next(&log, A, 1);
    assert_eq!(check(&log, A), 2);
}

#[test]
fn a_newer_version_is_refused() {
    let dir = in_memory();
    filled(dir.path(), 1);
    let path = segment::path(dir.path(), segment::list(dir.path()).unwrap()[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = CRC32C.checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = BlockLog::open(dir.path(), SMALL, Box::new(|_| {}));
    let what = Newer::Format(2);
    assert!(matches!(refused, Err(LogError::Newer { segment: 1, what: found }) if found == what));
}

/// A newer version may write entries that this one does not know: they are no tear, and nothing is cut off.
#[test]
fn an_entry_of_a_newer_version_is_refused_and_left_alone() {
    // Another kind, something where zero is written, a body that is longer than any.
    for (field, value) in [(4, 6), (5, 1), (91, 1), (11, 0xff)] {
        let dir = in_memory();
        filled(dir.path(), 3);
        let path = segment::path(dir.path(), segment::list(dir.path()).unwrap()[0]);
        let mut bytes = fs::read(&path).unwrap();
        // The second entry becomes something else.
        let at = SEGMENT_HEADER + entry_at(&bytes, SEGMENT_HEADER).span() as usize;
        bytes[at + field] = value;
        let crc = CRC32C.checksum(&bytes[at..at + 92]);
        bytes[at + 92..at + 96].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let error = BlockLog::open(dir.path(), SMALL, Box::new(|_| {})).err().unwrap();
        let (kind, offset) = (bytes[at + 4], at as u32);
        let what = Newer::Entry { kind, offset };
        assert!(
            matches!(error, LogError::Newer { segment: 1, what: found } if found == what),
            "{error}"
        );
        assert!(error.to_string().contains("newer dbmirror"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

/// Pages are stored as they are, so an application can write what looks like an entry. Found behind a tear it says nothing about what
/// is durable further on: the tear stays a tear.
#[test]
fn content_that_poses_as_an_entry_makes_no_damage_of_a_tear() {
    let dir = in_memory();
    filled(dir.path(), 2);
    let (path, torn) = {
        let (number, path, mut bytes) = one_more(dir.path());
        let posing = Entry {
            kind: Kind::Mark,
            body_len: 0,
            body_crc: 0,
            durable: Place {
                segment: number,
                offset: u32::MAX,
            },
            ..entry_at(&bytes, SEGMENT_HEADER)
        };
        // The block's header was not written, its body was.
        bytes.truncate(SEGMENT_HEADER);
        bytes.extend_from_slice(&[0xee; ENTRY_HEADER]);
        bytes.extend_from_slice(&posing.emit());
        fs::write(&path, &bytes).unwrap();
        (path, (2 * ENTRY_HEADER) as u64)
    };
    let (log, recovery, _rx) = open(dir.path());
    assert_eq!((recovery.torn_bytes, recovery.damaged), (torn, Vec::new()));
    assert!(!path.exists(), "nothing is left of that segment");
    assert_eq!(check(&log, A), 2);
}

/// Nor does what follows such content: an entry of an unknown kind behind it is no newer version's, and the log opens.
#[test]
fn content_behind_content_that_poses_is_not_believed_either() {
    let dir = in_memory();
    filled(dir.path(), 2);
    let path = {
        let (number, path, mut bytes) = one_more(dir.path());
        let posing = Entry {
            kind: Kind::Mark,
            body_len: 0,
            body_crc: 0,
            durable: Place::default(),
            ..entry_at(&bytes, SEGMENT_HEADER)
        };
        let mut unknown = posing.emit();
        unknown[4] = 6;
        let crc = CRC32C.checksum(&unknown[..92]);
        unknown[92..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Entry::find(&unknown, number), Found::Newer(6));
        bytes.truncate(SEGMENT_HEADER);
        bytes.extend_from_slice(&[0xee; ENTRY_HEADER]);
        bytes.extend_from_slice(&posing.emit());
        bytes.extend_from_slice(&unknown);
        fs::write(&path, &bytes).unwrap();
        path
    };
    let (log, recovery, _rx) = open(dir.path());
    assert_eq!(recovery.damaged, Vec::new());
    assert!(!path.exists(), "nothing is left of that segment");
    assert_eq!(check(&log, A), 2);
}

/// The header of a segment and the kinds of entries of version 1, frozen.
#[test]
fn a_segment_of_version_1() {
    let mut expected = b"DBMBLKLG\x01\0\0\0\x09\x03\0\0".to_vec();
    expected.resize(60, 0);
    expected.extend_from_slice(&FROZEN_HEADER_CRC.to_le_bytes());
    assert_eq!(super::format::emit_segment_header(0x0309)[..], expected[..]);
    let entry = Entry {
        kind: Kind::Block,
        body_len: 0,
        body_crc: 0,
        id: A,
        position: Position::START,
        previous: Chain([0; 16]),
        chain: Chain([0; 16]),
        durable: Place::default(),
        segment: 9,
    };
    let kinds = [Kind::Block, Kind::Base, Kind::Truncate, Kind::Forget, Kind::Mark];
    let codes = kinds.map(|kind| Entry { kind, ..entry }.emit()[4]);
    assert_eq!(codes, [1, 2, 3, 4, 5]);
    for kind in kinds {
        let entry = Entry { kind, ..entry };
        assert_eq!(Entry::find(&entry.emit(), 9), Found::Entry(entry));
        assert_eq!(Entry::find(&entry.emit(), 8), Found::Nothing, "another segment's");
    }
}

/// CRC-32C of the first 60 bytes of that header and of the first 92 of the entry below, as another program computes them.
const FROZEN_HEADER_CRC: u32 = 0xc341_bc5c;
const FROZEN_ENTRY_CRC: u32 = 0x34a7_ff48;

/// The bytes of version 1, frozen.
#[test]
fn an_entry_of_version_1() {
    let entry = Entry {
        kind: Kind::Block,
        body_len: 3,
        body_crc: 0x0102_0304,
        id: A,
        position: Position {
            timeline: 2,
            sequence: 0x0506,
        },
        previous: Chain([0x11; 16]),
        chain: Chain([0x22; 16]),
        durable: Place {
            segment: 7,
            offset: 64,
        },
        segment: 7,
    };
    let bytes = entry.emit();
    assert_eq!(Entry::find(&bytes, 7), Found::Entry(entry));
    let mut expected = Vec::new();
    expected.extend_from_slice(b"DBLE\x01\0\0\0\x03\0\0\0\x04\x03\x02\x01");
    expected.extend_from_slice(&[0xaa; 16]);
    expected.extend_from_slice(b"\x02\0\0\0\x07\0\0\0\x06\x05\0\0\0\0\0\0");
    expected.extend_from_slice(&[0x11; 16]);
    expected.extend_from_slice(&[0x22; 16]);
    expected.extend_from_slice(b"\x40\0\0\0\x07\0\0\0\0\0\0\0");
    expected.extend_from_slice(&FROZEN_ENTRY_CRC.to_le_bytes());
    assert_eq!(bytes[..], expected[..]);
    for at in 0..bytes.len() {
        let mut flipped = bytes;
        flipped[at] ^= 1;
        assert_eq!(Entry::find(&flipped, 7), Found::Nothing, "byte {at}");
    }
}

/// The loop that connections wait for makes segments too: it must not wait for a disk to take a whole one.
#[test]
fn a_segment_that_was_not_prepared_costs_its_writer_no_wait() {
    const SIZE: u32 = 256 << 20;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_size: SIZE };
    let (log, _) = BlockLog::open(dir.path(), options, Box::new(|_| {})).unwrap();
    let begun = std::time::Instant::now();
    let ticket = log.start_log(A, LogEnd::START).unwrap();
    let at_once = begun.elapsed();
    log.wait(ticket).unwrap();
    let prepared = dir.path().join("prepared");
    segment::make_dir(&prepared).unwrap();
    let begun = std::time::Instant::now();
    segment::create(&prepared, 1, u64::from(SIZE)).unwrap();
    let filled = begun.elapsed();
    std::println!("at once {at_once:?}, filled {filled:?}");
    assert!(at_once < filled / 4, "{at_once:?} against {filled:?}");
    // And it is a segment like any other.
    next(&log, A, 1);
    drop(log);
    let (log, recovery) = BlockLog::open(dir.path(), options, Box::new(|_| {})).unwrap();
    assert_eq!((check(&log, A), recovery.torn_bytes), (1, 0));
}

/// What is appended while a segment is being prepared, which then fails, is hardened all the same; and the preparation is tried again.
#[test]
fn a_preparation_that_fails_wakes_for_what_came_meanwhile() {
    let dir = in_memory();
    let (begun, began) = channel();
    let (fail, failing) = channel::<()>();
    let failing = Mutex::new(failing);
    let create: Create = Box::new(move |dir, number, size| {
        let _ = begun.send(number);
        match failing.lock().unwrap().recv() {
            Ok(()) => Err(io::ErrorKind::StorageFull.into()),
            Err(_) => segment::create(dir, number, size),
        }
    });
    let (tx, durable) = channel();
    let on_durable: OnDurable = Box::new(move |d| {
        let _ = tx.send(d);
    });
    let (log, _) = BlockLog::open_with(dir.path(), SMALL, on_durable, create).unwrap();
    log.start_log(A, LogEnd::START).unwrap();
    let limit = Duration::from_secs(20);
    let mut number = 0;
    while number == 0 {
        let ticket = next(&log, A, 1);
        log.wait(ticket).unwrap();
        number = began.recv_timeout(Duration::from_millis(20)).unwrap_or(0);
    }
    while durable.try_recv().is_ok() {}
    // The worker stands in the preparation: this append's notice finds nobody waiting.
    let end = next(&log, A, 1);
    fail.send(()).unwrap();
    durable
        .recv_timeout(limit)
        .expect("the append is hardened without another one");
    log.wait(end).unwrap();
    let again = began.recv_timeout(limit).expect("the preparation is tried again");
    assert!(again > number);
    drop(fail);
    while log.shared.lock().next.is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A disk that has no room for a whole segment is not filled up by the attempt to make one.
#[test]
fn a_segment_that_has_no_room_takes_none() {
    let dir = in_memory();
    let free = rustix::fs::statvfs(dir.path()).unwrap();
    let more = (free.f_bavail + free.f_blocks) * free.f_frsize;
    let begun = Instant::now();
    assert!(segment::create(dir.path(), 1, more).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "it was not written");
    assert_eq!(segment::list(dir.path()).unwrap(), Vec::<u32>::new());
}
