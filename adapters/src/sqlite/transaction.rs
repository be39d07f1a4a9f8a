//! One committed transaction out of the write-ahead log, made into a block.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::vec;
use std::vec::Vec;

use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::block::{
    BlockHeader, BlockKind, BlockSeal, Codec, EntryKind, HEADER_LEN, PageEntry, WalPlace, lock_page,
};
use dbmirror_core::message::{FamilyGuid, Position};

use super::block::{Block, Image, LogImages, Payload};
use super::files::Files;
use super::identity::{HEAD_LEN, Head};
use super::shm::IndexHeader;
use super::table::PageTable;
use super::wal::{FrameReader, WalHeader, image_offset, read_frame};
use super::{Anchor, Error, Result, page_hash};

/// Images up to this many bytes are kept in memory between reading and sealing.
const MEMORY: usize = 16 << 20;

/// The pages that a transaction wrote, the last image of each.
pub(super) struct Transaction {
    /// By page: the frame, and where in `images` when those are kept.
    pages: BTreeMap<u32, (u32, usize)>,
    /// Images one after another; dropped when there are too many.
    images: Option<Vec<u8>>,
    /// The commit frame and the size in pages after it.
    pub frame: u32,
    pub size: u32,
    pub checksum: [u32; 2],
}

impl Transaction {
    /// Reads frames up to the next commit. All frames up to `end` are published, and a commit is among them.
    pub fn read(reader: &mut FrameReader, files: &Files, end: u32) -> Result<Self> {
        let mut pages: BTreeMap<u32, (u32, usize)> = BTreeMap::new();
        let mut images = Some(Vec::new());
        loop {
            let Some((frame, image)) = reader.next(&files.log, end)? else {
                return Err(Error::Malformed("a published transaction has no commit frame"));
            };
            let mut at = 0;
            if let Some(kept) = &mut images {
                at = pages.get(&frame.page).map_or(kept.len(), |(_, at)| *at);
                if at < kept.len() {
                    kept[at..at + image.len()].copy_from_slice(image);
                } else if kept.len() + image.len() <= MEMORY {
                    kept.extend_from_slice(image);
                } else {
                    images = None;
                }
            }
            pages.insert(frame.page, (frame.number, at));
            if frame.commit != 0 {
                return Ok(Self {
                    pages,
                    images,
                    frame: frame.number,
                    size: frame.commit,
                    checksum: frame.checksum,
                });
            }
        }
    }

    /// The header of page 1 after this transaction, when it wrote that.
    pub fn head(&self, files: &Files) -> Result<Option<Head>> {
        let Some(&(frame, at)) = self.pages.get(&1) else {
            return Ok(None);
        };
        let mut bytes = [0; HEAD_LEN];
        match &self.images {
            Some(images) => bytes.copy_from_slice(&images[at..at + HEAD_LEN]),
            None => files
                .log
                .read_exact_at(&mut bytes, image_offset(frame, files.page_size))
                .map_err(Error::io("read the write-ahead log"))?,
        }
        Ok(Some(Head::parse(&bytes)))
    }

    /// Makes the block that follows `anchor`; `table` and `anchor` move to the state after it.
    pub fn into_block(
        mut self,
        source: &Source<'_>,
        table: &mut PageTable,
        anchor: &mut Anchor,
    ) -> Result<Block> {
        let page_size = source.files.page_size as usize;
        let lock_page = lock_page(source.files.page_size);
        let (before, after) = (anchor.pages, self.size);
        // Pages of a spilled transaction that were cut off again before the commit.
        self.pages.retain(|page, _| *page <= after && *page != lock_page);
        let missing =
            (before + 1..=after).filter(|page| *page != lock_page && !self.pages.contains_key(page));
        let mut added = source.unwritten(missing.collect(), self.frame)?;
        self.pages.extend(added.keys().map(|page| (*page, (0, 0))));
        let dropped = (after + 1..=before).filter(|page| *page != lock_page);
        let count = self.pages.len() + dropped.clone().count();
        let bytes = HEADER_LEN as u64 + count as u64 * 24 + self.pages.len() as u64 * page_size as u64;
        if bytes > source.max_block {
            return Err(Error::TooLarge { bytes });
        }

        let mut seal = BlockSeal::<Sha256>::new(anchor.end.chain);
        let mut head = vec![0; HEADER_LEN];
        let mut changes = Vec::with_capacity(count);
        let mut payload = match &self.images {
            Some(images) => Payload::Memory(Vec::with_capacity(images.len())),
            None => Payload::Log(LogImages {
                log: Arc::clone(&source.files.log),
                page_size,
                images: Vec::new(),
            }),
        };
        let mut raw_len = 0;
        let mut scratch = vec![0; page_size];
        for (&page, &(frame, at)) in &self.pages {
            let image: &[u8] = match (added.get(&page), &self.images) {
                (Some(image), _) => image,
                (None, Some(images)) => &images[at..at + page_size],
                (None, None) => {
                    source
                        .files
                        .log
                        .read_exact_at(&mut scratch, image_offset(frame, source.files.page_size))
                        .map_err(Error::io("read the write-ahead log"))?;
                    &scratch
                }
            };
            let kind = if image.iter().all(|byte| *byte == 0) {
                EntryKind::Zero
            } else {
                EntryKind::Full
            };
            let entry = PageEntry {
                page,
                kind,
                old_hash: if page <= before { table.get(page) } else { 0 },
                new_hash: page_hash(page, image),
            };
            changes.push((page, entry.new_hash));
            head.extend_from_slice(&entry.emit());
            if kind.has_image() {
                raw_len += page_size as u64;
                match &mut payload {
                    Payload::Memory(bytes) => bytes.extend_from_slice(image),
                    Payload::Log(log) => log.images.push(match added.remove(&page) {
                        Some(image) => Image::Memory(image.into_vec()),
                        None => Image::Log(image_offset(frame, source.files.page_size)),
                    }),
                }
            }
        }
        for page in dropped {
            let entry = PageEntry {
                page,
                kind: EntryKind::Dropped,
                old_hash: table.get(page),
                new_hash: 0,
            };
            head.extend_from_slice(&entry.emit());
        }
        seal.directory(&head[HEADER_LEN..]);
        match &payload {
            Payload::Memory(bytes) => seal.payload(bytes),
            Payload::Log(log) => {
                for index in 0..log.images.len() {
                    log.read(index, 0, &mut scratch)
                        .map_err(Error::io("read the write-ahead log"))?;
                    seal.payload(&scratch);
                }
            }
        }

        table.resize(after);
        for (page, hash) in changes {
            table.set(page, hash);
        }
        let mut header = BlockHeader {
            kind: BlockKind::Commit,
            codec: Codec::Raw,
            ungated: true,
            family: source.family,
            position: source.position,
            page_size: source.files.page_size,
            pages_before: before,
            pages_after: after,
            page_count: u32::try_from(count).map_err(|_| Error::TooLarge { bytes })?,
            commit_time: now(),
            wal: WalPlace {
                salts: source.log.salts,
                frame: self.frame,
            },
            change_counter: source.published.change,
            sum_after: table.sum(),
            raw_len,
            ..BlockHeader::default()
        };
        let bytes = seal.finish(&mut header)?;
        head[..HEADER_LEN].copy_from_slice(&bytes);
        let block = Block {
            before: anchor.end.chain,
            header,
            head,
            payload,
        };
        *anchor = Anchor::of(&header);
        Ok(block)
    }
}

/// Where a transaction comes from, and where its block goes.
pub(super) struct Source<'a> {
    pub files: &'a Files,
    pub log: &'a WalHeader,
    pub published: &'a IndexHeader,
    pub family: FamilyGuid,
    pub position: Position,
    pub max_block: u64,
}

impl Source<'_> {
    /// The images of pages that a growing transaction ended up with but did not write (SQLite skips pages that went straight to
    /// the freelist): what a reader gets, that is a page's last frame up to `frame`, else the main file's bytes, else zeros.
    fn unwritten(&self, pages: Vec<u32>, frame: u32) -> Result<BTreeMap<u32, Box<[u8]>>> {
        let mut frames: BTreeMap<u32, Option<u32>> = pages.into_iter().map(|page| (page, None)).collect();
        if !frames.is_empty() {
            for number in 1..=frame {
                if let Some(last) = frames.get_mut(&read_frame(&self.files.log, self.log, number)?.page) {
                    *last = Some(number);
                }
            }
        }
        let size = self.files.page_size;
        let mut images = BTreeMap::new();
        for (page, frame) in frames {
            let mut image = vec![0; size as usize].into_boxed_slice();
            match frame {
                Some(number) => self
                    .files
                    .log
                    .read_exact_at(&mut image, image_offset(number, size))
                    .map_err(Error::io("read the write-ahead log"))?,
                None => self
                    .files
                    .read_main(u64::from(page - 1) * u64::from(size), &mut image)?,
            }
            images.insert(page, image);
        }
        Ok(images)
    }
}

/// Microseconds since 1970; 0 when the clock is before that.
fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}
