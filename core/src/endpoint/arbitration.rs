//! Which connection two instances use, and who is dialed when there is none (`docs/safety.md` R2).
//!
//! The instance with the lower id names the newest authenticated connection by USE; a USE above the highest seen unbinds all
//! older connections for ever. Peers are told apart by login *and* instance id: what an instance id alone claims moves nothing.

use super::close::CloseReason;
use super::slot::{Purpose, Reply, Stage};
use super::{Endpoint, Env};
use crate::channel::{ChannelError, PeerRefusal};
use crate::crypto::Provider;
use crate::message::{Address, UseNumber};
use crate::session::{Part, Peer, Reason, SessionError, SessionEvent};
use crate::time::{Duration, Instant};

/// A connection that stood for less than this counts as one more failure of its address.
const STEADY: Duration = Duration::from_secs(5);

impl<P: Provider> Endpoint<'_, P> {
    /// The peer on `index` told who it is: sessions may use the connection, or learn from it who answers at an address.
    #[inline(never)]
    pub(super) fn came_online(&mut self, env: &mut Env<'_, P>, index: usize) {
        let Some(live) = self.live(index) else { return };
        let Some(peer) = live.peer() else { return };
        let (address, outbound, purpose) = (live.address, !live.accepted, live.purpose);
        let link = self.id(index).as_u64();
        if outbound && !matches!(purpose, Purpose::Probe { .. } | Purpose::Pair | Purpose::Call) {
            let mut wanted = false;
            for at in 0..self.session_count() {
                let Some(session) = self.session(at) else { continue };
                if session.ties().any(|tie| tie.address == address) {
                    wanted |= self
                        .with_session(env, at, |session, ctx| session.met_witness(ctx, &address, peer))
                        .unwrap_or(false);
                }
                let Some(session) = self.session(at) else { continue };
                if session.kept.get().partner != address || session.over.is_some() {
                    continue;
                }
                if session.starting.is_some() {
                    wanted = true;
                    self.with_session(env, at, |session, ctx| session.met(ctx, peer, link));
                } else if session.answering.is_some() {
                    wanted = true;
                    self.answered_back(env, at, peer);
                } else if session.is_established() {
                    if session.partner() == peer {
                        wanted = true;
                    } else {
                        self.with_session(env, at, |session, ctx| session.not_the_partner(ctx, peer));
                    }
                }
            }
            if !wanted && peer.instance != self.config.instance {
                self.end_connection(
                    env,
                    index,
                    CloseReason::NotThePartner {
                        instance: peer.instance,
                    },
                );
                return;
            }
        }
        if peer.instance == self.config.instance {
            self.end_connection(env, index, CloseReason::OwnInstance);
            return;
        }
        // A START that is under way is repeated wherever its mirror is met.
        for at in 0..self.session_count() {
            if self
                .session(at)
                .is_some_and(|s| s.starting.is_some() && s.partner() == peer)
            {
                self.with_session(env, at, |session, _| session.repeat_start(link));
            }
        }
        self.arbitrate(env, peer);
    }

    /// A mirror's own outbound connection tells who answers at its operator's address.
    pub(super) fn answered_back(&mut self, env: &mut Env<'_, P>, at: usize, peer: Peer) {
        let answer = self.with_session(env, at, |session, ctx| {
            let guid = session.answering.map(|answering| answering.guid);
            (guid, session.dialed_back(ctx, peer))
        });
        if let Some((Some(guid), Err((on, error)))) = answer {
            self.reply(on, Reply::StartRefused(guid, error));
        }
    }

    /// Settles which connection is used with `peer`, and moves its sessions there.
    pub(super) fn arbitrate(&mut self, env: &mut Env<'_, P>, peer: Peer) {
        let lower = self.config.instance < peer.instance;
        if lower {
            let newest = self
                .connections
                .iter()
                .enumerate()
                .filter_map(|(index, slot)| Some((index, slot.live.as_ref()?)))
                .filter(|(_, c)| c.is_usable() && c.peer() == Some(peer))
                .max_by_key(|(_, c)| c.order)
                .map(|(index, c)| (index, c.used));
            if let Some((index, UseNumber::NONE)) = newest {
                self.use_n = self.use_n.saturating_add(1);
                let number = UseNumber {
                    boot: self.config.boot,
                    n: self.use_n,
                };
                if let Some(live) = self.live_mut(index) {
                    live.used = number;
                    live.use_due = true;
                }
            }
        }
        let used = self
            .connections
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.live.as_ref()?)))
            .filter(|(_, c)| c.is_usable() && c.peer() == Some(peer) && c.used != UseNumber::NONE)
            .max_by_key(|(_, c)| c.used)
            .map(|(index, c)| (index, c.used, c.name));
        let witnessed = self.witness.highest_use(peer);
        let peer_key = used
            .and_then(|(index, ..)| self.live(index)?.channel.established())
            .map(|established| established.peer.point);
        let highest = self
            .sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .filter_map(|session| session.highest_use_of(peer))
            .chain(witnessed)
            .max();
        if let (Some((_, number, _)), Some(highest)) = (used, highest)
            && number < highest
        {
            // The one that was used has died, and these were unbound by it for ever: they only keep a new one from being made.
            for index in 0..self.connections.len() {
                let outlived = self
                    .live(index)
                    .is_some_and(|c| c.is_usable() && c.peer() == Some(peer) && c.used != UseNumber::NONE);
                if outlived {
                    self.close(index, CloseReason::Duplicate { newer_won: true });
                    self.dial_over(env, index);
                }
            }
        }
        let used_id = used.map(|(index, ..)| self.id(index).as_u64());
        let mut sessions = self.rebind_witnessed(peer);
        for at in 0..self.session_count() {
            let Some(session) = self.session(at) else { continue };
            if session.done || session.is_waiting() {
                continue;
            }
            match session.part_of(peer) {
                Some(Part::Partner) => {}
                Some(Part::Witness | Part::Target) => {
                    sessions = true;
                    let highest = session.highest_use_of(peer).unwrap_or(UseNumber::NONE);
                    let link = used.and_then(|(_, number, _)| (number >= highest).then_some(used_id)?);
                    self.with_session(env, at, |session, ctx| {
                        session.rebind_ties(ctx, peer, link, used.map(|(_, number, _)| number));
                    });
                    continue;
                }
                None => continue,
            }
            sessions = true;
            let link = used.and_then(|(_, number, _)| (number >= session.highest_use).then_some(used_id)?);
            self.with_session(env, at, |session, ctx| {
                if let Some((_, number, name)) = used {
                    session.highest_use = session.highest_use.max(number);
                    session.partner_name = name;
                }
                if let Some(key) = peer_key {
                    session.partner_key = key;
                }
                session.rebind(ctx, link);
            });
        }
        // What is not used any more ends a little later, so that what is under way there still arrives.
        let now = self.now;
        for slot in self.connections.iter_mut() {
            let Some(live) = &mut slot.live else { continue };
            if live.peer() != Some(peer) || live.probe {
                continue;
            }
            let spare = !sessions || used.is_some_and(|(_, number, _)| live.used != number);
            live.spare_since = if spare {
                live.spare_since.or(Some(now))
            } else {
                None
            };
        }
    }

    /// Settles for all peers, after many connections have changed.
    pub(super) fn arbitrate_all(&mut self, env: &mut Env<'_, P>) {
        for at in 0..self.session_count() {
            if let Some(peer) = self.session(at).map(crate::session::Session::partner) {
                self.arbitrate(env, peer);
            }
            for place in 0..2 {
                let peer = self.session(at).and_then(|session| session.tied().nth(place));
                if let Some(peer) = peer {
                    self.arbitrate(env, peer);
                }
            }
        }
    }

    /// A USE came on `index`. One that is not above the highest seen is ignored.
    pub(super) fn used(&mut self, env: &mut Env<'_, P>, index: usize, number: UseNumber) {
        let Some(live) = self.live(index) else { return };
        let Some(peer) = live.peer() else { return };
        let seen_here = self
            .connections
            .iter()
            .filter_map(|slot| slot.live.as_ref())
            .filter(|c| c.peer() == Some(peer))
            .map(|c| c.used);
        let seen_before = self
            .sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .filter_map(|s| s.highest_use_of(peer));
        let seen_as_witness = self.witness.highest_use(peer);
        let highest = seen_here
            .chain(seen_before)
            .chain(seen_as_witness)
            .max()
            .unwrap_or(UseNumber::NONE);
        let right = peer.instance < self.config.instance && number.boot == live.boot && !live.probe;
        if !right {
            self.end_connection(
                env,
                index,
                CloseReason::BadMessage {
                    kind: crate::message::codec::Use::KIND,
                },
            );
        } else if number > highest {
            if let Some(live) = self.live_mut(index) {
                live.used = number;
            }
            self.arbitrate(env, peer);
        }
    }

    /// A dialed connection has ended: those who wanted its address learn of it.
    pub(super) fn dial_over(&mut self, env: &mut Env<'_, P>, index: usize) {
        let Some(live) = self.live(index) else { return };
        let Some(closing) = live.closing else { return };
        if live.accepted || matches!(live.purpose, Purpose::Probe { .. } | Purpose::Pair) {
            return;
        }
        let address = live.address;
        let online = live.online_since;
        let steady = online.is_some_and(|since| self.now.since(since) >= STEADY);
        let own = matches!(
            closing.reason,
            CloseReason::OwnInstance
                | CloseReason::Channel(ChannelError::PeerRefused(PeerRefusal::OwnCertificate))
        );
        let limits = self.config.limits;
        for at in 0..self.session_count() {
            if self
                .session(at)
                .is_some_and(|session| session.ties().any(|tie| tie.address == address))
            {
                let now = self.now;
                self.with_session(env, at, |session, _| {
                    for tie in session.ties_mut().filter(|tie| tie.address == address) {
                        tie.tried = true;
                        if steady || matches!(closing.reason, CloseReason::Duplicate { .. }) {
                            tie.dial.succeeded();
                        } else {
                            tie.dial.failed(now, limits.redial_first, limits.redial_last);
                        }
                    }
                });
            }
            let Some(session) = self.session(at) else { continue };
            if session.kept.get().partner != address {
                continue;
            }
            let unmet = session.starting.is_some_and(|starting| starting.met_on.is_none());
            let answering = session.answering.map(|answering| answering.guid);
            let answer = self.with_session(env, at, |session, ctx| {
                if steady || matches!(closing.reason, CloseReason::Duplicate { .. }) {
                    session.dial.succeeded();
                } else {
                    session
                        .dial
                        .failed(ctx.now, limits.redial_first, limits.redial_last);
                }
                if online.is_none() {
                    session.unreachable(ctx.now);
                }
                if unmet && online.is_none() {
                    let error = if own {
                        SessionError::new(1452, Reason::OwnInstance)
                    } else {
                        SessionError::new(1418, Reason::Unreachable)
                    };
                    session.start_failed(ctx, error);
                }
                if online.is_none() {
                    session.not_dialed_back()
                } else {
                    None
                }
            });
            if let (Some(guid), Some(Some((on, error)))) = (answering, answer) {
                self.reply(on, Reply::StartRefused(guid, error));
            }
        }
    }

    /// Every place for a connection is taken: those who want `address` wait a while.
    pub(super) fn no_place_to_dial(&mut self, env: &mut Env<'_, P>, address: Address) {
        let limits = self.config.limits;
        for at in 0..self.session_count() {
            if self
                .session(at)
                .is_some_and(|session| session.kept.get().partner == address)
            {
                self.with_session(env, at, |session, ctx| {
                    session
                        .dial
                        .failed(ctx.now, limits.redial_first, limits.redial_last);
                });
            }
        }
    }

    /// The next session whose partner has to be dialed now: its address, and what for.
    pub(super) fn dial_wanted(&self) -> Option<(Address, Purpose)> {
        if !self.running {
            return None;
        }
        self.sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .find_map(|session| {
                let at = self.dials_at(session)?;
                (at <= self.now).then(|| {
                    let address = session.kept.get().partner;
                    let shared = !session.is_established()
                        && self
                            .sessions
                            .iter()
                            .filter_map(|slot| slot.0.as_ref())
                            .any(|other| other.is_bound() && other.kept.get().partner == address);
                    let purpose = if shared {
                        Purpose::Verify
                    } else {
                        Purpose::Sessions
                    };
                    (address, purpose)
                })
            })
    }

    /// When a session's partner has to be dialed; `None` while there is no need.
    pub(super) fn dials_at(&self, session: &crate::session::Session) -> Option<Instant> {
        let address = session.kept.get().partner;
        let connections = || self.connections.iter().filter_map(|slot| slot.live.as_ref());
        let under_way = connections().any(|c| {
            !c.accepted
                && c.address == address
                && !matches!(c.purpose, Purpose::Probe { .. } | Purpose::Pair)
                && c.closing.is_none()
                && c.stage != Stage::Online
        });
        let met = |outbound: bool| {
            connections().any(|c| {
                c.is_online()
                    && c.peer() == Some(session.partner())
                    && (!outbound && !c.probe || outbound && !c.accepted && c.address == address)
            })
        };
        let wants = if session.over.is_some() || session.done {
            false
        } else if let Some(starting) = session.starting {
            !starting.accepted && !met(starting.met_on.is_none())
        } else if let Some(answering) = session.answering {
            !answering.verified
        } else {
            session.is_established() && session.link().is_none() && !met(false)
        };
        (wants && !under_way).then_some(session.dial.at)
    }

    /// Who a witness is, where an own outbound connection to its address stands already.
    pub(super) fn meet_witnesses(&mut self, env: &mut Env<'_, P>) {
        for at in 0..self.session_count() {
            for place in 0..2 {
                let unmet = self
                    .session(at)
                    .and_then(|session| session.ties().nth(place))
                    .filter(|tie| tie.login == 0)
                    .map(|tie| tie.address);
                let Some(address) = unmet else { continue };
                let standing = self
                    .connections
                    .iter()
                    .filter_map(|slot| slot.live.as_ref())
                    .filter(|c| !c.accepted && c.is_usable() && c.address == address)
                    .max_by_key(|c| c.order)
                    .and_then(super::slot::Connection::peer);
                let Some(peer) = standing else { continue };
                let met = self.with_session(env, at, |session, ctx| session.met_witness(ctx, &address, peer));
                if met == Some(true) {
                    self.arbitrate(env, peer);
                }
            }
        }
    }

    /// The next witness that has to be dialed now.
    pub(super) fn tie_dial_wanted(&self) -> Option<(Address, Purpose)> {
        if !self.running {
            return None;
        }
        self.sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .find_map(|session| {
                session
                    .ties()
                    .find(|tie| self.tie_at(tie).is_some_and(|at| at <= self.now))
                    .map(|tie| (tie.address, Purpose::Sessions))
            })
    }

    /// When a witness of the session has to be dialed; `None` while there is no need.
    pub(super) fn tie_dials_at(&self, session: &crate::session::Session) -> Option<Instant> {
        session.ties().filter_map(|tie| self.tie_at(tie)).min()
    }

    fn tie_at(&self, tie: &crate::session::Tie) -> Option<Instant> {
        let mut connections = self.connections.iter().filter_map(|slot| slot.live.as_ref());
        let there = connections.any(|c| {
            let dialing = !c.accepted
                && c.address == tie.address
                && !matches!(c.purpose, Purpose::Probe { .. } | Purpose::Pair)
                && c.closing.is_none()
                && (c.stage != Stage::Online || tie.login == 0);
            dialing || (tie.login != 0 && c.is_usable() && c.peer() == Some(tie.peer()))
        });
        (tie.link.is_none() && !there).then_some(tie.dial.at)
    }

    /// Puts an answer on a connection, if it is still there.
    pub(super) fn reply(&mut self, link: u64, reply: Reply) {
        if let Some(index) = self.linked(link)
            && let Some(live) = self.live_mut(index)
        {
            // When there is no room the peer has asked for more than two records' worth without reading answers.
            let _ = live.replies.push_back(reply);
        }
    }
}

impl crate::session::Session {
    /// Somebody else answers at the partner's address: told once for each other.
    pub(crate) fn not_the_partner(&mut self, ctx: &mut crate::session::Ctx<'_>, peer: Peer) {
        self.trouble = Some(SessionError::new(1402, Reason::NotThePartner));
        if self.reported.replace(peer) != Some(peer) {
            (ctx.events)(SessionEvent::NotThePartner {
                login: peer.login,
                instance: peer.instance,
            });
        }
    }
}
