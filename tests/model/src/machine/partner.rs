//! What a partner hears from the other one.

use crate::bridge::{chain, id, named, rec, record};
use crate::machine::{Machine, prefix};
use crate::mutation::Mutation as M;
use crate::state::{Kind, Msg};
use dbmirror_core::session::decide::{incomplete, record as rule, takeover, witness};

impl Machine<'_> {
    pub(crate) fn follow_witness(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        if p.rec.owner == y && !self.off(M::PendingForEver) {
            let now = witness::follow(named(p.witness, p.pending), named(msg.what, msg.flag));
            self.p(x).pending = now.pending;
        } else if p.rec.owner == x {
            let p = self.p(x);
            (p.mirror_witness, p.mirror_pending) = (msg.what, msg.flag);
        }
    }

    pub(crate) fn partner_hello(&mut self, x: u8, y: u8, msg: &Msg) {
        let before = self.q(x).rec;
        self.adopt_first(x, msg);
        // A hello tells no end that the log must reach: who shows this member's role in it has either given it when both
        // were level, or yielded it with whatever it had not sent.
        let heard = self.hear(x, y, msg, None);
        self.decline(x, y, msg);
        self.follow_witness(x, y, msg);
        let p = *self.q(x);
        if p.rec.owner == x {
            self.p(x).mirror_ask = if msg.rec.owner == x { msg.number } else { 0 };
        }
        self.meet(x, msg);
        let p = *self.q(x);
        if !self.off(M::NoHandBack)
            && let Some(proposal) = takeover::hand_back(&takeover::HandBack {
                me: id(x),
                own: record(p.rec),
                incomplete: p.incomplete && !self.off(M::HandBackBeforeAdopt),
                asks: p.ask_open,
                theirs: record(msg.rec),
                their_ask: u32::from(msg.number),
            })
        {
            let mut new = rec(&proposal);
            if self.off(M::HandBackAtAsk) {
                new.role -= 1;
            }
            if new.role > 6 {
                self.full = true;
                return;
            }
            let propose = Msg {
                kind: Kind::Propose,
                rec: new,
                ..Msg::default()
            };
            self.send(x, y, propose);
            if self.off(M::OnePhaseHandBack) && new.role > p.rec.role {
                self.take_role(x, new, y);
                self.p(x).by_mirror = false;
            }
        }
        match heard {
            rule::Heard::Take(_) if !matches!(msg.kind, Kind::HelloAgain) => {
                if before.role == self.q(x).rec.role {
                    let confirm = self.shows(x, Kind::Confirm);
                    self.send(x, y, confirm);
                } else {
                    self.hello_answer(x, y);
                }
            }
            rule::Heard::Older if msg.kind == Kind::Hello => {
                // The own hello may have been said before this member's number rose.
                if msg.rec.role < before.role {
                    self.hello_answer(x, y);
                } else if p.rec.owner == x && self.setting.slow_writes {
                    let record = self.shows(x, Kind::Record);
                    self.send(x, y, record);
                }
            }
            _ if msg.kind == Kind::HelloAgain => self.hello_answer(x, y),
            _ => {}
        }
    }

    /// x tells y that it may not take the role that y has shown it.
    fn decline(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        if incomplete::declines(id(x), &record(p.rec), &record(msg.rec), p.incomplete) {
            let mut decline = self.shows(x, Kind::Decline);
            decline.number = if self.asks(x) { p.ask } else { 0 };
            self.send(x, y, decline);
        }
    }

    pub(crate) fn partner_says(&mut self, x: u8, y: u8, msg: &Msg) {
        let p = *self.q(x);
        match msg.kind {
            Kind::Record => match self.hear(x, y, msg, None) {
                rule::Heard::Confirmed | rule::Heard::Take(_) => {
                    self.follow_witness(x, y, msg);
                    let confirm = self.shows(x, Kind::Confirm);
                    self.send(x, y, confirm);
                }
                rule::Heard::Older => self.hello_answer(x, y),
                _ => {}
            },
            Kind::Confirm => {
                let heard = self.hear(x, y, msg, None);
                if self.q(x).rec.owner == x {
                    self.follow_witness(x, y, msg);
                    let own = self.q(x).rec;
                    let p = self.p(x);
                    if msg.number != 0
                        && msg.number == p.request
                        && p.again == 1
                        && heard == rule::Heard::Confirmed
                    {
                        p.again = 2;
                    }
                    if p.told == 1 && msg.rec == own && msg.what == p.target && msg.flag {
                        p.told = 2;
                    }
                }
            }
            Kind::ConfirmAgain if !self.asks(x) || self.off(M::RecordWhileAsking) => {
                let mut confirm = self.shows(x, Kind::Confirm);
                confirm.number = msg.number;
                self.send(x, y, confirm);
            }
            Kind::Block => self.take_block(x, msg),
            Kind::Ack => {
                let current = msg.number == p.rec.role || self.off(M::AnyRoleSequence);
                if p.rec.owner == x
                    && current
                    && p.joined
                    && chain(&msg.log, 4) == chain(&prefix(&p.log, msg.at), 4)
                {
                    self.p(x).acked = p.acked.max(msg.at);
                }
            }
            Kind::Propose if msg.rec.owner == x => {
                self.hear(x, y, msg, Some(u64::from(msg.log.len())));
                self.decline(x, y, msg);
            }
            Kind::Decline if !self.off(M::NoTakeBack) => {
                let declined = incomplete::take_back(&incomplete::Declined {
                    me: id(x),
                    own: record(p.rec),
                    incomplete: p.incomplete,
                    asks: p.ask_open,
                    partner: id(y),
                    theirs: record(msg.rec),
                    their_ask: u32::from(msg.number),
                });
                let Some(proposal) = declined else { return };
                let rec = rec(&proposal);
                if rec.role > 6 {
                    self.full = true;
                    return;
                }
                let propose = Msg {
                    kind: Kind::Propose,
                    rec,
                    ..Msg::default()
                };
                self.send(x, y, propose);
            }
            Kind::Propose => {
                let mut own = record(p.rec);
                if self.off(M::HandBackAfterGrant) {
                    own.owner = id(y);
                }
                match takeover::proposed(&own, &record(msg.rec), id(y)) {
                    takeover::Proposed::Take(new) => {
                        self.follow_owner(x, rec(&new));
                        let confirm = self.shows(x, Kind::Confirm);
                        self.send(x, y, confirm);
                    }
                    takeover::Proposed::AnswerByHello if !self.off(M::ProposalUnanswered) => {
                        self.hello_answer(x, y);
                    }
                    takeover::Proposed::AnswerByHello => {}
                }
            }
            Kind::Name if rule::same(&record(p.rec), &record(msg.rec)) && !p.ask_open => {
                let pending = !self.off(M::ChangeWithoutPending);
                let p = self.p(x);
                if p.witness != msg.what {
                    (p.by_witness, p.ask_here, p.blank) = (false, false, false);
                }
                (p.witness, p.pending) = (msg.what, pending);
                (p.named_role, p.named_number) = (p.rec.role, p.rec.number);
                let mut confirm = self.shows(x, Kind::Confirm);
                confirm.flag = true;
                self.send(x, y, confirm);
            }
            _ => {}
        }
    }
}
