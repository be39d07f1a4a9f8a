//! The instance behind the endpoint: memory, randomness, settings, and no databases.

use core::net::SocketAddr;

use dbmirror_adapters::nvm::floor::MovingFloor;
use dbmirror_adapters::nvm::seed::SeededEntropy;
use dbmirror_adapters::nvm::settings::Floor;
use dbmirror_adapters::nvm::{Key, Kind, NvmError, Store};
use dbmirror_adapters::world::World;
use dbmirror_core::endpoint::{ConnectionEvent, Endpoint, Env, Event, RecordWrite, Ticket};
use dbmirror_core::message::SessionGuid;
use dbmirror_core::session::NoDatabases;
use dbmirror_core::time::{Instant, UnixSeconds};
use dbmirror_core::witness::{WITNESS_STORED_LEN_MAX, WitnessEvent};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Deque;

use crate::directory::Settings;
use crate::memory::SESSIONS;
use crate::note::{Log, Note};
use crate::{Crypto, Sha256};

/// Confirmations that wait for the loop.
const TICKETS: usize = 32;

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handshakes in which a peer proved itself.
    pub logins: u32,
    /// Asks for a role that were granted or denied.
    pub votes: u32,
}

/// What each call of the endpoint is lent.
pub(crate) struct Device<'m, F: NorFlash, L: Log> {
    pub(crate) store: &'m mut Store<F>,
    pub(crate) entropy: SeededEntropy<Sha256>,
    pub(crate) settings: Settings<'m>,
    pub(crate) floor: MovingFloor,
    /// As of the last call.
    pub(crate) now: Instant,
    pub(crate) log: L,
    pub(crate) tickets: Deque<Ticket, TICKETS>,
    pub(crate) failed: bool,
    pub(crate) tally: Tally,
    /// Which session's record lies under which number.
    pub(crate) records: [Option<SessionGuid>; SESSIONS],
    pub(crate) logs: NoDatabases,
}

impl<F: NorFlash, L: Log> Device<'_, F, L> {
    /// The memory has failed: nothing is claimed any more.
    pub(crate) fn fail(&mut self) {
        if !self.failed {
            self.log.note(Note::MemoryFailed);
        }
        self.failed = true;
    }

    fn place_of(&self, guid: SessionGuid) -> Option<usize> {
        self.records.iter().position(|record| *record == Some(guid))
    }

    /// Stores what this device keeps as the witness of a session.
    fn keep(
        &mut self,
        guid: SessionGuid,
        record: &[u8],
        replaces: Option<SessionGuid>,
    ) -> Result<(), NvmError> {
        let replaced = replaces.and_then(|replaced| self.place_of(replaced));
        let own = self.place_of(guid);
        // Over the record that gives up its place: one write, and so one step.
        let number = own
            .or(replaced)
            .or_else(|| self.records.iter().position(Option::is_none))
            .ok_or(NvmError::TooManyKeys)?;
        self.store.put::<Sha256>(record_key(number), record)?;
        if let Some(place) = self.records.get_mut(number) {
            *place = Some(guid);
        }
        if let (Some(own), Some(replaced)) = (own, replaced)
            && own != replaced
        {
            self.forget_at(replaced)?;
        }
        Ok(())
    }

    fn forget_at(&mut self, number: usize) -> Result<(), NvmError> {
        self.store.remove::<Sha256>(record_key(number))?;
        if let Some(place) = self.records.get_mut(number) {
            *place = None;
        }
        Ok(())
    }

    /// A peer under that login told the time. The floor moves when the memory holds the new one, and not before.
    fn time_told(&mut self, login: u32, unix: UnixSeconds) {
        let Some(to) = self.floor.hear(login, unix, self.now) else {
            return;
        };
        if self.failed {
            return;
        }
        match Floor(to).write::<Sha256, F>(self.store) {
            Ok(()) => {
                self.floor.moved(to, self.now);
                self.log.note(Note::FloorMoved { to });
            }
            Err(_) => self.fail(),
        }
    }

    /// Takes up what this device is the witness of. A record that is damaged is forgotten: a witness without a record grants and
    /// confirms nothing, and the session's owner registers it again (`docs/safety.md` R5).
    pub(crate) fn restore(&mut self, endpoint: &mut Endpoint<'_, Crypto>) {
        let mut bytes = [0; WITNESS_STORED_LEN_MAX];
        for number in 0..SESSIONS {
            let restored = match self.store.get::<Sha256>(record_key(number), &mut bytes) {
                Ok(None) => continue,
                Ok(Some(len)) => bytes
                    .get(..len)
                    .and_then(|record| endpoint.restore_witness(record).ok()),
                Err(_) => None,
            };
            if let Some(place) = self.records.get_mut(number) {
                *place = restored;
            }
            if restored.is_none() {
                self.log.note(Note::RecordLost);
                if self.forget_at(number).is_err() {
                    self.fail();
                }
            }
        }
    }
}

/// Under which name a record lies. There are fewer of them than a byte counts.
fn record_key(number: usize) -> Key {
    Key::numbered(Kind::Record, u8::try_from(number).unwrap_or(u8::MAX))
}

impl<F: NorFlash, L: Log> World<Crypto> for Device<'_, F, L> {
    fn env(&mut self, now: Instant) -> Env<'_, Crypto> {
        self.now = now;
        Env {
            now,
            unix: self.floor.get(),
            entropy: &mut self.entropy,
            directory: &self.settings,
            storage: &mut self.logs,
        }
    }

    fn persist(&mut self, ticket: Ticket, write: RecordWrite<'_>) {
        if self.failed {
            return;
        }
        let written = match write {
            RecordWrite::Witness {
                guid,
                record,
                replaces,
            } => self.keep(guid, record, replaces),
            RecordWrite::WitnessRemoved { guid } => match self.place_of(guid) {
                Some(number) => self.forget_at(number),
                None => Ok(()),
            },
            // A device holds no copy of a database, and its endpoint is a witness only: it has no session of its own.
            RecordWrite::Live { .. } | RecordWrite::Ended { .. } | RecordWrite::Removed { .. } => {
                Err(NvmError::Failed)
            }
        };
        if written.is_err() || self.tickets.push_back(ticket).is_err() {
            self.fail();
        }
    }

    fn event(&mut self, endpoint: &Endpoint<'_, Crypto>, event: Event, peer: Option<SocketAddr>) {
        let (connection, event) = match event {
            Event::Connection { connection, event } => (connection, event),
            Event::Witness { guid, event } => {
                if matches!(event, WitnessEvent::Granted { .. } | WitnessEvent::Denied { .. }) {
                    self.tally.votes = self.tally.votes.saturating_add(1);
                }
                return self.log.note(Note::Witness { guid, event });
            }
            Event::EventsLost(count) => return self.log.note(Note::Lost { count }),
            _ => return,
        };
        let number = endpoint.connection(connection).and_then(|view| view.login);
        if let (ConnectionEvent::TimeTold { unix }, Some(login)) = (&event, number) {
            return self.time_told(login, *unix);
        }
        match (&event, number) {
            (ConnectionEvent::CertificateAnswered { number, refusal }, Some(login)) => {
                return self.certificate_answered(login, *number, *refusal);
            }
            (ConnectionEvent::CertificateRefused { refusal }, Some(login)) => {
                return self.successor_refused(login, *refusal);
            }
            (ConnectionEvent::Online { .. }, _) => {
                if let Some(view) = endpoint.connection(connection) {
                    self.came_online(&view);
                }
            }
            _ => {}
        }
        let login = number.map_or("", |login| self.settings.login_name(login));
        let note = match event {
            ConnectionEvent::LoggedIn {
                login, certificate, ..
            } => {
                self.tally.logins = self.tally.logins.saturating_add(1);
                Note::LoggedIn {
                    login: self.settings.login_name(login),
                    certificate,
                    peer,
                }
            }
            ConnectionEvent::Online { instance } => Note::Online { login, instance },
            ConnectionEvent::Closed { step, reason } => Note::Closed {
                number: reason.number(),
                step,
                login,
                peer,
            },
            _ => return,
        };
        self.log.note(note);
    }
}
