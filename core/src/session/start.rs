//! How a session begins (`docs/safety.md` R0, R11).
//!
//! ```text
//! principal                                        mirror (waits)
//!   dials its partner address, authenticates  ──►
//!   START(guid, record (1, P, 0, UNSYNC), …)  ──►  dials *its* partner address; only if the same login and
//!                                             ◄──  instance answer there: persists, then ACCEPTED
//!   checks the mirror's log, persists
//!   hello                                     ◄─►  hello: bound
//! ```
//! A START is repeated on every connection until it is answered; it is idempotent by guid. Nothing of it is durable on the
//! principal before the mirror has accepted.

use super::decide;
use super::event::{Reason, SessionError, SessionEvent};
use super::machine::{Ctx, Link, Peer, Session};
use super::storage::StorageError;
use super::stored::StoredPhase;
use crate::message::codec::{Properties, Start, StartAccepted};
use crate::message::{FamilyGuid, InstanceId, Record, SessionGuid};
use crate::time::{Duration, Instant};

/// Principal: a START under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starting {
    /// When it has failed.
    pub(crate) deadline: Instant,
    /// The own outbound connection that answered at the partner's address.
    pub(crate) met_on: Option<Link>,
    /// Where START is to be sent next.
    pub(crate) send_on: Option<Link>,
    /// When START is to be sent again after *busy*.
    pub(crate) again_at: Option<Instant>,
    /// The mirror has it durably; the own record is being persisted.
    pub(crate) accepted: bool,
}

impl Starting {
    pub(crate) const fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            met_on: None,
            send_on: None,
            again_at: None,
            accepted: false,
        }
    }
}

/// Mirror: a START that waits for the dial back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answering {
    pub(crate) from: Peer,
    pub(crate) on: Link,
    pub(crate) guid: SessionGuid,
    pub(crate) record: Record,
    pub(crate) family: FamilyGuid,
    pub(crate) properties: Properties,
    /// The own outbound connection has authenticated the sender: what is persisted is this START.
    pub(crate) verified: bool,
}

impl Session {
    // ---- principal ----

    /// The own outbound connection to the partner's address was authenticated as `peer`.
    pub(crate) fn met(&mut self, ctx: &mut Ctx<'_>, peer: Peer, link: Link) {
        let Some(starting) = &mut self.starting else {
            return;
        };
        if peer.instance == ctx.own {
            self.start_failed(ctx, SessionError::new(1452, Reason::OwnInstance));
            return;
        }
        if starting.met_on.is_none() {
            starting.met_on = Some(link);
            self.kept.prepare(|stored| {
                stored.partner_login = peer.login;
                stored.partner_instance = peer.instance;
            });
        }
        if self.partner() == peer {
            self.repeat_start(link);
        }
    }

    /// Sends START (again) on `link`, unless it is accepted already.
    pub(crate) fn repeat_start(&mut self, link: Link) {
        if let Some(starting) = &mut self.starting
            && !starting.accepted
        {
            starting.send_on = Some(link);
            starting.again_at = None;
        }
    }

    /// The mirror has persisted the session. Whether it may go on; if not, the mirror is to hear `none`.
    pub(crate) fn start_accepted(&mut self, ctx: &mut Ctx<'_>, answer: &StartAccepted) -> bool {
        let Some(starting) = &mut self.starting else {
            return true;
        };
        if starting.accepted {
            return true;
        }
        let stored = self.kept.get();
        let joined = decide::join(
            decide::history::History {
                end: self.end,
                timelines: &stored.timelines,
            },
            decide::history::History {
                end: answer.end,
                timelines: &answer.timelines,
            },
            answer.wants_seed,
            true,
            |position| ctx.storage.chain_at(stored.database, position),
        );
        let refused = match joined {
            _ if answer.record != stored.record => Some(SessionError::new(1428, Reason::RecordConflict)),
            Ok(
                decide::Join::Resume | decide::Join::Adopt | decide::Join::Seed(super::ReseedReason::Asked),
            ) => None,
            Ok(decide::Join::Seed(super::ReseedReason::LogGone)) => {
                Some(SessionError::new(1408, Reason::TooOld))
            }
            Ok(decide::Join::Seed(_)) => Some(SessionError::new(1412, Reason::OffHistory)),
            Err(StorageError::Gone) => Some(SessionError::new(1408, Reason::TooOld)),
            Err(_) => Some(SessionError::new(1454, Reason::Storage)),
        };
        if let Some(error) = refused {
            self.start_failed(ctx, error);
            return false;
        }
        starting.accepted = true;
        starting.send_on = None;
        self.kept.change(|stored| stored.phase = StoredPhase::Established);
        true
    }

    /// The mirror refused.
    pub(crate) fn start_refused(&mut self, ctx: &mut Ctx<'_>, error: SessionError) {
        let Some(starting) = &mut self.starting else {
            return;
        };
        if starting.accepted {
            return;
        }
        if error.reason == Reason::Busy {
            starting.again_at = Some(ctx.now.after(Duration::from_millis(500)));
            return;
        }
        self.start_failed(ctx, error);
    }

    /// The start has come to nothing; nothing of it is left here.
    pub(crate) fn start_failed(&mut self, ctx: &mut Ctx<'_>, error: SessionError) {
        // Once the acceptance is being persisted it cannot fail any more.
        if self.starting.is_some_and(|starting| !starting.accepted) {
            self.starting = None;
            self.done = true;
            (ctx.events)(SessionEvent::StartFailed(error));
        }
    }

    // ---- mirror ----

    /// A START for this waiting mirror, from `peer` over `link`.
    ///
    /// # Errors
    /// What is answered when it is refused at once. Otherwise the dial back decides.
    pub(crate) fn start_asked(&mut self, peer: Peer, link: Link, start: &Start) -> Result<(), SessionError> {
        decide::start_record(&start.record, peer.instance)?;
        let stored = self.kept.get();
        if !stored.wants_seed && stored.family != start.family {
            return Err(SessionError::new(1407, Reason::OtherFamily));
        }
        if let Some(earlier) = &self.answering
            && (earlier.from != peer || earlier.guid != start.guid)
        {
            return Err(SessionError::new(1404, Reason::Busy));
        }
        let verified = self.answering.is_some_and(|earlier| earlier.verified);
        self.answering = Some(Answering {
            from: peer,
            on: link,
            guid: start.guid,
            record: start.record,
            family: start.family,
            properties: start.properties,
            verified,
        });
        // The dial back is not to wait for an earlier failure's pause.
        self.dial.succeeded();
        Ok(())
    }

    /// Who answers at the own operator's address, asked for by a START: if it is the sender, the session is persisted.
    ///
    /// # Errors
    /// What the sender is answered on the link, when it is somebody else.
    pub(crate) fn dialed_back(&mut self, ctx: &mut Ctx<'_>, peer: Peer) -> Result<(), (Link, SessionError)> {
        let Some(answering) = &mut self.answering else {
            return Ok(());
        };
        if peer != answering.from {
            let on = answering.on;
            self.answering = None;
            (ctx.events)(SessionEvent::NotThePartner {
                login: peer.login,
                instance: peer.instance,
            });
            return Err((on, SessionError::new(1402, Reason::NotThePartner)));
        }
        answering.verified = true;
        let answering = *answering;
        self.kept.change(|stored| {
            stored.phase = StoredPhase::Established;
            stored.guid = answering.guid;
            stored.record = answering.record;
            stored.family = answering.family;
            stored.properties = answering.properties;
            stored.partner_login = peer.login;
            stored.partner_instance = peer.instance;
            stored.touched = false;
        });
        self.accept_on = Some(answering.on);
        Ok(())
    }

    /// The dial back failed.
    pub(crate) fn not_dialed_back(&mut self) -> Option<(Link, SessionError)> {
        let answering = self.answering.filter(|answering| !answering.verified)?;
        self.answering = None;
        Some((answering.on, SessionError::new(1418, Reason::CannotDialBack)))
    }

    /// The partner has no such session. A mirror that has taken nothing in it waits again (R0); else the session stays,
    /// DISCONNECTED: only a tombstone ends it.
    pub(crate) fn heard_none(&mut self, ctx: &mut Ctx<'_>) {
        if self.starting.is_some() {
            return;
        }
        let stored = self.kept.get();
        let stage = if stored.touched || stored.phase != StoredPhase::Established {
            decide::begin::Stage::Established
        } else {
            decide::begin::Stage::Untouched
        };
        if decide::begin::hear_none(stage, &stored.record, ctx.own) == decide::begin::HeardNone::WaitAgain {
            self.unbind(ctx);
            self.answering = None;
            self.accept_on = None;
            self.kept.change(|stored| {
                stored.phase = StoredPhase::Waiting;
                stored.guid = SessionGuid::default();
                stored.record = Record::default();
                stored.partner_login = 0;
                stored.partner_instance = InstanceId::default();
            });
            (ctx.events)(SessionEvent::WaitsAgain);
            return;
        }
        if self
            .trouble
            .is_none_or(|trouble| trouble.reason != Reason::NotMirrored)
        {
            self.trouble = Some(SessionError::new(1416, Reason::NotMirrored));
            (ctx.events)(SessionEvent::PartnerHasNone);
        }
        self.q.none_heard = true;
    }
}
