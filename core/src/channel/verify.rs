//! Whom the channel lets in: the caller's pins, asked at each handshake, and the caller's own identity.
//!
//! The handshake parses no X.509. A peer's certificate is compared byte for byte with those that an operator stored, and
//! the pin supplies the public key; what the certificate says was judged when it was stored.

use super::error::{AlpnTooLong, PeerRefusal};
use crate::crypto::{POINT_LEN, Provider};
use crate::time::UnixSeconds;
use crate::wire;

/// Decides on peers. The channel asks twice: [`PeerVerifier::verify`] when the certificate arrives, to get the key that it
/// must be proved with, and [`PeerVerifier::authorize`] once the peer has proved that it owns that key. What an enemy
/// who merely holds a copy of somebody's certificate can learn or write into a log is therefore what `verify` says.
pub trait PeerVerifier {
    /// Finds `certificate_der` among the pins that hold for the application protocol `alpn`, at the time `now`.
    ///
    /// # Errors
    /// [`PeerRefusal`], which ends the handshake with the alert that [`PeerRefusal::alert`] names.
    fn verify(
        &self,
        alpn: &[u8],
        certificate_der: &[u8],
        now: UnixSeconds,
    ) -> Result<VerifiedPeer, PeerRefusal>;

    /// Judges what the peer may do, now that it has proved who it is. Accepts unless it is overridden.
    ///
    /// # Errors
    /// [`PeerRefusal`], which ends the handshake with the alert that [`PeerRefusal::alert`] names.
    fn authorize(&self, alpn: &[u8], peer: &VerifiedPeer, now: UnixSeconds) -> Result<(), PeerRefusal> {
        let _ = (alpn, peer, now);
        Ok(())
    }
}

/// A peer whose certificate is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// The public key of the pin, an uncompressed P-256 point.
    pub point: [u8; POINT_LEN],
    /// The login that the certificate's owner maps to.
    pub login_id: u32,
    /// The certificate that matched.
    pub certificate_id: u32,
}

/// Who we are. Lent at each call; the channel stores none of it.
pub struct Identity<'a, P: Provider> {
    /// The key that belongs to the certificate.
    pub signing_key: &'a P::SigningKey,
    /// The certificate in DER, 1 to [`super::CERTIFICATE_LEN_MAX`] bytes.
    pub certificate_der: &'a [u8],
}

impl<P: Provider> Clone for Identity<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Provider> Copy for Identity<'_, P> {}

/// An application protocol that is spoken, with those who decide on its peers.
#[derive(Clone, Copy)]
pub struct Protocol<'a> {
    /// Its name in ALPN (RFC 7301), 1 to [`Alpn::LEN_MAX`] bytes, for instance `dbm/1`.
    pub alpn: &'a [u8],
    /// Who decides on its peers.
    pub verifier: &'a dyn PeerVerifier,
}

/// The name of an application protocol by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Alpn {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl Alpn {
    /// Most bytes of a name that this profile speaks. Peers may offer longer ones; they are passed over.
    pub const LEN_MAX: usize = 32;

    /// Takes `name`, of 1 to [`Self::LEN_MAX`] bytes.
    ///
    /// # Errors
    /// [`AlpnTooLong`] for an empty or longer one.
    pub fn new(name: &[u8]) -> Result<Self, AlpnTooLong> {
        let mut bytes = [0; Self::LEN_MAX];
        let written = wire::copy(&mut bytes, name)
            .filter(|n| *n > 0)
            .ok_or(AlpnTooLong)?;
        let len = u8::try_from(written).map_err(|_| AlpnTooLong)?;
        Ok(Self { bytes, len })
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl core::fmt::Debug for Alpn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Alpn({})", self.as_bytes().escape_ascii())
    }
}
