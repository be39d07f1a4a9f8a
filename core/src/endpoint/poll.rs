//! What the endpoint wants done, worked out when it is asked.

use super::certificates::SUCCESSION;
use super::close::CloseReason;
use super::fragments::PAIRING_SAID_MAX;
use super::output::{Output, RecordWrite, Ticket};
use super::slot::{Reply, Stage};
use super::{Endpoint, Env, SEND_LEN_MIN};
use crate::PARTNER;
use crate::channel::{HEAD_ROOM, TAIL_ROOM, WRITE_ROOM_MIN};
use crate::crypto::{Provider, SigningKey as _};
use crate::message::codec::{
    CertificateAnswer, Denial, Goodbye, Hello, Message, None as NoSession, Ping, Refusal, StartRefused, Time,
    Tombstone, Use, VERSION,
};
use crate::message::{SessionGuid, UseNumber};
use crate::pairing::Said;
use crate::session::{STORED_LEN_MAX, Stored};
use crate::time::{Duration, Instant};
use crate::wire::{Full, Writer};

/// What a pairing needs: a proof around the longest certificate, with the HELLO before it.
const PAIRING_LEN_MIN: usize = HEAD_ROOM + PAIRING_SAID_MAX + TAIL_ROOM;
/// The least room in which a record is worth making.
pub(super) const RECORD_MIN: usize = HEAD_ROOM + 64 + TAIL_ROOM;

/// Who has a clock tells the time so often on a connection that stands.
const TIME_EVERY: Duration = Duration::from_secs(86_400);

/// What polling one connection came to.
enum Turn {
    /// So many bytes lie in the buffer.
    Bytes(usize),
    /// It is over: free the place.
    Over(CloseReason),
    /// Nothing now.
    Nothing,
}

impl<P: Provider> Endpoint<'_, P> {
    /// The next thing to do. Poll until [`Output::Wait`].
    pub fn poll_output<'b>(&mut self, env: &mut Env<'_, P>, buf: &'b mut [u8]) -> Output<'b> {
        self.present(env);
        if let Some(event) = self.events.pop() {
            return Output::Event(event);
        }
        let least = self.send_len_min();
        if buf.len() < least {
            return Output::NeedBuffer(least);
        }
        if let Some((at, len)) = self.record_to_persist(buf) {
            return self.persist(at, buf.get(..len).unwrap_or_default());
        }
        if let Some(due) = self.witnessed_to_persist(buf) {
            return self.persist_witnessed(due, buf);
        }
        if let Some(output) = self.dial_to_make(env) {
            return output;
        }
        for _ in 0..self.connections.len() {
            let index = self.turn.checked_rem(self.connections.len()).unwrap_or(0);
            self.turn = index.saturating_add(1);
            match self.transmit(env, index, buf) {
                Turn::Nothing => {}
                Turn::Over(reason) => {
                    let connection = self.id(index);
                    self.forget_attempt(index);
                    if let Some(slot) = self.connections.get_mut(index) {
                        slot.live = None;
                    }
                    self.connections.freed();
                    return Output::Close { connection, reason };
                }
                Turn::Bytes(len) => {
                    let connection = self.id(index);
                    let now = self.now;
                    if let Some(live) = self.live_mut(index) {
                        live.room = live.room.saturating_sub(len);
                        live.sends = live.sends.saturating_add(1);
                        live.bytes_sent = live
                            .bytes_sent
                            .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                        live.last_activity = now;
                    }
                    return Output::Transmit {
                        connection,
                        bytes: buf.get(..len).unwrap_or_default(),
                    };
                }
            }
        }
        if let Some(event) = self.events.pop() {
            return Output::Event(event);
        }
        Output::Wait(self.next_wake())
    }

    fn record_to_persist(&mut self, buf: &mut [u8]) -> Option<(usize, usize)> {
        let ticket = self.ticket.saturating_add(1);
        let (at, written) = (0..self.session_count()).find_map(|at| {
            if self.waits_for_an_end(at) {
                return None;
            }
            let session = self.sessions.get_mut(at)?.0.as_mut()?;
            Some((at, session.write_record(ticket, buf)?))
        })?;
        self.ticket = ticket;
        // STORED_LEN_MAX was there, and is enough for every record.
        Some((at, written.unwrap_or(0)))
    }

    /// Whether an earlier session of the same database is still ending: its tombstone takes the place of the database's record, so a new
    /// one is written after it.
    fn waits_for_an_end(&self, at: usize) -> bool {
        let Some(session) = self.session(at).filter(|session| session.over.is_none()) else {
            return false;
        };
        let mut others = self.sessions.iter().filter_map(|slot| slot.0.as_ref());
        others.any(|other| {
            other.database() == session.database() && other.over.is_some_and(|over| !over.durable)
        })
    }

    fn persist<'b>(&self, at: usize, record: &'b [u8]) -> Output<'b> {
        let ticket = Ticket(self.ticket);
        let (database, guid, over) = self
            .session(at)
            .map(|session| (session.database(), session.guid(), session.over.is_some()))
            .unwrap_or_default();
        let write = match (over, guid == SessionGuid::default()) {
            (false, _) => RecordWrite::Live { database, record },
            (true, false) => RecordWrite::Ended {
                database,
                guid,
                record,
            },
            (true, true) => RecordWrite::Removed { database },
        };
        Output::Persist { ticket, write }
    }

    fn dial_to_make(&mut self, env: &mut Env<'_, P>) -> Option<Output<'static>> {
        let waiting = |slot: &super::slot::Connection<P>| {
            slot.stage == Stage::Dialing && !slot.dial_given && slot.closing.is_none()
        };
        let mut index = self
            .connections
            .iter()
            .position(|slot| slot.live.as_ref().is_some_and(waiting));
        self.meet_witnesses(env);
        if index.is_none()
            && let Some((address, purpose)) = self.dial_wanted().or_else(|| self.tie_dial_wanted())
        {
            index = self.dial(env, address, purpose);
            if index.is_none() {
                self.no_place_to_dial(env, address);
            }
        }
        let index = index?;
        let connection = self.id(index);
        let live = self.live_mut(index)?;
        if live.closing.is_some() {
            return None;
        }
        live.dial_given = true;
        let address = live.address;
        Some(Output::Dial { connection, address })
    }

    /// Makes one record, or the channel's own bytes, for one connection.
    #[inline(never)]
    fn transmit(&mut self, env: &mut Env<'_, P>, index: usize, buf: &mut [u8]) -> Turn {
        let now = self.now;
        let pieces_wait = self.pieces_wait(index);
        let Some(live) = self.live_mut(index) else {
            return Turn::Nothing;
        };
        let room = live.room.min(buf.len());
        if let Some(closing) = live.closing {
            let mute = closing.mute || closing.until <= now;
            if !closing.goodbye && !live.channel.wants_write() && !pieces_wait || mute {
                return Turn::Over(closing.reason);
            }
        } else if live.stage == Stage::Dialing {
            return Turn::Nothing;
        }
        if live.channel.wants_write() {
            if room < WRITE_ROOM_MIN {
                return Turn::Nothing;
            }
            let Some(place) = buf.get_mut(..room) else {
                return Turn::Nothing;
            };
            let written = self.with_channel(env, index, |live, lent| live.channel.write(lent, place));
            return match written {
                Some(Ok(0)) | None => self.over_or_nothing(index),
                Some(Ok(len)) => {
                    // A failure after the first bytes shows only here.
                    if let Some(error) = self.live(index).and_then(|live| live.channel.error()) {
                        self.end_connection(env, index, CloseReason::Channel(error));
                    }
                    // The client's side is established by what it writes.
                    self.check_established(env, index);
                    Turn::Bytes(len)
                }
                Some(Err(error)) => {
                    self.end_connection(env, index, CloseReason::Channel(error));
                    Turn::Nothing
                }
            };
        }
        if room < RECORD_MIN || !matches!(live.stage, Stage::Hello | Stage::Online | Stage::Pairing) {
            return Turn::Nothing;
        }
        let payload = room
            .saturating_sub(HEAD_ROOM)
            .saturating_sub(TAIL_ROOM)
            .min(live.channel.payload_len_max());
        let pairing = live.is_pairing();
        if pieces_wait {
            let len = self.next_piece(index, buf, payload);
            return if pairing {
                self.pairing_turn(env, index, buf, len, None)
            } else {
                self.seal(env, index, buf, len)
            };
        }
        let end = self
            .said_at_once(index)
            .unwrap_or(payload)
            .saturating_add(HEAD_ROOM);
        let Some(place) = buf.get_mut(HEAD_ROOM..end) else {
            return Turn::Nothing;
        };
        let mut to = Writer::new(place);
        if pairing {
            let Ok(said) = self.say_of_pairing(env, index, &mut to) else {
                return Turn::Nothing;
            };
            let len = to.len();
            let len = self.keep_pieces(index, buf, len, payload);
            return self.pairing_turn(env, index, buf, len, Some(said));
        }
        let mut said = 0_u64;
        // Full means that the rest is said in the next record.
        if self.say_of_connection(env, index, &mut to, &mut said).is_ok()
            && self.say_of_certificates(env, index, &mut to, &mut said).is_ok()
            && self.live(index).is_some_and(super::slot::Connection::is_online)
            && self.say_of_sessions(env, index, &mut to, &mut said).is_ok()
            && self.say_of_witnessed(index, &mut to, &mut said).is_ok()
            && to.is_empty()
        {
            self.say_data(env, index, &mut to, &mut said);
        }
        let len = to.len();
        if len == 0 {
            return Turn::Nothing;
        }
        if let Some(live) = self.live_mut(index) {
            live.messages_sent = live.messages_sent.saturating_add(said);
        }
        let len = self.keep_pieces(index, buf, len, payload);
        self.seal(env, index, buf, len)
    }

    /// Seals a record of messages, or of a piece of them.
    #[inline(never)]
    fn seal(&mut self, env: &mut Env<'_, P>, index: usize, buf: &mut [u8], len: usize) -> Turn {
        let pieces_wait = self.pieces_wait(index);
        let Some(live) = self.live_mut(index) else {
            return Turn::Nothing;
        };
        match live.channel.seal(buf, len) {
            Ok(sealed) => {
                if live.closing.is_some_and(|closing| !closing.goodbye) && !pieces_wait {
                    // GOODBYE is in the record; a closed channel would not have sealed it.
                    live.channel.close();
                }
                Turn::Bytes(sealed)
            }
            Err(_) => {
                self.drop_pieces(index);
                let Some(live) = self.live_mut(index) else {
                    return Turn::Nothing;
                };
                // What was said is lost, and so is the binding: it is all said again on the next one.
                let error = live
                    .channel
                    .error()
                    .unwrap_or(crate::channel::ChannelError::State);
                let was_closing = live.closing.is_some();
                self.end_connection(env, index, CloseReason::Channel(error));
                if was_closing {
                    // The channel was closed before all was out: nothing else is to come.
                    return self.over_or_nothing(index);
                }
                Turn::Nothing
            }
        }
    }

    /// The shortest buffer that everything that may have to be said fits in.
    const fn send_len_min(&self) -> usize {
        let mut least = SEND_LEN_MIN;
        if PARTNER && least < STORED_LEN_MAX {
            least = STORED_LEN_MAX;
        }
        if self.pairing.is_some() && least < PAIRING_LEN_MIN {
            least = PAIRING_LEN_MIN;
        }
        least
    }

    /// Seals what a pairing has said.
    fn pairing_turn(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        buf: &mut [u8],
        len: usize,
        said: Option<Said>,
    ) -> Turn {
        if len == 0 {
            return self.over_or_nothing(index);
        }
        let Some(live) = self.live_mut(index) else {
            return Turn::Nothing;
        };
        if said.is_some() {
            live.messages_sent = live.messages_sent.saturating_add(1);
        }
        match live.channel.seal(buf, len) {
            Ok(sealed) => {
                self.pairing_piece_said(env, index, said);
                Turn::Bytes(sealed)
            }
            Err(_) => {
                self.drop_pieces(index);
                let Some(live) = self.live_mut(index) else {
                    return Turn::Nothing;
                };
                let error = live
                    .channel
                    .error()
                    .unwrap_or(crate::channel::ChannelError::State);
                self.end_connection(env, index, CloseReason::Channel(error));
                Turn::Nothing
            }
        }
    }

    fn over_or_nothing(&self, index: usize) -> Turn {
        match self.live(index).and_then(|live| live.closing) {
            Some(closing) => Turn::Over(closing.reason),
            None => Turn::Nothing,
        }
    }

    /// What is said of the connection itself: HELLO, GOODBYE, USE, answers, ping.
    #[inline(never)]
    fn say_of_connection(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        to: &mut Writer<'_>,
        said: &mut u64,
    ) -> Result<(), Full> {
        let now = self.now;
        let (config, clock) = (self.config, self.clock);
        let Some(live) = self.live_mut(index) else {
            return Ok(());
        };
        let mut say = |to: &mut Writer<'_>, message: Message<'_>| {
            message.encode(to)?;
            *said = said.saturating_add(1);
            Ok::<(), Full>(())
        };
        if let Some(closing) = &mut live.closing {
            if closing.goodbye {
                let number = closing.reason.number();
                say(to, Goodbye { number }.into())?;
                closing.goodbye = false;
            }
            return Ok(());
        }
        if !live.hello_said {
            let hello = Hello {
                version_min: VERSION,
                version_max: VERSION,
                capabilities: SUCCESSION,
                instance: config.instance,
                boot: config.boot,
                probe: live.probe,
                name: config.name,
            };
            say(to, hello.into())?;
            live.hello_said = true;
        }
        if live.stage != Stage::Online {
            return Ok(());
        }
        if live.use_due && live.used != UseNumber::NONE {
            say(to, Use { number: live.used }.into())?;
            live.use_due = false;
        }
        while let Some(reply) = live.replies.front() {
            let message: Option<Message<'_>> = match *reply {
                Reply::None(guid) => Some(NoSession { guid }.into()),
                Reply::Tombstone(_) if !PARTNER => None,
                Reply::Tombstone(guid) => {
                    let mut place = [0; STORED_LEN_MAX];
                    env.storage
                        .ended(guid, &mut place)
                        .and_then(|len| place.get(..len))
                        .and_then(|bytes| Stored::decode(bytes).ok())
                        .map(|stored| {
                            Tombstone {
                                guid,
                                record: stored.record,
                            }
                            .into()
                        })
                }
                Reply::StartRefused(guid, error) => Some(
                    StartRefused {
                        guid,
                        number: error.number,
                        reason: error.reason.code(),
                    }
                    .into(),
                ),
                Reply::Refusal(guid, kind, error) => Some(
                    Refusal {
                        guid,
                        kind,
                        number: error.number,
                        reason: error.reason.code(),
                    }
                    .into(),
                ),
                Reply::Denial(guid, ask) => Some(
                    Denial {
                        guid,
                        ask,
                        record: crate::session::decide::witness::Keeping::Blank.shown(),
                    }
                    .into(),
                ),
                Reply::Certificate(number, error) => Some(
                    CertificateAnswer {
                        number,
                        message: error.map_or(0, |error| error.number),
                        reason: error.map_or(0, |error| error.reason.code()),
                    }
                    .into(),
                ),
            };
            if let Some(message) = message {
                say(to, message)?;
            }
            live.replies.pop_front();
        }
        if live.next_ping <= now {
            let age = env.storage.progress_age().as_micros().checked_div(1_000);
            let progress_age = age.and_then(|ms| u32::try_from(ms).ok()).unwrap_or(u32::MAX);
            say(to, Ping { progress_age }.into())?;
            live.next_ping = now.after(config.limits.ping);
        }
        if clock
            && live.next_time <= now
            && let Ok(unix) = u64::try_from(env.unix.0)
        {
            say(to, Time { unix }.into())?;
            live.next_time = now.after(TIME_EVERY);
        }
        Ok(())
    }

    /// What sessions have to say on this connection before any log.
    fn say_of_sessions(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        to: &mut Writer<'_>,
        said: &mut u64,
    ) -> Result<(), Full> {
        let link = self.id(index).as_u64();
        for at in 0..self.session_count() {
            if self.session(at).is_none_or(|session| !session.speaks_on(link)) {
                continue;
            }
            if self.session(at).is_some_and(|session| session.registers_on(link))
                && let Ok(identity) = env.directory.identity()
            {
                let key = identity.signing_key.public_point();
                if let Some(session) = self.sessions.get_mut(at).and_then(|slot| slot.0.as_mut()) {
                    session.own_key = key;
                }
            }
            self.with_session(env, at, |session, ctx| session.say_control(ctx, link, to, said))
                .unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Pieces of logs in turns; of seeds, one, when no log has any.
    fn say_data(&mut self, env: &mut Env<'_, P>, index: usize, to: &mut Writer<'_>, said: &mut u64) {
        let link = self.id(index).as_u64();
        let count = self.session_count();
        let Some(turn) = self.live(index).map(|live| live.log_turn) else {
            return;
        };
        let after = |turn: usize, step: usize| {
            turn.saturating_add(1)
                .saturating_add(step)
                .checked_rem(count)
                .unwrap_or(0)
        };
        let mut last = turn;
        let mut idle = 0_usize;
        let mut next = after(turn, 0);
        while idle < count {
            let spoke = self
                .session(next)
                .is_some_and(|session| session.link() == Some(link))
                && self
                    .with_session(env, next, |session, ctx| session.say_log(ctx, link, to))
                    .unwrap_or(false);
            if spoke {
                *said = said.saturating_add(1);
                last = next;
                idle = 0;
            } else {
                idle = idle.saturating_add(1);
            }
            next = after(next, 0);
        }
        if let Some(live) = self.live_mut(index) {
            live.log_turn = last;
        }
        if !to.is_empty() {
            return;
        }
        let Some(turn) = self.live(index).map(|live| live.seed_turn) else {
            return;
        };
        for step in 0..count {
            let at = after(turn, step);
            let spoke = self
                .session(at)
                .is_some_and(|session| session.link() == Some(link))
                && self
                    .with_session(env, at, |session, ctx| session.say_seed(ctx, link, to))
                    .unwrap_or(false);
            if spoke {
                *said = said.saturating_add(1);
                if let Some(live) = self.live_mut(index) {
                    live.seed_turn = at;
                }
                return;
            }
        }
    }

    /// The earliest of all instants at which something is due.
    #[inline(never)]
    fn next_wake(&self) -> Option<Instant> {
        let connections = (0..self.connections.len()).filter_map(|index| self.connection_wake(index));
        let sessions = self
            .sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .flat_map(|session| {
                [
                    session.wake(self.now),
                    self.redial_wake(session),
                    self.tie_redial_wake(session),
                    self.silence_wake(session),
                    self.tie_silence_wake(session),
                ]
            })
            .flatten();
        connections.chain(sessions).min()
    }

    fn tie_redial_wake(&self, session: &crate::session::Session) -> Option<Instant> {
        self.running.then(|| self.tie_dials_at(session)).flatten()
    }

    fn redial_wake(&self, session: &crate::session::Session) -> Option<Instant> {
        self.running.then(|| self.dials_at(session)).flatten()
    }
}
