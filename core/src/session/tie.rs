//! The witness as one partner is tied to it: who it is, which connection it is talked to on, what it has shown there
//! (`docs/safety.md` R2, R3, R5). A tie is bound as a session is: own hello said, the witness's handled.

use super::decide::incomplete;
use super::decide::record::{Heard, Sender};
use super::decide::takeover;
use super::decide::witness::Keeping;
use super::event::{Reason, SessionError, SessionEvent, WitnessState};
use super::machine::{Ctx, Link, Peer, Redial, Session};
use super::silence::Silence;
use crate::message::codec::{Confirm, Denial, Grant, NameWitness, Properties, Refusal, SessionHello};
use crate::message::{Address, InstanceId, Record, UseNumber};

/// A witness, or one that is to become it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tie {
    /// Where it is; empty: there is none.
    pub(crate) address: Address,
    /// The login that this member's own connection authenticated there; 0 before it was met.
    pub(crate) login: u32,
    pub(crate) instance: InstanceId,
    pub(crate) link: Option<Link>,
    pub(crate) highest_use: UseNumber,
    pub(crate) dial: Redial,
    pub(crate) hello_sent: bool,
    /// What it showed over this binding; `Some(None)`: it is blank.
    pub(crate) heard: Option<Option<Record>>,
    /// HELLO_AGAIN came: the next hello is not the first.
    pub(crate) again: Option<bool>,
    /// Nothing was heard of it for the session's time-out.
    pub(crate) silence: Silence,
    /// It was looked for in this run.
    pub(crate) tried: bool,
    /// The own record is to be shown.
    pub(crate) record_due: bool,
    /// The own hello is to be said again; `true`: to be answered.
    pub(crate) hello_due: Option<bool>,
    /// The open ask is to be sent.
    pub(crate) ask_due: bool,
    /// What the witness shows of the session is to be told, as of these properties.
    pub(crate) described: Option<Properties>,
    /// REGISTER is to be sent under that request.
    pub(crate) register_due: Option<u64>,
    /// DROP is to be sent: 0 when another witness is in use, else WITNESS OFF under that request.
    pub(crate) drop_due: Option<u64>,
}

/// What somebody who speaks about a session is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Partner,
    Witness,
    /// A witness-to-be.
    Target,
}

impl Tie {
    pub(crate) fn new(address: Address, login: u32, instance: InstanceId) -> Self {
        Self {
            address,
            login,
            instance,
            ..Self::default()
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.address.is_empty()
    }

    pub(crate) const fn peer(&self) -> Peer {
        Peer {
            login: self.login,
            instance: self.instance,
        }
    }

    pub(crate) fn is(&self, peer: Peer) -> bool {
        self.login != 0 && self.peer() == peer
    }

    pub(crate) const fn is_bound(&self) -> bool {
        self.hello_sent && matches!(self.heard, Some(Some(_)))
    }

    /// Whether it was found without a record over this binding.
    pub(crate) const fn is_blank(&self) -> bool {
        self.hello_sent && matches!(self.heard, Some(None))
    }

    /// Moves to the connection that is used now, or to none: what was learnt is forgotten.
    fn rebind(&mut self, link: Option<Link>) {
        *self = Self {
            highest_use: self.highest_use,
            dial: self.dial,
            tried: true,
            link,
            ..Self::new(self.address, self.login, self.instance)
        };
        if link.is_some() {
            self.dial.succeeded();
        }
    }

    pub(crate) const fn state(&self) -> WitnessState {
        if self.is_bound() && !self.silence.is_silent() {
            WitnessState::Connected
        } else if self.tried {
            WitnessState::Disconnected
        } else {
            WitnessState::Unknown
        }
    }
}

impl Session {
    /// What `peer` is in this session, by what this member itself authenticated (R11).
    pub(crate) fn part_of(&self, peer: Peer) -> Option<Part> {
        if self.partner() == peer {
            Some(Part::Partner)
        } else if self.tie.is(peer) {
            Some(Part::Witness)
        } else if self.change.is_some_and(|change| change.target.is(peer)) {
            Some(Part::Target)
        } else {
            None
        }
    }

    /// The highest USE seen on connections to `peer`.
    pub(crate) fn highest_use_of(&self, peer: Peer) -> Option<UseNumber> {
        Some(match self.part_of(peer)? {
            Part::Partner => self.highest_use,
            Part::Witness => self.tie.highest_use,
            Part::Target => self.change?.target.highest_use,
        })
    }

    /// Moves the ties that `peer` is to the connection that is used with it.
    pub(crate) fn rebind_ties(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: Peer,
        link: Option<Link>,
        number: Option<UseNumber>,
    ) {
        if self.tie.is(peer) {
            if let Some(number) = number {
                self.tie.highest_use = self.tie.highest_use.max(number);
            }
            if self.tie.link != link {
                self.tie.rebind(link);
                self.q.by_witness = false;
                self.q.ask_here = false;
                self.shown_again.forget();
                self.force_interrupted(ctx);
                self.witness_untold();
                if let Some(change) = &mut self.change {
                    change.drop_request = None;
                }
            }
        }
        if let Some(change) = &mut self.change
            && change.target.is(peer)
        {
            if let Some(number) = number {
                change.target.highest_use = change.target.highest_use.max(number);
            }
            if change.target.link != link {
                change.target.rebind(link);
                change.registered_at = None;
                change.by_target_at = None;
            }
        }
        if self
            .retired
            .is_some_and(|retired| retired.is(peer) && retired.link != link)
        {
            self.retired = None;
        }
    }

    /// All connections on which this session is talked about.
    pub(crate) fn talks_on(&self, link: Link) -> bool {
        self.link() == Some(link)
            || self.tie.link == Some(link)
            || self.retired.is_some_and(|tie| tie.link == Some(link))
            || self.change.is_some_and(|change| change.target.link == Some(link))
    }

    /// The addresses of witnesses that this session wants a connection to, with what is known of each.
    pub(crate) fn ties(&self) -> impl Iterator<Item = &Tie> {
        let target = self.change.as_ref().map(|change| &change.target);
        [Some(&self.tie), target]
            .into_iter()
            .flatten()
            .filter(|tie| !tie.is_none() && self.is_established())
    }

    /// Who its witnesses are, of a session that has ended too: it may be waiting to tell them.
    pub(crate) fn tied(&self) -> impl Iterator<Item = Peer> {
        let target = self.change.as_ref().map(|change| &change.target);
        let met = [Some(&self.tie), target].into_iter().flatten();
        met.filter(|tie| tie.login != 0).map(Tie::peer)
    }

    /// The same as [`Session::ties`], to be changed.
    pub(crate) fn ties_mut(&mut self) -> impl Iterator<Item = &mut Tie> {
        let target = self.change.as_mut().map(|change| &mut change.target);
        [Some(&mut self.tie), target]
            .into_iter()
            .flatten()
            .filter(|tie| !tie.is_none())
    }

    /// An own outbound connection to `address` was authenticated as `peer`: this is who the witness there is. Whether it is one that
    /// is talked to.
    pub(crate) fn met_witness(&mut self, ctx: &mut Ctx<'_>, address: &Address, peer: Peer) -> bool {
        let mut met = false;
        if self.tie.address == *address {
            if self.tie.login == 0 && self.tie.instance == peer.instance {
                self.tie.login = peer.login;
                self.kept.change(|stored| stored.witness_login = peer.login);
            }
            if self.tie.is(peer) {
                met = true;
            } else {
                self.not_the_partner(ctx, peer);
            }
        }
        let partner = self.kept.get().partner_instance;
        let Some(change) = &mut self.change else {
            return met;
        };
        if change.target.address != *address {
            return met;
        }
        if change.target.login == 0 {
            let refused = if peer.instance == ctx.own {
                Some(SessionError::new(1452, Reason::OwnInstance))
            } else if peer.instance == partner || peer.login == self.kept.get().partner_login {
                Some(SessionError::new(1429, Reason::WitnessIsPartner))
            } else if peer.instance == self.kept.get().witness && change.by_operator {
                Some(SessionError::new(1446, Reason::WitnessSame))
            } else {
                None
            };
            if let Some(refused) = refused {
                self.change = None;
                (ctx.events)(SessionEvent::WitnessRefused(refused));
                return met;
            }
            change.target.login = peer.login;
            change.target.instance = peer.instance;
        }
        met | change.target.is(peer)
    }

    // ---- what the witness says ----

    /// HELLO_AGAIN: the hello that follows is not the first here.
    pub(crate) const fn witness_hello_comes_again(&mut self, part: Part, answer: bool) {
        if matches!(part, Part::Witness) {
            self.tie.again = Some(answer);
        }
    }

    /// A hello of the witness, or of the one to be.
    pub(crate) fn heard_witness_hello(&mut self, ctx: &mut Ctx<'_>, part: Part, hello: &SessionHello) {
        if part == Part::Target {
            if let Some(change) = &mut self.change {
                change.target.again = None;
                change.target.heard = Some(Some(hello.record));
            }
            self.target_showed(&hello.record);
            return;
        }
        let again = self.tie.again.take();
        let answer = again == Some(true);
        let stored = self.kept.get();
        let named = Record {
            role_sequence: stored.witness_role_sequence,
            sync_sequence: stored.witness_sync_sequence,
            ..stored.record
        };
        let shown = takeover::witness_shows(&Keeping::Record(hello.record), &named);
        self.tie.heard = Some(shown);
        if !stored.witness_pending {
            let shown = shown.map(|shown| self.as_taken(ctx, &shown));
            let keeps = shown.is_some_and(|shown| self.keeps_ask(ctx, &shown));
            if !keeps {
                self.close_ask_by_hello(ctx);
            }
            if let Some(shown) = shown.filter(|_| !keeps) {
                self.shown_again.forget();
                let heard = self.hear(ctx, Sender::Witness, shown, false, None, again == Some(false));
                if heard == Heard::Older && self.owns(ctx.own) {
                    self.tie.record_due = true;
                }
            }
        }
        if answer {
            self.tie.hello_due = Some(false);
        }
    }

    /// The witness holds no record of this session: it is blank (R5).
    pub(crate) fn heard_witness_none(&mut self, ctx: &mut Ctx<'_>, part: Part) {
        if part == Part::Witness {
            self.tie.heard = Some(None);
            self.q.by_witness = false;
            if !self.kept.get().witness_pending {
                self.close_ask_by_hello(ctx);
            }
        } else if let Some(change) = &mut self.change {
            change.target.heard = Some(None);
        }
    }

    fn close_ask_by_hello(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.ask();
        if takeover::hello_closes(&before, self.q.ask_here) {
            self.close_ask(ctx);
        }
    }

    /// The witness shows its record, as an answer.
    pub(crate) fn witness_confirms(&mut self, ctx: &mut Ctx<'_>, part: Part, confirm: &Confirm) {
        if part == Part::Target {
            self.target_showed(&confirm.record);
            return;
        }
        let dropped = self
            .change
            .is_some_and(|change| confirm.request != 0 && change.drop_request == Some(confirm.request));
        if dropped {
            self.witness_dropped(ctx);
            return;
        }
        if self.kept.get().witness_pending {
            return;
        }
        if self.tie.is_blank() && self.shown_again.is_registered(confirm.request) {
            // What it has just been registered with makes it a witness again.
            self.tie.heard = Some(Some(confirm.record));
        }
        if self.tie.is_bound() {
            self.hear(ctx, Sender::Witness, confirm.record, false, None, true);
        }
        if self
            .change
            .is_some_and(|change| change.target.is(self.tie.peer()))
        {
            self.target_showed(&confirm.record);
        }
    }

    /// What the witness shows, as this member would persist it.
    fn as_taken(&self, ctx: &Ctx<'_>, shown: &Record) -> Record {
        incomplete::taken(ctx.own, shown, self.kept.get().incomplete, &self.ask())
    }

    /// Whether the open ask stays open: it was granted to a member that has lost hardened blocks (R6).
    fn keeps_ask(&self, ctx: &Ctx<'_>, shown: &Record) -> bool {
        let stored = self.kept.get();
        incomplete::keeps_ask(ctx.own, &stored.record, shown, stored.incomplete, &self.ask())
    }

    /// The witness grants the open ask.
    pub(crate) fn granted(&mut self, ctx: &mut Ctx<'_>, grant: &Grant) {
        if !takeover::answer_closes(&self.ask(), grant.ask) {
            return;
        }
        let shown = self.as_taken(ctx, &grant.record);
        if self.keeps_ask(ctx, &shown) {
            return;
        }
        self.close_ask(ctx);
        self.hear(ctx, Sender::Witness, shown, false, None, true);
    }

    /// The witness refuses the open ask. A role_sequence of 0 says that it is blank.
    pub(crate) fn denied(&mut self, ctx: &mut Ctx<'_>, denial: &Denial) {
        let ask = self.ask();
        if !takeover::answer_closes(&ask, denial.ask) {
            return;
        }
        let shown = self.as_taken(ctx, &denial.record);
        if self.keeps_ask(ctx, &shown) {
            return;
        }
        self.close_ask(ctx);
        self.q.ask_after = ctx.now.after(super::quorum::ASK_AGAIN);
        // Denied because it was granted before: what the operator forces now is to use that.
        let granted = shown.forced && shown.owner == ctx.own && self.kept.get().incomplete;
        if ask.force && !granted {
            self.q.forcing = false;
            (ctx.events)(SessionEvent::ForceRefused(SessionError::new(
                1455,
                Reason::Denied,
            )));
        }
        if denial.record.role_sequence != 0 {
            self.hear(ctx, Sender::Witness, shown, false, None, true);
        }
    }

    /// The witness refuses something.
    pub(crate) fn refused_by_witness(&mut self, ctx: &mut Ctx<'_>, refusal: &Refusal) {
        let error = SessionError::new(refusal.number, Reason::from_code(refusal.reason));
        if refusal.kind == crate::message::codec::Drop::KIND
            && self.change.is_some_and(|change| change.drop_request.is_some())
        {
            self.change = None;
            (ctx.events)(SessionEvent::WitnessRefused(SessionError::new(
                1431,
                Reason::NoQuorum,
            )));
            return;
        }
        if refusal.kind == crate::message::codec::Register::KIND
            && let Some(change) = self.change
            && change.by_operator
        {
            self.change = None;
            (ctx.events)(SessionEvent::WitnessRefused(error));
            return;
        }
        (ctx.events)(SessionEvent::PartnerRefused(error));
    }

    // ---- what the mirror is told of the witness ----

    /// The owner names a witness, or the mirror answers what it names.
    pub(crate) fn witness_named(&mut self, ctx: &mut Ctx<'_>, message: &NameWitness) {
        use super::decide::{record, witness};
        let names = witness::Named {
            witness: (message.witness != InstanceId::default()).then_some(message.witness),
            pending: message.pending,
        };
        let own = self.record();
        if self.owns(ctx.own) {
            if !message.answer {
                return;
            }
            self.q.mirror_names = Some(names);
            if let Some(change) = &mut self.change
                && record::same(&own, &message.record)
                && names.pending
                && names.witness == change.target_instance()
            {
                change.mirror_pending_at = Some((own.role_sequence, own.sync_sequence));
            }
            return;
        }
        if message.answer || own.owner != self.partner().instance {
            return;
        }
        if !message.pending {
            self.follow_witness(names);
            self.due.named = true;
        } else if record::same(&own, &message.record) && !self.ask().open {
            let (instance, address) = (message.witness, message.address);
            self.kept.change(|stored| {
                if stored.witness != instance || stored.witness_address != address {
                    stored.witness_login = 0;
                }
                stored.witness = instance;
                stored.witness_address = address;
                stored.witness_pending = true;
                stored.witness_role_sequence = own.role_sequence;
                stored.witness_sync_sequence = own.sync_sequence;
            });
            if self.tie.instance != instance || self.tie.address != address {
                self.tie = Tie::new(address, 0, instance);
                self.q.by_witness = false;
                self.q.ask_here = false;
            }
            self.due.named = true;
        }
    }

    /// The owner's hello or message shows which witness it names.
    pub(super) fn follow_witness(&mut self, owners: super::decide::witness::Named) {
        let now = super::decide::witness::follow(self.names(), owners);
        self.kept.change(|stored| stored.witness_pending = now.pending);
    }

    /// The witness as this member names it.
    pub(super) fn names(&self) -> super::decide::witness::Named {
        let stored = self.kept.get();
        super::decide::witness::Named {
            witness: self.has_witness().then_some(stored.witness),
            pending: stored.witness_pending,
        }
    }
}
