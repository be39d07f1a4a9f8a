//! The witness's part of the endpoint (`docs/safety.md` R3, R5, R11): who may speak to [`crate::witness`], over which connection, and what
//! an instance answers about sessions of which it keeps nothing.

use super::close::CloseReason;
use super::env::Env;
use super::output::{Event, Output, RecordWrite, Ticket};
use super::slot::Reply;
use super::{Endpoint, Role};
use crate::crypto::{POINT_LEN, Provider, SigningKey as _};
use crate::message::codec::{Ask, Message};
use crate::message::{SessionGuid, UseNumber};
use crate::session::{Peer, Reason, SessionError};
use crate::time::Duration;
use crate::wire::{Full, Writer};
use crate::witness::{
    Facts, Heard, Registering, Used, WITNESS_STORED_LEN_MAX, Witness, WitnessEvent, WitnessSlot,
    WitnessStored, WitnessView, WriteDue,
};

/// A persist request is written into a buffer in which a session's record fits.
const _: () = assert!(WITNESS_STORED_LEN_MAX <= crate::session::STORED_LEN_MAX);

impl<'a, P: Provider> Endpoint<'a, P> {
    /// The same endpoint, which may be a witness of as many sessions as there are `places`.
    #[must_use]
    pub fn with_witness(mut self, places: &'a mut [WitnessSlot]) -> Self {
        self.witness = Witness::new(places);
        self
    }

    /// What this endpoint may be to others from now on, as its ROLE says. Sessions that stand are not touched.
    pub fn set_role(&mut self, role: Role) {
        self.role = role;
    }

    /// Takes up what this instance stored as a witness, at its start.
    ///
    /// # Errors
    /// 1459 for a damaged record, 1427 when there is no place, 1446 when the session is there already.
    pub fn restore_witness(&mut self, record: &[u8]) -> Result<SessionGuid, SessionError> {
        let stored = WitnessStored::decode(record).map_err(|_| SessionError::new(1459, Reason::BadRecord))?;
        self.witness.restore(stored).map(|()| stored.guid)
    }

    /// The rows of `sys.database_mirroring_witnesses`.
    pub fn witnesses(&self) -> impl Iterator<Item = WitnessView> + '_ {
        self.witness.views()
    }

    /// An operator has this instance forget a session that it is the witness of: one whose partners are gone, or use another. That is
    /// what a witness does that lost its storage, so nothing can be granted by mistake. The connections on which it was spoken of are
    /// closed, as they are then, and an owner that still uses this witness registers it again over the next one. Whether there was one.
    pub fn forget_witnessed(&mut self, env: &mut Env<'_, P>, guid: SessionGuid) -> bool {
        self.present(env);
        let Some(witnessed) = self.witness.find(guid) else {
            return false;
        };
        let links = [0, 1].map(|which| witnessed.link(which));
        let events = &mut self.events;
        let found = self
            .witness
            .forget(guid, &mut |event| events.push(Event::Witness { guid, event }));
        for link in links.into_iter().flatten() {
            if let Some(index) = self.linked(link) {
                self.close(index, CloseReason::Done);
            }
        }
        found
    }

    /// The key that the peer on a connection proved itself by.
    fn point(&self, index: usize) -> Option<[u8; POINT_LEN]> {
        self.live(index)?
            .channel
            .established()
            .map(|established| established.peer.point)
    }

    /// The connection that is used with `peer`: of those that a USE has named, the one with the highest number.
    fn used_with(&self, peer: Peer) -> Option<Used> {
        let (index, live) = self
            .connections
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.live.as_ref()?)))
            .filter(|(_, c)| c.is_usable() && c.peer() == Some(peer) && c.used != UseNumber::NONE)
            .max_by_key(|(_, c)| c.used)?;
        Some(Used {
            link: self.id(index).as_u64(),
            number: live.used,
            point: self.point(index)?,
            name: live.name,
        })
    }

    /// Moves what is witnessed for `peer` to the connection that is used with it. Whether that connection is needed for it.
    pub(super) fn rebind_witnessed(&mut self, peer: Peer) -> bool {
        let used = self.used_with(peer);
        let asks = used
            .and_then(|used| self.linked(used.link))
            .and_then(|index| self.live(index))
            .is_some_and(|live| live.seeks_witness);
        self.witness.rebind(peer, used) || asks
    }

    /// A message about a session in which this instance holds no copy. Whether it was one for a witness.
    #[inline(never)]
    pub(super) fn about_witnessed(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        peer: Peer,
        guid: SessionGuid,
        message: &Message<'_>,
    ) -> bool {
        let for_witness = matches!(
            message,
            Message::Register(_)
                | Message::Ask(_)
                | Message::Confirm(_)
                | Message::Drop(_)
                | Message::Described(_)
        );
        if self.role == Role::Partner {
            if for_witness && !matches!(message, Message::Described(_)) {
                let error = SessionError::new(1427, Reason::NotAWitness);
                self.refuse(env, index, guid, message, error);
            }
            return for_witness;
        }
        if self.witness.find(guid).is_some() {
            self.hear_witnessed(env, index, peer, guid, message);
            return true;
        }
        let link = self.id(index).as_u64();
        match message {
            Message::Register(_) => self.register_witnessed(env, index, peer, guid, message),
            // Blank: it grants nothing, and says so under the ask's number.
            Message::Ask(ask) => self.reply(link, Reply::Denial(guid, ask.number)),
            Message::Confirm(confirm) if confirm.answer => {}
            Message::Confirm(_) | Message::Tombstone(_) => self.reply(link, Reply::None(guid)),
            Message::Drop(drop) if drop.request != 0 => {
                let error = SessionError::new(1431, Reason::NoQuorum);
                self.refuse(env, index, guid, message, error);
            }
            Message::Drop(_) | Message::Described(_) | Message::HelloAgain(_) => {}
            Message::SessionHello(_) => {
                // *None* follows; the connection stays, for who seeks a witness registers next.
                if let Some(live) = self.live_mut(index) {
                    live.seeks_witness = true;
                    live.spare_since = None;
                }
                return false;
            }
            _ => return false,
        }
        true
    }

    /// A message about a session that this instance is the witness of.
    fn hear_witnessed(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        peer: Peer,
        guid: SessionGuid,
        message: &Message<'_>,
    ) {
        if matches!(message, Message::Register(_)) {
            self.register_witnessed(env, index, peer, guid, message);
            return;
        }
        let Some(point) = self.point(index) else { return };
        let link = self.id(index).as_u64();
        let owner_heard = match message {
            Message::Ask(ask) => self.owner_heard(guid, ask),
            _ => false,
        };
        let events = &mut self.events;
        let mut tell = |event| events.push(Event::Witness { guid, event });
        let heard = self.witness.find(guid).map(|witnessed| {
            let refused = Heard::Refused(SessionError::new(1402, Reason::NoAuthority));
            let heard = witnessed.which(peer, &point).map_or(refused, |which| {
                witnessed.hear(which, link, message, Facts { owner_heard }, &mut tell)
            });
            let stranger = matches!(heard, Heard::Refused(error) if error.number == 1402);
            if stranger && witnessed.reported.replace(peer) != Some(peer) {
                tell(WitnessEvent::Stranger {
                    login: peer.login,
                    instance: peer.instance,
                    kind: message.kind(),
                });
            }
            heard
        });
        if let Some(Heard::Refused(error)) = heard {
            self.refuse(env, index, guid, message, error);
        }
    }

    /// Whether the owner is connected here and was heard within the time-out that the ask carries. One whose connection has ended is
    /// not waited for.
    fn owner_heard(&mut self, guid: SessionGuid, ask: &Ask) -> bool {
        let Some(owner) = self.witness.find(guid).and_then(|witnessed| witnessed.owner()) else {
            return false;
        };
        let timeout = Duration::from_millis(u64::from(ask.timeout));
        let now = self.now;
        self.connections
            .iter()
            .filter_map(|slot| slot.live.as_ref())
            .filter(|c| c.is_online() && c.instance == owner && now < c.last_heard.after(timeout))
            .filter_map(|c| Some((c.peer()?, c.channel.established()?.peer.point)))
            .any(|(peer, point)| {
                self.witness
                    .find(guid)
                    .is_some_and(|witnessed| witnessed.which(peer, &point).is_some())
            })
    }

    fn register_witnessed(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        peer: Peer,
        guid: SessionGuid,
        message: &Message<'_>,
    ) {
        let Message::Register(register) = message else {
            return;
        };
        let link = self.id(index).as_u64();
        // What comes over a connection that is not used is dropped (R2).
        let Some(used) = self.used_with(peer).filter(|used| used.link == link) else {
            return;
        };
        let Ok(own_key) = env
            .directory
            .identity()
            .map(|identity| identity.signing_key.public_point())
        else {
            return;
        };
        let asked = Registering {
            message: register,
            peer,
            used,
            own: self.config.instance,
            own_key,
        };
        let events = &mut self.events;
        let result = self
            .witness
            .register(&asked, &mut |event| events.push(Event::Witness { guid, event }));
        match result {
            Ok(()) => {
                // The other partner may be connected already, and have heard that nothing is kept here.
                for at in 0..self.connections.len() {
                    let other = self.live(at).filter(|live| live.is_usable());
                    if let Some(other) = other.and_then(super::slot::Connection::peer) {
                        self.arbitrate(env, other);
                    }
                }
                if let Some(witnessed) = self.witness.find(guid) {
                    witnessed.greet();
                }
            }
            Err(error) => {
                self.events.push(Event::Witness {
                    guid,
                    event: WitnessEvent::Refused {
                        owner: peer.instance,
                        error,
                    },
                });
                self.refuse(env, index, guid, message, error);
            }
        }
    }

    /// What this instance has to say as a witness on a connection.
    pub(super) fn say_of_witnessed(
        &mut self,
        index: usize,
        to: &mut Writer<'_>,
        said: &mut u64,
    ) -> Result<(), Full> {
        let link = self.id(index).as_u64();
        self.witness.say(link, to, said)
    }

    /// Copies the witness's record that is to be persisted next into `buf`, under the next ticket.
    pub(super) fn witnessed_to_persist(&mut self, buf: &mut [u8]) -> Option<WriteDue> {
        let ticket = self.ticket.saturating_add(1);
        let due = self.witness.write_due(ticket, buf)?;
        self.ticket = ticket;
        Some(due)
    }

    /// What the driver is asked for it.
    pub(super) fn persist_witnessed<'b>(&self, due: WriteDue, buf: &'b [u8]) -> Output<'b> {
        let ticket = Ticket(self.ticket);
        let guid = due.guid;
        let write = match due.len {
            Some(len) => RecordWrite::Witness {
                guid,
                record: buf.get(..len).unwrap_or_default(),
                replaces: due.replaces,
            },
            None => RecordWrite::WitnessRemoved { guid },
        };
        Output::Persist { ticket, write }
    }

    /// The storage has confirmed a ticket.
    pub(super) fn witnessed_persisted(&mut self, ticket: Ticket) {
        if let Some((link, guid)) = self.witness.persisted(ticket.0) {
            self.reply(link, Reply::None(guid));
        }
    }
}
