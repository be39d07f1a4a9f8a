//! How certificates are replaced over connections that stand (`docs/safety.md` §4, `docs/appliance.md`).
//!
//! *A partner's*: its successor becomes one more pin of its login when the memory holds it, and the answer leaves after that. What was
//! provisioned is never taken away on a partner's word; what a partner brought is, when it gives it up.
//!
//! *The device's own*: nobody's word begins it. In the last third of its certificate's validity, by the floor of time, the device makes a key
//! and a certificate that follows, hands it to every login that may connect, uses it when all have stored it, and gives the predecessor up
//! when all have accepted it in a handshake. Each step is one write; what partners have answered is asked again after a restart.

use dbmirror_adapters::nvm::settings::{Connect, Der};
use dbmirror_adapters::nvm::succession::{HandedOver, OwnSuccession, SuccessionStep};
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX, Certificate, Pin};
use dbmirror_core::crypto::{HASH_LEN, Hash as _, SigningKey as _};
use dbmirror_core::endpoint::{ConnectionId, ConnectionView, PeerNotice, PeerNoticeBody};
use dbmirror_core::keys::PrivateKey;
use dbmirror_core::session::{Reason, SessionError};
use dbmirror_core::time::{Duration, Instant, UnixSeconds};
use embedded_storage_async::nor_flash::NorFlash;

use crate::directory::{Kept, Next, Pins, Settings, open_key};
use crate::note::{Log, Note, Rotation};
use crate::world::Device;
use crate::{Crypto, Sha256};

/// Certificates that one login has handed over: the one in use, and the one that follows.
const OF_A_LOGIN: usize = 2;
/// A successor of the device is valid from so long before the floor: a partner's clock may be somewhat slow.
const BACK_DATED: i64 = 86_400;
/// Successors that one login may hand over in a row, and how long it takes until it may hand over one more: each is up to three writes, and
/// the memory wears.
const IN_A_ROW: u8 = 4;
const ONE_MORE: Duration = Duration::from_secs(3_600);
/// A partner that refused the device's successor is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// A partner that has not met the successor is shown it again after this.
const SHOW_AGAIN: Duration = Duration::from_secs(5);

/// What a peer told about a certificate of its own.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) connection: ConnectionId,
    pub(crate) number: u64,
    login: u32,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// It is going to use this one, whose key it has proved to own.
    Successor(Pin),
    /// It will never use the one with this SHA-256 again.
    Retired([u8; HASH_LEN]),
}

impl Told {
    /// What has to be kept of a notice until the loop comes to it.
    #[inline(never)]
    pub(crate) fn of(notice: &PeerNotice<'_>) -> Result<Self, SessionError> {
        let what = match notice.body {
            PeerNoticeBody::Successor { der, .. } => What::Successor(
                Certificate::parse::<Crypto>(der)
                    .map_err(|_| SessionError::new(28035, Reason::BadCertificate))?
                    .pin::<Crypto>(),
            ),
            PeerNoticeBody::Retired { digest } => What::Retired(digest),
        };
        Ok(Self {
            connection: notice.connection,
            number: notice.number,
            login: notice.login,
            what,
        })
    }
}

/// What a peer's word leads to, by the number in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Keep(usize, HandedOver),
    Drop(usize),
}

impl Pins {
    /// What becomes of a successor that `login` hands over, at a time not before `floor`.
    fn successor(&self, login: u32, pin: Pin, floor: UnixSeconds) -> Result<Change, SessionError> {
        if self
            .of_login(login)
            .is_none_or(|peer| peer.connect != Connect::Granted)
        {
            return Err(SessionError::new(28034, Reason::NoAuthority));
        }
        for known in self.known() {
            let same = known.pin.sha256 == pin.sha256;
            if (same || known.pin.point == pin.point) && known.login_id != login {
                return Err(SessionError::new(15232, Reason::CertificateOfAnother));
            }
            if same {
                return Ok(Change::Nothing); // Told again, or provisioned.
            }
        }
        let alive = |handed: &HandedOver| floor <= handed.pin.not_after;
        let of_login = || {
            let places = (0_usize..).zip(&self.handed);
            places
                .filter_map(|(at, handed)| Some((at, handed.as_ref()?)).filter(|(_, h)| h.login_id == login))
        };
        if of_login().any(|(_, handed)| !handed.used && alive(handed)) {
            return Err(SessionError::new(15232, Reason::SuccessorPending));
        }
        // Where the login has no place left: over one that has ended, else over the older one. Both have been used then, and who comes with
        // the newer one has left the other, though it never came to tell.
        let place = if of_login().count() < OF_A_LOGIN {
            self.handed.iter().position(Option::is_none)
        } else {
            let rank = |handed: &HandedOver| (alive(handed), handed.certificate_id);
            of_login()
                .min_by_key(|(_, handed)| rank(handed))
                .map(|(at, _)| at)
        };
        let place = place.ok_or(SessionError::new(1438, Reason::NoRoom))?;
        let highest = self.known().map(|known| known.certificate_id).max();
        Ok(Change::Keep(
            place,
            HandedOver {
                certificate_id: highest.unwrap_or(0).saturating_add(1),
                login_id: login,
                used: false,
                pin,
            },
        ))
    }

    /// What becomes of a certificate that `login` gives up: only what a peer's word has brought goes on a peer's word, and one that was used
    /// only when there is another to come with.
    fn retired(&self, login: u32, digest: &[u8; HASH_LEN], floor: UnixSeconds) -> Change {
        let gone = (0_usize..)
            .zip(&self.handed)
            .filter_map(|(at, handed)| Some((at, handed.as_ref()?)))
            .find(|(_, handed)| handed.login_id == login && handed.pin.sha256 == *digest);
        let Some((at, gone)) = gone else {
            return Change::Nothing;
        };
        let waits = |certificate: u32| {
            let mut handed = self.handed.iter().flatten();
            handed.any(|handed| handed.certificate_id == certificate && !handed.used)
        };
        let replaced = self.known().any(|other| {
            other.login_id == login
                && other.certificate_id > gone.certificate_id
                && floor <= other.pin.not_after
                && !waits(other.certificate_id)
        });
        if gone.used && !replaced {
            return Change::Nothing;
        }
        Change::Drop(at)
    }
}

/// What a login may still hand over: counted since the start of the device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    spent: u8,
    since: Option<Instant>,
}

impl Allowance {
    /// Takes one of what is allowed at `now`; `false` when nothing is left.
    fn take(&mut self, now: Instant) -> bool {
        let mut since = self.since.unwrap_or(now);
        while self.spent > 0 && since.after(ONE_MORE) <= now {
            self.spent = self.spent.saturating_sub(1);
            since = since.after(ONE_MORE);
        }
        // Nothing is saved up beyond a row.
        self.since = Some(if self.spent == 0 { now } else { since });
        if self.spent >= IN_A_ROW {
            return false;
        }
        self.spent = self.spent.saturating_add(1);
        true
    }
}

/// What is told to partners about own certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    Successor,
    Retired,
}

/// Who has taken which step of the own rotation, one bit for each provisioned peer: nothing that a restart may not forget.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    stored: u8,
    accepted: u8,
    told: u8,
    attempt: u16,
    ask_again: Option<Instant>,
    show_again: Option<Instant>,
    /// No successor could be made; not tried again before a restart.
    unable: bool,
}

impl Settings<'_> {
    /// The bits of a login.
    fn bits(&self, login: u32) -> u8 {
        self.bits_of(|peer_login, _| peer_login == login)
    }

    /// The bits of all logins that may connect: they are waited for.
    fn everyone(&self) -> u8 {
        self.bits_of(|_, connect| connect == Connect::Granted)
    }

    fn bits_of(&self, wanted: impl Fn(u32, Connect) -> bool) -> u8 {
        let mut bits = 0;
        for (at, peer) in (0_u32..).zip(self.peers()) {
            if peer.login_id != 0 && wanted(peer.login_id, peer.connect) {
                bits |= 1_u8.checked_shl(at).unwrap_or(0);
            }
        }
        bits
    }

    /// Whether a login may hand over one more successor now, which is counted.
    fn allows(&mut self, login: u32, now: Instant) -> bool {
        let first = self.peers().iter().position(|peer| peer.login_id == login);
        let allowance = first.and_then(|at| self.allowances.get_mut(at));
        allowance.is_some_and(|allowance| allowance.take(now))
    }

    /// Whether the predecessor is given up: the identity is the successor already.
    fn retiring(&self) -> bool {
        let Kept { own, next, .. } = &*self.kept;
        matches!((own, next), (Some(own), Some(next)) if own.identity.certificate_id == next.stored.certificate_id)
    }

    /// What that login is still to be told.
    pub(crate) fn to_be_told(&self, login: u32) -> Option<Telling> {
        self.kept.next.as_ref()?;
        let (telling, done) = if self.retiring() {
            (Telling::Retired, self.steps.told)
        } else {
            (Telling::Successor, self.steps.stored)
        };
        let bits = self.bits(login) & self.everyone();
        (bits & !done != 0).then_some(telling)
    }

    /// The number of a notice: higher for each successor, each attempt, and for the end.
    pub(crate) fn number_of(&self, telling: Telling) -> Option<u64> {
        let id = u64::from(self.kept.next.as_ref()?.stored.certificate_id);
        let attempt = u64::from(self.steps.attempt);
        Some(id << 32 | attempt << 1 | u64::from(telling == Telling::Retired))
    }

    /// A certificate or key of this device's own.
    fn is_own(&self, pin: &Pin) -> bool {
        let Kept { own, next, .. } = &*self.kept;
        own.as_ref()
            .is_some_and(|own| own.key.public_point() == pin.point)
            || next
                .as_ref()
                .is_some_and(|next| next.key.public_point() == pin.point)
    }
}

impl<F: NorFlash, L: Log> Device<'_, F, L> {
    /// Does what a peer told about its certificates; durable when this returns.
    #[inline(never)]
    pub(crate) fn certificate_told(&mut self, told: &Told) -> Result<(), SessionError> {
        let floor = self.floor.get();
        let now = self.now;
        let pins = &self.settings.kept.pins;
        let change = match &told.what {
            What::Successor(pin) if self.settings.is_own(pin) => {
                Err(SessionError::new(15232, Reason::CertificateOfAnother))
            }
            What::Successor(pin) => pins.successor(told.login, *pin, floor),
            What::Retired(digest) => Ok(pins.retired(told.login, digest, floor)),
        };
        let change = change.and_then(|change| match change {
            Change::Keep(..) if !self.settings.allows(told.login, now) => {
                Err(SessionError::new(1404, Reason::Busy))
            }
            change => Ok(change),
        });
        let done = change.and_then(|change| self.change_pins(change));
        if let Err(error) = done {
            self.successor_refused(told.login, error);
        }
        done
    }

    /// A peer's successor was refused.
    pub(crate) fn successor_refused(&mut self, login: u32, error: SessionError) {
        let number = error.number;
        let login = self.settings.login_name(login);
        self.log.note(Note::SuccessorRefused { login, number });
    }

    fn change_pins(&mut self, change: Change) -> Result<(), SessionError> {
        let (at, pin) = match change {
            Change::Nothing => return Ok(()),
            Change::Keep(at, handed) => (at, Some(handed)),
            Change::Drop(at) => (at, None),
        };
        let storage = SessionError::new(1454, Reason::Storage);
        // There are fewer places than a byte counts.
        let number = u8::try_from(at).map_err(|_| storage)?;
        if self.failed {
            return Err(storage);
        }
        let written = match &pin {
            Some(handed) => handed.write::<Sha256, F>(self.store, number),
            None => HandedOver::remove::<Sha256, F>(self.store, number),
        };
        if written.is_err() {
            self.fail();
            return Err(storage);
        }
        let Some(place) = self.settings.kept.pins.handed.get_mut(at) else {
            return Err(storage);
        };
        let before = core::mem::replace(place, pin);
        if let Some(of) = pin.or(before) {
            let login = self.settings.login_name(of.login_id);
            let certificate = of.certificate_id;
            if let (Some(_), Some(before)) = (pin, before) {
                let gone = before.certificate_id;
                if gone == certificate {
                    return Ok(());
                }
                self.log.note(Note::CertificateDropped {
                    login,
                    certificate: gone,
                });
            }
            self.log.note(match pin {
                None => Note::CertificateDropped { login, certificate },
                Some(_) => Note::SuccessorStored { login, certificate },
            });
        }
        Ok(())
    }

    /// A peer is online: each side has accepted the other's certificate.
    pub(crate) fn came_online(&mut self, view: &ConnectionView) {
        let handed = &self.settings.kept.pins.handed;
        let used = (0_usize..).zip(handed).find_map(|(at, handed)| {
            let handed = handed.filter(|handed| {
                !handed.used
                    && Some(handed.certificate_id) == view.certificate
                    && Some(handed.login_id) == view.login
            })?;
            Some(Change::Keep(at, HandedOver { used: true, ..handed }))
        });
        if let Some(used) = used {
            let _ = self.change_pins(used); // A memory that fails has said so.
        }
        let (Some(login), Some(next)) = (view.login, &self.settings.kept.next) else {
            return;
        };
        if view.own_certificate == next.stored.certificate_id {
            let bits = self.settings.bits(login);
            let steps = &mut self.settings.steps;
            let new = bits & !steps.accepted != 0;
            // Who accepts it has it.
            steps.accepted |= bits;
            steps.stored |= bits;
            if new && !self.settings.retiring() {
                self.rotation(Rotation::Accepted, login);
            }
        }
    }

    /// A peer has answered what it was told.
    pub(crate) fn certificate_answered(&mut self, login: u32, number: u64, refusal: Option<SessionError>) {
        let Some(telling) = self.settings.to_be_told(login) else {
            return;
        };
        if self.settings.number_of(telling) != Some(number) {
            return;
        }
        if refusal.is_some() {
            self.settings.steps.ask_again = Some(self.now.after(ASK_AGAIN));
            return self.rotation(Rotation::Refused, login);
        }
        let bits = self.settings.bits(login);
        match telling {
            Telling::Successor => {
                self.settings.steps.stored |= bits;
                self.rotation(Rotation::Stored, login);
            }
            Telling::Retired => self.settings.steps.told |= bits,
        }
    }

    fn rotation(&mut self, step: Rotation, login: u32) {
        let login = self.settings.login_name(login);
        self.log.note(Note::Rotation { step, login });
    }

    /// Takes the steps of the own rotation that can be taken now. Whether something is to be said for it.
    #[inline(never)]
    pub(crate) fn rotate(&mut self) -> bool {
        if self.failed || self.settings.steps.unable {
            return false;
        }
        let everyone = self.settings.everyone();
        let Steps {
            stored,
            accepted,
            told,
            ask_again,
            ..
        } = self.settings.steps;
        let lacks = |done: u8| everyone & !done != 0;
        let now = self.now;
        if ask_again.is_some_and(|at| at <= now) {
            self.settings.steps.ask_again = None;
            self.settings.steps.attempt = self.settings.steps.attempt.saturating_add(1);
            return true;
        }
        let retiring = self.settings.retiring();
        let step = self.settings.kept.next.as_ref().map(|next| next.stored.step);
        let done = match step {
            None if everyone != 0 && self.is_due() => self.make_successor(),
            Some(SuccessionStep::Distributing) if !lacks(stored) => self.switch(),
            Some(SuccessionStep::Switched) if !retiring && !lacks(accepted) => self.give_up_predecessor(),
            Some(SuccessionStep::Switched) if retiring && !lacks(told) => self.end_rotation(),
            _ => return false,
        };
        match done {
            Ok(step) => self.rotation(step, 0),
            Err(Stop::Memory) => self.fail(),
            Err(Stop::Unable) => {
                self.settings.steps.unable = true;
                self.rotation(Rotation::Unable, 0);
            }
        }
        true
    }

    /// Whether the last third of the own certificate's validity has begun for certain.
    fn is_due(&mut self) -> bool {
        let floor = self.floor.get();
        if self.settings.looked_at == Some(floor) {
            return false;
        }
        self.settings.looked_at = Some(floor);
        let Some(own) = &self.settings.kept.own else {
            return false;
        };
        Certificate::parse::<Crypto>(own.identity.certificate.as_bytes())
            .is_ok_and(|own| floor.0 >= own.not_after().0.saturating_sub(span(&own) / 3))
    }

    #[inline(never)]
    fn make_successor(&mut self) -> Result<Rotation, Stop> {
        let Kept {
            master: Some(master),
            own: Some(own),
            next,
            ..
        } = &mut *self.settings.kept
        else {
            return Err(Stop::Unable);
        };
        let predecessor = own.identity.certificate.as_bytes();
        let floor = self.floor.get();
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let (key, private_key, len) = {
            let parsed = Certificate::parse::<Crypto>(predecessor).map_err(|_| Stop::Unable)?;
            let from = floor.0.saturating_sub(BACK_DATED);
            let to = floor.0.saturating_add(span(&parsed));
            let private = PrivateKey::generate::<Crypto>(&mut self.entropy).map_err(|_| Stop::Unable)?;
            let wrapped = private
                .wrap_by_database_master_key(master)
                .map_err(|_| Stop::Unable)?;
            let wrapped = wrapped.to_der().map_err(|_| Stop::Unable)?;
            let key = private.signing_key::<Crypto>().map_err(|_| Stop::Unable)?;
            let validity = (UnixSeconds(from), UnixSeconds(to));
            let len = cert::succeed::<Crypto>(&parsed, validity, &key, &mut self.entropy, &mut der)
                .map_err(|_| Stop::Unable)?;
            (key, Der::new(&wrapped).ok_or(Stop::Unable)?, len)
        };
        let stored = OwnSuccession {
            step: SuccessionStep::Distributing,
            certificate_id: own.identity.certificate_id.saturating_add(1),
            predecessor: Sha256::digest(predecessor),
            private_key,
            certificate: der.get(..len).and_then(Der::new).ok_or(Stop::Unable)?,
        };
        stored.write::<Sha256, F>(self.store).map_err(|_| Stop::Memory)?;
        *next = Some(Next { key, stored });
        self.settings.steps = Steps::default();
        Ok(Rotation::Made)
    }

    #[inline(never)]
    fn switch(&mut self) -> Result<Rotation, Stop> {
        let next = self.settings.kept.next.as_mut().ok_or(Stop::Unable)?;
        next.stored.step = SuccessionStep::Switched;
        if next.stored.write::<Sha256, F>(self.store).is_err() {
            // Until the reset the device goes by what it had.
            next.stored.step = SuccessionStep::Distributing;
            return Err(Stop::Memory);
        }
        Ok(Rotation::Switched)
    }

    #[inline(never)]
    fn give_up_predecessor(&mut self) -> Result<Rotation, Stop> {
        let Kept {
            master: Some(master),
            own: Some(own),
            next: Some(next),
            ..
        } = &mut *self.settings.kept
        else {
            return Err(Stop::Unable);
        };
        let key = open_key(master, next.stored.private_key.as_bytes()).map_err(|_| Stop::Unable)?;
        let certificate = Der::new(next.stored.certificate.as_bytes()).ok_or(Stop::Unable)?;
        own.identity.certificate_id = next.stored.certificate_id;
        own.identity.private_key = next.stored.private_key.clone();
        own.identity.certificate = certificate;
        own.key = key;
        if own.identity.write::<Sha256, F>(self.store).is_err() {
            // That the predecessor is given up may not be so: nobody is told before the reset.
            self.settings.kept.next = None;
            return Err(Stop::Memory);
        }
        Ok(Rotation::GivenUp)
    }

    #[inline(never)]
    fn end_rotation(&mut self) -> Result<Rotation, Stop> {
        OwnSuccession::remove::<Sha256, F>(self.store).map_err(|_| Stop::Memory)?;
        self.settings.kept.next = None;
        self.settings.steps = Steps::default();
        Ok(Rotation::Done)
    }

    /// Whether partners are to be shown the successor now, by a connection for no other purpose.
    pub(crate) fn shows(&mut self) -> bool {
        let switched = self
            .settings
            .kept
            .next
            .as_ref()
            .is_some_and(|next| next.stored.step == SuccessionStep::Switched);
        let now = self.now;
        let steps = &mut self.settings.steps;
        if !switched || steps.show_again.is_some_and(|at| at > now) {
            return false;
        }
        steps.show_again = Some(now.after(SHOW_AGAIN));
        !self.settings.retiring()
    }

    /// Whether that login has not met the successor yet.
    pub(crate) fn is_to_be_shown(&self, login: u32) -> bool {
        self.settings.bits(login) & !self.settings.steps.accepted != 0
    }
}

/// Why a step was not taken.
enum Stop {
    /// The memory failed.
    Memory,
    /// No key, no randomness, or a certificate that none can follow.
    Unable,
}

/// How long a certificate is valid, in seconds.
fn span(certificate: &Certificate<'_>) -> i64 {
    let (from, to) = (certificate.not_before().0, certificate.not_after().0);
    to.saturating_sub(from).max(0)
}

#[cfg(test)]
mod tests;
