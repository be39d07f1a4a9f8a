//! What a session says, built at the moment it is sent: control first, then log, then seeds. Nothing is queued, so nothing
//! stale is ever sent; and what states the record is built from the durable one only (`docs/safety.md` I5).

use super::machine::{Ctx, Link, Session, Side};
use super::seeding::SeedOut;
use super::storage::{ATTACHMENT_LEN_MAX, SeedRead, StorageError};
use super::stored::STORED_LEN_MAX;
use crate::message::Address;
use crate::message::codec::{
    Ack, AskSuspend, Attachment, BLOCK_OVERHEAD, Block, Credit, Message, Refusal, SEED_OVERHEAD, Seed,
    SeedBegin, SeedEnd, SetProperties, Start, StartAccepted, Status, TAIL_OVERHEAD, Tail, TailRequest,
    Tombstone,
};
use crate::wire::{Full, Writer};

/// The least room in which a piece of a block or seed is worth sending.
const PIECE_MIN: usize = 256;

impl Session {
    /// Appends what control messages are due on `link`; returns how many.
    ///
    /// # Errors
    /// [`Full`] when there is more to say than fits; what was appended stands.
    pub(crate) fn say_control(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        to: &mut Writer<'_>,
        said: &mut u64,
    ) -> Result<(), Full> {
        let mut say = |to: &mut Writer<'_>, message: Message<'_>| {
            message.encode(to)?;
            *said = said.saturating_add(1);
            Ok::<(), Full>(())
        };
        let guid = self.guid();
        if let Some(over) = &self.over {
            let partner = over.may_tell() && self.link() == Some(link);
            let witness = over.may_tell_witness() && self.tie.link == Some(link);
            if let Some(stored) = self.kept.durable().filter(|_| partner || witness) {
                let record = stored.record;
                say(to, Tombstone { guid, record }.into())?;
                self.told(partner, witness);
            }
            return Ok(());
        }
        if let Some(starting) = &mut self.starting
            && starting.send_on == Some(link)
        {
            // The one message that states what is not durable yet here: it claims nothing, it asks.
            let stored = self.kept.get();
            let start = Start {
                guid,
                record: stored.record,
                family: stored.family,
                end: self.end,
                properties: stored.properties,
                timelines: stored.timelines,
                partner: Address::new(stored.partner.as_str()).unwrap_or_default(),
                name: stored.name,
            };
            say(to, start.into())?;
            starting.send_on = None;
        }
        if self.accept_on == Some(link)
            && let Some(stored) = self.kept.durable()
        {
            let accepted = StartAccepted {
                guid,
                record: stored.record,
                end: self.end,
                wants_seed: stored.wants_seed,
                timelines: stored.timelines,
            };
            say(to, accepted.into())?;
            self.accept_on = None;
            self.answering = None;
        }
        self.say_to_witness(link, to, &mut say)?;
        if self.link() != Some(link) {
            return Ok(());
        }
        if self.hello_is_due()
            && let Some(stored) = self.kept.durable()
        {
            let hello = self.hello_of(stored, ctx.credit);
            say(to, hello.into())?;
            // The hello states the record, and every later change of it is due anew.
            self.due.record = false;
            self.due.confirm = None;
            self.due.hello = None;
            self.said_hello(ctx, ctx.credit);
        }
        self.say_hello_again(ctx, to, &mut say)?;
        if !self.is_bound() {
            return Ok(());
        }
        self.say_of_record(to, &mut say)?;
        if !self.in_step() {
            return Ok(());
        }
        let taken_up = self.rewinding.is_none() && !self.ask().open;
        let (role_sequence, database) = (self.role_sequence(), self.database());
        let (durable, end) = (self.kept.durable().copied(), self.end);
        let state = self.state();
        match &mut self.side {
            Side::Principal(side) => {
                if side.properties_due
                    && let Some(stored) = &durable
                {
                    let properties = stored.properties;
                    say(
                        to,
                        SetProperties {
                            guid,
                            role_sequence,
                            properties,
                        }
                        .into(),
                    )?;
                    side.properties_due = false;
                }
                let version = ctx.storage.attachment_version(database);
                if version != side.attachment_told {
                    let mut place = [0; ATTACHMENT_LEN_MAX];
                    let length = ctx.storage.attachment(database, &mut place);
                    if let Some(bytes) = length.and_then(|length| place.get(..length)) {
                        let attachment = Attachment {
                            guid,
                            role_sequence,
                            bytes,
                        };
                        say(to, attachment.into())?;
                    }
                    side.attachment_told = version;
                }
                if let Some(adopt) = &mut side.adopt
                    && !adopt.asked
                {
                    let to_position = adopt.to.position;
                    let request = TailRequest {
                        guid,
                        role_sequence,
                        from: end,
                        to: to_position,
                    };
                    say(to, request.into())?;
                    adopt.asked = true;
                }
                if side.status_due
                    || (side.streaming && side.told_end != end.position && side.acked == end.position)
                {
                    let status = Status {
                        guid,
                        role_sequence,
                        state: state.code(),
                        end: end.position,
                        decided: end.position,
                    };
                    say(to, status.into())?;
                    side.status_due = false;
                    side.told_end = end.position;
                }
                if let Some(limit) = side.inflow.due() {
                    say(
                        to,
                        Credit {
                            guid,
                            role_sequence,
                            limit,
                        }
                        .into(),
                    )?;
                    side.inflow.tell(limit);
                }
            }
            Side::Mirror(side) => {
                if let Some((kind, error)) = side.refusal {
                    let refusal = Refusal {
                        guid,
                        kind,
                        number: error.number,
                        reason: error.reason.code(),
                    };
                    say(to, refusal.into())?;
                    side.refusal = None;
                }
                // Durable is what the storage confirmed, and so is the record that the block's arrival changed.
                if side.ack_due && durable.is_some() && taken_up {
                    let ack = Ack {
                        guid,
                        role_sequence,
                        position: end.position,
                        chain_prefix: end.chain.prefix(),
                    };
                    say(to, ack.into())?;
                    side.ack_due = false;
                }
                if let Some(suspend) = side.ask_suspend {
                    let suspended_sequence = self.kept.get().properties.suspended_sequence;
                    let ask = AskSuspend {
                        guid,
                        role_sequence,
                        suspended_sequence,
                        suspend,
                    };
                    say(to, ask.into())?;
                    side.ask_suspend = None;
                }
                if let Some(limit) = side.inflow.due() {
                    say(
                        to,
                        Credit {
                            guid,
                            role_sequence,
                            limit,
                        }
                        .into(),
                    )?;
                    side.inflow.tell(limit);
                }
            }
        }
        Ok(())
    }

    /// Whether it may have something to say on `link`.
    pub(crate) fn speaks_on(&self, link: Link) -> bool {
        self.talks_on(link)
            || self.accept_on == Some(link)
            || self
                .starting
                .is_some_and(|starting| starting.send_on == Some(link))
    }

    /// Whether the session is talked about on `link`, and nothing has to be said there before its log.
    fn flows(&self, link: Link) -> bool {
        // Everything that is to be said before the log goes first: a hello that states another role or timeline above all.
        self.is_established()
            && self.in_step()
            && self.due.hello.is_none()
            && self
                .binding
                .is_some_and(|binding| binding.link == link && binding.hello_sent && binding.joined)
    }

    /// Appends one piece of the log. Whether there was one.
    pub(crate) fn say_log(&mut self, ctx: &mut Ctx<'_>, link: Link, to: &mut Writer<'_>) -> bool {
        if !self.flows(link) {
            return false;
        }
        let (guid, database, role_sequence, end) = (
            self.guid(),
            self.database(),
            self.role_sequence(),
            self.end.position,
        );
        let timelines = self.kept.get().timelines;
        let suspended = self.kept.get().properties.suspended;
        let (out, last, overhead) = match &mut self.side {
            Side::Principal(side) => {
                if !side.streaming || suspended || side.read_again.is_some() {
                    return false;
                }
                (&mut side.out, end.sequence, BLOCK_OVERHEAD)
            }
            Side::Mirror(side) => {
                let Some(tail) = side.tail else { return false };
                (&mut side.out, tail.to, TAIL_OVERHEAD)
            }
        };
        let Some(position) = out
            .sent
            .checked_add(1)
            .filter(|next| *next <= last)
            .and_then(|next| timelines.locate(next))
        else {
            return false;
        };
        let offset = out.offset;
        let free = to.free_mut();
        let Some(room) = free.get_mut(overhead..) else {
            return false;
        };
        let allowed = out.allowance(room.len());
        if room.len() < PIECE_MIN || allowed == 0 {
            return false;
        }
        let Some(room) = room.get_mut(..allowed) else {
            return false;
        };
        let read = match ctx.storage.read_block(database, position, offset, room) {
            Ok(read) if read.len > 0 && read.len <= allowed => read,
            Ok(_) => {
                self.read_failed(ctx, StorageError::Corrupt);
                return false;
            }
            Err(error) => {
                self.read_failed(ctx, error);
                return false;
            }
        };
        out.advance(read.len, read.total);
        let message: Message<'_> = match &self.side {
            Side::Principal(_) => Block {
                guid,
                role_sequence,
                position,
                decided: end,
                total: read.total,
                offset,
                bytes: &[],
            }
            .into(),
            Side::Mirror(_) => Tail {
                guid,
                role_sequence,
                position,
                total: read.total,
                offset,
                bytes: &[],
            }
            .into(),
        };
        message.encode_around(to, read.len).is_ok()
    }

    /// Appends one message of a seed. Whether there was one.
    pub(crate) fn say_seed(&mut self, ctx: &mut Ctx<'_>, link: Link, to: &mut Writer<'_>) -> bool {
        if !self.flows(link) || self.kept.get().properties.suspended {
            return false;
        }
        let (guid, database, role_sequence) = (self.guid(), self.database(), self.role_sequence());
        let Side::Principal(side) = &mut self.side else {
            return false;
        };
        match &mut side.seed {
            Some(SeedOut::Sending {
                info,
                begun: begun @ false,
                ..
            }) => {
                let message = SeedBegin {
                    guid,
                    role_sequence,
                    at: info.at,
                    page_size: info.page_size,
                    bytes: info.bytes,
                    timelines: info.timelines,
                };
                *begun = true;
                Message::from(message).encode(to).is_ok() || {
                    *begun = false;
                    false
                }
            }
            Some(SeedOut::Sending {
                info,
                offset,
                pending: pending @ false,
                ..
            }) => {
                let free = to.free_mut();
                let Some(room) = free.get_mut(SEED_OVERHEAD..) else {
                    return false;
                };
                let allowed = side.out.allowance(room.len());
                if room.len() < PIECE_MIN || allowed == 0 {
                    return false;
                }
                let Some(room) = room.get_mut(..allowed) else {
                    return false;
                };
                match ctx.storage.seed_read(database, *offset, room) {
                    Ok(SeedRead::Bytes(len)) if len > 0 && len <= allowed => {
                        let message = Seed {
                            guid,
                            role_sequence,
                            offset: *offset,
                            bytes: &[],
                        };
                        side.out.spend(len);
                        *offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                        Message::from(message).encode_around(to, len).is_ok()
                    }
                    Ok(SeedRead::End(sum)) => {
                        let info = *info;
                        side.seed = Some(SeedOut::Ended {
                            info,
                            sum,
                            said: false,
                        });
                        self.say_seed(ctx, link, to)
                    }
                    Ok(SeedRead::Pending) => {
                        *pending = true;
                        false
                    }
                    Ok(SeedRead::Bytes(_)) => {
                        self.seed_unreadable(ctx, StorageError::Corrupt);
                        false
                    }
                    Err(error) => {
                        self.seed_unreadable(ctx, error);
                        false
                    }
                }
            }
            Some(SeedOut::Ended {
                info,
                sum,
                said: said @ false,
            }) => {
                let message = SeedEnd {
                    guid,
                    role_sequence,
                    bytes: info.bytes,
                    sum: *sum,
                };
                *said = true;
                Message::from(message).encode(to).is_ok() || {
                    *said = false;
                    false
                }
            }
            _ => false,
        }
    }

    fn seed_unreadable(&mut self, ctx: &mut Ctx<'_>, error: StorageError) {
        let reason = super::SessionError::new(1458, super::Reason::Storage);
        self.seed_failed(ctx, reason, Some(error));
    }

    /// Copies the record that is to be persisted into `out`; `None` when there is none, an error when `out` is too short.
    pub(crate) fn write_record(&mut self, ticket: u64, out: &mut [u8]) -> Option<Result<usize, Full>> {
        if !self.kept.is_dirty() {
            return None;
        }
        if out.len() < STORED_LEN_MAX {
            return Some(Err(Full));
        }
        let written = self.kept.get().encode(out);
        self.kept.writing(ticket);
        Some(written)
    }
}
