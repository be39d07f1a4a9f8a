//! Which connection a session is talked about on, and how it is taken up there (`docs/safety.md` R2).
//!
//! After a USE each side says hello once for each session. The session is bound when its own hello was sent and the other's
//! handled. What was learnt over an older binding dies with it.

use super::decide::{self, record};
use super::flow::{Inflow, Outflow};
use super::machine::{Ctx, Link, Session, Side};
use super::quorum::{Due, RECONNECT};
use super::silence::Silence;
use crate::message::codec::SessionHello;
use crate::message::{LogEnd, Record, Timelines};
use crate::time::Duration;

/// A session on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) link: Link,
    pub(crate) hello_sent: bool,
    pub(crate) heard: Option<Heard>,
    /// The logs were compared, and what follows from that was begun.
    pub(crate) joined: bool,
    /// The role_sequence of the own hello that was said last.
    pub(crate) said_role: u32,
    /// HELLO_AGAIN came: the next hello is not the first, and is to be answered or not.
    pub(crate) again: Option<bool>,
}

/// What the partner's hello said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) record: Record,
    pub(crate) end: LogEnd,
    pub(crate) wants_seed: bool,
    /// The number of the sender's open ask; 0 when none is open.
    pub(crate) ask: u32,
    pub(crate) timelines: Timelines,
}

impl Session {
    /// Whether both hellos are through.
    pub(crate) fn is_bound(&self) -> bool {
        self.binding.is_some_and(|binding| {
            decide::binding::is_bound(binding.hello_sent || binding.joined, binding.heard.is_some())
        })
    }

    /// The connection that it is bound to or being bound to.
    pub(crate) fn link(&self) -> Option<Link> {
        self.binding.map(|binding| binding.link)
    }

    /// Moves to the connection that is used now, or to none.
    pub(crate) fn rebind(&mut self, ctx: &mut Ctx<'_>, link: Option<Link>) {
        if self.link() == link {
            return;
        }
        self.unbind(ctx);
        if let Some(link) = link {
            self.dial.succeeded();
            self.binding = Some(Binding {
                link,
                hello_sent: false,
                heard: None,
                joined: false,
                said_role: 0,
                again: None,
            });
            self.q.lost_at = None;
        }
    }

    /// Forgets everything that was learnt over the binding.
    pub(crate) fn unbind(&mut self, ctx: &mut Ctx<'_>) {
        if self.binding.take().is_none() {
            return;
        }
        // Who was silent for his time-out has had the time to come back.
        let wait = if self.silence.is_silent() {
            Duration::ZERO
        } else {
            RECONNECT
        };
        self.silence = Silence::HEARD;
        self.q.forget_partner();
        self.q.lost_at = Some(ctx.now.after(wait));
        self.due = Due::default();
        self.change_unbound();
        let database = self.database();
        match &mut self.side {
            Side::Principal(side) => side.unbound(ctx, database),
            Side::Mirror(side) => side.unbound(ctx, database),
        }
        self.partner_untold();
        self.show(ctx);
    }

    /// Whether a hello may be said now: the record is durable, every write begun under an older binding has ended (R2, story F49), and
    /// the log is not about to become another.
    pub(crate) fn may_say_hello(&self) -> bool {
        let settled = match &self.side {
            Side::Principal(side) => !side.adopting_awaits(self.end.position),
            Side::Mirror(side) => !side.inflow.awaits(self.end.position) && !side.installs(),
        };
        let beginning = (self.q.taking || self.q.timeline_asked) && !self.q.prepared;
        let undoing = self.rewinding.is_some_and(|rewinding| rewinding.asked);
        self.is_established()
            && decide::binding::may_say_hello(!settled)
            && !self.q.fencing
            && !beginning
            && !undoing
            && self.kept.durable().is_some()
    }

    /// Whether the first hello on this binding, or one that takes the log up anew, is to be said now.
    pub(crate) fn hello_is_due(&self) -> bool {
        self.binding.is_some_and(|binding| !binding.hello_sent) && self.may_say_hello()
    }

    /// The own hello went out with that credit.
    pub(crate) fn said_hello(&mut self, ctx: &mut Ctx<'_>, credit: u32) {
        let role_sequence = self.role_sequence();
        let Some(binding) = &mut self.binding else { return };
        let first = !binding.hello_sent;
        let anew = (first && !binding.joined) || binding.said_role != role_sequence;
        binding.hello_sent = true;
        binding.said_role = role_sequence;
        if anew {
            let end = self.end.position;
            match &mut self.side {
                Side::Principal(side) => side.inflow = Inflow::new(end, credit),
                Side::Mirror(side) => side.inflow = Inflow::new(end, credit),
            }
        }
        self.take_up(ctx);
    }

    /// HELLO_AGAIN: the hello that follows is not the first here.
    pub(crate) const fn hello_comes_again(&mut self, link: Link, answer: bool) {
        if let Some(binding) = &mut self.binding
            && binding.link == link
        {
            binding.again = Some(answer);
        }
    }

    /// The partner's hello came on `link`. Only on the used connection does it bind; a principal whose START was not answered
    /// yet says that again wherever the hello came.
    pub(crate) fn heard_hello(&mut self, ctx: &mut Ctx<'_>, link: Link, hello: &SessionHello) {
        // Where the answer to START was lost: say it again, never `none` (R0).
        self.repeat_start(link);
        if self.link() != Some(link) {
            return;
        }
        let Some(binding) = &mut self.binding else { return };
        let again = binding.again.take();
        let before = binding.heard;
        binding.heard = Some(Heard {
            record: hello.record,
            end: hello.end,
            wants_seed: hello.wants_seed,
            ask: hello.ask,
            timelines: hello.timelines,
        });
        let heard = self.partner_hello(ctx, hello, again);
        if matches!(heard, record::Heard::TooFar | record::Heard::Clash) {
            if let Some(binding) = &mut self.binding {
                binding.heard = None;
            }
            return;
        }
        self.q.none_heard = false;
        if !self.kept.get().clash {
            self.trouble = None;
        }
        self.properties_heard(ctx, hello.role_sequence(), &hello.properties);
        let mirror = self.role() == super::Role::Mirror;
        // A mirror whose log is another now says hello without more, and the logs are compared again. A principal that began a new timeline
        // says hello again too, and nothing else changes.
        let anew = before.is_none_or(|before| before.record.role_sequence != hello.role_sequence())
            || (again.is_none() && !mirror);
        if anew {
            if let Some(binding) = &mut self.binding {
                binding.joined = false;
            }
            match &mut self.side {
                Side::Principal(side) => side.out = Outflow::new(hello.credit),
                Side::Mirror(side) => side.out = Outflow::new(hello.credit),
            }
        }
        self.take_up(ctx);
    }

    /// The partner takes more.
    pub(crate) fn credited(&mut self, limit: u64) {
        match &mut self.side {
            Side::Principal(side) => side.out.grant(limit),
            Side::Mirror(side) => side.out.grant(limit),
        }
    }

    /// Begins the log's flow once the session is bound, both stand under one role_sequence, and no ask is open.
    pub(super) fn take_up(&mut self, ctx: &mut Ctx<'_>) {
        if !self.in_step() || self.q.mirror_ask != 0 || self.ask().open {
            return;
        }
        let waits = match &self.side {
            Side::Principal(_) => self.q.taking,
            Side::Mirror(side) => side.inflow.awaits(self.end.position),
        };
        let Some(binding) = &mut self.binding else { return };
        if binding.joined || waits {
            return;
        }
        binding.joined = true;
        let heard = binding.heard;
        self.silence = Silence::HEARD;
        match (&self.side, heard) {
            (Side::Principal(_), _) => self.join(ctx),
            (Side::Mirror(_), Some(heard)) => self.compare_as_mirror(ctx, &heard),
            (Side::Mirror(_), None) => {}
        }
        self.show(ctx);
    }
}

impl SessionHello {
    /// The role assignment that the sender stands under.
    pub(crate) const fn role_sequence(&self) -> u32 {
        self.record.role_sequence
    }
}
