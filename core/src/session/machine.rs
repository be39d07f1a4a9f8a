//! One mirroring session of this instance: what it holds, durably and for the moment.
//!
//! The machine is split by what it does: [`super::start`] begins it (R0), [`super::binding`] ties it to a connection (R2),
//! [`super::principal`] and [`super::mirror`] move the log, [`super::ending`] ends it, [`super::speak`] says what is to be said.
//! It is driven by the endpoint, which has checked who speaks before it calls (R11).

use super::binding::Binding;
use super::change::{Change, ShownAgain};
use super::command::{Safety, StartAsPrincipal, WaitAsMirror};
use super::decide;
use super::event::{Reason, RoleChange, SessionError, SessionEvent, SessionState, WitnessState};
use super::failover::Failing;
use super::hearing::Rewinding;
use super::kept::Kept;
use super::mirror::MirrorSide;
use super::principal::PrincipalSide;
use super::quorum::{Due, Quorum};
use super::silence::Silence;
use super::start::{Answering, Starting};
use super::storage::{DatabaseId, FoundLog, Storage};
use super::stored::{Stored, StoredPhase};
use super::tie::Tie;
use super::view::{Phase, Role, SeedProgress, SessionView, WitnessView};
use crate::crypto::POINT_LEN;
use crate::message::codec::Properties;
use crate::message::{
    FamilyGuid, InstanceId, InstanceName, LogEnd, Position, Record, SessionGuid, Text, UseNumber,
};
use crate::time::{Duration, Instant};

/// After a restart the partner is waited for a little longer than after a lost connection: it may be starting too.
const RESTART: Duration = Duration::from_secs(2);

/// A connection by its number in the endpoint.
pub(crate) type Link = u64;

/// Who is at the other end: the login that the channel authenticated, and the instance id that was told under it. Only the
/// two together name a partner (R11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) login: u32,
    pub(crate) instance: InstanceId,
}

/// What the endpoint lends to a step of a session.
pub(crate) struct Ctx<'c> {
    pub(crate) now: Instant,
    pub(crate) own: InstanceId,
    /// Bytes of credit that a hello gives.
    pub(crate) credit: u32,
    pub(crate) storage: &'c mut dyn Storage,
    pub(crate) events: &'c mut dyn FnMut(SessionEvent),
}

/// A mirroring session, or a mirror that waits for one.
pub(crate) struct Session {
    pub(crate) kept: Kept,
    /// The end of the own log: what was told on a principal, what is hardened on a mirror.
    pub(crate) end: LogEnd,
    pub(crate) side: Side,
    /// Principal: the START under way.
    pub(crate) starting: Option<Starting>,
    /// Mirror: the START being answered.
    pub(crate) answering: Option<Answering>,
    /// Where the START's acceptance is to be sent, once it is durable.
    pub(crate) accept_on: Option<Link>,
    pub(crate) binding: Option<Binding>,
    /// The highest USE of the partner's connections: older ones are unbound for ever.
    pub(crate) highest_use: UseNumber,
    pub(crate) dial: Redial,
    /// It has ended, durably or about to be.
    pub(crate) over: Option<super::ending::Over>,
    pub(crate) partner_name: InstanceName,
    pub(crate) shown: SessionState,
    pub(crate) trouble: Option<SessionError>,
    /// Nothing was heard for the session's time-out, or the partner's storage stands still (R9).
    pub(crate) silence: Silence,
    /// The stranger who was reported last, so that a flood makes one event.
    pub(crate) reported: Option<Peer>,
    /// SET PARTNER was answered.
    announced: bool,
    /// The slot may be used again.
    pub(crate) done: bool,
    /// Who holds the record, as far as this run knows.
    pub(crate) q: Quorum,
    /// What is to be said to the other partner.
    pub(crate) due: Due,
    /// The witness.
    pub(crate) tie: Tie,
    /// A witness that was replaced, and is to hear it.
    pub(crate) retired: Option<Tie>,
    /// A change of witness under way.
    pub(crate) change: Option<Change>,
    /// A blank witness's registration under way.
    pub(crate) shown_again: ShownAgain,
    /// An operator waits to hear of a changed witness.
    pub(crate) witness_told: bool,
    pub(crate) witness_shown: WitnessState,
    /// A FAILOVER under way.
    pub(crate) failing: Option<Failing>,
    /// What this mirror has to undo.
    pub(crate) rewinding: Option<Rewinding>,
    /// Numbers of requests.
    pub(crate) requests: u64,
    /// The own public key, and the partner's, as they are registered at a witness.
    pub(crate) own_key: [u8; POINT_LEN],
    pub(crate) partner_key: [u8; POINT_LEN],
}

/// What differs by role.
#[derive(Debug)]
pub(crate) enum Side {
    Principal(PrincipalSide),
    Mirror(MirrorSide),
}

/// When the partner's address is dialed again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Redial {
    pub(crate) at: Instant,
    pub(crate) pause: Duration,
}

impl Redial {
    /// A dial failed: later, and later each time.
    pub(crate) fn failed(&mut self, now: Instant, first: Duration, last: Duration) {
        let doubled = Duration::from_micros(self.pause.as_micros().saturating_mul(2));
        // Not `clamp`, which panics where an operator has set the last one below the first.
        self.pause = doubled.max(first).min(last);
        self.at = now.after(self.pause);
    }

    /// A connection stood: the next dial is made at once.
    pub(crate) const fn succeeded(&mut self) {
        self.pause = Duration::ZERO;
        self.at = Instant::ZERO;
    }
}

impl Session {
    fn new(kept: Kept, end: LogEnd, side: Side) -> Self {
        Self {
            kept,
            end,
            side,
            starting: None,
            answering: None,
            accept_on: None,
            binding: None,
            highest_use: UseNumber::NONE,
            dial: Redial::default(),
            over: None,
            partner_name: Text::EMPTY,
            shown: SessionState::Disconnected,
            trouble: None,
            silence: Silence::HEARD,
            reported: None,
            announced: false,
            done: false,
            q: Quorum::default(),
            due: Due::default(),
            tie: Tie::default(),
            retired: None,
            change: None,
            shown_again: ShownAgain::No,
            witness_told: false,
            witness_shown: WitnessState::Unknown,
            failing: None,
            rewinding: None,
            requests: 0,
            own_key: [0; POINT_LEN],
            partner_key: [0; POINT_LEN],
        }
    }

    /// SET PARTNER on the future mirror.
    pub(crate) fn wait(command: &WaitAsMirror) -> Result<Self, SessionError> {
        if command.partner.is_empty() {
            return Err(SessionError::new(1449, Reason::BadAddress));
        }
        let (family, end, timelines) = command.copy.map_or_else(
            || (FamilyGuid::default(), LogEnd::START, Default::default()),
            |copy| (copy.family, copy.end, copy.timelines),
        );
        let stored = Stored {
            wants_seed: command.copy.is_none(),
            timelines,
            ..blank(
                command.database,
                Role::Mirror,
                StoredPhase::Waiting,
                family,
                command.partner,
                command.name,
            )
        };
        Ok(Self::new(
            Kept::new(stored),
            end,
            Side::Mirror(MirrorSide::new(end)),
        ))
    }

    /// SET PARTNER on the future principal.
    pub(crate) fn start(
        command: &StartAsPrincipal,
        guid: SessionGuid,
        own: InstanceId,
        deadline: Instant,
    ) -> Result<Self, SessionError> {
        if command.partner.is_empty() {
            return Err(SessionError::new(1449, Reason::BadAddress));
        }
        let stored = Stored {
            guid,
            record: Record::first(own),
            timelines: command.timelines,
            ..blank(
                command.database,
                Role::Principal,
                StoredPhase::Established,
                command.family,
                command.partner,
                command.name,
            )
        };
        let mut session = Self::new(
            Kept::volatile(stored),
            command.end,
            Side::Principal(PrincipalSide::new(true)),
        );
        session.starting = Some(Starting::new(deadline));
        Ok(session)
    }

    /// A session that was read from the storage, with the own log as the storage found it. A principal's commits are in its database as
    /// well, and its log is made anew from that, unless it yields before; what a mirror's log loses is nowhere else here.
    pub(crate) fn restore(me: InstanceId, stored: Stored, log: FoundLog, now: Instant) -> Self {
        let FoundLog { end, lost } = log;
        let side = match stored.role {
            Role::Principal => {
                let mut side = PrincipalSide::new(false);
                side.lost = lost;
                side.settle_by = now.after(Duration::from_secs(u64::from(stored.properties.timeout)));
                Side::Principal(side)
            }
            Role::Mirror => Side::Mirror(MirrorSide::new(end)),
        };
        let incomplete = decide::incomplete::is_incomplete(&decide::incomplete::Start {
            me,
            own: stored.record,
            partner_durability: false,
            machine_restarted: false,
            clean_stop: false,
            lost: lost && stored.role == Role::Mirror && stored.phase == StoredPhase::Established,
        });
        let mut session = Self::new(Kept::read(stored), end, side);
        // Durable before anything is said: nothing that states the record leaves while it is being written.
        session.kept.change(|stored| stored.incomplete |= incomplete);
        session.tie = Tie::new(stored.witness_address, stored.witness_login, stored.witness);
        session.q.lost_at = Some(now.after(RESTART));
        session.q.highest = stored.record.role_sequence;
        session
    }

    pub(crate) const fn database(&self) -> DatabaseId {
        self.kept.get().database
    }

    pub(crate) const fn role(&self) -> Role {
        self.kept.get().role
    }

    pub(crate) const fn guid(&self) -> SessionGuid {
        self.kept.get().guid
    }

    pub(crate) const fn role_sequence(&self) -> u32 {
        self.kept.get().record.role_sequence
    }

    /// The partner that this instance itself authenticated at the configured address.
    pub(crate) const fn partner(&self) -> Peer {
        Peer {
            login: self.kept.get().partner_login,
            instance: self.kept.get().partner_instance,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.kept.get().properties.timeout))
    }

    /// Whether it waits for its principal, with nothing begun.
    pub(crate) fn is_waiting(&self) -> bool {
        self.kept.get().phase == StoredPhase::Waiting && self.over.is_none()
    }

    /// Whether both hold it, as far as this member knows.
    pub(crate) fn is_established(&self) -> bool {
        self.kept.get().phase == StoredPhase::Established
            && self.starting.is_none()
            && self.over.is_none()
            && !self.done
    }

    pub(crate) const fn phase(&self) -> Phase {
        if self.over.is_some() {
            return Phase::Ending;
        }
        if self.starting.is_some() {
            return Phase::Starting;
        }
        match self.kept.get().phase {
            StoredPhase::Waiting => Phase::Waiting,
            StoredPhase::Established => Phase::Established,
            StoredPhase::Ended => Phase::Ending,
        }
    }

    /// The state that the view shows, as everything stands.
    pub(crate) fn state(&self) -> SessionState {
        if !self.is_established() {
            return SessionState::Disconnected;
        }
        let gives = self.role() == Role::Mirror && self.q.told_role == Some(RoleChange::Failover);
        if self.failing.is_some() || gives {
            return SessionState::PendingFailover;
        }
        if self.kept.get().properties.suspended {
            return SessionState::Suspended;
        }
        if self.silence.is_silent()
            || !self.is_bound()
            || self.trouble.is_some_and(|t| t.reason == Reason::RecordConflict)
        {
            return SessionState::Disconnected;
        }
        // With SAFETY FULL it is the mirror's SYNC that makes the promise (R1).
        let promised = !self.kept.get().properties.safety_full
            || self.record().sync == crate::message::Sync::Sync && self.q.by_mirror;
        let level = match &self.side {
            Side::Principal(side) => side.level() && promised,
            Side::Mirror(side) => side.level(),
        };
        if level {
            SessionState::Synchronized
        } else {
            SessionState::Synchronizing
        }
    }

    /// Tells a change of the state that is shown. Called after every step.
    pub(crate) fn show(&mut self, ctx: &mut Ctx<'_>) {
        let state = self.state();
        if state != self.shown {
            self.shown = state;
            if let Side::Principal(side) = &mut self.side {
                side.status_due = true;
            }
            if self.is_established() {
                (ctx.events)(SessionEvent::State(state));
            }
        }
    }

    /// The storage has confirmed `ticket`.
    pub(crate) fn persisted(&mut self, ctx: &mut Ctx<'_>, ticket: u64) {
        if !self.kept.confirmed(ticket) {
            return;
        }
        if self.over.is_some() {
            self.end_persisted(ctx);
            return;
        }
        let guid = self.guid();
        if self.starting.is_some_and(|starting| starting.accepted) {
            self.starting = None;
            // The database was being served, and goes on.
            self.q.serves = true;
            (ctx.events)(SessionEvent::StartedAsPrincipal { guid });
        } else if self.answering.is_some_and(|answering| answering.verified) {
            self.answering = None;
            (ctx.events)(SessionEvent::StartedAsMirror { guid });
        } else if !self.announced && self.is_waiting() {
            (ctx.events)(SessionEvent::Waiting);
        }
        self.announced = true;
    }

    /// What is due because time has passed. Whether the partner of a failed start is to hear `none`.
    pub(crate) fn tick(&mut self, ctx: &mut Ctx<'_>) -> bool {
        if let Some(starting) = &mut self.starting
            && !starting.accepted
        {
            if starting.deadline <= ctx.now {
                self.start_failed(ctx, SessionError::new(1421, Reason::NoAnswer));
                return true;
            }
            if starting.again_at.is_some_and(|at| at <= ctx.now) {
                starting.again_at = None;
                starting.send_on = self.binding.map(|binding| binding.link).or(starting.met_on);
            }
        }
        self.principal_tick(ctx);
        self.mirror_tick(ctx);
        false
    }

    /// When [`Session::tick`] has something to do.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let starting = self.starting.filter(|starting| !starting.accepted);
        [
            starting.map(|starting| starting.deadline),
            starting.and_then(|starting| starting.again_at),
            self.principal_wake(now),
            self.mirror_wake(),
            self.drive_wake(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// One row of the view.
    pub(crate) fn view(&self) -> SessionView {
        let stored = self.kept.get();
        let met = stored.partner_instance != InstanceId::default();
        SessionView {
            database: stored.database,
            guid: (stored.guid != SessionGuid::default()).then_some(stored.guid),
            family: (stored.family != FamilyGuid::default()).then_some(stored.family),
            phase: self.phase(),
            role: stored.role,
            state: self.state(),
            trouble: self.trouble.or_else(|| {
                // What outlives a restart, the operator has to see after it too.
                let reason = match (stored.clash, stored.incomplete) {
                    (true, _) => Some(Reason::Clash),
                    (false, incomplete) => incomplete.then_some(Reason::Incomplete),
                };
                reason.map(|reason| SessionError::new(1455, reason))
            }),
            record: stored.record,
            safety: if stored.properties.safety_full {
                Safety::Full
            } else {
                Safety::Off
            },
            safety_sequence: stored.properties.safety_sequence,
            suspended: stored.properties.suspended,
            partner: stored.partner,
            partner_instance_name: self.partner_name,
            partner_instance: met.then_some(stored.partner_instance),
            partner_login: met.then_some(stored.partner_login),
            timeout: stored.properties.timeout,
            end: self.end,
            hardened_on_both: match &self.side {
                Side::Principal(side) => side.acked,
                Side::Mirror(_) => self.end.position,
            },
            failover: stored.failover,
            serves: self.q.serves && self.q.fence.is_none() && self.failing.is_none(),
            acknowledged: self.acknowledged_to(),
            incomplete: stored.incomplete,
            may_take_over: self.q.may_take_over,
            witness: self.has_witness().then_some(WitnessView {
                address: stored.witness_address,
                instance: stored.witness,
                state: self.tie.state(),
                pending: stored.witness_pending,
            }),
            streamed: match &self.side {
                Side::Principal(side) => stored.timelines.locate(side.out.sent).unwrap_or(side.acked),
                Side::Mirror(side) => side.inflow.received,
            },
            seed: match &self.side {
                Side::Principal(side) => side.seed_progress(),
                Side::Mirror(side) => side.seed.map(|seed| SeedProgress {
                    at: seed.info.at.position,
                    done: seed.offset,
                    total: seed.info.bytes,
                }),
            },
            bound: self.is_bound(),
        }
    }
}

fn blank(
    database: DatabaseId,
    role: Role,
    phase: StoredPhase,
    family: FamilyGuid,
    partner: crate::message::Address,
    name: crate::message::DatabaseName,
) -> Stored {
    Stored {
        database,
        phase,
        role,
        guid: SessionGuid::default(),
        family,
        record: Record::default(),
        ask: 0,
        ask_open: false,
        ask_force: false,
        clash: false,
        incomplete: false,
        wants_seed: false,
        touched: false,
        partner_login: 0,
        partner_instance: InstanceId::default(),
        witness: InstanceId::default(),
        witness_role_sequence: 0,
        witness_sync_sequence: 0,
        witness_pending: false,
        witness_address: crate::message::Address::EMPTY,
        witness_login: 0,
        failover: Position::START,
        properties: Properties::default(),
        timelines: crate::message::Timelines::EMPTY,
        partner,
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::Redial;
    use crate::time::{Duration, Instant};

    /// An operator's limits may be the wrong way round: that was a panic at the first dial that failed.
    #[test]
    fn a_last_pause_below_the_first_is_the_pause() {
        let mut redial = Redial::default();
        let (first, last) = (Duration::from_secs(9), Duration::from_secs(3));
        for _ in 0..3 {
            redial.failed(Instant::ZERO, first, last);
            assert_eq!(redial.pause, last);
        }
    }
}
