//! Breadth-first search over all states of a setting, so that the first violation found is one of the shortest. A state is
//! remembered by 64 bits of its hash beside those of its predecessor: 10^8 states miss about one in 3,000 runs (docs/model.md).

use crate::events::{Event, each};
use crate::machine::Machine;
use crate::mutation::Mutation;
use crate::settings::Setting;
use crate::state::State;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Gathers bytes into words and folds each 64 × 64 bits: fast, and every bit of a word reaches every bit of the sum.
#[derive(Default)]
pub struct Fold {
    sum: u64,
    word: u64,
    bytes: u32,
}

impl Fold {
    fn mix(&mut self) {
        let mixed = self.sum.rotate_left(23) ^ self.word ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(mixed) * 0xd6e8_feb8_6659_fd93_u128;
        self.sum = (product >> 64) as u64 ^ product as u64;
        (self.word, self.bytes) = (0, 0);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        let mut last = Self { ..*self };
        last.mix();
        last.mix();
        last.sum
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.word = self.word << 8 | u64::from(n);
        self.bytes += 1;
        if self.bytes == 8 {
            self.mix();
        }
    }
    /// Lengths of arrays, which are the same in every state; queues write theirs as a byte.
    fn write_usize(&mut self, _: usize) {}
    /// Which variant of an enum.
    fn write_isize(&mut self, n: isize) {
        self.write_u8(n as u8);
    }
    fn write_u64(&mut self, n: u64) {
        self.mix();
        self.word = n;
        self.mix();
    }
}

/// The hash of a hash is itself.
#[derive(Default)]
pub struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The 64 bits that stand for a state.
pub fn fingerprint(state: &State) -> u64 {
    let mut hasher = Fold::default();
    state.hash(&mut hasher);
    hasher.finish()
}

const SHARDS: usize = 64;
type Shard = HashMap<u64, u64, BuildHasherDefault<Same>>;

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// States seen.
    pub states: u64,
    /// Length of the longest shortest way to a state.
    pub depth: u32,
    /// Every state was seen.
    pub complete: bool,
    /// What was false first, and the events that led there.
    pub violation: Option<(u8, Vec<Event>)>,
}

/// Searches a setting with the clause left out, or with none, on `threads` threads.
pub fn search(setting: &Setting, mutation: Option<Mutation>, threads: usize) -> Found {
    let seen: Vec<Mutex<Shard>> = (0..SHARDS).map(|_| Mutex::default()).collect();
    let shard = |hash: u64| &seen[(hash >> 58) as usize % SHARDS];
    let start = setting.start();
    let first = fingerprint(&start);
    insert(shard(first), first, first);
    let mut layer = vec![start];
    let mut found = Found {
        states: 1,
        ..Found::default()
    };
    while !layer.is_empty() {
        let next_chunk = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let worker = || {
            let mut out = Vec::new();
            let mut bad = None;
            while !stop.load(Ordering::Relaxed) {
                let from = next_chunk.fetch_add(256, Ordering::Relaxed);
                let Some(chunk) = layer
                    .get(from..layer.len().min(from + 256))
                    .filter(|c| !c.is_empty())
                else {
                    break;
                };
                for state in chunk {
                    let parent = fingerprint(state);
                    let mut moves = 0;
                    for (event, next) in successors(setting, mutation, state) {
                        moves += u32::from(!event.is_outside());
                        let hash = fingerprint(&next);
                        if !insert(shard(hash), hash, parent) {
                            continue;
                        }
                        if next.ghost.broken != 0 && bad.is_none() {
                            bad = Some((next.ghost.broken, hash));
                            stop.store(true, Ordering::Relaxed);
                        }
                        out.push(next);
                    }
                    if setting.settled
                        && moves == 0
                        && bad.is_none()
                        && crate::settled::is_wrong(setting, state)
                    {
                        bad = Some((7, parent));
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
            (out, bad)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
            let mut results = vec![worker()];
            results.extend(others.into_iter().filter_map(|t| t.join().ok()));
            results
        });
        layer = Vec::new();
        let mut bad = None;
        for (out, b) in results {
            found.states += out.len() as u64;
            layer.extend(out);
            bad = bad.or(b);
        }
        if let Some((what, hash)) = bad {
            let way = path(setting, mutation, hash, |h| {
                shard(h).lock().ok().and_then(|s| s.get(&h).copied())
            });
            found.violation = Some((what, way));
            return found;
        }
        if !layer.is_empty() {
            found.depth += 1;
        }
        if setting.steps > 0 && found.depth == setting.steps {
            break;
        }
        if found.states > setting.most {
            return found;
        }
    }
    found.complete = true;
    found
}

fn insert(shard: &Mutex<Shard>, hash: u64, parent: u64) -> bool {
    let Ok(mut shard) = shard.lock() else {
        return false;
    };
    match shard.entry(hash) {
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(parent);
            true
        }
        std::collections::hash_map::Entry::Occupied(_) => false,
    }
}

/// The states that may follow.
pub fn successors(setting: &Setting, mutation: Option<Mutation>, state: &State) -> Vec<(Event, State)> {
    let mut out = Vec::with_capacity(16);
    let looking = Machine {
        setting,
        mutation,
        s: *state,
        full: false,
        owner_heard: false,
    };
    each(setting, |event| {
        if looking.may(event)
            && let Some(next) = looking.step(event)
        {
            out.push((event, next));
        }
    });
    out
}

/// The events that lead to the state with that hash.
fn path(
    setting: &Setting,
    mutation: Option<Mutation>,
    to: u64,
    parent: impl Fn(u64) -> Option<u64>,
) -> Vec<Event> {
    let mut hashes = vec![to];
    while let Some(last) = hashes.last().copied()
        && let Some(before) = parent(last)
        && before != last
    {
        hashes.push(before);
    }
    let mut state = setting.start();
    let mut out = Vec::new();
    for hash in hashes.into_iter().rev().skip(1) {
        let Some((event, next)) = successors(setting, mutation, &state)
            .into_iter()
            .find(|(_, next)| fingerprint(next) == hash)
        else {
            break;
        };
        out.push(event);
        state = next;
    }
    out
}
