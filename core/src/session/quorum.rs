//! What a member knows, while it runs, of who holds its record: learnt over live bindings, forgotten with them
//! (`docs/safety.md` R1, R2). Nothing here is durable, and nothing here decides.

use super::decide::{self, role, takeover};
use super::event::{Fence, RestsOn};
use super::machine::{Ctx, Session, Side};
use crate::message::{InstanceId, Position, Record, Sync};
use crate::time::{Duration, Instant};

/// How long a closed connection may be replaced before its partner counts as lost (R9).
pub(super) const RECONNECT: Duration = Duration::from_millis(500);
/// After a denial the mirror asks again after one ping (R3).
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of the group's record, and how this member stands to its role.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quorum {
    /// The other partner has shown the own record over the live binding.
    pub(crate) by_mirror: bool,
    /// The witness has.
    pub(crate) by_witness: bool,
    /// It holds the role and has opened in this run (R4).
    pub(crate) serves: bool,
    /// It serves, and the host was told to shut writers out meanwhile.
    pub(crate) fence: Option<Fence>,
    /// Since its restart it has recorded UNSYNC, to go on without hearing the mirror.
    pub(crate) unsynced: bool,
    /// The host is beginning a new timeline.
    pub(crate) timeline_asked: bool,
    /// A new timeline was begun in this run, before it served.
    pub(crate) prepared: bool,
    /// The role has just been taken; its new timeline is not begun yet.
    pub(crate) taking: bool,
    /// The host is still shutting out the writers of a role that was yielded: its log may yet grow.
    pub(crate) fencing: bool,
    /// A mirror's log was compared with its owner's in this run, and lies in it.
    pub(crate) follows: bool,
    /// The mirror's hello carried an open ask of this number; 0 when none.
    pub(crate) mirror_ask: u32,
    /// The witness that the mirror names, as heard over this binding.
    pub(crate) mirror_names: Option<decide::witness::Named>,
    /// The partner has answered `none` in this run.
    pub(crate) none_heard: bool,
    /// When the partner counts as lost, its connection being closed (R9).
    pub(crate) lost_at: Option<Instant>,
    /// The volatile flag of R3.
    pub(crate) may_take_over: bool,
    /// The open ask was sent over the present binding to the witness.
    pub(crate) ask_here: bool,
    /// No ask before this instant.
    pub(crate) ask_after: Instant,
    /// FORCE was typed here, and is being answered.
    pub(crate) forcing: bool,
    /// What waiting applications were told.
    pub(crate) acknowledged: Position,
    /// A change of role that is to be told when it is durable.
    pub(crate) told_role: Option<super::event::RoleChange>,
    /// Two owners of one role_sequence; the higher number that either has shown.
    pub(crate) highest: u32,
    /// PARTNER OFF waits for a confirmed UNSYNC.
    pub(crate) ending: bool,
}

/// What is to be said to the other partner, beside its hello. Built when it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    /// The owner's record: persist it.
    pub(crate) record: bool,
    /// The own record, as an answer to that request.
    pub(crate) confirm: Option<u64>,
    /// A proposal, with the end of log that it tells.
    pub(crate) propose: Option<(Record, crate::message::LogEnd)>,
    /// The role that the partner shows is declined: this member has lost hardened blocks (R6).
    pub(crate) decline: bool,
    /// Another hello; `true`: to be answered.
    pub(crate) hello: Option<bool>,
    /// Show your record again (R5), under that request.
    pub(crate) show: Option<u64>,
    /// The witness that the mirror is to name: the target, pending; or the own one, no longer pending.
    pub(crate) name: Option<bool>,
    /// The answer to NAME_WITNESS.
    pub(crate) named: bool,
}

impl Quorum {
    /// What was learnt from the partner over its binding dies with it.
    pub(crate) const fn forget_partner(&mut self) {
        self.by_mirror = false;
        self.mirror_ask = 0;
        self.mirror_names = None;
    }

    /// Another record is in force: nobody has shown it yet.
    pub(crate) const fn forget_confirmations(&mut self) {
        self.by_mirror = false;
        self.by_witness = false;
    }
}

impl Session {
    /// The own record.
    pub(crate) const fn record(&self) -> Record {
        self.kept.get().record
    }

    /// Whether this member is the owner by its record.
    pub(crate) fn owns(&self, me: InstanceId) -> bool {
        self.record().owner == me
    }

    /// The highest ask.
    pub(crate) const fn ask(&self) -> takeover::Ask {
        let stored = self.kept.get();
        takeover::Ask {
            number: stored.ask,
            open: stored.ask_open,
            force: stored.ask_force,
        }
    }

    /// Whether the other partner is lost (R9): silent, or its connection is closed and no other came in time.
    pub(crate) fn partner_lost(&self, now: Instant) -> bool {
        match self.link() {
            Some(_) => self.silence.is_silent(),
            None => self.q.lost_at.is_none_or(|at| at <= now),
        }
    }

    /// The connection to the partner could not be made again: it is lost at once (R9).
    pub(crate) fn unreachable(&mut self, now: Instant) {
        if self.link().is_none() {
            self.q.lost_at = Some(now);
        }
    }

    /// Whether a witness is set.
    pub(crate) fn has_witness(&self) -> bool {
        self.kept.get().witness != InstanceId::default()
    }

    /// Whether the owner may acknowledge without its mirror (R1). What the storage has not confirmed yet confirms nothing.
    pub(crate) fn is_alone(&self) -> bool {
        let Some(stored) = self.kept.durable() else {
            return false;
        };
        decide::record::alone(&decide::record::Alone {
            own: stored.record,
            witness_set: self.has_witness(),
            by_witness: self.q.by_witness && !self.tie.silence.is_silent(),
            by_mirror: self.q.by_mirror && !self.silence.is_silent(),
            opened: self.q.serves || (self.q.unsynced && !self.has_witness()),
        })
    }

    /// Up to where waiting applications may be told *committed* (I1, R1, R6), and what the newest of it rests on. The log is told
    /// only as far as it is durable here.
    fn may_tell(&self) -> Option<(Position, RestsOn)> {
        let Side::Principal(side) = &self.side else {
            return None;
        };
        let alone = self.is_alone();
        let facts = |hardened| decide::record::Commit {
            serves: self.q.serves,
            durable_here: true,
            partner_durability: false,
            sync: self.record().sync == Sync::Sync,
            hardened,
            alone,
        };
        let level = side.streaming && side.acked == self.end.position;
        if decide::record::may_acknowledge(&facts(level)) {
            let rests_on = match (level, self.q.by_mirror || self.q.by_witness) {
                (true, _) => RestsOn::Mirror,
                (false, true) => RestsOn::Confirmed,
                (false, false) => RestsOn::OwnStorage,
            };
            return Some((self.end.position, rests_on));
        }
        let hardened = side.streaming && decide::record::may_acknowledge(&facts(true));
        hardened.then_some((side.acked, RestsOn::Mirror))
    }

    /// Tells how far waiting applications may be answered, when that has moved.
    pub(super) fn tell_acknowledged(&mut self, ctx: &mut Ctx<'_>) {
        let Some((upto, rests_on)) = self.may_tell() else {
            return;
        };
        if upto.sequence > self.q.acknowledged.sequence {
            self.q.acknowledged = upto;
            (ctx.events)(super::SessionEvent::Acknowledged { upto, rests_on });
        }
    }

    /// Up to where waiting applications may be told *committed*.
    pub(crate) const fn acknowledged_to(&self) -> Position {
        self.q.acknowledged
    }

    /// How a restarted principal sees its mirror (R4).
    pub(super) fn mirror_seen(&self, now: Instant) -> role::Mirror {
        let Side::Principal(side) = &self.side else {
            return role::Mirror::Unknown;
        };
        if self.in_step() {
            return role::Mirror::Bound {
                asks: self.q.mirror_ask != 0,
                adopted: side.adopt.is_none() && (side.streaming || side.compared),
            };
        }
        if self.is_bound() {
            // Its record is another: what it says about the role decides, not that it is there.
            return if self.q.mirror_ask != 0 {
                role::Mirror::Bound {
                    asks: true,
                    adopted: false,
                }
            } else {
                role::Mirror::Unknown
            };
        }
        if self.q.none_heard {
            return role::Mirror::HasNone;
        }
        let waits = !self.has_witness() && side.settle_by > now;
        if self.partner_lost(now) && !waits {
            role::Mirror::Lost
        } else {
            role::Mirror::Unknown
        }
    }

    /// Whether both partners are bound under one record's role, so that log and its acknowledgements may flow.
    pub(crate) fn in_step(&self) -> bool {
        let own = self.record();
        self.is_bound()
            && self.binding.is_some_and(|binding| {
                binding.said_role == own.role_sequence
                    && binding.heard.is_some_and(|heard| {
                        heard.record.role_sequence == own.role_sequence && heard.record.owner == own.owner
                    })
            })
    }

    /// Says hello again on the binding to the partner, if it was said there before.
    pub(super) fn hello_again(&mut self, answer: bool) {
        if self.binding.is_some_and(|binding| binding.hello_sent) {
            // One that is to be answered stands in for one that is not.
            self.due.hello = Some(answer || self.due.hello == Some(true));
        }
    }
}
