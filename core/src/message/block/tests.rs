use std::vec::Vec;

use super::*;
use crate::crypto::rustcrypto::Sha256;
use crate::message::ids::{FamilyGuid, Position};

const BEFORE: Chain = Chain([0x11; 16]);

/// Three pages: one written, one zeroed, one dropped.
fn sample() -> Vec<u8> {
    let entries = [
        PageEntry {
            page: 1,
            kind: EntryKind::Full,
            old_hash: 0x0102_0304_0506_0708,
            new_hash: 0x1112_1314_1516_1718,
        },
        PageEntry {
            page: 3,
            kind: EntryKind::Zero,
            old_hash: 0x2122_2324_2526_2728,
            new_hash: 0x3132_3334_3536_3738,
        },
        PageEntry {
            page: 5,
            kind: EntryKind::Dropped,
            old_hash: 0x4142_4344_4546_4748,
            new_hash: 0,
        },
    ];
    let mut image = [0u8; 512];
    for (i, byte) in image.iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    let mut header = BlockHeader {
        kind: BlockKind::Commit,
        codec: Codec::Raw,
        ungated: true,
        family: FamilyGuid(*b"family-guid-16-b"),
        position: Position {
            timeline: 2,
            sequence: 0x0000_0007_0000_0009,
        },
        page_size: 512,
        pages_before: 5,
        pages_after: 4,
        page_count: 3,
        commit_time: 1_790_000_000_123_456,
        wal: WalPlace {
            salts: [0xaabb_ccdd, 0x0011_2233],
            frame: 77,
        },
        change_counter: 42,
        sum_after: DatabaseSum(0x5a5a_0000_a5a5_ffff),
        raw_len: 512,
        ..BlockHeader::default()
    };
    let mut seal = BlockSeal::<Sha256>::new(BEFORE);
    let directory: Vec<u8> = entries.iter().flat_map(PageEntry::emit).collect();
    seal.directory(&directory);
    seal.payload(&image);
    let mut block = seal.finish(&mut header).unwrap().to_vec();
    block.extend(directory);
    block.extend(image);
    assert_eq!(block.len() as u64, header.total_len());
    block
}

fn check(block: &[u8], step: usize) -> Result<CheckedBlock, BlockError> {
    let mut check = BlockCheck::<Sha256>::new(BEFORE);
    for piece in block.chunks(step) {
        check.push(piece)?;
    }
    check.finish()
}

#[test]
fn a_block_is_taken_in_pieces_of_any_size() {
    let block = sample();
    for step in [1, 7, 24, 127, 128, 129, 4096] {
        let checked = check(&block, step).unwrap();
        assert_eq!(checked.header.emit().as_slice(), &block[..HEADER_LEN]);
        assert_eq!(
            checked.sum_before.0,
            0x5a5a_0000_a5a5_ffff
                ^ 0x0102_0304_0506_0708
                ^ 0x1112_1314_1516_1718
                ^ 0x2122_2324_2526_2728
                ^ 0x3132_3334_3536_3738
                ^ 0x4142_4344_4546_4748
        );
    }
}

#[test]
fn every_prefix_and_every_extra_byte_is_refused() {
    let mut block = sample();
    for end in 0..block.len() {
        assert_eq!(check(&block[..end], 64), Err(BlockError::TooShort), "{end}");
    }
    block.push(0);
    assert_eq!(check(&block, 4096), Err(BlockError::TooLong));
}

#[test]
fn every_flipped_bit_is_refused() {
    let block = sample();
    for at in 0..block.len() {
        for bit in 0..8 {
            let mut bad = block.clone();
            bad[at] ^= 1 << bit;
            assert!(check(&bad, 4096).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn another_predecessor_breaks_the_chain() {
    let mut check = BlockCheck::<Sha256>::new(Chain([0x12; 16]));
    check.push(&sample()).unwrap();
    assert_eq!(check.finish(), Err(BlockError::ChainBroken));
}

#[test]
fn impossible_headers_are_named() {
    let good = BlockHeader::parse(sample()[..HEADER_LEN].try_into().unwrap()).unwrap();
    let refused = |change: fn(&mut BlockHeader)| {
        let mut header = good;
        change(&mut header);
        BlockHeader::parse(&header.emit()).unwrap_err()
    };
    assert_eq!(refused(|h| h.position.timeline = 0), BlockError::BadPosition);
    assert_eq!(refused(|h| h.position.sequence = 0), BlockError::BadPosition);
    assert_eq!(refused(|h| h.page_size = 0), BlockError::BadPageSize);
    assert_eq!(refused(|h| h.page_size = 256), BlockError::BadPageSize);
    assert_eq!(refused(|h| h.page_size = 131_072), BlockError::BadPageSize);
    assert_eq!(refused(|h| h.page_size = 4_095), BlockError::BadPageSize);
    assert_eq!(refused(|h| h.page_count = 0), BlockError::BadLength);
    assert_eq!(refused(|h| h.page_count = 6), BlockError::BadLength);
    assert_eq!(refused(|h| h.pages_after = 0), BlockError::BadLength);
    assert_eq!(refused(|h| h.stored_len = 513), BlockError::BadLength);
    assert_eq!(
        refused(|h| {
            h.stored_len = u64::MAX;
            h.raw_len = u64::MAX;
        }),
        BlockError::BadLength
    );
    let mut bytes = good.emit();
    bytes[52] = 1;
    assert_eq!(BlockHeader::parse(&bytes), Err(BlockError::Reserved));
    bytes = good.emit();
    bytes[4] = 9;
    assert_eq!(BlockHeader::parse(&bytes), Err(BlockError::Version(9)));
}

#[test]
fn directory_rules() {
    let header = BlockHeader {
        page_size: 65_536,
        pages_before: 20_000,
        pages_after: 19_000,
        ..BlockHeader::default()
    };
    let entry = PageEntry {
        page: 5,
        kind: EntryKind::Full,
        old_hash: 1,
        new_hash: 2,
    };
    assert_eq!(entry.check(&header, 4), Ok(()));
    assert_eq!(entry.check(&header, 5), Err(BlockError::BadDirectory));
    let beyond = PageEntry {
        page: 19_001,
        ..entry
    };
    assert_eq!(beyond.check(&header, 0), Err(BlockError::BadDirectory));
    let lock = PageEntry {
        page: 16_385,
        ..entry
    };
    assert_eq!(lock.check(&header, 0), Err(BlockError::BadDirectory));
    let dropped = PageEntry {
        page: 19_001,
        kind: EntryKind::Dropped,
        old_hash: 1,
        new_hash: 0,
    };
    assert_eq!(dropped.check(&header, 0), Ok(()));
    assert_eq!(
        PageEntry {
            page: 20_001,
            ..dropped
        }
        .check(&header, 0),
        Err(BlockError::BadDirectory)
    );
    assert_eq!(
        PageEntry {
            new_hash: 1,
            ..dropped
        }
        .emit()[4],
        4,
        "the kind is the fifth byte"
    );
    assert_eq!(
        PageEntry::parse(
            &PageEntry {
                new_hash: 1,
                ..dropped
            }
            .emit()
        ),
        Err(BlockError::BadDirectory)
    );
    // XOR is reserved: a reader without its codec must refuse it, not guess.
    let mut bytes = entry.emit();
    bytes[4] = 2;
    assert_eq!(PageEntry::parse(&bytes), Err(BlockError::Unknown));
}

#[test]
fn the_lock_page_is_at_one_gibibyte() {
    assert_eq!(lock_page(4_096), 262_145);
    assert_eq!(lock_page(512), 2_097_153);
    assert_eq!(lock_page(65_536), 16_385);
}

/// Frozen: if this fails, do not change the test; version 1 has been written to disks.
#[test]
fn frozen_version_1() {
    let block = sample();
    assert_eq!(
        hex::encode(&block[..HEADER_LEN + 3 * ENTRY_LEN]),
        FROZEN_HEADER_AND_DIRECTORY
    );
}

/// CRCs and chain were checked against an independent computation (bitwise CRC32C and hashlib in Python).
const FROZEN_HEADER_AND_DIRECTORY: &str = "44424d420101000166616d696c792d677569642d31362d62020000000002000009000000070000000500000004000000\
    030000000000000040c227dafe5b0600ddccbbaa332211004d0000002a000000ffffa5a500005a5a0002000000000000\
    000200000000000081869c30b735f1855d69626fb0c6aa895872bc9f46c7aeb701000000010000000807060504030201\
    181716151413121103000000030000002827262524232221383736353433323105000000040000004847464544434241\
    0000000000000000";
