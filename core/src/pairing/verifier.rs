//! Who may try: whoever proves that it owns the certificate that it shows.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::cert::{Certificate, OutsideValidity};
use crate::channel::{PeerRefusal, PeerVerifier, VerifiedPeer};
use crate::crypto::{HASH_LEN, Hash, POINT_LEN, Provider};
use crate::time::UnixSeconds;

/// The verifier of [`super::ALPN`]. It knows no pins and gives nobody a login: what it lets in may speak of pairing and of
/// nothing else. It notes the fingerprint of the certificate that it saw, for the proof.
pub struct PairingVerifier<'a, P: Provider> {
    own: &'a [u8],
    own_point: [u8; POINT_LEN],
    expected: Option<[u8; HASH_LEN]>,
    seen: Cell<Option<[u8; HASH_LEN]>>,
    provider: PhantomData<P>,
}

impl<'a, P: Provider> PairingVerifier<'a, P> {
    /// For an instance that shows the certificate `own` with the key `own_point`. With `expected`, nobody but the owner of the
    /// certificate with that fingerprint is let in.
    #[must_use]
    pub const fn new(own: &'a [u8], own_point: [u8; POINT_LEN], expected: Option<[u8; HASH_LEN]>) -> Self {
        Self {
            own,
            own_point,
            expected,
            seen: Cell::new(None),
            provider: PhantomData,
        }
    }

    /// SHA-256 of the certificate that was shown, if one was accepted.
    #[must_use]
    pub const fn seen(&self) -> Option<[u8; HASH_LEN]> {
        self.seen.get()
    }
}

impl<P: Provider> PeerVerifier for PairingVerifier<'_, P> {
    fn verify(&self, _: &[u8], der: &[u8], now: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let certificate = Certificate::parse::<P>(der).map_err(|_| PeerRefusal::Unknown)?;
        if der == self.own || *certificate.point() == self.own_point {
            return Err(PeerRefusal::OwnCertificate);
        }
        let fingerprint = P::Sha256::digest(der);
        if self.expected.is_some_and(|expected| expected != fingerprint) {
            return Err(PeerRefusal::Unknown);
        }
        certificate
            .pin::<P>()
            .check_validity(now)
            .map_err(|outside| match outside {
                OutsideValidity::NotYetValid => PeerRefusal::NotYetValid { certificate_id: 0 },
                OutsideValidity::Expired => PeerRefusal::Expired { certificate_id: 0 },
            })?;
        self.seen.set(Some(fingerprint));
        Ok(VerifiedPeer {
            point: *certificate.point(),
            login_id: 0,
            certificate_id: 0,
        })
    }
}
