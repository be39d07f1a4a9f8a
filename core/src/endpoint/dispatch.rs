//! Who may say what (`docs/safety.md` R11): every message about a session is checked against its partner, its role and its
//! binding before the session hears it. What fails is refused with 1402, told, and changes nothing.

use super::close::CloseReason;
use super::output::{ConnectionEvent, Event};
use super::slot::{Reply, Stage};
use super::{Endpoint, Env, Role as EndpointRole};
use crate::PARTNER;
use crate::crypto::Provider;
use crate::message::SessionGuid;
use crate::message::codec::{Hello, Message, Propose, Start, VERSION};
use crate::session::decide::binding;
use crate::session::{Part, Peer, Reason, Role, STORED_LEN_MAX, SessionError, SessionEvent, Stored};
use crate::time::{Duration, UnixSeconds};

/// So many refused messages on one connection end it.
const REFUSED_MAX: u32 = 256;

/// A peer's time is listened to so often on one connection.
const TIME_HEARD_EVERY: Duration = Duration::from_secs(3_600);

/// What a session did with a message.
enum Done {
    /// Taken.
    Taken,
    /// Refused, with what the sender is told.
    Refused(SessionError),
    /// The sender broke the protocol.
    Broken,
    /// A START that did not work out: the partner is to hear `none`.
    SayNone,
}

impl<P: Provider> Endpoint<'_, P> {
    /// One message from the peer on `index`.
    #[inline(never)]
    pub(super) fn message(&mut self, env: &mut Env<'_, P>, index: usize, message: &Message<'_>) {
        let Some(live) = self.live(index) else { return };
        let bad = CloseReason::BadMessage { kind: message.kind() };
        match (live.stage, message) {
            (Stage::Hello, Message::Hello(hello)) => self.hello(env, index, hello),
            (Stage::Dialing | Stage::Handshake | Stage::Hello | Stage::Pairing, _)
            | (Stage::Online, Message::Hello(_)) => {
                self.end_connection(env, index, bad);
            }
            (Stage::Online, Message::Use(message)) => self.used(env, index, message.number),
            (Stage::Online, Message::Ping(ping)) => {
                let now = self.now;
                if let Some(live) = self.live_mut(index) {
                    live.peer_age = Duration::from_millis(u64::from(ping.progress_age));
                    live.peer_age_at = now;
                }
            }
            (Stage::Online, Message::Goodbye(goodbye)) => {
                if let Some(live) = self.live_mut(index) {
                    live.said_goodbye = Some(goodbye.number);
                }
            }
            (Stage::Online, Message::Time(time)) => self.time_told(index, time.unix),
            (Stage::Online, Message::Successor(offer)) => self.successor_offered(env, index, offer),
            (Stage::Online, Message::Retired(retired)) => self.certificate_retired(env, index, retired),
            (Stage::Online, Message::CertificateAnswer(answer)) => {
                self.certificate_answered(env, index, answer);
            }
            (Stage::Online, _) => {
                if let (Some(guid), Some(peer)) = (message.guid(), live.peer()) {
                    self.about_session(env, index, peer, guid, message);
                }
            }
        }
    }

    /// The peer tells the time. More often than it has to is not listened to, so that it crowds nothing else out.
    fn time_told(&mut self, index: usize, unix: u64) {
        let now = self.now;
        let Some(live) = self.live_mut(index) else { return };
        let Ok(unix) = i64::try_from(unix) else { return };
        if live.time_heard.is_none_or(|at| now >= at.after(TIME_HEARD_EVERY)) {
            live.time_heard = Some(now);
            let unix = UnixSeconds(unix);
            self.tell(index, ConnectionEvent::TimeTold { unix });
        }
    }

    /// The peer tells who it is.
    fn hello(&mut self, env: &mut Env<'_, P>, index: usize, hello: &Hello) {
        if hello.version_min > VERSION || hello.version_max < VERSION {
            self.end_connection(env, index, CloseReason::NoCommonVersion);
            return;
        }
        let now = self.now;
        self.order = self.order.saturating_add(1);
        let order = self.order;
        let Some(live) = self.live_mut(index) else { return };
        live.stage = Stage::Online;
        live.instance = hello.instance;
        live.boot = hello.boot;
        live.capabilities = hello.capabilities;
        live.name = hello.name;
        live.probe |= hello.probe;
        live.order = order;
        live.online_since = Some(now);
        live.next_ping = now;
        self.tell(
            index,
            ConnectionEvent::Online {
                instance: hello.instance,
            },
        );
        self.came_online(env, index);
    }

    /// A message that names a session.
    #[inline(never)]
    fn about_session(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        peer: Peer,
        guid: SessionGuid,
        message: &Message<'_>,
    ) {
        let found = self.sessions.iter().position(|slot| {
            slot.0
                .as_ref()
                .is_some_and(|session| session.guid() == guid && guid != SessionGuid::default())
        });
        let link = self.id(index).as_u64();
        let Some(at) = found else {
            self.about_unknown(env, index, peer, guid, message);
            return;
        };
        let Some(session) = self.session(at) else { return };
        let part = session.part_of(peer);
        let authority = match part {
            Some(Part::Partner) => true,
            Some(Part::Witness | Part::Target) => witness_may_say(message),
            None => false,
        };
        // What comes late, under a role that has changed meanwhile, is no stranger's.
        let stale = part == Some(Part::Partner)
            && role_sequence(message).is_some_and(|number| number != session.role_sequence());
        let in_role = part != Some(Part::Partner) || stale || may_say(message, session.role());
        if !authority || !in_role {
            let database = session.database();
            self.events.push(Event::Session {
                database,
                event: SessionEvent::Stranger {
                    login: peer.login,
                    instance: peer.instance,
                    kind: message.kind(),
                },
            });
            let error = SessionError::new(1402, Reason::NoAuthority);
            self.refuse(env, index, guid, message, error);
            return;
        }
        if session.over.is_some() {
            if session.over.is_some_and(|over| over.may_tell()) {
                return; // The tombstone is on its way to be said.
            }
            if matches!(message, Message::SessionHello(_)) {
                self.reply(link, Reply::Tombstone(guid));
            }
            return;
        }
        let unbound_too = matches!(
            message,
            Message::SessionHello(_)
                | Message::None(_)
                | Message::Tombstone(_)
                | Message::Start(_)
                | Message::StartAccepted(_)
                | Message::StartRefused(_)
                | Message::HelloAgain(_)
        );
        let here = session.link() == Some(link);
        let kind = if unbound_too || part != Some(Part::Partner) {
            binding::Kind::Opening
        } else {
            binding::Kind::Bound
        };
        if !binding::accepts(kind, here && session.is_bound()) {
            return;
        }
        if let Some(part @ (Part::Witness | Part::Target)) = part {
            let session_link = match part {
                Part::Witness => session.tie.link,
                _ => session.change.and_then(|change| change.target.link),
            };
            if session_link == Some(link) {
                self.with_session(env, at, |session, ctx| hear_witness(session, ctx, part, message));
            }
            return;
        }
        if stale {
            let number = role_sequence(message).unwrap_or_default();
            self.with_session(env, at, |session, _| session.stale(number));
            return;
        }
        let done = self.with_session(env, at, |session, ctx| give(session, ctx, link, message));
        match done {
            Some(Done::Refused(error)) => self.refuse(env, index, guid, message, error),
            Some(Done::Broken) => {
                let bad = CloseReason::BadMessage { kind: message.kind() };
                self.end_connection(env, index, bad);
            }
            Some(Done::SayNone) => self.reply(link, Reply::None(guid)),
            Some(Done::Taken) | None => {}
        }
    }

    /// A message about a session that is not held here.
    #[inline(never)]
    fn about_unknown(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        peer: Peer,
        guid: SessionGuid,
        message: &Message<'_>,
    ) {
        if self.about_witnessed(env, index, peer, guid, message) {
            return;
        }
        let link = self.id(index).as_u64();
        if !PARTNER && message.kind() == Start::KIND {
            let error = SessionError::new(1486, Reason::EndpointRole);
            self.reply(link, Reply::StartRefused(guid, error));
            return;
        }
        if let Message::Start(start) = message {
            if let Err(error) = self.start_asked(env, link, peer, start) {
                self.reply(link, Reply::StartRefused(guid, error));
            }
            return;
        }
        match message {
            Message::None(_)
            | Message::Tombstone(_)
            | Message::Refusal(_)
            | Message::StartAccepted(_)
            | Message::StartRefused(_) => {
                if matches!(message, Message::StartAccepted(_)) && !ended_with(env, guid, peer) {
                    // The answer to a START that was given up here meanwhile.
                    self.reply(link, Reply::None(guid));
                }
            }
            Message::SessionHello(_) if ended_with(env, guid, peer) => {
                self.reply(link, Reply::Tombstone(guid));
            }
            Message::SessionHello(_) => self.reply(link, Reply::None(guid)),
            _ if ended_with(env, guid, peer) => {}
            _ => {
                let connection = self.id(index);
                self.events.push(Event::Refused {
                    connection,
                    login: peer.login,
                    instance: peer.instance,
                    guid,
                    kind: message.kind(),
                });
                let error = SessionError::new(1402, Reason::NoAuthority);
                self.refuse(env, index, guid, message, error);
            }
        }
    }

    /// A START for a session that is not held here.
    fn start_asked(
        &mut self,
        env: &mut Env<'_, P>,
        link: u64,
        peer: Peer,
        start: &Start,
    ) -> Result<(), SessionError> {
        if self.role == EndpointRole::Witness {
            return Err(SessionError::new(1486, Reason::EndpointRole));
        }
        let mut place = [0; STORED_LEN_MAX];
        if PARTNER && env.storage.ended(start.guid, &mut place).is_some() {
            return Err(SessionError::new(1443, Reason::Ended));
        }
        let named = self.sessions.iter().position(|slot| {
            slot.0
                .as_ref()
                .is_some_and(|session| session.kept.get().name == start.name)
        });
        let Some(at) = named else {
            let reason = env.directory.not_waiting(start.name.as_str());
            let number = match reason {
                Reason::NoDatabase => 1448,
                Reason::NotRestoring => 1464,
                Reason::NotWaiting => 1416,
                Reason::AlreadyMirrored => 1460,
                _ => 1438,
            };
            return Err(SessionError::new(number, reason));
        };
        let Some(session) = self.session(at) else {
            return Ok(());
        };
        if !session.is_waiting() {
            // One that this same principal has forgotten, or that is just ending: it will have gone soon.
            let stored = session.kept.get();
            let passing = session.over.is_some() || (session.partner() == peer && !stored.touched);
            return Err(if passing && session.role() == Role::Mirror {
                SessionError::new(1404, Reason::Busy)
            } else {
                SessionError::new(1460, Reason::AlreadyMirrored)
            });
        }
        let address = session.kept.get().partner;
        self.with_session(env, at, |session, _| session.start_asked(peer, link, start))
            .unwrap_or(Ok(()))?;
        // An own outbound connection to that address tells who answers there; else it is dialed now.
        let outbound = self
            .connections
            .iter()
            .filter_map(|slot| slot.live.as_ref())
            .filter(|c| !c.accepted && c.is_online() && c.address == address)
            .max_by_key(|c| c.order)
            .and_then(super::slot::Connection::peer);
        if let Some(outbound) = outbound {
            self.answered_back(env, at, outbound);
            self.arbitrate(env, outbound);
        }
        Ok(())
    }

    /// Says no; somebody who does not hear it is shut out.
    #[inline(never)]
    pub(super) fn refuse(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        guid: SessionGuid,
        message: &Message<'_>,
        error: SessionError,
    ) {
        if matches!(message, Message::Refusal(_)) {
            return;
        }
        let link = self.id(index).as_u64();
        self.reply(link, Reply::Refusal(guid, message.kind(), error));
        let Some(live) = self.live_mut(index) else { return };
        live.refused = live.refused.saturating_add(1);
        if live.refused > REFUSED_MAX {
            let bad = CloseReason::BadMessage { kind: message.kind() };
            self.end_connection(env, index, bad);
        }
    }
}

/// Whether the session `guid` ended here, and `peer` was its partner.
fn ended_with<P: Provider>(env: &mut Env<'_, P>, guid: SessionGuid, peer: Peer) -> bool {
    if !PARTNER {
        return false;
    }
    let mut place = [0; STORED_LEN_MAX];
    env.storage
        .ended(guid, &mut place)
        .and_then(|len| place.get(..len))
        .and_then(|bytes| Stored::decode(bytes).ok())
        .is_some_and(|stored| stored.partner_login == peer.login && stored.partner_instance == peer.instance)
}

/// Whether a session's partner may send that kind of message to a member in `role`. What only a witness says, or hears, no
/// partner says.
fn may_say(message: &Message<'_>, role: Role) -> bool {
    match message {
        Message::SessionHello(_)
        | Message::None(_)
        | Message::Tombstone(_)
        | Message::Refusal(_)
        | Message::Credit(_)
        | Message::Propose(_)
        | Message::Confirm(_)
        | Message::HelloAgain(_)
        | Message::NameWitness(_) => true,
        Message::Start(_)
        | Message::Block(_)
        | Message::Status(_)
        | Message::TailRequest(_)
        | Message::SeedBegin(_)
        | Message::Seed(_)
        | Message::SeedEnd(_)
        | Message::SetProperties(_)
        | Message::Attachment(_) => role == Role::Mirror,
        Message::StartAccepted(_)
        | Message::StartRefused(_)
        | Message::Ack(_)
        | Message::Tail(_)
        | Message::SeedRequest(_)
        | Message::AskSuspend(_) => role == Role::Principal,
        Message::Hello(_)
        | Message::Use(_)
        | Message::Ping(_)
        | Message::Goodbye(_)
        | Message::Successor(_)
        | Message::Retired(_)
        | Message::CertificateAnswer(_)
        | Message::Time(_)
        | Message::Ask(_)
        | Message::Grant(_)
        | Message::Denial(_)
        | Message::Register(_)
        | Message::Drop(_)
        | Message::Described(_) => false,
        #[cfg(not(feature = "partner"))]
        Message::OfPartners(_) => false,
    }
}

/// What a witness may say of a session (R11): its record, its answers, and that it holds none.
const fn witness_may_say(message: &Message<'_>) -> bool {
    match message {
        Message::SessionHello(_)
        | Message::HelloAgain(_)
        | Message::None(_)
        | Message::Grant(_)
        | Message::Denial(_)
        | Message::Refusal(_) => true,
        Message::Confirm(confirm) => confirm.answer,
        _ => false,
    }
}

/// Gives a witness's message that passed all checks to its session.
fn hear_witness(
    session: &mut crate::session::Session,
    ctx: &mut crate::session::Ctx<'_>,
    part: Part,
    message: &Message<'_>,
) {
    match message {
        Message::HelloAgain(m) => session.witness_hello_comes_again(part, m.answer),
        Message::SessionHello(m) => session.heard_witness_hello(ctx, part, m),
        Message::None(_) => session.heard_witness_none(ctx, part),
        Message::Confirm(m) => session.witness_confirms(ctx, part, m),
        Message::Refusal(m) => session.refused_by_witness(ctx, m),
        Message::Grant(m) if part == Part::Witness => session.granted(ctx, m),
        Message::Denial(m) if part == Part::Witness => session.denied(ctx, m),
        _ => {}
    }
}

/// The role assignment that a message was sent under, where it says so.
fn role_sequence(message: &Message<'_>) -> Option<u32> {
    Some(match message {
        Message::Block(m) => m.role_sequence,
        Message::Ack(m) => m.role_sequence,
        Message::Credit(m) => m.role_sequence,
        Message::Status(m) => m.role_sequence,
        Message::TailRequest(m) => m.role_sequence,
        Message::Tail(m) => m.role_sequence,
        Message::SeedRequest(m) => m.role_sequence,
        Message::SeedBegin(m) => m.role_sequence,
        Message::Seed(m) => m.role_sequence,
        Message::SeedEnd(m) => m.role_sequence,
        Message::SetProperties(m) => m.role_sequence,
        Message::AskSuspend(m) => m.role_sequence,
        Message::Attachment(m) => m.role_sequence,
        _ => return None,
    })
}

/// Gives a message that passed all checks to its session.
fn give(
    session: &mut crate::session::Session,
    ctx: &mut crate::session::Ctx<'_>,
    link: u64,
    message: &Message<'_>,
) -> Done {
    let obeyed = |result: Result<(), ()>| if result.is_ok() { Done::Taken } else { Done::Broken };
    match message {
        Message::Start(_) => session.accept_on = Some(link),
        Message::StartAccepted(m) => {
            if !session.start_accepted(ctx, m) {
                return Done::SayNone;
            }
        }
        Message::StartRefused(m) => {
            session.start_refused(ctx, SessionError::new(m.number, Reason::from_code(m.reason)));
        }
        Message::SessionHello(m) => session.heard_hello(ctx, link, m),
        Message::None(_) => session.heard_none(ctx),
        Message::Tombstone(m) => session.heard_tombstone(ctx, m),
        Message::Block(m) => return obeyed(session.block_piece(ctx, m)),
        Message::Ack(m) => session.acknowledged(ctx, m),
        Message::Credit(m) => session.credited(m.limit),
        Message::Status(m) => session.status(ctx, m),
        Message::TailRequest(m) => session.tail_asked(ctx, m),
        Message::Tail(m) => return obeyed(session.tail_piece(ctx, m)),
        Message::SeedRequest(_) => session.seed_asked(ctx),
        Message::SeedBegin(m) => session.seed_begin(ctx, m),
        Message::Seed(m) => return obeyed(session.seed_piece(ctx, m)),
        Message::SeedEnd(m) => return obeyed(session.seed_end(ctx, m)),
        Message::SetProperties(m) => session.properties_heard(ctx, m.role_sequence, &m.properties),
        Message::Attachment(m) => ctx.storage.take_attachment(session.database(), m.bytes),
        Message::AskSuspend(m) => {
            if let Err(error) = session.suspend_asked(ctx, m) {
                return Done::Refused(error);
            }
        }
        Message::Refusal(m) => {
            let error = SessionError::new(m.number, Reason::from_code(m.reason));
            if m.kind == Propose::KIND && error.reason == Reason::Incomplete {
                session.declined(ctx);
            }
            if session.role() == Role::Principal {
                session.refused_by_mirror(ctx, m.kind, error);
            } else {
                (ctx.events)(SessionEvent::PartnerRefused(error));
            }
        }
        Message::HelloAgain(m) => session.hello_comes_again(link, m.answer),
        Message::Propose(m) => session.proposed(ctx, m),
        Message::Confirm(m) => session.partner_confirms(ctx, m),
        Message::NameWitness(m) => session.witness_named(ctx, m),
        Message::Hello(_)
        | Message::Use(_)
        | Message::Ping(_)
        | Message::Goodbye(_)
        | Message::Successor(_)
        | Message::Retired(_)
        | Message::CertificateAnswer(_)
        | Message::Time(_)
        | Message::Ask(_)
        | Message::Grant(_)
        | Message::Denial(_)
        | Message::Register(_)
        | Message::Drop(_)
        | Message::Described(_) => return Done::Refused(SessionError::new(1402, Reason::NoAuthority)),
        #[cfg(not(feature = "partner"))]
        Message::OfPartners(_) => return Done::Refused(SessionError::new(1402, Reason::NoAuthority)),
    }
    Done::Taken
}
