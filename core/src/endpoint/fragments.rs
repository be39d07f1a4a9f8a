//! Messages in pieces, for who takes only short records (`docs/protocol.md` §1).
//!
//! A message lies whole in one record, as long as records can hold every message. Towards a peer whose record_size_limit leaves less
//! than that, and from every peer if our own limit does, the records are cut from the stream of messages wherever they are full. What
//! is said waits in the connection's place until the last piece of it is out, and what comes waits there until its message is whole;
//! neither is ever longer than one message without a piece of log or seed, or the longest of a pairing.

use super::close::CloseReason;
use super::slot::Stage;
use super::{Endpoint, Env};
use crate::channel::HEAD_ROOM;
use crate::crypto::Provider;
use crate::message::codec::{CONTROL_LEN_MAX, HEADER_LEN};
use crate::pairing::Said;
use crate::pairing::message::MESSAGE_LEN_MAX as PAIRING_MESSAGE_LEN_MAX;
use crate::wire;

/// Most bytes that a pairing says at once: its hello, and a proof around the longest certificate.
pub(super) const PAIRING_SAID_MAX: usize = 256 + PAIRING_MESSAGE_LEN_MAX;
/// Bytes that wait in a place, each way.
const PLACE_LEN: usize = if PAIRING_SAID_MAX > CONTROL_LEN_MAX {
    PAIRING_SAID_MAX
} else {
    CONTROL_LEN_MAX
};

/// Place for the messages of one connection that are in pieces. See [`Endpoint::with_fragments`].
pub struct FragmentPlace {
    out: [u8; PLACE_LEN],
    out_at: usize,
    out_end: usize,
    /// What a pairing has to be told once all is out.
    said: Option<Said>,
    come: [u8; PLACE_LEN],
    come_len: usize,
}

impl FragmentPlace {
    /// An empty place.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            out: [0; PLACE_LEN],
            out_at: 0,
            out_end: 0,
            said: None,
            come: [0; PLACE_LEN],
            come_len: 0,
        }
    }

    fn clear(&mut self) {
        self.out_at = 0;
        self.out_end = 0;
        self.said = None;
        self.come_len = 0;
    }

    fn waits(&self) -> usize {
        self.out_end.saturating_sub(self.out_at)
    }

    /// Keeps what was said but for the first `sent` bytes.
    fn keep(&mut self, said: &[u8], sent: usize) -> Option<()> {
        self.out_end = wire::copy(&mut self.out, said)?;
        self.out_at = sent.min(self.out_end);
        Some(())
    }

    /// Moves the next piece into `to`, as much as it holds; returns its length.
    fn piece(&mut self, to: &mut [u8]) -> usize {
        let len = self.waits().min(to.len());
        let end = self.out_at.saturating_add(len);
        let moved = self
            .out
            .get(self.out_at..end)
            .and_then(|piece| wire::copy(to, piece))
            .unwrap_or(0);
        self.out_at = self.out_at.saturating_add(moved);
        moved
    }

    /// Takes bytes from the front of `bytes` until a message is whole, and copies it to `message`; returns its length, or `None` when
    /// more must come.
    ///
    /// # Errors
    /// The kind of a message that says it is longer than `len_max`: none of it is kept.
    fn take(
        &mut self,
        bytes: &mut &[u8],
        len_max: usize,
        message: &mut [u8; PLACE_LEN],
    ) -> Result<Option<usize>, u16> {
        if self.come_len < HEADER_LEN {
            self.append(bytes, HEADER_LEN);
            if self.come_len < HEADER_LEN {
                return Ok(None);
            }
        }
        let [a, b, c, d, k, l, ..] = self.come;
        let body = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let whole = HEADER_LEN.saturating_add(body);
        if whole > len_max.min(PLACE_LEN) {
            self.come_len = 0;
            return Err(u16::from_le_bytes([k, l]));
        }
        self.append(bytes, whole);
        if self.come_len < whole {
            return Ok(None);
        }
        *message = self.come;
        self.come_len = 0;
        Ok(Some(whole))
    }

    /// Goes on to `until` bytes of a message, as far as `bytes` go.
    fn append(&mut self, bytes: &mut &[u8], until: usize) {
        let wanted = until.saturating_sub(self.come_len).min(bytes.len());
        if let Some((piece, rest)) = bytes.split_at_checked(wanted)
            && let Some(place) = self.come.get_mut(self.come_len..)
            && let Some(len) = wire::copy(place, piece)
        {
            self.come_len = self.come_len.saturating_add(len);
            *bytes = rest;
        }
    }
}

impl Default for FragmentPlace {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, P: Provider> Endpoint<'a, P> {
    /// The same endpoint, able to talk to peers that take only short records, and to be one. Lend a place for each connection; a
    /// connection that needs one and has none is closed (28040).
    #[must_use]
    pub fn with_fragments(mut self, places: &'a mut [FragmentPlace]) -> Self {
        self.fragments = places;
        self
    }
}

impl<P: Provider> Endpoint<'_, P> {
    /// The longest that must lie whole in a record of that connection.
    fn whole_len(&self, index: usize) -> usize {
        match self.live(index).map(|live| live.stage) {
            Some(Stage::Pairing) => PAIRING_SAID_MAX,
            _ => CONTROL_LEN_MAX,
        }
    }

    /// Whether what is said there is cut into pieces.
    pub(super) fn says_in_pieces(&self, index: usize) -> bool {
        let whole = self.whole_len(index);
        self.live(index)
            .is_some_and(|live| live.channel.payload_len_max() < whole)
    }

    /// Whether what comes there may be cut into pieces.
    pub(super) fn hears_in_pieces(&self, index: usize) -> bool {
        let whole = self.whole_len(index);
        self.live(index)
            .is_some_and(|live| live.channel.own_payload_len_max() < whole)
    }

    /// Most bytes that are said there at once, if that is cut into pieces.
    pub(super) fn said_at_once(&self, index: usize) -> Option<usize> {
        self.says_in_pieces(index).then(|| self.whole_len(index))
    }

    /// The connection at `index` is a new one.
    pub(super) fn clear_fragments(&mut self, index: usize) {
        if let Some(place) = self.fragments.get_mut(index) {
            place.clear();
        }
    }

    /// Bytes of what was said there that are still to be sent.
    pub(super) fn pieces_wait(&self, index: usize) -> bool {
        self.fragments.get(index).is_some_and(|place| place.waits() > 0)
    }

    /// A connection that was just established needs a place and has none: it ends.
    pub(super) fn refuse_short_records(&mut self, env: &mut Env<'_, P>, index: usize) {
        let needed = self.says_in_pieces(index) || self.hears_in_pieces(index);
        if needed && self.fragments.get(index).is_none() {
            self.end_connection(env, index, CloseReason::ShortRecords);
        }
    }

    /// Puts the next piece of what waits at its place in `buf`, at most `payload` bytes; returns its length.
    pub(super) fn next_piece(&mut self, index: usize, buf: &mut [u8], payload: usize) -> usize {
        let place = self.fragments.get_mut(index);
        let to = buf.get_mut(HEAD_ROOM..).and_then(|to| to.get_mut(..payload));
        match (place, to) {
            (Some(place), Some(to)) => place.piece(to),
            _ => 0,
        }
    }

    /// Keeps what of the `len` bytes that lie at their place in `buf` is beyond the first `payload`; returns how many are to be sent
    /// now.
    pub(super) fn keep_pieces(&mut self, index: usize, buf: &[u8], len: usize, payload: usize) -> usize {
        let first = len.min(payload);
        let said = buf.get(HEAD_ROOM..).and_then(|said| said.get(..len));
        if first < len
            && let Some(said) = said
            && let Some(place) = self.fragments.get_mut(index)
        {
            // As long as the place: what is said at once is bounded by `said_at_once`.
            let _kept = place.keep(said, first);
        }
        first
    }

    /// Nothing more of it can be sent.
    pub(super) fn drop_pieces(&mut self, index: usize) {
        if let Some(place) = self.fragments.get_mut(index) {
            place.out_at = place.out_end;
            place.said = None;
        }
    }

    /// Remembers what a pairing is to be told once all is out; tells at once what is.
    pub(super) fn pairing_piece_said(&mut self, env: &mut Env<'_, P>, index: usize, said: Option<Said>) {
        let mut due = said;
        if let Some(place) = self.fragments.get_mut(index) {
            if place.waits() > 0 {
                place.said = said.or(place.said);
                return;
            }
            due = said.or(place.said.take());
        }
        if let Some(said) = due {
            self.pairing_said(env, index, said);
        }
    }

    /// What came in one record, where messages may be in pieces: each is heard when it is whole.
    pub(super) fn hear_pieces(&mut self, env: &mut Env<'_, P>, index: usize, mut bytes: &[u8]) {
        let mut message = [0; PLACE_LEN];
        while !bytes.is_empty() && self.live(index).is_some_and(|live| live.closing.is_none()) {
            let len_max = self.whole_len(index);
            let Some(place) = self.fragments.get_mut(index) else {
                return;
            };
            match place.take(&mut bytes, len_max, &mut message) {
                Ok(None) => {}
                Ok(Some(len)) => self.records_messages(env, index, message.get(..len).unwrap_or_default()),
                Err(kind) => self.end_connection(env, index, CloseReason::BadMessage { kind }),
            }
        }
    }
}
