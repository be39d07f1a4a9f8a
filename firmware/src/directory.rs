//! Who the device is, and whom it lets in: the provisioned settings as the endpoint asks them.
//!
//! A device without a clock ignores notBefore and judges notAfter by a floor: a time that has certainly passed
//! (`docs/appliance.md`).

use dbmirror_adapters::nvm::settings::{Connect, IdentitySettings, PEERS_MAX, Peer, SettingsError};
use dbmirror_adapters::nvm::{DeviceKey, Kind, Store};
use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::endpoint::{Directory, IdentityError};
use dbmirror_core::keys::{DatabaseMasterKey, KeyError, PrivateKey, WrappedKey};
use dbmirror_core::session::Reason;
use dbmirror_core::time::UnixSeconds;
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Vec;

use crate::{Crypto, Refusal, Sha256};

type SigningKey = <Crypto as Provider>::SigningKey;

/// Peers, by their certificates.
pub type Peers = Vec<Peer, { PEERS_MAX as usize }>;

/// The settings as they lie in a board's RAM.
pub(crate) struct Kept {
    own: Option<Own>,
    peers: Pins,
}

struct Own {
    key: SigningKey,
    identity: IdentitySettings,
}

impl Kept {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self {
            own: None,
            peers: Pins(Peers::new()),
        }
    }
}

/// The settings as the endpoint asks them.
#[derive(Clone, Copy)]
pub struct Settings<'m> {
    own: &'m Own,
    peers: &'m Pins,
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
fn read_own<F: NorFlash>(
    own: &mut Option<Own>,
    store: &mut Store<F>,
    device: &DeviceKey,
) -> Result<(), Refusal> {
    let identity = IdentitySettings::read::<Sha256, F>(store)?;
    let key = open_key(device, &identity)?;
    *own = Some(Own { key, identity });
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
fn open_key(device: &DeviceKey, identity: &IdentitySettings) -> Result<SigningKey, DirectoryError> {
    let above = device.service_master_key::<Sha256>()?;
    let wrapped = WrappedKey::from_der(identity.master_key.as_bytes())?;
    let master = DatabaseMasterKey::unwrap_by_service_master_key(&wrapped, &above)?;
    let wrapped = WrappedKey::from_der(identity.private_key.as_bytes())?;
    let key = PrivateKey::unwrap_by_database_master_key::<Crypto>(&wrapped, &master)?;
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
        read_own(&mut kept.own, store, device)?;
        kept.peers.0.clear();
        for number in 0..count {
            read_peer(&mut kept.peers.0, store, number)?;
        }
        let Kept {
            own: Some(own),
            peers,
        } = kept
        else {
            return Err(SettingsError::Missing(Kind::Identity).into());
        };
        Ok(Self { own, peers })
    }

    /// All peers, in the order of their numbers.
    #[must_use]
    pub fn peers(&self) -> &'m Peers {
        &self.peers.0
    }

    /// The name of a login.
    #[must_use]
    pub fn login_name(&self, login: u32) -> &'m str {
        self.peers
            .0
            .iter()
            .find(|peer| peer.login_id == login && login != 0)
            .map_or("", |peer| peer.login.as_str())
    }

    /// How many different logins there are.
    #[must_use]
    pub fn logins(&self) -> usize {
        let peers = &self.peers.0;
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

    /// Whether the stored settings have the public key of the stored certificate: what a handshake would show anyway.
    #[must_use]
    pub fn is_own(&self, point: &[u8]) -> bool {
        self.own.key.public_point() == point
    }
}

impl Directory<Crypto> for Settings<'_> {
    fn identity(&self) -> Result<Identity<'_, Crypto>, IdentityError> {
        Ok(Identity {
            signing_key: &self.own.key,
            certificate_der: self.own.identity.certificate.as_bytes(),
        })
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        self.peers
    }

    fn not_waiting(&self, _: &str) -> Reason {
        Reason::NoDatabase
    }
}

struct Pins(Peers);

impl PeerVerifier for Pins {
    fn verify(&self, _: &[u8], certificate_der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let peer = self
            .0
            .iter()
            .find(|peer| peer.pin.matches::<Sha256>(certificate_der))
            .ok_or(PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: peer.pin.point,
            login_id: peer.login_id,
            certificate_id: peer.certificate_id,
        })
    }

    /// Judged when the peer has proved that the certificate is its own, as on a server. `floor` is a time that has passed.
    fn authorize(&self, _: &[u8], peer: &VerifiedPeer, floor: UnixSeconds) -> Result<(), PeerRefusal> {
        let certificate_id = peer.certificate_id;
        let known = self
            .0
            .iter()
            .find(|known| known.certificate_id == certificate_id)
            .ok_or(PeerRefusal::Unknown)?;
        if floor > known.pin.not_after {
            return Err(PeerRefusal::Expired { certificate_id });
        }
        let login_id = known.login_id;
        if login_id == 0 || login_id != peer.login_id {
            return Err(PeerRefusal::NoLogin { certificate_id });
        }
        match known.connect {
            Connect::Granted => Ok(()),
            Connect::Denied | Connect::None => Err(PeerRefusal::NoConnect {
                login_id,
                certificate_id,
            }),
        }
    }
}
