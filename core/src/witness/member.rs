//! One witnessed session: who its partners are, what binds them here, and what each message does.

use super::event::{WitnessEvent, WitnessPartnerView, WitnessView};
use super::stored::WitnessStored;
use crate::crypto::POINT_LEN;
use crate::message::codec::{
    Ask, Confirm, Described, Drop as DropMessage, Message, Register, SessionHello, Tombstone,
};
use crate::message::{FamilyGuid, InstanceId, InstanceName, Record, SessionGuid, UseNumber};
use crate::session::decide::takeover::{self, Answer, Asked};
use crate::session::decide::witness::{self as rule, Keeping, Noted};
use crate::session::decide::{binding, record as records};
use crate::session::{Kept, Link, Peer, Reason, SessionError};
use heapless::Deque;

/// Requests that may wait for the storage at a time, of one partner; a later one takes the oldest's place, and is answered with
/// what is not lower.
const CONFIRMS: usize = 4;

/// A session that this instance is the witness of.
#[derive(Debug)]
pub(crate) struct Witnessed {
    pub(super) kept: Kept<WitnessStored>,
    pub(super) ends: [End; 2],
    /// Where *none* is to be said once the record is removed durably.
    pub(super) gone_on: Option<Link>,
    /// The dropped session whose place, and whose record in the storage, this one takes.
    pub(super) replaces: Option<SessionGuid>,
    /// The stranger who was reported last, so that a flood makes one event.
    pub(crate) reported: Option<Peer>,
}

/// One partner's side of the session, for the moment.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The highest USE of its connections: older ones are unbound for ever.
    pub(super) highest_use: UseNumber,
    /// The connection that is used.
    pub(super) link: Option<Link>,
    /// The own hello is out there.
    pub(super) said: bool,
    /// Its own was handled.
    pub(super) heard: bool,
    /// It has said that its next hello comes again, and whether that is to be answered.
    pub(super) again: Option<bool>,
    /// The own hello is to be said again, and whether it asks for an answer.
    pub(super) hello_due: Option<bool>,
    /// *None* is to be said: the answer of a dropped mark to a hello.
    pub(super) none_due: bool,
    /// Requests to be answered when the record is durable.
    pub(super) confirms: Deque<u64, CONFIRMS>,
    /// The WITNESS OFF to be answered when the mark is durable: its request and record.
    pub(super) dropped: Option<(u64, Record)>,
    /// The ask to be answered when the record is durable, and whether it was granted.
    pub(super) answer: Option<(u32, bool)>,
    /// It has ended the session.
    pub(super) ended: bool,
}

/// What the endpoint knows and the witness does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The owner was heard within the time-out of the ask.
    pub(crate) owner_heard: bool,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was taken or dropped; what is to be said is said when it may be.
    Done,
    /// The sender is told no: it may not say that (1402), or WITNESS OFF cannot be done here (1431).
    Refused(SessionError),
}

impl End {
    pub(super) fn is_bound(&self) -> bool {
        binding::is_bound(self.said, self.heard)
    }

    /// Forgets everything that belongs to the binding.
    pub(super) fn unbind(&mut self) {
        *self = Self {
            highest_use: self.highest_use,
            ended: self.ended,
            ..Self::default()
        };
    }
}

impl Witnessed {
    pub(super) fn new(kept: Kept<WitnessStored>) -> Self {
        Self {
            kept,
            ends: Default::default(),
            gone_on: None,
            replaces: None,
            reported: None,
        }
    }

    pub(crate) const fn guid(&self) -> SessionGuid {
        self.kept.get().guid
    }

    pub(super) fn keeping(&self) -> &Keeping {
        &self.kept.get().keeping
    }

    /// Which of the two partners it is who came on a connection with that key: the one whose instance it says to be, if the login is
    /// the one under which that was proved before, or else the key the one that was registered (R11).
    pub(crate) fn which(&self, peer: Peer, point: &[u8; POINT_LEN]) -> Option<usize> {
        self.kept.get().partners.iter().position(|partner| {
            partner.instance == peer.instance
                && match partner.login {
                    0 => partner.key == *point,
                    login => login == peer.login,
                }
        })
    }

    /// As [`Witnessed::which`], for one that was met before.
    pub(crate) fn met(&self, peer: Peer) -> Option<usize> {
        self.kept.get().partners.iter().position(|partner| {
            partner.instance == peer.instance && partner.login == peer.login && partner.login != 0
        })
    }

    /// Settles which connection is used with a partner; what was learnt over another dies.
    pub(crate) fn rebind(&mut self, which: usize, link: Option<Link>, number: UseNumber) {
        let Some(end) = self.ends.get_mut(which) else {
            return;
        };
        let link = link.filter(|_| number >= end.highest_use);
        end.highest_use = end.highest_use.max(number);
        if end.link != link {
            end.unbind();
            end.link = link;
        }
    }

    /// The partner is here, under that login and name: from now on the login stands for it.
    pub(crate) fn meet(&mut self, which: usize, login: u32, name: InstanceName) {
        let known = self
            .kept
            .get()
            .partners
            .get(which)
            .is_none_or(|partner| partner.login == login && partner.name == name);
        if !known {
            self.kept.change(|stored| {
                if let Some(partner) = stored.partners.get_mut(which) {
                    partner.login = login;
                    partner.name = name;
                }
            });
        }
    }

    pub(crate) fn link(&self, which: usize) -> Option<Link> {
        self.ends.get(which)?.link
    }

    /// Who owns the role, and can be heard or not.
    pub(crate) fn owner(&self) -> Option<InstanceId> {
        match self.keeping() {
            Keeping::Record(record) => Some(record.owner),
            Keeping::Blank | Keeping::Dropped { .. } => None,
        }
    }

    /// Makes what is kept something else, and tells the other partner of a higher role_sequence (R2).
    fn keep(&mut self, keeping: Keeping, from: usize) {
        let before = self.keeping().shown().role_sequence;
        self.kept.change(|stored| stored.keeping = keeping);
        let now = keeping.shown().role_sequence;
        if before == 0 || now <= before {
            return;
        }
        for (at, end) in self.ends.iter_mut().enumerate() {
            if at != from && end.said {
                end.hello_due = Some(true);
            }
        }
    }

    /// A message of the partner `which`, which came on `link`.
    #[inline(never)]
    pub(crate) fn hear(
        &mut self,
        which: usize,
        link: Link,
        message: &Message<'_>,
        facts: Facts,
        tell: &mut dyn FnMut(WitnessEvent),
    ) -> Heard {
        let Some(sender) = self
            .kept
            .get()
            .partners
            .get(which)
            .map(|partner| partner.instance)
        else {
            return Heard::Done;
        };
        let Some(end) = self.ends.get(which) else {
            return Heard::Done;
        };
        let kind = match message {
            Message::SessionHello(_) | Message::HelloAgain(_) | Message::None(_) | Message::Tombstone(_) => {
                binding::Kind::Opening
            }
            _ => binding::Kind::Bound,
        };
        if end.link != Some(link) || !binding::accepts(kind, end.is_bound()) {
            return Heard::Done;
        }
        match message {
            Message::SessionHello(hello) => self.hello(which, sender, hello, tell),
            Message::HelloAgain(again) => {
                if let Some(end) = self.ends.get_mut(which) {
                    end.again = Some(again.answer);
                }
            }
            Message::Confirm(confirm) => self.shown(which, sender, confirm, tell),
            Message::Ask(ask) => self.asked(which, sender, ask, facts, tell),
            Message::Drop(drop) => return self.dropped(which, sender, drop, tell),
            Message::Tombstone(tombstone) => self.ended(which, sender, link, tombstone, tell),
            Message::Described(described) => self.described(sender, described),
            Message::None(_) => {}
            Message::Refusal(refusal) => {
                let reason = Reason::from_code(refusal.reason);
                tell(WitnessEvent::PartnerRefused(SessionError::new(
                    refusal.number,
                    reason,
                )));
            }
            _ => return Heard::Refused(SessionError::new(1402, Reason::NoAuthority)),
        }
        Heard::Done
    }

    fn hello(
        &mut self,
        which: usize,
        sender: InstanceId,
        hello: &SessionHello,
        tell: &mut dyn FnMut(WitnessEvent),
    ) {
        let before = self.keeping().shown();
        let dropped = matches!(self.keeping(), Keeping::Dropped { .. });
        let noted = rule::note(self.keeping(), &hello.record, sender);
        if let Noted::Take(record) = noted {
            self.keep(Keeping::Record(record), which);
            tell(WitnessEvent::Recorded(record));
        }
        if self.owner() == Some(sender) {
            self.kept.change(|stored| stored.properties = hello.properties);
        }
        let Some(end) = self.ends.get_mut(which) else {
            return;
        };
        end.heard = true;
        end.none_due |= dropped;
        // An answer is not answered; what comes for the first time is, by the own first hello, unless that is out already and said less.
        let again = end.again.take();
        let lower = hello.record.role_sequence < before.role_sequence && again != Some(false);
        if end.said && (lower || again == Some(true) || matches!(noted, Noted::Take(_))) {
            end.hello_due = end.hello_due.or(Some(false));
        }
    }

    /// The owner's record, to be stored and confirmed.
    fn shown(
        &mut self,
        which: usize,
        sender: InstanceId,
        confirm: &Confirm,
        tell: &mut dyn FnMut(WitnessEvent),
    ) {
        if confirm.answer {
            return; // This witness asks for no confirmation.
        }
        match rule::note(self.keeping(), &confirm.record, sender) {
            Noted::Take(record) => {
                self.keep(Keeping::Record(record), which);
                tell(WitnessEvent::Recorded(record));
                self.confirm(which, confirm.request);
            }
            Noted::Confirmed => self.confirm(which, confirm.request),
            Noted::Nothing => self.say_hello(which),
        }
    }

    fn asked(
        &mut self,
        which: usize,
        sender: InstanceId,
        ask: &Ask,
        facts: Facts,
        tell: &mut dyn FnMut(WitnessEvent),
    ) {
        let other_bound = self
            .ends
            .iter()
            .enumerate()
            .any(|(at, end)| at != which && end.is_bound());
        let asked = Asked {
            asker: sender,
            record: ask.record,
            force: ask.force,
            owner_heard: facts.owner_heard,
            other_bound,
        };
        let granted = match takeover::answer(self.keeping(), &asked) {
            Answer::Grant(record) => {
                self.keep(Keeping::Record(record), which);
                tell(WitnessEvent::Granted {
                    asker: sender,
                    forced: record.forced,
                });
                true
            }
            Answer::Denial => {
                let equal = records::same(&self.keeping().shown(), &ask.record);
                tell(WitnessEvent::Denied {
                    asker: sender,
                    force: ask.force,
                    owner_heard: !ask.force && equal && facts.owner_heard,
                });
                false
            }
        };
        if let Some(end) = self.ends.get_mut(which) {
            end.answer = Some((ask.number, granted));
        }
    }

    fn dropped(
        &mut self,
        which: usize,
        sender: InstanceId,
        drop: &DropMessage,
        tell: &mut dyn FnMut(WitnessEvent),
    ) -> Heard {
        if drop.request == 0 {
            // Both partners go on without this witness.
            if rule::forgets(self.keeping(), &drop.record, sender) {
                self.remove(None, tell);
            } else {
                self.say_hello(which);
            }
            return Heard::Done;
        }
        match rule::drop_witness(self.keeping(), &drop.record, sender) {
            rule::Drop::Mark(keeping) => {
                self.keep(keeping, which);
                tell(WitnessEvent::Dropped { owner: sender });
            }
            rule::Drop::Again => {}
            rule::Drop::Refuse => {
                return Heard::Refused(SessionError::new(1431, Reason::NoQuorum));
            }
        }
        if let Some(end) = self.ends.get_mut(which) {
            end.dropped = Some((drop.request, drop.record));
        }
        Heard::Done
    }

    fn ended(
        &mut self,
        which: usize,
        sender: InstanceId,
        link: Link,
        tombstone: &Tombstone,
        tell: &mut dyn FnMut(WitnessEvent),
    ) {
        if let Some(end) = self.ends.get_mut(which) {
            end.ended = true;
        }
        // What both have ended nobody will ever ask for: the guid is not used again (R0).
        let both = self.ends.iter().all(|end| end.ended);
        if both || rule::forgets(self.keeping(), &tombstone.record, sender) {
            self.remove(Some(link), tell);
        } else {
            self.say_hello(which);
        }
    }

    /// A registration over what is kept.
    pub(super) fn register_over(&mut self, which: usize, message: &Register) {
        self.keep(Keeping::Record(message.record), which);
        let keys = [
            (message.principal, message.principal_key),
            (message.mirror, message.mirror_key),
        ];
        self.kept.change(|stored| {
            for partner in &mut stored.partners {
                if let Some((_, key)) = keys.iter().find(|(instance, _)| *instance == partner.instance) {
                    partner.key = *key;
                }
            }
        });
        self.registered(which, message.request);
    }

    /// A registration is to be confirmed. Its sender has counted this witness as blank so far, and so as heard.
    pub(super) fn registered(&mut self, which: usize, request: u64) {
        self.confirm(which, request);
        if let Some(end) = self.ends.get_mut(which) {
            end.heard = true;
        }
    }

    /// Says hello to both, who may have counted this witness as blank.
    pub(crate) fn greet(&mut self) {
        for end in &mut self.ends {
            end.hello_due = end.link.map(|_| true);
        }
    }

    fn described(&mut self, sender: InstanceId, described: &Described) {
        let Keeping::Record(record) = *self.keeping() else {
            return;
        };
        if record.owner == sender && record.role_sequence == described.role_sequence {
            self.kept.change(|stored| {
                stored.family = described.family;
                stored.properties = described.properties;
                stored.name = described.name;
            });
        }
    }

    /// Removes what is kept; the place is free when that is durable.
    pub(super) fn remove(&mut self, tell_on: Option<Link>, tell: &mut dyn FnMut(WitnessEvent)) {
        self.kept.change(|stored| stored.keeping = Keeping::Blank);
        self.gone_on = tell_on;
        for end in &mut self.ends {
            end.unbind();
        }
        tell(WitnessEvent::Removed);
    }

    pub(super) fn confirm(&mut self, which: usize, request: u64) {
        let Some(end) = self.ends.get_mut(which) else {
            return;
        };
        if end.confirms.is_full() {
            end.confirms.pop_front();
        }
        // There is room now.
        let _ = end.confirms.push_back(request);
    }

    /// Answers what cannot be taken, by the own hello (R2).
    pub(super) fn say_hello(&mut self, which: usize) {
        if let Some(end) = self.ends.get_mut(which) {
            end.hello_due = end.hello_due.or(Some(false));
        }
    }

    pub(crate) fn view(&self) -> WitnessView {
        let stored = self.kept.get();
        let shown = stored.keeping.stored();
        let partner = |at: usize| {
            let (stored, end) = (stored.partners.get(at)?, self.ends.get(at)?);
            Some(WitnessPartnerView {
                instance: stored.instance,
                name: stored.name,
                login: (stored.login != 0).then_some(stored.login),
                bound: end.is_bound(),
            })
        };
        let unknown = WitnessPartnerView {
            instance: InstanceId::default(),
            name: InstanceName::EMPTY,
            login: None,
            bound: false,
        };
        let [first, second] = [partner(0).unwrap_or(unknown), partner(1).unwrap_or(unknown)];
        let (principal, mirror) = if second.instance == shown.owner {
            (second, first)
        } else {
            (first, second)
        };
        WitnessView {
            guid: stored.guid,
            family: (stored.family != FamilyGuid::default()).then_some(stored.family),
            name: stored.name,
            record: match stored.keeping {
                Keeping::Record(record) => Some(record),
                Keeping::Blank | Keeping::Dropped { .. } => None,
            },
            storing: self.kept.durable().is_none(),
            principal,
            mirror,
            properties: (!stored.name.is_empty()).then_some(stored.properties),
        }
    }
}
