//! A stored log block from an enemy, or from a disk that has forgotten.
//!
//! The first byte is the size of the pieces in which it arrives; the rest is the block. It is checked as it is, and once more
//! with its checksums and chain made right, so that what lies behind them is reached.

use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::Chain;
use dbmirror_core::message::block::{
    BlockCheck, BlockError, BlockHeader, BlockSeal, CheckedBlock, ENTRY_LEN, HEADER_LEN, PageEntry,
};

/// The chain that the samples follow.
const BEFORE: Chain = Chain([0x11; 16]);

fn check(stored: &[u8], piece: usize) -> Result<CheckedBlock, BlockError> {
    let mut check = BlockCheck::<Sha256>::new(BEFORE);
    for bytes in stored.chunks(piece) {
        let known = check.header().is_some();
        let missing = check.missing();
        check.push(bytes)?;
        if known {
            assert_eq!(check.missing(), missing - bytes.len() as u64, "every byte counts");
        }
    }
    check.finish()
}

pub fn block(data: &[u8]) {
    let Some((&piece, stored)) = data.split_first() else {
        return;
    };
    let piece = usize::from(piece).max(1);
    let answer = check(stored, piece);
    assert_eq!(answer, check(stored, usize::MAX), "pieces make no difference");
    if let Ok(block) = answer {
        sound(stored, &block);
    }
    if let Some(stored) = mended(stored)
        && let Ok(block) = check(&stored, piece)
    {
        sound(&stored, &block);
    }
}

/// The same block with CRCs, stored length and chain as they should be; `None` when its header cannot be one's.
fn mended(stored: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = stored.split_first_chunk::<HEADER_LEN>()?;
    let mut header = BlockHeader::parse(head).ok()?;
    let (directory, payload) = rest.split_at_checked(usize::try_from(header.directory_len()).ok()?)?;
    let mut seal = BlockSeal::<Sha256>::new(BEFORE);
    seal.directory(directory);
    seal.payload(payload);
    let mut block = seal.finish(&mut header).ok()?.to_vec();
    block.extend_from_slice(rest);
    Some(block)
}

/// What must hold of every block that was taken.
fn sound(stored: &[u8], block: &CheckedBlock) {
    let header = &block.header;
    assert_eq!(header.emit().as_slice(), &stored[..HEADER_LEN], "one form only");
    assert_eq!(header.total_len(), stored.len() as u64);
    let end = HEADER_LEN + usize::try_from(header.directory_len()).expect("it was read");
    let (mut last, mut images, mut sum) = (0, 0, header.sum_after.0);
    for bytes in stored[HEADER_LEN..end].chunks_exact(ENTRY_LEN) {
        let bytes: &[u8; ENTRY_LEN] = bytes.try_into().expect("exact");
        let entry = PageEntry::parse(bytes).expect("it was taken");
        assert_eq!(&entry.emit(), bytes, "one form only");
        assert!(entry.page > last && entry.page <= header.pages_before.max(header.pages_after));
        last = entry.page;
        images += u64::from(entry.kind.has_image());
        sum ^= entry.old_hash ^ entry.new_hash;
    }
    assert_eq!(images * u64::from(header.page_size), header.raw_len);
    assert_eq!(sum, block.sum_before.0);
}
