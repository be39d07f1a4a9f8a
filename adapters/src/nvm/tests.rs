//! The store over a memory in RAM: cut at every write, bits flipped everywhere.

use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::entropy::Entropy;
use dbmirror_core::keys::ServiceMasterKey;
use dbmirror_core::message::{InstanceId, InstanceName};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use super::seed::SeededEntropy;
use super::settings::{Header, SettingsError, Start};
use super::{DeviceKey, ERASE_LEN, Key, Kind, NVM_LEN, NvmError, Store};

type Sha256 = <RustCrypto as Provider>::Sha256;

/// What was done to the memory.
#[derive(Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Erase(usize, usize),
    /// The test's own: that many puts have been confirmed.
    Confirmed(usize),
}

/// A memory in RAM that keeps a journal, and fails when it has made so many writes and erasures.
#[derive(Clone)]
struct Ram {
    bytes: Vec<u8>,
    journal: Option<Rc<RefCell<Vec<Step>>>>,
    left: usize,
}

#[derive(Debug)]
struct PowerLost;

impl NorFlashError for PowerLost {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Ram {
    fn erased() -> Self {
        Self {
            bytes: vec![0xff; NVM_LEN as usize],
            journal: None,
            left: usize::MAX,
        }
    }

    fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::erased()
        }
    }

    fn step(&mut self, step: Step) -> Result<(), PowerLost> {
        self.left = self.left.checked_sub(1).ok_or(PowerLost)?;
        if let Some(journal) = &self.journal {
            journal.borrow_mut().push(step);
        }
        Ok(())
    }
}

impl ErrorType for Ram {
    type Error = PowerLost;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerLost> {
        let offset = offset as usize;
        bytes.copy_from_slice(&self.bytes[offset..offset + bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE_LEN as usize;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerLost> {
        let (from, to) = (from as usize, to as usize);
        self.step(Step::Erase(from, to))?;
        self.bytes[from..to].fill(0xff);
        Ok(())
    }
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerLost> {
        let offset = offset as usize;
        self.step(Step::Write(offset, bytes.to_vec()))?;
        for (to, from) in self.bytes[offset..].iter_mut().zip(bytes) {
            *to &= from;
        }
        Ok(())
    }
}

fn device(seed: u8) -> DeviceKey {
    let key = ServiceMasterKey::from_secret(Secret::new([seed; 32]));
    DeviceKey::from_file::<Sha256>(key.to_file::<Sha256>().expose()).unwrap()
}

fn open(bytes: &[u8]) -> Result<Store<Ram>, NvmError> {
    Store::open::<Sha256>(Ram::of(bytes.to_vec()), &device(1))
}

fn value(store: &mut Store<Ram>, key: Key) -> Result<Option<Vec<u8>>, NvmError> {
    let mut out = [0; super::VALUE_LEN_MAX];
    Ok(store.get::<Sha256>(key, &mut out)?.map(|len| out[..len].to_vec()))
}

const KEYS: [Key; 4] = [
    Key::numbered(Kind::Record, 1),
    Key::numbered(Kind::Record, 2),
    Key::only(Kind::Start),
    Key::only(Kind::Identity),
];

/// The value of put number `number`: every length, and now and then none.
fn written(number: usize) -> Option<Vec<u8>> {
    let len = match number % 4 {
        3 => 900 + number,
        0 => 130,
        _ => number % 61,
    };
    (number % 13 != 12).then(|| (0..len).map(|at| (at * 7 + number) as u8).collect())
}

fn put(store: &mut Store<Ram>, number: usize) -> Result<(), NvmError> {
    let key = KEYS[number % 4];
    match written(number) {
        Some(bytes) => store.put::<Sha256>(key, &bytes),
        None => store.remove::<Sha256>(key),
    }
}

/// The number of the last put of that key among the first `done`.
fn last_of(key: usize, done: usize) -> Option<usize> {
    (0..done).rev().find(|number| number % 4 == key)
}

fn expected(key: usize, done: usize) -> Option<Vec<u8>> {
    last_of(key, done).and_then(written)
}

#[test]
fn values_stay_over_many_rounds_of_the_pages() {
    let mut store = open(&Ram::erased().bytes).unwrap();
    for number in 0..600 {
        put(&mut store, number).unwrap();
        if number % 97 == 0 {
            store = open(&store.into_flash().bytes).unwrap();
        }
        for (at, key) in KEYS.into_iter().enumerate() {
            assert_eq!(
                value(&mut store, key).unwrap(),
                expected(at, number + 1),
                "after {number}"
            );
        }
    }
    let records: Vec<Key> = store.keys(Kind::Record).collect();
    assert!(records.iter().all(|key| KEYS[..2].contains(key)));
}

/// The power fails before, within and after every single write and erasure of a run that goes round all pages. What was
/// confirmed is there, what was being written is there wholly or not at all, and the memory takes the next value.
#[test]
fn a_power_cut_at_any_write_loses_nothing_that_was_confirmed() {
    const PUTS: usize = 340;
    let journal = Rc::new(RefCell::new(Vec::new()));
    let flash = Ram {
        journal: Some(Rc::clone(&journal)),
        ..Ram::erased()
    };
    let mut store = Store::open::<Sha256>(flash, &device(1)).unwrap();
    for number in 0..PUTS {
        put(&mut store, number).unwrap();
        journal.borrow_mut().push(Step::Confirmed(number + 1));
    }
    drop(store);
    let steps = journal.borrow();
    let erasures = steps
        .iter()
        .filter(|step| matches!(step, Step::Erase(..)))
        .count();
    assert!(erasures > 16, "the run goes round all pages: {erasures}");

    let mut image = Ram::erased().bytes;
    let mut done = 0;
    for (at, step) in steps.iter().enumerate() {
        // Cut with half of it written and one word of garbage, and with all of it written, which is before the next one.
        for part in 1..3 {
            let mut torn = image.clone();
            apply(&mut torn, step, part);
            let what = match step {
                Step::Write(at, bytes) => std::format!("write of {} at {at:#x}", bytes.len()),
                Step::Erase(from, to) => std::format!("erasure of {from:#x}..{to:#x}"),
                Step::Confirmed(_) => continue,
            };
            check(
                &torn,
                done,
                at % 17 == part,
                &std::format!("{what}, part {part}, after {done} puts"),
            );
        }
        apply(&mut image, step, 2);
        if let Step::Confirmed(number) = step {
            done = *number;
        }
    }
    assert_eq!(done, PUTS);
}

/// Puts the first half of a step, or all of it, onto the image.
fn apply(image: &mut [u8], step: &Step, part: usize) {
    match step {
        Step::Confirmed(_) => {}
        Step::Write(offset, bytes) => {
            let whole = bytes.len() / 8 * 4;
            let len = [0, whole, bytes.len()][part];
            for (to, from) in image[*offset..].iter_mut().zip(&bytes[..len]) {
                *to &= from;
            }
            if part == 1 {
                // The word under way when the power failed.
                for (to, from) in image[*offset + whole..].iter_mut().zip(&bytes[whole..]).take(4) {
                    *to &= from | 0x5a;
                }
            }
        }
        Step::Erase(from, to) => {
            let end = [*from, from.midpoint(*to), *to][part];
            image[*from..end].fill(0xff);
            if part == 1 {
                image[end] ^= 0x24;
            }
        }
    }
}

fn check(image: &[u8], done: usize, go_on: bool, what: &str) {
    let mut store = open(image).unwrap_or_else(|e| panic!("{what}: {e}"));
    for (at, key) in KEYS.into_iter().enumerate() {
        let found = value(&mut store, key).unwrap_or_else(|e| panic!("{what}: {key:?}: {e}"));
        let right = found == expected(at, done) || found == expected(at, done + 1);
        assert!(right, "{what}, {key:?}: {:?}", found.map(|v| v.len()));
    }
    if go_on {
        for number in 1_000..1_012 {
            put(&mut store, number).unwrap();
        }
        let mut store = open(&store.into_flash().bytes).unwrap();
        for (at, key) in KEYS.into_iter().enumerate() {
            assert_eq!(value(&mut store, key).unwrap(), expected(at, 1_012));
        }
    }
}

/// One bit flips anywhere in the memory: each value is right, or refused; it is never an older one.
#[test]
fn a_flipped_bit_never_brings_an_older_value_back() {
    const PUTS: usize = 24;
    let mut store = open(&Ram::erased().bytes).unwrap();
    for number in 0..PUTS {
        put(&mut store, number).unwrap();
    }
    let image = store.into_flash().bytes;
    let mut refused = 0;
    for at in (0..image.len()).filter(|at| image[*at] != 0xff && at % 3 == 0 || at % 512 == 0) {
        let mut rotten = image.clone();
        rotten[at] ^= 1 << (at % 8);
        let Ok(mut store) = open(&rotten) else {
            refused += 1;
            continue;
        };
        for (which, key) in KEYS.into_iter().enumerate() {
            match value(&mut store, key) {
                Ok(found) => {
                    // A whole page that is given up takes every trace with it: nothing is there then.
                    let right = found == expected(which, PUTS) || found.is_none();
                    assert!(right, "byte {at}: {key:?} {:?}", found.map(|v| v.len()));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 0, "damage is found");
}

/// The power fails between a value and its mark, the value is found and used, and then it rots: that it was there has to show. Without a
/// mark of its own the older value, or none, would take its place.
#[test]
fn what_was_found_without_its_mark_is_missed_when_it_rots() {
    const NEWER: &[u8] = b"the newer value";
    let journal = Rc::new(RefCell::new(Vec::new()));
    for before in [Some(b"an older one".as_slice()), None] {
        let mut store = open(&Ram::erased().bytes).unwrap();
        if let Some(before) = before {
            store.put::<Sha256>(KEYS[0], before).unwrap();
        }
        let mut image = store.into_flash().bytes;
        let flash = Ram {
            journal: Some(Rc::clone(&journal)),
            ..Ram::of(image.clone())
        };
        let mut store = Store::open::<Sha256>(flash, &device(1)).unwrap();
        journal.borrow_mut().clear();
        store.put::<Sha256>(KEYS[0], NEWER).unwrap();
        let mut found = 0;
        for step in journal.borrow().iter() {
            apply(&mut image, step, 2);
            let mut store = open(&image).unwrap();
            if value(&mut store, KEYS[0]) != Ok(Some(NEWER.to_vec())) {
                continue;
            }
            found += 1;
            let mut rotten = store.into_flash().bytes;
            let places = rotten.windows(NEWER.len()).position(|bytes| bytes == NEWER);
            rotten[places.unwrap()] ^= 1;
            let after = open(&rotten).map(|mut store| value(&mut store, KEYS[0]));
            assert_eq!(after.unwrap(), Err(NvmError::Damaged), "before: {before:?}");
        }
        assert!(found > 1, "cut before the mark, and after it");
    }
}

#[test]
fn another_devices_memory_is_refused() {
    let mut store = open(&Ram::erased().bytes).unwrap();
    store.put::<Sha256>(KEYS[0], b"mine").unwrap();
    let image = store.into_flash();
    let other = Store::open::<Sha256>(image, &device(2));
    assert_eq!(other.err(), Some(NvmError::NotAuthentic));
}

#[test]
fn after_a_failure_nothing_more_is_claimed() {
    let flash = Ram {
        left: 7,
        ..Ram::erased()
    };
    let mut store = Store::open::<Sha256>(flash, &device(1)).unwrap();
    let mut results: Vec<Result<(), NvmError>> = Vec::new();
    for number in 0..8 {
        results.push(put(&mut store, number));
    }
    let first = results.iter().position(Result::is_err).unwrap();
    assert!(
        results[first..].iter().all(|r| *r == Err(NvmError::Failed)),
        "{results:?}"
    );
    assert_eq!(value(&mut store, KEYS[0]), Err(NvmError::Failed));
}

#[test]
fn too_long_and_too_many_are_answers() {
    let mut store = open(&Ram::erased().bytes).unwrap();
    let long = [0; super::VALUE_LEN_MAX + 1];
    assert_eq!(store.put::<Sha256>(KEYS[0], &long), Err(NvmError::TooLong));
    store.put::<Sha256>(KEYS[0], &long[1..]).unwrap();
    let mut result = Ok(());
    let mut number = 10;
    while result.is_ok() && number < 200 {
        result = store.put::<Sha256>(Key::numbered(Kind::Record, number), b"x");
        number += 1;
    }
    assert_eq!(result, Err(NvmError::TooManyKeys));
    assert_eq!(
        value(&mut store, KEYS[0]).unwrap().map(|v| v.len()),
        Some(super::VALUE_LEN_MAX)
    );
}

fn provisioned() -> Store<Ram> {
    let mut store = open(&Ram::erased().bytes).unwrap();
    let start = Start {
        count: 0,
        seed: Secret::new([9; 32]),
    };
    start.write::<Sha256, _>(&mut store).unwrap();
    store
}

/// The first draw of a start, and its count.
type Drawn = Result<([u8; 32], u64), SettingsError>;

/// Starts on a memory that takes so many writes; also what the memory holds afterwards.
fn draws(image: Vec<u8>, left: usize) -> (Drawn, Vec<u8>) {
    let flash = Ram {
        left,
        ..Ram::of(image)
    };
    let mut store = match Store::open::<Sha256>(flash, &device(1)) {
        Ok(store) => store,
        Err(e) => return (Err(e.into()), Vec::new()),
    };
    let drawn = SeededEntropy::<Sha256>::start(&mut store, &device(1), b"").map(|(mut source, count)| {
        let mut out = [0; 32];
        source.fill_secret(&mut out).unwrap();
        (out, count)
    });
    (drawn, store.into_flash().bytes)
}

/// The power fails at every write of a start: a start that draws has its successor stored, so no two ever draw the same.
#[test]
fn no_two_starts_draw_the_same() {
    let image = provisioned().into_flash().bytes;
    let mut seen = Vec::new();
    for left in 0..40 {
        let (drawn, after) = draws(image.clone(), left);
        if let Ok((bytes, count)) = drawn {
            assert_eq!(count, 1);
            seen.push(bytes);
        }
        let (next, _) = draws(after, usize::MAX);
        let (bytes, count) = next.unwrap();
        // The next start is the first again only where the cut one drew nothing.
        assert!(count == 2 || drawn.is_err(), "{left}: {count}");
        if drawn.is_ok() {
            assert_ne!(seen.last(), Some(&bytes), "{left}");
        }
    }
    assert!(
        !seen.is_empty() && seen.len() < 40,
        "both outcomes were seen: {}",
        seen.len()
    );
}

#[test]
fn without_a_seed_nothing_is_drawn() {
    let mut store = open(&Ram::erased().bytes).unwrap();
    let started = SeededEntropy::<Sha256>::start(&mut store, &device(1), b"jitter");
    assert_eq!(started.err(), Some(SettingsError::Missing(Kind::Start)));
    let mut broken = SeededEntropy::<Sha256>::broken();
    assert!(broken.fill_secret(&mut [0; 8]).is_err() && broken.fill_public(&mut [0; 8]).is_err());
}

#[test]
fn draws_differ_within_a_start_and_between_kinds() {
    let mut store = provisioned();
    let (mut source, _) = SeededEntropy::<Sha256>::start(&mut store, &device(1), b"").unwrap();
    let mut seen: Vec<[u8; 64]> = Vec::new();
    for at in 0..20 {
        let mut out = [0; 64];
        if at % 2 == 0 {
            source.fill_secret(&mut out).unwrap();
        } else {
            source.fill_public(&mut out).unwrap();
        }
        assert_ne!(out[..32], out[32..]);
        assert!(!seen.contains(&out));
        seen.push(out);
    }
}

#[test]
fn another_layout_is_named() {
    let header = Header {
        instance: InstanceId([7; 16]),
        name: InstanceName::new("WITNESS_1").unwrap(),
        peers: 2,
        provisioned: UnixSeconds(1_800_000_000),
    };
    let mut store = open(&Ram::erased().bytes).unwrap();
    assert_eq!(
        Header::read::<Sha256, _>(&mut store).err(),
        Some(SettingsError::Missing(Kind::Header))
    );
    header.write::<Sha256, _>(&mut store).unwrap();
    assert_eq!(Header::read::<Sha256, _>(&mut store), Ok(header));
    let mut bytes = [0; super::VALUE_LEN_MAX];
    let key = Key::only(Kind::Header);
    let len = store.get::<Sha256>(key, &mut bytes).unwrap().unwrap();
    bytes[0] = 9;
    store.put::<Sha256>(key, &bytes[..len]).unwrap();
    assert_eq!(
        Header::read::<Sha256, _>(&mut store).err(),
        Some(SettingsError::Schema { found: 9 })
    );
    bytes[0] = 1;
    store.put::<Sha256>(key, &bytes[..len - 1]).unwrap();
    assert_eq!(
        Header::read::<Sha256, _>(&mut store).err(),
        Some(SettingsError::Malformed(Kind::Header))
    );
}
