//! Opening: every segment is read whole and every checksum compared.
//!
//! What is bad is either a *tear*, the end of what was being written when the process or the machine stopped, or
//! *damage*. Each entry says up to where the log was durable when it was written: bad bytes before the largest such place
//! were durable once, so they are damage; the others are a tear. The log is cut at the first tear: nothing after it was
//! ever reported durable. Damage costs the logs concerned what follows it; their end of log then lies before it, and
//! the partner sends again what is missing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::vec::Vec;

use dbmirror_core::message::{LogEnd, Position};

use super::format::{
    ALIGN, CRC32C, ENTRY_HEADER, Entry, Found, Kind, Place, SEGMENT_HEADER, SegmentHeader,
    parse_segment_header,
};
use super::{Held, LogError, LogId, Newer, State, Stored, segment};

/// What opening the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Blocks held.
    pub blocks: u64,
    /// Bytes of a torn tail that were cut off: they had never been reported durable.
    pub torn_bytes: u64,
    /// Places (segment, offset) whose bytes were durable once and are damaged now.
    pub damaged: Vec<(u32, u32)>,
    /// Blocks that can no longer be reached because one before them is damaged, by log.
    pub unreachable: HashMap<LogId, u64>,
    /// Logs that end before something that was durable once, or may do so: damaged bytes of which nothing says whose they were count for
    /// every log that goes on nowhere behind them.
    pub lost: HashSet<LogId>,
}

/// One thing found while reading.
enum Item {
    Entry(Place, Entry),
    /// With the log that it belongs to, where its header is whole.
    Bad(Place, Option<LogId>),
}

pub(super) fn recover(dir: &Path) -> Result<(State, Recovery), LogError> {
    let numbers = segment::list(dir)?;
    let mut items = Vec::new();
    let mut sizes = BTreeMap::new();
    for number in &numbers {
        let bytes = std::fs::read(segment::path(dir, *number))?;
        sizes.insert(*number, bytes.len() as u64);
        scan(*number, &bytes, &mut items)?;
    }
    // What the page cache still holds of a process that was killed counts as held from here on, so it must be durable.
    for number in &numbers {
        File::open(segment::path(dir, *number))?.sync_data()?;
    }
    let durable = items
        .iter()
        .filter_map(|i| {
            if let Item::Entry(_, e) = i {
                Some(e.durable)
            } else {
                None
            }
        })
        .max()
        .unwrap_or_default();
    let cut = items.iter().find_map(|i| match i {
        Item::Bad(place, _) if *place >= durable => Some(*place),
        _ => None,
    });

    let mut recovery = Recovery::default();
    let mut logs: HashMap<LogId, Held> = HashMap::new();
    let mut end = Place::default();
    for item in &items {
        match item {
            Item::Entry(place, _) | Item::Bad(place, _) if cut.is_some_and(|c| *place >= c) => {}
            Item::Entry(place, entry) => {
                apply(&mut logs, &mut recovery, *place, entry);
                end = Place {
                    segment: place.segment,
                    offset: place.offset + entry.span() as u32,
                };
            }
            Item::Bad(place, whose) => {
                recovery.damaged.push((place.segment, place.offset));
                match whose {
                    Some(id) => recovery.lost.extend(logs.contains_key(id).then_some(*id)),
                    None => recovery.lost.extend(logs.keys().copied()),
                }
            }
        }
    }
    recovery.blocks = logs.values().map(|f| f.blocks.len() as u64).sum();
    recovery.torn_bytes = seal(dir, &mut sizes, end, cut)?;
    Ok((
        State {
            logs,
            last_number: numbers.last().copied().unwrap_or(0),
            segments: sizes,
            current: None,
            next: None,
            dirty: Vec::new(),
            reached: HashMap::new(),
            appended: 0,
            synced: 0,
            waiting_since: None,
            durable: end,
            poisoned: None,
            closing: false,
            readers: HashMap::new(),
        },
        recovery,
    ))
}

/// Reads the entries of one segment. After something bad it looks for the next whole header, 8 bytes at a time.
fn scan(number: u32, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), LogError> {
    // Whether entry has followed entry since the segment's beginning. Behind bad bytes what looks like an entry may be a page's content, and
    // such content is anybody's: so may be what follows it.
    let mut sure = true;
    match parse_segment_header(bytes) {
        SegmentHeader::Ok(n) if n == number => {}
        SegmentHeader::Newer(version) => {
            return Err(LogError::Newer {
                segment: number,
                what: Newer::Format(version),
            });
        }
        _ => {
            sure = false;
            let place = Place {
                segment: number,
                offset: 0,
            };
            items.push(Item::Bad(place, None));
        }
    }
    let mut at = SEGMENT_HEADER;
    let mut bad = false;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let place = Place {
            segment: number,
            offset: at as u32,
        };
        match Entry::find(rest, number) {
            Found::Newer(kind) if sure => {
                return Err(LogError::Newer {
                    segment: number,
                    what: Newer::Entry {
                        kind,
                        offset: place.offset,
                    },
                });
            }
            // No entry of ours knows of anything durable behind itself: that would make damage of every tear up to there.
            Found::Entry(entry) if entry.durable <= place => {
                bad = false;
                let body = rest.get(ENTRY_HEADER..ENTRY_HEADER + entry.body_len as usize);
                match body {
                    Some(body) if CRC32C.checksum(body) == entry.body_crc => {
                        items.push(Item::Entry(place, entry));
                    }
                    _ => items.push(Item::Bad(place, Some(entry.id))),
                }
                at = at.saturating_add(entry.span() as usize);
            }
            Found::Entry(_) | Found::Newer(_) | Found::Nothing => {
                // Zeros to the end are room that was never written.
                if !bad && rest.iter().all(|b| *b == 0) {
                    break;
                }
                if !bad {
                    items.push(Item::Bad(place, None));
                }
                (bad, sure) = (true, false);
                at += ALIGN as usize;
            }
        }
    }
    Ok(())
}

fn apply(logs: &mut HashMap<LogId, Held>, recovery: &mut Recovery, place: Place, entry: &Entry) {
    match entry.kind {
        Kind::Base => {
            let log = Held {
                base: entry.end(),
                blocks: VecDeque::new(),
            };
            logs.insert(entry.id, log);
            recovery.lost.remove(&entry.id);
        }
        Kind::Forget => {
            logs.remove(&entry.id);
            recovery.lost.remove(&entry.id);
        }
        Kind::Truncate => {
            if let Some(log) = logs.get_mut(&entry.id) {
                if log.holds(entry.end()) {
                    recovery.lost.remove(&entry.id);
                }
                log.truncate(entry.end());
            }
        }
        Kind::Mark => {}
        Kind::Block => {
            // A log whose start was pruned begins at its first block.
            let log = logs.entry(entry.id).or_insert_with(|| {
                let mut position = entry.position;
                position.sequence = position.sequence.saturating_sub(1);
                if position.sequence == 0 {
                    position = Position::START;
                }
                Held {
                    base: LogEnd {
                        position,
                        chain: entry.previous,
                    },
                    blocks: VecDeque::new(),
                }
            });
            if log.follows(entry.position, entry.previous) {
                recovery.lost.remove(&entry.id);
                log.blocks.push_back(Stored {
                    position: entry.position,
                    chain: entry.chain,
                    segment: place.segment,
                    offset: u64::from(place.offset) + ENTRY_HEADER as u64,
                    len: entry.body_len,
                });
            } else {
                *recovery.unreachable.entry(entry.id).or_default() += 1;
                recovery.lost.insert(entry.id);
            }
        }
    }
}

/// Ends the log at `end`: later segments are removed, and the last one is cut, so that no stale entry can ever follow a
/// new one. The next append makes a new segment. Returns how many bytes a tear cost.
fn seal(dir: &Path, sizes: &mut BTreeMap<u32, u64>, end: Place, cut: Option<Place>) -> Result<u64, LogError> {
    let mut torn = 0;
    if let Some(cut) = cut {
        let later: Vec<u32> = sizes.range(cut.segment + 1..).map(|(n, _)| *n).rev().collect();
        for number in later {
            torn += sizes.remove(&number).unwrap_or(0);
            std::fs::remove_file(segment::path(dir, number))?;
        }
        torn += sizes
            .get(&cut.segment)
            .map_or(0, |size| size.saturating_sub(u64::from(cut.offset)));
    }
    let Some((last, size)) = sizes.iter().next_back().map(|(n, s)| (*n, *s)) else {
        return Ok(torn);
    };
    let length = match cut {
        Some(cut) if cut.segment == last => u64::from(cut.offset),
        _ if end.segment == last => u64::from(end.offset),
        _ => SEGMENT_HEADER as u64,
    };
    if length < size {
        let path = segment::path(dir, last);
        if length <= SEGMENT_HEADER as u64 {
            std::fs::remove_file(path)?;
            sizes.remove(&last);
        } else {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(length)?;
            file.sync_all()?;
            sizes.insert(last, length);
        }
        sync_dir(dir)?;
    }
    Ok(torn)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
