//! An instance's catalog, as the endpoint asks it: its own key and certificate, and those of the others.

use std::cell::Cell;

use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::{POINT_LEN, Provider, SigningKey as _};
use dbmirror_core::endpoint::{Directory, IdentityError};
use dbmirror_core::secret::Secret;
use dbmirror_core::session::Reason;
use dbmirror_core::time::UnixSeconds;

/// The catalog of one instance.
pub struct Book<P: Provider> {
    key: P::SigningKey,
    certificate: Vec<u8>,
    peers: Vec<Peer>,
    /// What START hears for a database for which nobody waits.
    pub not_waiting: Cell<Reason>,
}

struct Peer {
    certificate: Vec<u8>,
    point: [u8; POINT_LEN],
    login: u32,
}

fn key<P: Provider>(index: usize) -> P::SigningKey {
    let mut bytes = [7; 32];
    bytes[0] = 1;
    bytes[31] = index as u8 + 1;
    P::SigningKey::from_scalar(&Secret::new(bytes)).unwrap_or_else(|_| unreachable!("a scalar in range"))
}

fn certificate(index: usize) -> Vec<u8> {
    let mut der = vec![0x30, 0x82];
    der.resize(300, index as u8);
    der
}

/// The login by which instance `index` is known to all others.
#[must_use]
pub const fn login_of(index: usize) -> u32 {
    100 + index as u32
}

impl<P: Provider> Book<P> {
    /// The catalog of instance `own` of `count`, which all know each other.
    #[must_use]
    pub fn new(own: usize, count: usize) -> Self {
        Self {
            key: key::<P>(own),
            certificate: certificate(own),
            peers: (0..count)
                .filter(|index| *index != own)
                .map(|index| Peer {
                    certificate: certificate(index),
                    point: key::<P>(index).public_point(),
                    login: login_of(index),
                })
                .collect(),
            not_waiting: Cell::new(Reason::NotWaiting),
        }
    }
}

impl<P: Provider> PeerVerifier for Book<P> {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let peer = self
            .peers
            .iter()
            .find(|peer| peer.certificate == der)
            .ok_or(PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: peer.point,
            login_id: peer.login,
            certificate_id: peer.login + 100,
        })
    }

    fn authorize(&self, _: &[u8], _: &VerifiedPeer, _: UnixSeconds) -> Result<(), PeerRefusal> {
        Ok(())
    }
}

impl<P: Provider> Directory<P> for Book<P> {
    fn identity(&self) -> Result<Identity<'_, P>, IdentityError> {
        Ok(Identity {
            signing_key: &self.key,
            certificate_der: &self.certificate,
        })
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        self
    }

    fn not_waiting(&self, _: &str) -> Reason {
        self.not_waiting.get()
    }
}
