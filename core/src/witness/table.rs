//! The places for witnessed sessions, over what the caller lends.

use super::event::{WitnessEvent, WitnessView};
use super::member::Witnessed;
use super::stored::{WitnessPartner, WitnessStored};
use crate::crypto::POINT_LEN;
use crate::message::codec::{Properties, Register};
use crate::message::{DatabaseName, FamilyGuid, InstanceId, InstanceName, SessionGuid, UseNumber};
use crate::places::{Place, Places};
use crate::session::decide::witness::{self as rule, Keeping};
use crate::session::{Kept, Link, Peer, Reason, SessionError};
use crate::time::Duration;

/// Place for one session that this instance is the witness of; lend as many as there may be at a time.
#[derive(Debug, Default)]
pub struct WitnessSlot(Option<Witnessed>);

impl Place for WitnessSlot {
    fn is_free(&self) -> bool {
        self.0.is_none()
    }
}

/// All that this instance is the witness of.
#[derive(Debug)]
pub(crate) struct Witness<'a> {
    slots: Places<'a, WitnessSlot>,
}

/// The connection that is used with a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) link: Link,
    pub(crate) number: UseNumber,
    /// The key that the peer proved itself by.
    pub(crate) point: [u8; POINT_LEN],
    pub(crate) name: InstanceName,
}

/// A registration as it came, with who sent it over what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registering<'r> {
    pub(crate) message: &'r Register,
    pub(crate) peer: Peer,
    pub(crate) used: Used,
    /// This instance.
    pub(crate) own: InstanceId,
    /// Its public key.
    pub(crate) own_key: [u8; POINT_LEN],
}

/// What is to be written: under that guid so many bytes, or nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteDue {
    pub(crate) guid: SessionGuid,
    pub(crate) len: Option<usize>,
    pub(crate) replaces: Option<SessionGuid>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(slots: &'a mut [WitnessSlot]) -> Self {
        Self {
            slots: Places::new(slots),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Witnessed> + '_ {
        self.slots.iter().filter_map(|slot| slot.0.as_ref())
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Witnessed> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.0.as_mut())
    }

    /// The session, if this instance keeps anything of it.
    pub(crate) fn find(&mut self, guid: SessionGuid) -> Option<&mut Witnessed> {
        self.all_mut()
            .find(|witnessed| witnessed.guid() == guid && *witnessed.keeping() != Keeping::Blank)
    }

    /// The rows of the view.
    pub(crate) fn views(&self) -> impl Iterator<Item = WitnessView> + '_ {
        self.all()
            .filter(|witnessed| *witnessed.keeping() != Keeping::Blank)
            .map(Witnessed::view)
    }

    /// Takes up what was stored.
    pub(crate) fn restore(&mut self, stored: WitnessStored) -> Result<(), SessionError> {
        if self.all().any(|witnessed| witnessed.guid() == stored.guid) {
            return Err(SessionError::new(1446, Reason::AlreadyMirrored));
        }
        let (_, slot) = self.slots.free().ok_or(SessionError::new(1427, Reason::NoRoom))?;
        slot.0 = Some(Witnessed::new(Kept::read(stored)));
        Ok(())
    }

    /// An operator has this instance forget a session: as if its storage were lost, which nothing is granted after (R5).
    pub(crate) fn forget(&mut self, guid: SessionGuid, tell: &mut dyn FnMut(WitnessEvent)) -> bool {
        let found = self.find(guid);
        found.map(|witnessed| witnessed.remove(None, tell)).is_some()
    }

    // ---- connections ----

    /// Settles which connection is used with `peer`. Whether this instance is a witness for it.
    pub(crate) fn rebind(&mut self, peer: Peer, used: Option<Used>) -> bool {
        let mut serves = false;
        for witnessed in self.all_mut() {
            if *witnessed.keeping() == Keeping::Blank {
                continue;
            }
            let which = used.map_or_else(|| witnessed.met(peer), |used| witnessed.which(peer, &used.point));
            let Some(which) = which else { continue };
            serves = true;
            match used {
                Some(used) => {
                    witnessed.rebind(which, Some(used.link), used.number);
                    if witnessed.link(which) == Some(used.link) {
                        witnessed.meet(which, peer.login, used.name);
                    }
                }
                None => witnessed.rebind(which, None, UseNumber::NONE),
            }
        }
        serves
    }

    /// All connections are gone.
    pub(crate) fn unbind_all(&mut self) {
        for end in self.all_mut().flat_map(|witnessed| &mut witnessed.ends) {
            end.unbind();
        }
    }

    /// The highest USE seen of that peer's connections.
    pub(crate) fn highest_use(&self, peer: Peer) -> Option<UseNumber> {
        self.all()
            .filter_map(|witnessed| Some(witnessed.ends.get(witnessed.met(peer)?)?.highest_use))
            .max()
    }

    /// How long the peer on a connection may be silent for the most patient of the sessions there.
    pub(crate) fn patience(&self, link: Link) -> Option<Duration> {
        self.all()
            .filter(|witnessed| witnessed.ends.iter().any(|end| end.link == Some(link)))
            .map(|witnessed| Duration::from_secs(u64::from(witnessed.kept.get().properties.timeout)))
            .max()
    }

    /// Says what the sessions on `link` have to say.
    pub(crate) fn say(
        &mut self,
        link: Link,
        to: &mut crate::wire::Writer<'_>,
        said: &mut u64,
    ) -> Result<(), crate::wire::Full> {
        for witnessed in self.all_mut() {
            witnessed.say(link, to, said)?;
        }
        Ok(())
    }

    // ---- registration ----

    /// An owner asks this instance to be its witness (R5), over the connection that is used with it.
    pub(crate) fn register(
        &mut self,
        asked: &Registering<'_>,
        tell: &mut dyn FnMut(WitnessEvent),
    ) -> Result<(), SessionError> {
        let Registering {
            message,
            peer,
            used,
            own,
            own_key,
        } = *asked;
        let ids = [message.principal, message.mirror];
        let keys = [message.principal_key, message.mirror_key];
        if message.principal != peer.instance || message.principal_key != used.point {
            return Err(SessionError::new(1402, Reason::NoAuthority));
        }
        if ids.contains(&own)
            || keys.contains(&own_key)
            || message.principal == message.mirror
            || message.principal_key == message.mirror_key
        {
            return Err(SessionError::new(1429, Reason::WitnessIsPartner));
        }
        if let Some(witnessed) = self.find(message.guid) {
            return witnessed.register_again(asked, tell);
        }
        if !rule::takes_registration(&Keeping::Blank, &message.record, peer.instance) {
            return Err(SessionError::new(1428, Reason::RecordConflict));
        }
        let partner = |at: usize, login: u32, name: InstanceName| {
            Some(WitnessPartner {
                instance: *ids.get(at)?,
                key: *keys.get(at)?,
                login,
                name,
            })
        };
        let (Some(principal), Some(mirror)) = (
            partner(0, peer.login, used.name),
            partner(1, 0, InstanceName::EMPTY),
        ) else {
            return Err(SessionError::new(1428, Reason::WrongState));
        };
        let stored = WitnessStored {
            guid: message.guid,
            keeping: Keeping::Record(message.record),
            partners: [principal, mirror],
            family: FamilyGuid::default(),
            properties: Properties::default(),
            name: DatabaseName::EMPTY,
        };
        let place = self.place(message.guid)?;
        let mut witnessed = match place.take() {
            // Its removal is still under way, or it gives up its place: what is stored becomes this.
            Some(mut old) => {
                let replaces = (old.guid() != message.guid).then(|| old.guid());
                old.kept.change(|kept| *kept = stored);
                Witnessed {
                    replaces: replaces.or(old.replaces),
                    ..Witnessed::new(old.kept)
                }
            }
            None => Witnessed::new(Kept::new(stored)),
        };
        witnessed.rebind(0, Some(used.link), used.number);
        witnessed.registered(0, message.request);
        *place = Some(witnessed);
        tell(WitnessEvent::Registered { owner: peer.instance });
        Ok(())
    }

    /// A place for that session: its own, if its removal is under way, a free one, or that of a dropped session, which may be forgotten
    /// when there is no other.
    fn place(&mut self, guid: SessionGuid) -> Result<&mut Option<Witnessed>, SessionError> {
        let own = |slot: &WitnessSlot| slot.0.as_ref().is_some_and(|witnessed| witnessed.guid() == guid);
        let dropped = |slot: &WitnessSlot| {
            slot.0.as_ref().is_some_and(|witnessed| {
                matches!(witnessed.keeping(), Keeping::Dropped { .. })
                    && witnessed.kept.durable().is_some()
                    && witnessed.replaces.is_none()
            })
        };
        let at = self
            .slots
            .iter()
            .position(own)
            .or_else(|| self.slots.free().map(|(at, _)| at))
            .or_else(|| self.slots.iter().position(dropped));
        at.and_then(|at| self.slots.get_mut(at))
            .map(|slot| &mut slot.0)
            .ok_or(SessionError::new(1427, Reason::NoRoom))
    }

    // ---- the storage ----

    /// Copies the record that is to be written next into `out`, which has room for the longest.
    pub(crate) fn write_due(&mut self, ticket: u64, out: &mut [u8]) -> Option<WriteDue> {
        let witnessed = self.all_mut().find(|witnessed| witnessed.kept.is_dirty())?;
        let stored = *witnessed.kept.get();
        let len = match stored.keeping {
            Keeping::Blank => None,
            Keeping::Record(_) | Keeping::Dropped { .. } => Some(stored.encode(out).unwrap_or(0)),
        };
        witnessed.kept.writing(ticket);
        Some(WriteDue {
            guid: stored.guid,
            len,
            replaces: witnessed.replaces,
        })
    }

    /// The storage has confirmed `ticket`. Where *none* is to be said for what was removed.
    pub(crate) fn persisted(&mut self, ticket: u64) -> Option<(Link, SessionGuid)> {
        let slot = self.slots.iter_mut().find(|slot| {
            slot.0
                .as_ref()
                .is_some_and(|witnessed| witnessed.kept.was_written(ticket))
        })?;
        let witnessed = slot.0.as_mut()?;
        let durable = witnessed.kept.confirmed(ticket);
        witnessed.replaces = None;
        let told = witnessed.gone_on.map(|link| (link, witnessed.guid()));
        if durable && *witnessed.keeping() == Keeping::Blank {
            slot.0 = None;
            self.slots.freed();
            return told;
        }
        None
    }
}

impl Witnessed {
    /// A registration of what is kept already: after a drop, again, or under a higher record.
    fn register_again(
        &mut self,
        asked: &Registering<'_>,
        tell: &mut dyn FnMut(WitnessEvent),
    ) -> Result<(), SessionError> {
        let (message, peer) = (asked.message, asked.peer);
        let stranger = SessionError::new(1402, Reason::NoAuthority);
        let which = self.which(peer, &asked.used.point).ok_or(stranger)?;
        let same = self
            .kept
            .get()
            .partners
            .iter()
            .all(|partner| [message.principal, message.mirror].contains(&partner.instance));
        if !same {
            return Err(stranger);
        }
        if self.link(which) != Some(asked.used.link) {
            return Ok(()); // What comes over another connection is dropped (R2).
        }
        if !rule::takes_registration(self.keeping(), &message.record, peer.instance) {
            self.say_hello(which);
            return Ok(());
        }
        self.register_over(which, message);
        tell(WitnessEvent::Registered { owner: peer.instance });
        Ok(())
    }
}
