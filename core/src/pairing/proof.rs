//! The key that both operators' word makes, and the MAC that proves it.

use super::{ALPN, EXPORTER_LEN, Method, Side, code::Code};
use crate::crypto::hmac::{Hkdf, Hmac};
use crate::crypto::{HASH_LEN, Hash};
use crate::message::InstanceId;
use crate::secret::Secret;

/// Bytes of a proof.
pub const PROOF_LEN: usize = HASH_LEN;
const INFO: &[u8] = b"proof";

/// The key of the proofs. Wiped when dropped.
pub struct PairingKey(Secret<HASH_LEN>);

impl PairingKey {
    /// HKDF-SHA-256 (RFC 5869) of the code, salted with the name of the protocol.
    #[must_use]
    pub fn from_code<H: Hash>(code: &Code) -> Self {
        Self::derive::<H>(code.expose())
    }

    /// Of both fingerprints, the lower one first. They are no secret: here it is the channel, which lets in only the owner of
    /// the certificate with the expected fingerprint, that proves who is there, and the MAC only holds the exchange together.
    #[must_use]
    pub fn from_fingerprints<H: Hash>(one: &[u8; HASH_LEN], other: &[u8; HASH_LEN]) -> Self {
        let mut both = [0; 2 * HASH_LEN];
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        for (to, from) in both.iter_mut().zip(low.iter().chain(high)) {
            *to = *from;
        }
        Self::derive::<H>(&both)
    }

    fn derive<H: Hash>(input: &[u8]) -> Self {
        let prk = Hkdf::<H>::extract(ALPN, input);
        let mut key = Secret::zero();
        // Fails only for an output longer than 255 blocks.
        let _fits = Hkdf::<H>::expand(&prk, &[INFO], key.expose_mut());
        Self(key)
    }
}

/// What a proof is made over, as its sender sees it. Certificates stand in it by their SHA-256, so that everything has a fixed
/// length, and the initiator can prove itself before it has been sent the responder's certificate in a message.
pub struct Statement<'a> {
    /// Which side the sender is.
    pub side: Side,
    /// How the two know each other.
    pub method: Method,
    /// The channel's exporter.
    pub exporter: &'a [u8; EXPORTER_LEN],
    /// SHA-256 of the sender's certificate.
    pub fingerprint: &'a [u8; HASH_LEN],
    /// SHA-256 of the receiver's certificate.
    pub peer_fingerprint: &'a [u8; HASH_LEN],
    /// The sender.
    pub instance: InstanceId,
    /// The receiver.
    pub peer_instance: InstanceId,
}

impl Statement<'_> {
    /// The MAC over it: side, method, exporter, both fingerprints and both instance ids, the sender's first.
    #[must_use]
    pub fn mac<H: Hash>(&self, key: &PairingKey) -> Hmac<H> {
        let mut mac = Hmac::new(key.0.expose());
        mac.update(&[self.side.code(), self.method.code()]);
        mac.update(self.exporter);
        mac.update(self.fingerprint);
        mac.update(self.peer_fingerprint);
        mac.update(&self.instance.0);
        mac.update(&self.peer_instance.0);
        mac
    }
}
