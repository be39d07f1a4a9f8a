//! Values under keys, each in two places by turns, and a mark that says how far it has got.
//!
//! Underneath lies `sequential-storage`: a map over erasable pages that survives a power cut at any write, because an item
//! that was not wholly written is passed over. That alone cannot tell an item that was never finished from one that was
//! finished, relied upon, and has rotted since: both would be answered by the older value, and a witness that answers by an
//! older record breaks its word. So:
//!
//! 1. A value's next *generation* goes to the place that does not hold the current one, and is read back.
//! 2. Then its *mark* is set to that generation. Only now is it durable, and only now does [`Store::put`] return.
//!
//! A generation without its mark was never relied upon, and may be taken; a mark without its generation is damage, and the
//! key is refused from then on. Every item carries a tag (HMAC-SHA-256) under a key of the device, so that another device's
//! memory, or one that somebody has edited, is refused too. What this does not see: the *whole* memory put back to an older
//! state (`docs/appliance.md`).

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use dbmirror_core::crypto::Hash;
use dbmirror_core::crypto::hmac::Hmac;
use dbmirror_core::secret::Secret;
use embedded_storage_async::nor_flash::NorFlash;
use sequential_storage::cache::Cache;
use sequential_storage::cache::key_pointers::ArrayKeyPointers;
use sequential_storage::cache::page_pointers::ArrayPagePointers;
use sequential_storage::cache::page_states::ArrayPageStates;
use sequential_storage::map::{MapConfig, MapStorage};

use super::{DeviceKey, ERASE_LEN, NVM_LEN, PAGES};

/// Most bytes of one value.
pub const VALUE_LEN_MAX: usize = 2_560;
/// Most keys.
const KEYS: usize = 48;

const PHYSICAL_LEN: usize = 1 + 16 + 1;
const HEAD_LEN: usize = 1 + 4;
const TAG_LEN: usize = 16;
/// An item with its key, rounded up to any flash's word.
const BUFFER_LEN: usize = (PHYSICAL_LEN + HEAD_LEN + VALUE_LEN_MAX + TAG_LEN).next_multiple_of(32);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Layout version, instance, what belongs to the set.
    Header = 1,
    /// The device's place in its network.
    Network = 2,
    /// Own certificate and wrapped key.
    Identity = 3,
    /// A peer's certificate, its login and where it is.
    Peer = 4,
    /// The seed of randomness and the count of starts.
    Start = 5,
    /// The time that is known to have passed.
    Floor = 6,
    /// The record of a session.
    Record = 7,
    /// A certificate that a peer has handed over.
    HandedOver = 8,
    /// The own certificate that follows, or has just followed, the one in [`Kind::Identity`].
    Succession = 9,
}

/// The name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Which of that kind.
    pub id: [u8; 16],
}

impl Key {
    /// The only one of its kind.
    #[must_use]
    pub const fn only(kind: Kind) -> Self {
        Self { kind, id: [0; 16] }
    }

    /// One of several.
    #[must_use]
    pub const fn numbered(kind: Kind, number: u8) -> Self {
        let mut id = [0; 16];
        id[0] = number;
        Self { kind, id }
    }

    fn physical(self, place: Place) -> Physical {
        let mut bytes = [0; PHYSICAL_LEN];
        let parts = [self.kind as u8].into_iter().chain(self.id).chain([place as u8]);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }
}

type Physical = [u8; PHYSICAL_LEN];

/// Where an item of a key lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Even = 0,
    Odd = 1,
    Mark = 2,
}

impl Place {
    const fn of(generation: u32) -> Self {
        if generation.is_multiple_of(2) {
            Self::Even
        } else {
            Self::Odd
        }
    }
}

/// Why the memory does not give or take a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvmError {
    /// The flash failed, or has failed before: nothing is read or written any more until a restart.
    Failed,
    /// A value that was durable cannot be read any more.
    Damaged,
    /// Items that carry no tag of this device's key: another device's memory, or an edited one.
    NotAuthentic,
    /// No room for the value.
    Full,
    /// The value is too long.
    TooLong,
    /// More keys than are provided for.
    TooManyKeys,
    /// A generation number at its end.
    WornOut,
    /// The flash has another size than the layout.
    Geometry,
}

impl core::fmt::Display for NvmError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Failed => "the memory has failed",
            Self::Damaged => "a stored value is damaged",
            Self::NotAuthentic => "the memory belongs to another device key, or was changed",
            Self::Full => "the memory is full",
            Self::TooLong => "the value is too long",
            Self::TooManyKeys => "too many values",
            Self::WornOut => "the value was written too often",
            Self::Geometry => "the memory has another size than the layout",
        })
    }
}

impl core::error::Error for NvmError {}

type Map<F> = MapStorage<
    Physical,
    F,
    Cache<ArrayPageStates<PAGES>, ArrayPagePointers<PAGES>, ArrayKeyPointers<Physical, KEYS>, Physical>,
>;

/// What is known of one key without reading it.
#[derive(Clone, Copy)]
struct Known {
    key: [u8; PHYSICAL_LEN - 1],
    /// The highest generation that is whole.
    whole: u32,
    /// Whether that one says that there is no value.
    removed: bool,
    /// The highest generation that was relied upon.
    marked: u32,
}

/// The memory, opened.
pub struct Store<F: NorFlash> {
    map: Map<F>,
    tag_key: Secret<32>,
    known: [Option<Known>; KEYS],
    buffer: [u8; BUFFER_LEN],
    failed: bool,
}

impl<F: NorFlash> Store<F> {
    /// Opens the memory and takes stock of it. An erased one is empty.
    ///
    /// # Errors
    /// [`NvmError::Failed`], [`NvmError::NotAuthentic`], [`NvmError::TooManyKeys`], [`NvmError::Geometry`].
    pub fn open<H: Hash>(flash: F, device: &DeviceKey) -> Result<Self, NvmError> {
        let mut store = Self::unread::<H>(flash, device)?;
        store.read_through::<H>()?;
        Ok(store)
    }

    /// The same, at a place that the caller has: several KiB are not moved over a small stack, and what making them takes of it is given back
    /// before the memory is read.
    ///
    /// # Errors
    /// As [`Store::open`]; the place is empty then.
    pub fn open_at<'p, H: Hash>(
        place: &'p mut Option<Self>,
        flash: F,
        device: &DeviceKey,
    ) -> Result<&'p mut Self, NvmError> {
        *place = None;
        Self::put_unread::<H>(place, flash, device)?;
        let read = place
            .as_mut()
            .map_or(Err(NvmError::Failed), Self::read_through::<H>);
        if let Err(error) = read {
            *place = None;
            return Err(error);
        }
        place.as_mut().ok_or(NvmError::Failed)
    }

    #[inline(never)]
    fn put_unread<H: Hash>(place: &mut Option<Self>, flash: F, device: &DeviceKey) -> Result<(), NvmError> {
        *place = Some(Self::unread::<H>(flash, device)?);
        Ok(())
    }

    fn unread<H: Hash>(flash: F, device: &DeviceKey) -> Result<Self, NvmError> {
        if flash.capacity() < NVM_LEN as usize || F::ERASE_SIZE != ERASE_LEN as usize {
            return Err(NvmError::Geometry);
        }
        let config = MapConfig::try_new(0..NVM_LEN).map_err(|_| NvmError::Geometry)?;
        let cache = Cache::new(
            ArrayPageStates::new(),
            ArrayPagePointers::new(),
            ArrayKeyPointers::new(),
        );
        Ok(Self {
            map: MapStorage::new(flash, config, cache),
            tag_key: device.derive::<H>(b"nvm tag"),
            known: [None; KEYS],
            buffer: [0; BUFFER_LEN],
            failed: false,
        })
    }

    #[inline(never)]
    fn read_through<H: Hash>(&mut self) -> Result<(), NvmError> {
        // What a power cut has left half erased is mended when an item is looked for, and not when all are gone through.
        let nowhere = [0; PHYSICAL_LEN];
        now(self.map.fetch_item::<&[u8]>(&mut self.buffer, &nowhere)).map_err(|_| NvmError::Failed)?;
        self.take_stock::<H>()
    }

    /// The value of `key`, copied into `out`; its length.
    ///
    /// # Errors
    /// [`NvmError::Damaged`] when it was durable once and cannot be read, [`NvmError::Failed`], [`NvmError::TooLong`] for an
    /// `out` that is too short.
    pub fn get<H: Hash>(&mut self, key: Key, out: &mut [u8]) -> Result<Option<usize>, NvmError> {
        if self.failed {
            return Err(NvmError::Failed);
        }
        let Some(known) = self.known(key).copied() else {
            return Ok(None);
        };
        if known.marked > known.whole {
            return Err(NvmError::Damaged);
        }
        if known.marked < known.whole {
            // A power cut came before the mark. From here on the value is relied upon, so its loss has to show.
            let mark = key.physical(Place::Mark);
            self.store::<H>(&mark, known.whole, None)?;
            self.known_mut(name_of(&mark))?.marked = known.whole;
        }
        if known.removed || known.whole == 0 {
            return Ok(None);
        }
        let place = key.physical(Place::of(known.whole));
        match self.read::<H>(&place)? {
            Some(item) if item.generation == known.whole && !item.removed => {
                let value = self.buffer.get(item.start..item.end).ok_or(NvmError::Damaged)?;
                let to = out.get_mut(..value.len()).ok_or(NvmError::TooLong)?;
                to.copy_from_slice(value);
                Ok(Some(value.len()))
            }
            // It was there when stock was taken.
            Some(_) | None => Err(NvmError::Damaged),
        }
    }

    /// Gives `key` the value; durable when this returns.
    ///
    /// # Errors
    /// [`NvmError`]. After [`NvmError::Failed`] it is unknown which of the two values the memory holds, and nothing more is
    /// taken or given: a restart reads it again.
    pub fn put<H: Hash>(&mut self, key: Key, value: &[u8]) -> Result<(), NvmError> {
        self.write::<H>(key, Some(value))
    }

    /// Takes the value of `key` away; durable when this returns.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn remove<H: Hash>(&mut self, key: Key) -> Result<(), NvmError> {
        match self.known(key) {
            None => Ok(()),
            Some(_) => self.write::<H>(key, None),
        }
    }

    /// The keys of that kind which have a value, or had one that is damaged.
    pub fn keys(&self, kind: Kind) -> impl Iterator<Item = Key> + '_ {
        self.known.iter().flatten().filter_map(move |known| {
            let (first, id) = known.key.split_first()?;
            let there = !known.removed || known.marked > known.whole;
            (*first == kind as u8 && there).then_some(Key {
                kind,
                id: id.try_into().ok()?,
            })
        })
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.map.destroy().0
    }

    fn known(&self, key: Key) -> Option<&Known> {
        let name = name_of(&key.physical(Place::Mark));
        self.known.iter().flatten().find(|known| known.key == name)
    }

    fn known_mut(&mut self, name: [u8; PHYSICAL_LEN - 1]) -> Result<&mut Known, NvmError> {
        let at = self
            .known
            .iter()
            .position(|known| known.is_some_and(|known| known.key == name))
            .or_else(|| self.known.iter().position(Option::is_none));
        let place = at
            .and_then(|at| self.known.get_mut(at))
            .ok_or(NvmError::TooManyKeys)?;
        Ok(place.get_or_insert(Known {
            key: name,
            whole: 0,
            removed: true,
            marked: 0,
        }))
    }

    fn write<H: Hash>(&mut self, key: Key, value: Option<&[u8]>) -> Result<(), NvmError> {
        if self.failed {
            return Err(NvmError::Failed);
        }
        if value.is_some_and(|value| value.len() > VALUE_LEN_MAX) {
            return Err(NvmError::TooLong);
        }
        let name = name_of(&key.physical(Place::Mark));
        let before = *self.known_mut(name)?;
        let generation = before
            .whole
            .max(before.marked)
            .checked_add(1)
            .ok_or(NvmError::WornOut)?;
        let place = key.physical(Place::of(generation));
        self.store::<H>(&place, generation, value)?;
        // Read back: what the part did not keep was never stored.
        let kept = self.read::<H>(&place)?.is_some_and(|item| {
            item.generation == generation
                && item.removed == value.is_none()
                && self.buffer.get(item.start..item.end) == Some(value.unwrap_or_default())
        });
        if !kept {
            self.failed = true;
            return Err(NvmError::Failed);
        }
        self.store::<H>(&key.physical(Place::Mark), generation, None)?;
        *self.known_mut(name)? = Known {
            key: name,
            whole: generation,
            removed: value.is_none(),
            marked: generation,
        };
        Ok(())
    }

    /// Writes one item.
    fn store<H: Hash>(
        &mut self,
        place: &Physical,
        generation: u32,
        value: Option<&[u8]>,
    ) -> Result<(), NvmError> {
        let mut item = [0; HEAD_LEN + VALUE_LEN_MAX + TAG_LEN];
        let value_len = value.map_or(0, <[u8]>::len);
        let parts = [u8::from(value.is_none())]
            .into_iter()
            .chain(generation.to_le_bytes())
            .chain(value.unwrap_or_default().iter().copied());
        for (to, from) in item.iter_mut().zip(parts) {
            *to = from;
        }
        let tagged = HEAD_LEN.saturating_add(value_len);
        let len = tagged.saturating_add(TAG_LEN);
        let (head, rest) = item.split_at_mut(tagged.min(HEAD_LEN + VALUE_LEN_MAX));
        let tag = Hmac::<H>::tag(self.tag_key.expose(), &[place, head]);
        for (to, from) in rest.iter_mut().zip(tag.iter().take(TAG_LEN)) {
            *to = *from;
        }
        let item = item.get(..len).ok_or(NvmError::TooLong)?;
        let stored = now(self.map.store_item(&mut self.buffer, place, &item));
        stored.map_err(|error| match error {
            sequential_storage::Error::FullStorage => NvmError::Full,
            sequential_storage::Error::ItemTooBig => NvmError::TooLong,
            _ => {
                self.failed = true;
                NvmError::Failed
            }
        })
    }

    /// Reads one item into the buffer.
    fn read<H: Hash>(&mut self, place: &Physical) -> Result<Option<Item>, NvmError> {
        let fetched = now(self.map.fetch_item::<&[u8]>(&mut self.buffer, place));
        let len = match fetched {
            Ok(Some(item)) => item.len(),
            Ok(None) => return Ok(None),
            Err(_) => {
                self.failed = true;
                return Err(NvmError::Failed);
            }
        };
        // The buffer holds the key, then the item.
        let end = PHYSICAL_LEN.saturating_add(len);
        let item = self.buffer.get(PHYSICAL_LEN..end).ok_or(NvmError::Damaged)?;
        parse::<H>(&self.tag_key, place, item).map(Some)
    }

    /// Goes once through everything that is stored, from the oldest to the newest.
    #[inline(never)]
    fn take_stock<H: Hash>(&mut self) -> Result<(), NvmError> {
        let Self {
            map,
            tag_key,
            known,
            buffer,
            ..
        } = self;
        // The last item of a place is the one that counts.
        let mut found = [const { None::<(Physical, u32, bool)> }; KEYS * 3];
        let gone_through = now(async {
            let mut items = map.fetch_all_items(buffer).await?;
            let mut result = Ok(());
            while let Some((place, item)) = items.next::<&[u8]>(buffer).await? {
                let parsed = match parse::<H>(tag_key, &place, item) {
                    Ok(parsed) => parsed,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                };
                let at = found
                    .iter()
                    .position(|known| known.is_some_and(|(known, ..)| known == place))
                    .or_else(|| found.iter().position(Option::is_none));
                match at.and_then(|at| found.get_mut(at)) {
                    Some(slot) => *slot = Some((place, parsed.generation, parsed.removed)),
                    None => {
                        result = Err(NvmError::TooManyKeys);
                        break;
                    }
                }
            }
            Ok::<_, sequential_storage::Error<F::Error>>(result)
        });
        gone_through.map_err(|_| NvmError::Failed)??;
        for (place, generation, removed) in found.into_iter().flatten() {
            let name = name_of(&place);
            let at = known
                .iter()
                .position(|known| known.is_some_and(|known| known.key == name))
                .or_else(|| known.iter().position(Option::is_none));
            let slot = at.and_then(|at| known.get_mut(at)).ok_or(NvmError::TooManyKeys)?;
            let entry = slot.get_or_insert(Known {
                key: name,
                whole: 0,
                removed: true,
                marked: 0,
            });
            if place.last() == Some(&(Place::Mark as u8)) {
                entry.marked = generation;
            } else if generation > entry.whole {
                entry.whole = generation;
                entry.removed = removed;
            }
        }
        Ok(())
    }
}

/// An item that was read: what it says, and where its value lies in the buffer.
struct Item {
    generation: u32,
    removed: bool,
    start: usize,
    end: usize,
}

fn parse<H: Hash>(tag_key: &Secret<32>, place: &Physical, item: &[u8]) -> Result<Item, NvmError> {
    let (head, tag) = item.split_last_chunk::<TAG_LEN>().ok_or(NvmError::NotAuthentic)?;
    let mut own = Secret::new(Hmac::<H>::tag(tag_key.expose(), &[place, head]));
    let mut theirs = Secret::<32>::zero();
    for (to, from) in theirs.expose_mut().iter_mut().zip(tag) {
        *to = *from;
    }
    for byte in own.expose_mut().iter_mut().skip(TAG_LEN) {
        *byte = 0;
    }
    let ([removed, generation @ ..], _) = head
        .split_first_chunk::<HEAD_LEN>()
        .ok_or(NvmError::NotAuthentic)?;
    if !own.ct_eq(&theirs) || *removed > 1 {
        return Err(NvmError::NotAuthentic);
    }
    let start = PHYSICAL_LEN.saturating_add(HEAD_LEN);
    Ok(Item {
        generation: u32::from_le_bytes(*generation),
        removed: *removed == 1,
        start,
        end: PHYSICAL_LEN.saturating_add(head.len()),
    })
}

fn name_of(place: &Physical) -> [u8; PHYSICAL_LEN - 1] {
    let mut name = [0; PHYSICAL_LEN - 1];
    for (to, from) in name.iter_mut().zip(place) {
        *to = *from;
    }
    name
}

/// Runs what never waits: the flash under it answers at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
