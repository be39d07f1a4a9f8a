//! Which connection a session is talked about on, and how it is taken up there (`docs/safety.md` R2).
//!
//! After a USE each side says hello once for each session. The session is bound when its own hello was sent and the other's
//! handled. What was learnt over an older binding dies with it.

use super::decide;
use super::event::{Reason, SessionError, SessionEvent};
use super::flow::{Inflow, Outflow};
use super::machine::{Ctx, Link, Session, Side};
use crate::message::codec::SessionHello;
use crate::message::{LogEnd, Timelines};

/// A session on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) link: Link,
    pub(crate) hello_sent: bool,
    pub(crate) heard: Option<Heard>,
    /// The logs were compared, and what follows from that was begun.
    pub(crate) joined: bool,
}

/// What the partner's hello said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) end: LogEnd,
    pub(crate) wants_seed: bool,
    pub(crate) timelines: Timelines,
}

impl Session {
    /// Whether both hellos are through.
    pub(crate) fn is_bound(&self) -> bool {
        self.binding
            .is_some_and(|binding| binding.heard.is_some() && (binding.hello_sent || binding.joined))
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
            });
        }
    }

    /// Forgets everything that was learnt over the binding.
    pub(crate) fn unbind(&mut self, ctx: &mut Ctx<'_>) {
        if self.binding.take().is_none() {
            return;
        }
        self.silent = false;
        let database = self.database();
        match &mut self.side {
            Side::Principal(side) => side.unbound(ctx, database),
            Side::Mirror(side) => side.unbound(ctx, database),
        }
        if let Some(over) = &mut self.over {
            over.unbound();
        }
        self.show(ctx);
    }

    /// Whether the hello may be said now: the record is durable, and every write begun under an older binding has ended
    /// (R2, story F49).
    pub(crate) fn may_say_hello(&self) -> bool {
        let settled = match &self.side {
            Side::Principal(side) => !side.adopting_awaits(self.end.position),
            Side::Mirror(side) => !side.inflow.awaits(self.end.position) && !side.installs(),
        };
        self.is_established()
            && settled
            && self.kept.durable().is_some()
            && self.binding.is_some_and(|binding| !binding.hello_sent)
    }

    /// The own hello went out with that credit.
    pub(crate) fn said_hello(&mut self, ctx: &mut Ctx<'_>, credit: u32) {
        let Some(binding) = &mut self.binding else { return };
        let first = !binding.hello_sent;
        binding.hello_sent = true;
        if first && !binding.joined {
            let end = self.end.position;
            match &mut self.side {
                Side::Principal(side) => side.inflow = Inflow::new(end, credit),
                Side::Mirror(side) => side.inflow = Inflow::new(end, credit),
            }
        }
        self.take_up(ctx);
    }

    /// The partner's hello came on `link`. Only on the used connection does it bind; a principal whose START was not answered
    /// yet says that again wherever the hello came.
    pub(crate) fn heard_hello(&mut self, ctx: &mut Ctx<'_>, link: Link, hello: &SessionHello) {
        if let Some(starting) = &self.starting
            && !starting.accepted
        {
            // The answer to START was lost: say it again, never `none` (R0).
            self.repeat_start(link);
        }
        if self.link() != Some(link) {
            return;
        }
        let own = self.kept.get().record;
        if let Err(error) = decide::heard_record(&own, &hello.record) {
            if self.trouble != Some(error) {
                self.trouble = Some(error);
                (ctx.events)(SessionEvent::RecordConflict(error));
            }
            return;
        }
        if hello.ask != 0 {
            // A hello with an open ask confirms nothing (R2); this machine has no asks, and so no hand-back.
            self.trouble = Some(SessionError::new(1428, Reason::NotSupported));
            return;
        }
        let mirror = self.role() == super::Role::Mirror;
        let Some(binding) = &mut self.binding else { return };
        // A mirror whose storage made it start over says hello again, and the logs are compared again. A principal that
        // began a new timeline says hello again too, and nothing else changes.
        let again = binding.heard.is_some() && mirror;
        binding.joined &= mirror;
        binding.heard = Some(Heard {
            end: hello.end,
            wants_seed: hello.wants_seed,
            timelines: hello.timelines,
        });
        self.trouble = None;
        self.properties_heard(ctx, hello.role_sequence(), &hello.properties);
        if again {
            return;
        }
        match &mut self.side {
            Side::Principal(side) => side.out = Outflow::new(hello.credit),
            Side::Mirror(side) => side.out = Outflow::new(hello.credit),
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

    /// Begins the log's flow once the session is bound.
    fn take_up(&mut self, ctx: &mut Ctx<'_>) {
        if !self.is_bound() {
            return;
        }
        let Some(binding) = &mut self.binding else { return };
        if binding.joined {
            return;
        }
        binding.joined = true;
        self.silent = false;
        if matches!(self.side, Side::Principal(_)) {
            self.join(ctx);
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
