//! Pieces of blocks and seeds under way: what the sender may send, what the receiver has and grants.

use crate::message::Position;
use crate::planted::{Bug, planted};

/// The sender's side: where it is, and how much it may still send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outflow {
    /// The last block sent whole.
    pub(crate) sent: u64,
    /// Bytes sent of the next one.
    pub(crate) offset: u32,
    /// Bytes sent since the binding.
    bytes: u64,
    /// Bytes that may be sent since the binding.
    limit: u64,
}

impl Outflow {
    /// At the start of a binding, with the credit of the other's hello.
    pub(crate) fn new(credit: u32) -> Self {
        Self {
            limit: u64::from(credit),
            ..Self::default()
        }
    }

    /// Goes on after `sequence`.
    pub(crate) const fn seek(&mut self, sequence: u64) {
        self.sent = sequence;
        self.offset = 0;
    }

    /// More credit; less is ignored.
    pub(crate) fn grant(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// How many bytes may be sent now, of `room`.
    pub(crate) fn allowance(&self, room: usize) -> usize {
        let credit = self.limit.saturating_sub(self.bytes);
        usize::try_from(credit).unwrap_or(usize::MAX).min(room)
    }

    /// `len` bytes were sent that belong to no block.
    pub(crate) fn spend(&mut self, len: usize) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(len);
    }

    /// `len` bytes of the next block, of `total`, were sent.
    pub(crate) fn advance(&mut self, len: usize, total: u32) {
        self.spend(len);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.offset = self.offset.saturating_add(len);
        if self.offset >= total {
            self.sent = self.sent.saturating_add(1);
            self.offset = 0;
        }
    }
}

/// The receiver's side: what has come, and what it lets the other send.
///
/// Credit comes back when the storage has confirmed what was handed to it. Blocks are confirmed by position, and their
/// sizes are not remembered one by one: a *mark* is set at some block, and once that is confirmed, everything up to it is.
/// A block that is larger than the whole credit still arrives, since pieces of the unfinished block are given back at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inflow {
    /// The last block that came whole.
    pub(crate) received: Position,
    /// The unfinished block after it: bytes here, and its length.
    partial: Option<(u32, u32)>,
    /// Bytes that came since the binding.
    bytes: u64,
    /// Bytes of them that the storage has confirmed.
    confirmed: u64,
    /// A block, and how many bytes had come when it was complete.
    mark: Option<(u64, u64)>,
    /// The credit that the hello gave.
    window: u32,
    /// The limit that the other was told last.
    told: u64,
    /// The highest limit granted.
    granted: u64,
}

/// Why a piece was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowError {
    /// Not the next piece.
    Order,
    /// More than was granted.
    Credit,
}

impl Inflow {
    /// At the start of a binding, with the log ending at `end` and `window` bytes told in the hello.
    pub(crate) fn new(end: Position, window: u32) -> Self {
        Self {
            received: end,
            window,
            told: u64::from(window),
            granted: u64::from(window),
            ..Self::default()
        }
    }

    /// Goes on after `end`, dropping an unfinished block: after a seed.
    pub(crate) const fn restart(&mut self, end: Position) {
        self.received = end;
        self.partial = None;
        self.mark = None;
    }

    /// Checks and counts a piece of `len` bytes of the block at `position`. Whether the block is complete.
    pub(crate) fn block(
        &mut self,
        position: Position,
        offset: u32,
        total: u32,
        len: usize,
    ) -> Result<bool, FlowError> {
        if self.received.sequence.checked_add(1) != Some(position.sequence) {
            return Err(FlowError::Order);
        }
        let (have, of) = self.partial.unwrap_or((0, total));
        let end = u32::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len))
            .ok_or(FlowError::Order)?;
        if have != offset || of != total || len == 0 || end > total {
            return Err(FlowError::Order);
        }
        self.take(len)?;
        if end < total {
            self.partial = Some((end, total));
            return Ok(false);
        }
        self.partial = None;
        self.received = position;
        if self.mark.is_none() {
            self.mark = Some((position.sequence, self.bytes));
        }
        Ok(true)
    }

    /// Checks and counts a piece of a seed.
    pub(crate) fn take(&mut self, len: usize) -> Result<(), FlowError> {
        let bytes = u64::try_from(len)
            .ok()
            .and_then(|len| self.bytes.checked_add(len))
            .ok_or(FlowError::Credit)?;
        if bytes > self.granted {
            return Err(FlowError::Credit);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The storage has hardened everything up to `sequence`.
    pub(crate) fn hardened(&mut self, sequence: u64) {
        if planted(Bug::CreditKept) {
            return;
        }
        if sequence >= self.received.sequence {
            // All that came whole. A mark alone would leave out what came after it, and with it the credit that the rest of an
            // unfinished block waits for.
            let open = self.partial.map_or(0, |(have, _)| u64::from(have));
            self.confirmed = self.confirmed.max(self.bytes.saturating_sub(open));
            self.mark = None;
            return;
        }
        if let Some((marked, bytes)) = self.mark
            && sequence >= marked
        {
            self.confirmed = self.confirmed.max(bytes);
            let open = self.partial.map_or(0, |(have, _)| u64::from(have));
            self.mark = Some((self.received.sequence, self.bytes.saturating_sub(open)));
        }
    }

    /// The storage has taken `len` more bytes of the seed.
    pub(crate) fn written(&mut self, len: u64) {
        self.confirmed = self.confirmed.saturating_add(len).min(self.bytes);
    }

    /// A limit that is worth telling: a quarter of the window above the last one told.
    pub(crate) fn due(&mut self) -> Option<u64> {
        let open = self.partial.map_or(0, |(have, _)| u64::from(have));
        let limit = self
            .confirmed
            .saturating_add(open)
            .saturating_add(u64::from(self.window));
        self.granted = self.granted.max(limit);
        let step = u64::from(self.window / 4).max(1);
        (self.granted >= self.told.saturating_add(step)).then_some(self.granted)
    }

    /// The limit was told.
    pub(crate) fn tell(&mut self, limit: u64) {
        self.told = self.told.max(limit);
    }

    /// Whether blocks have come whole that the storage has not confirmed, its log ending at `hardened`.
    pub(crate) const fn awaits(&self, hardened: Position) -> bool {
        self.received.sequence > hardened.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Position {
        Position {
            timeline: 1,
            sequence,
        }
    }

    #[test]
    fn pieces_come_in_order_and_within_the_credit() {
        let mut inflow = Inflow::new(at(7), 100);
        assert_eq!(
            inflow.block(at(9), 0, 10, 10),
            Err(FlowError::Order),
            "a block is missing"
        );
        assert_eq!(
            inflow.block(at(8), 5, 10, 5),
            Err(FlowError::Order),
            "its beginning is missing"
        );
        assert_eq!(inflow.block(at(8), 0, 10, 0), Err(FlowError::Order), "nothing");
        assert_eq!(inflow.block(at(8), 0, 10, 11), Err(FlowError::Order), "too much");
        assert_eq!(inflow.block(at(8), 0, 10, 4), Ok(false));
        assert_eq!(inflow.block(at(8), 0, 10, 4), Err(FlowError::Order), "twice");
        assert_eq!(
            inflow.block(at(8), 4, 11, 6),
            Err(FlowError::Order),
            "another length"
        );
        assert_eq!(inflow.block(at(8), 4, 10, 6), Ok(true));
        assert_eq!(inflow.received, at(8));
        assert!(inflow.awaits(at(7)) && !inflow.awaits(at(8)));
        assert_eq!(inflow.block(at(9), 0, 91, 91), Err(FlowError::Credit));
        assert_eq!(inflow.block(at(9), 0, 90, 90), Ok(true));
        assert_eq!(inflow.block(at(10), 0, 1, 1), Err(FlowError::Credit));
    }

    #[test]
    fn credit_comes_back_with_what_is_confirmed() {
        let mut inflow = Inflow::new(at(0), 100);
        inflow.block(at(1), 0, 40, 40).unwrap();
        inflow.block(at(2), 0, 30, 30).unwrap();
        assert_eq!(inflow.due(), None);
        inflow.hardened(1);
        assert_eq!(inflow.due(), Some(140));
        inflow.tell(140);
        assert_eq!(inflow.due(), None);
        inflow.hardened(2);
        assert_eq!(inflow.due(), Some(170));
        // Pieces of a block that is larger than all credit are given back as they come.
        inflow.tell(170);
        inflow.block(at(3), 0, 1_000, 100).unwrap();
        assert_eq!(inflow.due(), Some(270));
        // A seed's bytes come back as they are written.
        let mut inflow = Inflow::new(at(0), 100);
        inflow.take(90).unwrap();
        assert_eq!(inflow.due(), None);
        inflow.written(60);
        assert_eq!(inflow.due(), Some(160));
        inflow.written(600);
        assert_eq!(inflow.due(), Some(190), "never more than came");
    }

    /// Seed 173 of the simulator: one sync hardened several blocks, the credit of all but the first was kept, and the rest of the next
    /// one could never come.
    #[test]
    fn what_is_hardened_at_once_gives_all_its_credit_back() {
        let mut inflow = Inflow::new(at(0), 100);
        inflow.block(at(1), 0, 10, 10).unwrap();
        inflow.block(at(2), 0, 80, 80).unwrap();
        inflow.block(at(3), 0, 40, 10).unwrap();
        inflow.hardened(2);
        assert_eq!(inflow.due(), Some(200));
    }

    #[test]
    fn the_sender_keeps_to_its_credit() {
        let mut out = Outflow::new(100);
        out.seek(4);
        assert_eq!(out.allowance(1_000), 100);
        out.advance(60, 90);
        assert_eq!((out.sent, out.offset, out.allowance(1_000)), (4, 60, 40));
        out.advance(30, 90);
        assert_eq!((out.sent, out.offset, out.allowance(1_000)), (5, 0, 10));
        out.grant(50);
        assert_eq!(out.allowance(1_000), 10, "a lower limit is ignored");
        out.grant(150);
        assert_eq!(out.allowance(20), 20);
        out.spend(60);
        assert_eq!(out.allowance(1_000), 0);
    }
}
