//! Who the device is, and whom it lets in: the provisioned settings as the endpoint asks them.
//!
//! A device without a clock ignores notBefore and judges notAfter by a floor: a time that has certainly passed
//! (`docs/appliance.md`).

use core::cell::RefCell;

use dbmirror_adapters::nvm::settings::{Connect, IdentitySettings, PEERS_MAX, Peer, SettingsError};
use dbmirror_adapters::nvm::succession::{HANDED_OVER_MAX, HandedOver, OwnSuccession, SuccessionStep};
use dbmirror_adapters::nvm::{DeviceKey, Kind, Store};
use dbmirror_core::cert::Pin;
use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::{Hash as _, Provider, SigningKey as _};
use dbmirror_core::endpoint::{Directory, IdentityError, Notice, NoticeBody, PeerNotice};
use dbmirror_core::keys::{DatabaseMasterKey, KeyError, PrivateKey, WrappedKey};
use dbmirror_core::message::{Address, InstanceId};
use dbmirror_core::session::{Reason, SessionError};
use dbmirror_core::time::UnixSeconds;
use embedded_storage_async::nor_flash::NorFlash;
use heapless::{Deque, Vec};

use crate::memory::{LOGINS, OF_A_PEER};
use crate::succession::{Allowance, Steps, Telling, Told};
use crate::{Crypto, Refusal, Sha256};

pub(crate) type SigningKey = <Crypto as Provider>::SigningKey;

/// Peers, by their certificates.
pub type Peers = Vec<Peer, { PEERS_MAX as usize }>;

/// The settings as they lie in a board's RAM.
pub(crate) struct Kept {
    pub(crate) master: Option<DatabaseMasterKey>,
    pub(crate) own: Option<Own>,
    /// The own certificate that follows, while it is handed out and until its predecessor is given up.
    pub(crate) next: Option<Next>,
    pub(crate) pins: Pins,
    told: RefCell<Deque<Told, { LOGINS * OF_A_PEER }>>,
}

/// Who the device is.
pub(crate) struct Own {
    pub(crate) key: SigningKey,
    pub(crate) identity: IdentitySettings,
}

/// Who it is going to be, or has just become.
pub(crate) struct Next {
    pub(crate) key: SigningKey,
    pub(crate) stored: OwnSuccession,
}

impl Kept {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self {
            master: None,
            own: None,
            next: None,
            pins: Pins {
                peers: Peers::new(),
                handed: [None; HANDED_OVER_MAX as usize],
            },
            told: RefCell::new(Deque::new()),
        }
    }
}

/// The settings as the endpoint asks them.
pub struct Settings<'m> {
    pub(crate) kept: &'m mut Kept,
    /// Which logins have the successor, have accepted it in a handshake, and have heard that the predecessor is given up.
    pub(crate) steps: Steps,
    /// What each login may still hand over, by its first peer.
    pub(crate) allowances: [Allowance; PEERS_MAX as usize],
    /// The floor at which the own certificate's validity was looked at last.
    pub(crate) looked_at: Option<UnixSeconds>,
}

/// Why the device cannot be who it is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryError {
    /// A wrapped key does not open: another device key, or damage.
    Key(KeyError),
    /// What was opened is no key of P-256.
    NotAKey,
}

impl From<KeyError> for DirectoryError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

// Each step has a frame of its own, which is gone when the next one begins: a device's stack is small.

#[inline(never)]
fn read_own<F: NorFlash>(kept: &mut Kept, store: &mut Store<F>, device: &DeviceKey) -> Result<(), Refusal> {
    let identity = IdentitySettings::read::<Sha256, F>(store)?;
    let master = open_master(device, &identity)?;
    let key = open_key(&master, identity.private_key.as_bytes())?;
    kept.own = Some(Own { key, identity });
    kept.master = Some(master);
    Ok(())
}

#[inline(never)]
fn read_peer<F: NorFlash>(peers: &mut Peers, store: &mut Store<F>, number: u8) -> Result<(), SettingsError> {
    let peer = Peer::read::<Sha256, F>(store, number)?;
    peers
        .push(peer)
        .map_err(|_| SettingsError::Malformed(Kind::Header))
}

#[inline(never)]
fn read_handed_over<F: NorFlash>(pins: &mut Pins, store: &mut Store<F>) -> Result<(), SettingsError> {
    for (number, place) in (0..HANDED_OVER_MAX).zip(&mut pins.handed) {
        *place = HandedOver::read::<Sha256, F>(store, number)?;
    }
    Ok(())
}

#[inline(never)]
fn read_next<F: NorFlash>(kept: &mut Kept, store: &mut Store<F>) -> Result<(), Refusal> {
    kept.next = None;
    if let (Some(stored), Some(master)) = (OwnSuccession::read::<Sha256, F>(store)?, &kept.master) {
        let key = open_key(master, stored.private_key.as_bytes())?;
        kept.next = Some(Next { key, stored });
    }
    Ok(())
}

#[inline(never)]
fn open_master(device: &DeviceKey, identity: &IdentitySettings) -> Result<DatabaseMasterKey, DirectoryError> {
    let above = device.service_master_key::<Sha256>()?;
    let wrapped = WrappedKey::from_der(identity.master_key.as_bytes())?;
    Ok(DatabaseMasterKey::unwrap_by_service_master_key(&wrapped, &above)?)
}

#[inline(never)]
pub(crate) fn open_key(master: &DatabaseMasterKey, wrapped: &[u8]) -> Result<SigningKey, DirectoryError> {
    let wrapped = WrappedKey::from_der(wrapped)?;
    let key = PrivateKey::unwrap_by_database_master_key::<Crypto>(&wrapped, master)?;
    SigningKey::from_scalar(key.scalar()).map_err(|_| DirectoryError::NotAKey)
}

impl<'m> Settings<'m> {
    /// Reads who the device is and its `count` peers into their place, and opens its key.
    ///
    /// # Errors
    /// [`Refusal`]: a value is gone or damaged, or the key does not open.
    pub(crate) fn read<F: NorFlash>(
        kept: &'m mut Kept,
        store: &mut Store<F>,
        device: &DeviceKey,
        count: u8,
    ) -> Result<Self, Refusal> {
        read_own(kept, store, device)?;
        kept.pins.peers.clear();
        for number in 0..count {
            read_peer(&mut kept.pins.peers, store, number)?;
        }
        read_handed_over(&mut kept.pins, store)?;
        read_next(kept, store)?;
        Ok(Self {
            kept,
            steps: Steps::default(),
            allowances: [Allowance::default(); PEERS_MAX as usize],
            looked_at: None,
        })
    }

    /// All peers as they were provisioned, in the order of their numbers.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.kept.pins.peers
    }

    /// The name of a login.
    #[must_use]
    pub fn login_name(&self, login: u32) -> &str {
        self.kept
            .pins
            .of_login(login)
            .map_or("", |peer| peer.login.as_str())
    }

    /// How many different logins there are.
    #[must_use]
    pub fn logins(&self) -> usize {
        let peers = self.peers();
        peers
            .iter()
            .enumerate()
            .filter(|(at, peer)| {
                !peers
                    .iter()
                    .take(*at)
                    .any(|other| other.login_id == peer.login_id)
            })
            .count()
    }

    /// What a peer told that was not looked at yet.
    pub(crate) fn take_told(&mut self) -> Option<Told> {
        self.kept.told.get_mut().pop_front()
    }

    /// The certificate that new connections are made with.
    fn current(&self) -> Option<Identity<'_, Crypto>> {
        self.kept
            .next
            .as_ref()
            .filter(|next| next.stored.step == SuccessionStep::Switched)
            .map(Next::identity)
            .or_else(|| self.kept.own.as_ref().map(Own::identity))
    }
}

impl Own {
    fn identity(&self) -> Identity<'_, Crypto> {
        Identity {
            signing_key: &self.key,
            certificate_der: self.identity.certificate.as_bytes(),
        }
    }
}

impl Next {
    fn identity(&self) -> Identity<'_, Crypto> {
        Identity {
            signing_key: &self.key,
            certificate_der: self.stored.certificate.as_bytes(),
        }
    }
}

impl Directory<Crypto> for Settings<'_> {
    fn has_clock(&self) -> bool {
        false
    }

    fn identity(&self) -> Result<Identity<'_, Crypto>, IdentityError> {
        self.current().ok_or(IdentityError::NoCertificate)
    }

    fn certificate_for(&self, _: Option<&Address>) -> u32 {
        let Kept { own, next, .. } = &*self.kept;
        match (own, next) {
            (_, Some(next)) if next.stored.step == SuccessionStep::Switched => next.stored.certificate_id,
            (Some(own), _) => own.identity.certificate_id,
            (None, _) => 0,
        }
    }

    fn identity_of(&self, certificate: u32) -> Result<Identity<'_, Crypto>, IdentityError> {
        let Kept { own, next, .. } = &*self.kept;
        match (own, next) {
            (Some(own), _) if own.identity.certificate_id == certificate => Ok(own.identity()),
            (_, Some(next)) if next.stored.certificate_id == certificate => Ok(next.identity()),
            _ => self.identity(),
        }
    }

    fn notice(&self, login: u32, _: InstanceId, after: u64) -> Option<Notice<'_, Crypto>> {
        let next = self.kept.next.as_ref()?;
        let what = self.to_be_told(login)?;
        let number = self.number_of(what)?;
        let body = match what {
            Telling::Successor => NoticeBody::Successor(next.identity()),
            Telling::Retired => NoticeBody::Retired(next.stored.predecessor),
        };
        (number > after).then_some(Notice { number, body })
    }

    fn peer_notice(&self, notice: &PeerNotice<'_>) -> Result<(), SessionError> {
        let told = Told::of(notice)?;
        let kept = self.kept.told.try_borrow_mut().ok();
        kept.and_then(|mut queue| queue.push_back(told).ok())
            .ok_or(SessionError::new(1404, Reason::Busy))
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        &self.kept.pins
    }

    fn not_waiting(&self, _: &str) -> Reason {
        Reason::NoDatabase
    }
}

/// Whom the device lets in.
pub(crate) struct Pins {
    /// As provisioned.
    pub(crate) peers: Peers,
    /// What they have handed over since, by the numbers in the memory.
    pub(crate) handed: [Option<HandedOver>; HANDED_OVER_MAX as usize],
}

/// One certificate that may come.
#[derive(Clone, Copy)]
pub(crate) struct Known<'p> {
    pub(crate) certificate_id: u32,
    pub(crate) login_id: u32,
    pub(crate) pin: &'p Pin,
}

impl Pins {
    /// What was provisioned for a login.
    pub(crate) fn of_login(&self, login: u32) -> Option<&Peer> {
        self.peers
            .iter()
            .find(|peer| peer.login_id == login && login != 0)
    }

    /// All certificates.
    pub(crate) fn known(&self) -> impl Iterator<Item = Known<'_>> {
        let provisioned = self.peers.iter().map(|peer| Known {
            certificate_id: peer.certificate_id,
            login_id: peer.login_id,
            pin: &peer.pin,
        });
        let handed = self.handed.iter().flatten().map(|handed| Known {
            certificate_id: handed.certificate_id,
            login_id: handed.login_id,
            pin: &handed.pin,
        });
        provisioned.chain(handed)
    }
}

impl PeerVerifier for Pins {
    fn verify(&self, _: &[u8], certificate_der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let sha256 = Sha256::digest(certificate_der);
        let known = self
            .known()
            .find(|known| known.pin.sha256 == sha256)
            .ok_or(PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: known.pin.point,
            login_id: known.login_id,
            certificate_id: known.certificate_id,
        })
    }

    /// Judged when the peer has proved that the certificate is its own, as on a server. `floor` is a time that has passed.
    fn authorize(&self, _: &[u8], peer: &VerifiedPeer, floor: UnixSeconds) -> Result<(), PeerRefusal> {
        let certificate_id = peer.certificate_id;
        let known = self
            .known()
            .find(|known| known.certificate_id == certificate_id)
            .ok_or(PeerRefusal::Unknown)?;
        if floor > known.pin.not_after {
            return Err(PeerRefusal::Expired { certificate_id });
        }
        let login_id = known.login_id;
        let login = self.of_login(login_id).filter(|_| login_id == peer.login_id);
        match login.ok_or(PeerRefusal::NoLogin { certificate_id })?.connect {
            Connect::Granted => Ok(()),
            Connect::Denied | Connect::None => Err(PeerRefusal::NoConnect {
                login_id,
                certificate_id,
            }),
        }
    }
}
