//! Records of others, heard over a live binding, and what they make of this member (`docs/safety.md` R1 to R4). What they mean is
//! decided by [`super::decide`]; here it is done: persisted first, told when it is durable.

use super::binding::Heard as HeardHello;
use super::decide::record::{self, Heard, Hearing, Sender};
use super::decide::{begin, history, incomplete, role, takeover, witness};
use super::event::{Fence, Reason, RoleChange, SessionError, SessionEvent};
use super::machine::{Ctx, Session, Side};
use super::mirror::MirrorSide;
use super::principal::PrincipalSide;
use super::view::Role;
use crate::message::codec::{Confirm, Propose, SessionHello};
use crate::message::{InstanceId, Record, Sync};

impl Session {
    // ---- records ----

    /// A record is in force here from now on; it is durable before anything of it is said.
    pub(super) fn set_record(&mut self, me: InstanceId, new: Record) {
        let (before, ask) = (self.record(), self.ask());
        let closes = takeover::record_closes(&ask, &before, &new);
        self.kept.change(|stored| {
            stored.record = new;
            stored.role = if new.owner == me {
                Role::Principal
            } else {
                Role::Mirror
            };
            if closes {
                stored.ask_open = false;
            }
        });
        if closes {
            self.q.ask_here = false;
        }
        if !record::same(&before, &new) {
            self.q.forget_confirmations();
            self.shown_again.forget();
        }
    }

    /// The owner raises its number, and tells it when it is durable.
    pub(super) fn raise(&mut self, me: InstanceId, sync: Sync) {
        let new = record::raise(&self.record(), sync);
        self.set_record(me, new);
        self.due.record = true;
        self.tie.record_due = true;
    }

    /// What a record of another means here, and what follows at once.
    pub(super) fn hear(
        &mut self,
        ctx: &mut Ctx<'_>,
        part: Sender,
        theirs: Record,
        sender_asks: bool,
        told_end: Option<u64>,
        answer: bool,
    ) -> Heard {
        let own = self.record();
        let sender = match part {
            Sender::Partner => self.partner().instance,
            Sender::Witness => self.tie.instance,
        };
        let heard = record::hear(&Hearing {
            me: ctx.own,
            own,
            asks: self.ask().open,
            theirs,
            sender,
            part,
            sender_asks,
        });
        match heard {
            Heard::Confirmed => {
                if own.owner == ctx.own {
                    match part {
                        Sender::Partner => self.q.by_mirror = true,
                        Sender::Witness => self.q.by_witness = true,
                    }
                } else if part == Sender::Partner && own.sync == Sync::Sync {
                    self.q.may_take_over = true;
                }
            }
            Heard::Take(new) => {
                self.follow_owner(ctx, new);
                if new.sync == Sync::Sync {
                    self.q.may_take_over = true;
                }
                if new.role_sequence == own.role_sequence {
                    if part == Sender::Witness {
                        // The own hello to the owner showed an older number.
                        self.due.confirm = self.due.confirm.or(Some(0));
                    }
                } else if !answer {
                    self.hello_to_others(part);
                }
            }
            Heard::Role(new) => {
                if role::may_take_role(self.end.position.sequence, told_end) {
                    let why = match part {
                        Sender::Witness if new.forced => RoleChange::Forced,
                        Sender::Witness => RoleChange::TakeOver,
                        Sender::Partner => RoleChange::Failover,
                    };
                    self.take_role(ctx, new, Some(part), why);
                }
            }
            Heard::Clash => self.clashed(ctx, theirs.role_sequence),
            Heard::TooFar => self.contradicted(ctx),
            Heard::Nothing | Heard::Older => {}
        }
        heard
    }

    fn hello_to_others(&mut self, but: Sender) {
        match but {
            Sender::Partner => {
                if self.tie.hello_sent {
                    self.tie.hello_due = Some(true);
                }
            }
            Sender::Witness => self.hello_again(true),
        }
    }

    fn contradicted(&mut self, ctx: &mut Ctx<'_>) {
        let error = SessionError::new(1428, Reason::RecordConflict);
        if self.trouble != Some(error) {
            self.trouble = Some(error);
            (ctx.events)(SessionEvent::RecordConflict(error));
        }
    }

    /// Two owners of one role_sequence: both refuse writes, SUSPENDED, until an operator forces one (R8).
    fn clashed(&mut self, ctx: &mut Ctx<'_>, role_sequence: u32) {
        self.q.highest = self.q.highest.max(role_sequence);
        if self.kept.get().clash {
            return;
        }
        self.kept.change(|stored| {
            stored.clash = true;
            stored.properties.suspended = true;
            stored.properties.suspended_sequence = stored.properties.suspended_sequence.saturating_add(1);
        });
        self.trouble = Some(SessionError::new(1455, Reason::Clash));
        let clash = SessionError::new(1455, Reason::Clash);
        if self.failing.take().is_some() {
            (ctx.events)(SessionEvent::FailoverFailed(clash));
        }
        if self.change.take().is_some_and(|change| change.by_operator) {
            (ctx.events)(SessionEvent::WitnessRefused(clash));
        }
        if self.q.serves {
            self.q.serves = false;
            (ctx.events)(SessionEvent::Fence(Fence::Clash));
        }
        (ctx.events)(SessionEvent::Clash);
    }

    // ---- roles ----

    /// Takes the role under `new`, which `by` holds durably too, or which the operator forced here.
    pub(super) fn take_role(&mut self, ctx: &mut Ctx<'_>, new: Record, by: Option<Sender>, why: RoleChange) {
        let own = self.record();
        if !incomplete::may_persist(ctx.own, &new, self.kept.get().incomplete) {
            return;
        }
        let kept_role = own.owner == ctx.own && !new.forced;
        let position = self.end.position;
        self.set_record(ctx.own, new);
        match by {
            Some(Sender::Partner) => self.q.by_mirror = true,
            Some(Sender::Witness) => self.q.by_witness = true,
            None => {}
        }
        self.q.mirror_ask = 0;
        if !kept_role {
            self.become_principal(ctx, new, position, why);
        }
        // To the mirror also where the change came by that binding: its answer shows where to send the log from.
        self.hello_again(true);
        if by != Some(Sender::Witness) && self.tie.hello_sent {
            self.tie.hello_due = Some(true);
        }
    }

    fn become_principal(
        &mut self,
        ctx: &mut Ctx<'_>,
        new: Record,
        at: crate::message::Position,
        why: RoleChange,
    ) {
        let database = self.database();
        match &mut self.side {
            Side::Principal(side) => side.unbound(ctx, database),
            Side::Mirror(side) => side.unbound(ctx, database),
        }
        if new.forced {
            let common = self.common(at);
            self.kept.change(|stored| {
                stored.incomplete = stored.incomplete && incomplete::stays(incomplete::Since::Forced);
                stored.clash = false;
                stored.properties.suspended = true;
                stored.properties.suspended_sequence = stored.properties.suspended_sequence.saturating_add(1);
            });
            self.trouble = None;
            (ctx.events)(SessionEvent::Forced {
                common,
                loss_possible: true,
            });
        }
        self.kept.change(|stored| {
            stored.failover = at;
            stored.wants_seed = false;
        });
        match &mut self.side {
            Side::Principal(side) => side.settle_due = None,
            Side::Mirror(_) => self.side = Side::Principal(PrincipalSide::new(false)),
        }
        self.rewinding = None;
        // The role is back before its writers were shut out: nobody waits for that any more, and the hellos do not either.
        self.q.fencing = false;
        self.q.serves = false;
        self.q.fence = None;
        self.q.taking = true;
        self.q.prepared = false;
        self.q.timeline_asked = false;
        self.q.forcing = false;
        self.q.may_take_over = false;
        self.q.acknowledged = crate::message::Position::START;
        self.q.told_role = Some(why);
        self.flow_anew();
    }

    /// The last position that is known to be held by the other partner too, for the report of forced service (R8); the own log ends at `at`. A mirror
    /// whose log may go on where its owner's does not knows only where they part, if it has heard that.
    fn common(&self, at: crate::message::Position) -> crate::message::Position {
        match (&self.side, self.rewinding) {
            (Side::Principal(side), _) => side.acked,
            (Side::Mirror(_), Some(rewinding)) => {
                let timelines = self.kept.get().timelines;
                timelines.locate(rewinding.to).unwrap_or_default()
            }
            // It ends where it did when the role was given up, and has not been compared with the owner's since.
            (Side::Mirror(_), None) if !self.q.follows && at == self.kept.get().failover => {
                crate::message::Position::START
            }
            (Side::Mirror(_), None) => at,
        }
    }

    /// Stays, or becomes, a mirror under a record of another.
    pub(super) fn follow_owner(&mut self, ctx: &mut Ctx<'_>, new: Record) {
        let before = self.record();
        self.set_record(ctx.own, new);
        if before.owner == ctx.own {
            self.yield_role(ctx, RoleChange::Yielded);
        } else if new.role_sequence > before.role_sequence {
            self.flow_anew();
        }
        if new.role_sequence > before.role_sequence {
            self.change = None;
            self.shown_again.forget();
            self.q.may_take_over = false;
        }
    }

    /// Gives up the role: nothing is served, recorded or asked under the old number any more (I3).
    pub(super) fn yield_role(&mut self, ctx: &mut Ctx<'_>, why: RoleChange) {
        let database = self.database();
        if let Side::Principal(side) = &mut self.side {
            side.unbound(ctx, database);
            if incomplete::yields_incomplete(side.lost) {
                self.kept.change(|stored| stored.incomplete = true);
                (ctx.events)(SessionEvent::LogLost { end: self.end });
            }
            let fenced = self.failing.is_some_and(|failing| failing.fenced);
            self.side = Side::Mirror(MirrorSide::new(self.end));
            self.q.fencing = !fenced;
            if !fenced {
                (ctx.events)(SessionEvent::Fence(Fence::Yielded));
            }
        }
        if self.failing.take().is_some() && why == RoleChange::Yielded {
            let lost = SessionError::new(1404, Reason::RoleChanging);
            (ctx.events)(SessionEvent::FailoverFailed(lost));
        }
        let at = self.end.position;
        self.kept.change(|stored| {
            stored.failover = at;
            stored.clash = false;
        });
        self.change = None;
        self.shown_again.forget();
        self.q.serves = false;
        self.q.fence = None;
        self.q.unsynced = false;
        self.q.prepared = false;
        self.q.timeline_asked = false;
        self.q.taking = false;
        self.q.may_take_over = false;
        self.q.follows = false;
        // An ask for the role that was this member's: nobody asks its new mirror, and its log is compared with the new owner's.
        self.q.mirror_ask = 0;
        self.q.acknowledged = crate::message::Position::START;
        self.q.told_role = Some(why);
        self.rewinding = None;
        self.flow_anew();
    }

    /// The log's flow begins anew with the next hellos.
    pub(super) fn flow_anew(&mut self) {
        if let Some(binding) = &mut self.binding {
            binding.joined = false;
        }
        self.due.record = false;
        self.due.name = None;
        self.due.show = None;
    }

    // ---- what the other partner says ----

    /// What its hello says of record, role, ask and witness. Whether the logs may be compared now.
    pub(super) fn partner_hello(
        &mut self,
        ctx: &mut Ctx<'_>,
        hello: &SessionHello,
        again: Option<bool>,
    ) -> Heard {
        let before = self.record();
        let heard = self.hear(
            ctx,
            Sender::Partner,
            hello.record,
            hello.ask != 0,
            None,
            again == Some(false),
        );
        self.decline(ctx, &hello.record);
        let names = witness::Named {
            witness: (hello.witness != InstanceId::default()).then_some(hello.witness),
            pending: hello.witness_pending,
        };
        if self.owns(ctx.own) {
            self.q.mirror_names = Some(names);
            self.q.mirror_ask = if hello.record.owner == ctx.own {
                hello.ask
            } else {
                0
            };
        } else {
            self.follow_witness(names);
        }
        if let Some(record) = takeover::hand_back(&takeover::HandBack {
            me: ctx.own,
            own: self.record(),
            incomplete: self.kept.get().incomplete,
            asks: self.ask().open,
            theirs: hello.record,
            their_ask: hello.ask,
        }) {
            self.due.propose = Some((record, self.end));
        }
        match heard {
            Heard::Take(_) if again != Some(true) => {
                if before.role_sequence == self.role_sequence() {
                    self.due.confirm = self.due.confirm.or(Some(0));
                } else {
                    self.hello_again(false);
                }
            }
            Heard::Older if again.is_none() => {
                // The own hello may have been said before this member's number rose.
                if hello.record.role_sequence < before.role_sequence {
                    self.hello_again(false);
                } else if self.owns(ctx.own) {
                    self.due.record = true;
                }
            }
            _ if again == Some(true) => self.hello_again(false),
            _ => {}
        }
        heard
    }

    /// CONFIRM of the other partner: its record, as a request or as an answer.
    pub(crate) fn partner_confirms(&mut self, ctx: &mut Ctx<'_>, confirm: &Confirm) {
        if confirm.answer {
            let heard = self.hear(ctx, Sender::Partner, confirm.record, false, None, true);
            if heard == Heard::Confirmed {
                self.shown_again.confirmed(confirm.request);
            }
            return;
        }
        if confirm.request != 0 && self.ask().open {
            return;
        }
        match self.hear(ctx, Sender::Partner, confirm.record, false, None, false) {
            Heard::Confirmed | Heard::Take(_) => {
                self.due.confirm = Some(confirm.request.max(self.due.confirm.unwrap_or(0)));
            }
            Heard::Older => self.hello_again(false),
            Heard::Nothing | Heard::Role(_) | Heard::Clash | Heard::TooFar => {}
        }
    }

    /// PROPOSE: FAILOVER gives this member the role, or its owner takes it back.
    pub(crate) fn proposed(&mut self, ctx: &mut Ctx<'_>, propose: &Propose) {
        if propose.record.owner == ctx.own {
            let end = propose.end.position.sequence;
            let heard = self.hear(ctx, Sender::Partner, propose.record, false, Some(end), false);
            if !matches!(heard, Heard::Role(_)) {
                self.hello_again(false);
            }
            self.decline(ctx, &propose.record);
            return;
        }
        match takeover::proposed(&self.record(), &propose.record, self.partner().instance) {
            takeover::Proposed::Take(new) => {
                self.follow_owner(ctx, new);
                self.due.confirm = self.due.confirm.or(Some(0));
            }
            takeover::Proposed::AnswerByHello => self.hello_again(false),
        }
    }

    /// Tells the partner that the role it shows is not taken: hardened blocks were lost here (R6).
    fn decline(&mut self, ctx: &Ctx<'_>, shown: &Record) {
        self.due.decline |= incomplete::declines(ctx.own, &self.record(), shown, self.kept.get().incomplete);
    }

    /// The partner declines the role that this member gave away, or yielded to a grant: it is taken back (R6).
    pub(crate) fn declined(&mut self, ctx: &Ctx<'_>) {
        let Some(heard) = self.binding.and_then(|binding| binding.heard) else {
            return;
        };
        let back = incomplete::take_back(&incomplete::Declined {
            me: ctx.own,
            own: self.record(),
            incomplete: self.kept.get().incomplete,
            asks: self.ask().open,
            partner: self.partner().instance,
            theirs: heard.record,
            their_ask: heard.ask,
        });
        if let Some(record) = back {
            self.due.propose = Some((record, self.end));
        }
    }

    /// An incomplete mirror that holds what its owner's log held at its hello has nothing to miss any more (R6).
    pub(super) fn judge_whole(&mut self, ctx: &mut Ctx<'_>) {
        let incomplete = self.kept.get().incomplete;
        let seeded_first = self.kept.get().wants_seed;
        if !incomplete
            || seeded_first
            || !matches!(self.side, Side::Mirror(_))
            || !self.in_step()
            || self.ask().open
        {
            return;
        }
        let heard = self
            .binding
            .filter(|binding| binding.joined)
            .and_then(|binding| binding.heard);
        let Some(owners) = heard.map(|heard| heard.end) else {
            return;
        };
        let here = if self.end.position == owners.position {
            Some(self.end.chain)
        } else if self.end.position.sequence > owners.position.sequence {
            ctx.storage
                .chain_at(self.database(), owners.position)
                .ok()
                .flatten()
        } else {
            None
        };
        if incomplete::is_level(&owners, here) {
            self.whole_again(ctx);
        }
    }

    /// Clears the mark: it is level as a mirror.
    pub(super) fn whole_again(&mut self, ctx: &mut Ctx<'_>) {
        if self.kept.get().incomplete {
            self.kept
                .change(|stored| stored.incomplete = incomplete::stays(incomplete::Since::LevelAsMirror));
            (ctx.events)(SessionEvent::LogWhole);
        }
    }

    /// Something came under another role_sequence than the own: an older one is answered by the own hello.
    pub(crate) fn stale(&mut self, role_sequence: u32) {
        if role_sequence < self.role_sequence() {
            self.hello_again(false);
        }
    }

    // ---- the mirror's log against its owner's ----

    /// A mirror compares its log with what the owner's hello says, and undoes what lies on another fork (R7).
    pub(super) fn compare_as_mirror(&mut self, ctx: &mut Ctx<'_>, heard: &HeardHello) {
        let Side::Mirror(side) = &self.side else { return };
        let replaced = side.installs() || self.kept.get().wants_seed;
        if side.inflow.awaits(self.end.position) || replaced || self.ask().open {
            return;
        }
        let own = self.kept.get().timelines;
        let meeting = history::meet::<core::convert::Infallible>(
            history::History {
                end: heard.end,
                timelines: &heard.timelines,
            },
            history::History {
                end: self.end,
                timelines: &own,
            },
            |_| Ok(None),
        );
        let Ok(meeting) = meeting;
        match meeting {
            history::Meeting::Rewind { to } => {
                // Doubt about the own log (R3).
                self.q.may_take_over = false;
                if self.rewinding.is_none() {
                    self.rewinding = Some(Rewinding { to, asked: false });
                }
            }
            history::Meeting::Send { .. }
            | history::Meeting::Tail { .. }
            | history::Meeting::Corrupt { .. } => {
                self.q.follows = true;
                // What the host was asked to undo it undoes, and says how the log ends then.
                self.rewinding = self.rewinding.filter(|rewinding| rewinding.asked);
            }
        }
        self.ask_rewind(ctx);
    }

    /// Asks the host to undo; after forced service only on RESUME (R8).
    pub(super) fn ask_rewind(&mut self, ctx: &mut Ctx<'_>) {
        if self.kept.get().properties.suspended || self.q.fencing {
            return;
        }
        let timelines = self.kept.get().timelines;
        if let Some(rewinding) = &mut self.rewinding
            && !rewinding.asked
        {
            rewinding.asked = true;
            let to = timelines.locate(rewinding.to).unwrap_or_default();
            (ctx.events)(SessionEvent::Rewind { to });
        }
    }

    /// The host has undone what the fork left behind; the log ends at `end`.
    pub(crate) fn rewound(&mut self, _: &mut Ctx<'_>, end: crate::message::LogEnd) {
        if !self.rewinding.is_some_and(|rewinding| rewinding.asked) {
            return;
        }
        self.rewinding = None;
        self.end = end;
        self.kept
            .change(|stored| stored.timelines = stored.timelines.until(end.position.sequence));
        self.take_up_anew();
    }

    /// The host cannot undo it: a seed takes the copy's place.
    pub(crate) fn cannot_rewind(&mut self, _: &mut Ctx<'_>) {
        if !self.rewinding.is_some_and(|rewinding| rewinding.asked) {
            return;
        }
        self.rewinding = None;
        self.kept.change(|stored| stored.wants_seed = true);
        self.take_up_anew();
    }

    /// A mirror's log is another now: its next hello begins the flow anew.
    pub(super) fn take_up_anew(&mut self) {
        if let Side::Mirror(side) = &mut self.side {
            side.inflow.restart(self.end.position);
        }
        if let Some(binding) = &mut self.binding {
            binding.hello_sent = false;
            binding.joined = false;
        }
    }

    /// What becomes of this member when it hears that its partner ended the session (R0).
    pub(super) fn after_tombstone(&self, me: InstanceId, theirs: &Record) -> begin::AfterEnd {
        begin::hear_tombstone(&self.record(), theirs, me, self.kept.get().incomplete)
    }
}

/// A mirror's tail that lies on another fork than its owner's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewinding {
    /// The last sequence number that both have.
    pub(crate) to: u64,
    /// The host was asked.
    pub(crate) asked: bool,
}
