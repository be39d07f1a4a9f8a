//! Who the device is, and whom it lets in: the provisioned settings as the endpoint asks them.
//!
//! A device without a clock ignores notBefore and judges notAfter by a floor: a time that has certainly passed
//! (`docs/appliance.md`).

use dbmirror_adapters::nvm::settings::{Connect, IdentitySettings, PEERS_MAX, Peer, SettingsError};
use dbmirror_adapters::nvm::{DeviceKey, Kind};
use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::endpoint::{Directory, IdentityError};
use dbmirror_core::keys::{DatabaseMasterKey, KeyError, PrivateKey, WrappedKey};
use dbmirror_core::session::Reason;
use dbmirror_core::time::UnixSeconds;
use heapless::Vec;

use crate::{Crypto, Sha256};

type SigningKey = <Crypto as Provider>::SigningKey;

/// Peers, by their certificates.
pub type Peers = Vec<Peer, { PEERS_MAX as usize }>;

/// The settings as the endpoint asks them.
pub struct Settings {
    key: SigningKey,
    identity: IdentitySettings,
    peers: Pins,
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

impl Settings {
    /// Opens the device's key, and takes over its peers.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(
        device: &DeviceKey,
        identity: IdentitySettings,
        peers: Peers,
    ) -> Result<Self, DirectoryError> {
        let above = device.service_master_key::<Sha256>()?;
        let wrapped = WrappedKey::from_der(identity.master_key.as_bytes())?;
        let master = DatabaseMasterKey::unwrap_by_service_master_key(&wrapped, &above)?;
        let wrapped = WrappedKey::from_der(identity.private_key.as_bytes())?;
        let key = PrivateKey::unwrap_by_database_master_key::<Crypto>(&wrapped, &master)?;
        let key = SigningKey::from_scalar(key.scalar()).map_err(|_| DirectoryError::NotAKey)?;
        Ok(Self {
            key,
            identity,
            peers: Pins(peers),
        })
    }

    /// All peers, in the order of their numbers.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers.0
    }

    /// The name of a login.
    #[must_use]
    pub fn login_name(&self, login: u32) -> &str {
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
        self.key.public_point() == point
    }
}

impl Directory<Crypto> for Settings {
    fn identity(&self) -> Result<Identity<'_, Crypto>, IdentityError> {
        Ok(Identity {
            signing_key: &self.key,
            certificate_der: self.identity.certificate.as_bytes(),
        })
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        &self.peers
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

/// All peers that the header counts.
///
/// # Errors
/// [`SettingsError`]: one is gone, or damaged.
pub fn read_peers(
    count: u8,
    mut read: impl FnMut(u8) -> Result<Peer, SettingsError>,
) -> Result<Peers, SettingsError> {
    let mut peers = Peers::new();
    for number in 0..count {
        peers
            .push(read(number)?)
            .map_err(|_| SettingsError::Malformed(Kind::Header))?;
    }
    Ok(peers)
}
