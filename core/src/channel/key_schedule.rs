//! The key schedule (RFC 8446 §7.1), one type per stage, so that secrets can only be derived in order.
//!
//! ```text
//!      0 ─► Extract = early secret
//!                 │ derived
//!  ECDHE ─► Extract = HandshakeSecret ─► client, server handshake traffic secret
//!                 │ derived
//!      0 ─► Extract = MasterSecret ─► client, server application traffic secret; ExporterSecret
//! ```
//!
//! There are no pre-shared keys, so the early secret is a constant and has no type of its own. Which hash it runs over is the
//! suite's affair, and known to every secret.

use core::marker::PhantomData;

use subtle::ConstantTimeEq as _;

use super::digest::{DIGEST_LEN_MAX, Digest, HashAlgorithm};
use crate::crypto::hmac::{Hkdf, Hmac};
use crate::crypto::{CryptoError, Hash, Provider, SHA384_LEN};
use crate::secret::Secret;
use crate::wire::{self, Writer};

/// Most bytes of an HkdfLabel: two of length, and two vectors of at most 255 bytes.
const LABEL_LEN_MAX: usize = 2 + 1 + 255 + 1 + 255;

/// `HKDF-Expand-Label(secret, label, context, out.len())` over `algorithm`. The label comes without its `tls13 ` prefix.
///
/// # Errors
/// [`CryptoError::BadLength`] for a label above 249 bytes, a context above 255 or an output above 255 digests.
pub fn expand_label<P: Provider>(
    algorithm: HashAlgorithm,
    secret: &[u8],
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Result<(), CryptoError> {
    let out_len = u16::try_from(out.len()).map_err(|_| CryptoError::BadLength)?;
    let mut info = [0; LABEL_LEN_MAX];
    let mut w = Writer::new(&mut info);
    w.u16_be(out_len)
        .and_then(|()| {
            w.vec8(|w| {
                w.bytes(b"tls13 ")?;
                w.bytes(label)
            })
        })
        .and_then(|()| w.vec8(|w| w.bytes(context)))
        .map_err(|_| CryptoError::BadLength)?;
    let info = &[w.written()];
    match algorithm {
        HashAlgorithm::Sha256 => Hkdf::<P::Sha256>::expand_from(secret, info, out),
        HashAlgorithm::Sha384 => Hkdf::<P::Sha384, SHA384_LEN>::expand_from(secret, info, out),
    }
}

/// The digest of `bytes` in one call.
fn digest<P: Provider>(algorithm: HashAlgorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        HashAlgorithm::Sha256 => Digest::of_sha256(&P::Sha256::digest(bytes)),
        HashAlgorithm::Sha384 => Digest::of_sha384(P::Sha384::digest(bytes)),
    }
}

/// A secret of the schedule: as long as the digests of its hash, and zero behind that.
struct Stage<P> {
    bytes: Secret<DIGEST_LEN_MAX>,
    algorithm: HashAlgorithm,
    provider: PhantomData<P>,
}

impl<P: Provider> Stage<P> {
    const fn zero(algorithm: HashAlgorithm) -> Self {
        Self {
            bytes: Secret::zero(),
            algorithm,
            provider: PhantomData,
        }
    }

    /// HKDF-Extract.
    fn extract(algorithm: HashAlgorithm, salt: &[u8], ikm: &[u8]) -> Self {
        let mut out = Self::zero(algorithm);
        // A digest fits where the longest one does.
        let _fits = match algorithm {
            HashAlgorithm::Sha256 => wire::copy(
                out.bytes.expose_mut(),
                Hkdf::<P::Sha256>::extract(salt, ikm).expose(),
            ),
            HashAlgorithm::Sha384 => wire::copy(
                out.bytes.expose_mut(),
                Hkdf::<P::Sha384, SHA384_LEN>::extract(salt, ikm).expose(),
            ),
        };
        out
    }

    /// As many bytes as its hash makes.
    fn expose(&self) -> &[u8] {
        self.bytes.expose().get(..self.algorithm.len()).unwrap_or(&[])
    }

    fn expand_label(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        expand_label::<P>(self.algorithm, self.expose(), label, context, out)
    }

    /// `Expand-Label` to another secret of the schedule.
    fn expand(&self, label: &[u8], context: &[u8]) -> Result<Self, CryptoError> {
        let mut out = Self::zero(self.algorithm);
        let len = self.algorithm.len();
        let place = out.bytes.expose_mut().get_mut(..len);
        self.expand_label(label, context, place.ok_or(CryptoError::BadLength)?)?;
        Ok(out)
    }

    /// `Derive-Secret(secret, label, messages)`, given the hash of the messages.
    fn derive(&self, label: &[u8], transcript: &Digest) -> Result<Self, CryptoError> {
        if transcript.algorithm() == self.algorithm {
            self.expand(label, transcript.as_bytes())
        } else {
            Err(CryptoError::BadLength)
        }
    }

    /// The next stage: `Extract(Derive-Secret(secret, "derived", ""), ikm)`.
    fn next(&self, ikm: &[u8]) -> Result<Self, CryptoError> {
        let salt = self.derive(b"derived", &digest::<P>(self.algorithm, &[]))?;
        Ok(Self::extract(self.algorithm, salt.expose(), ikm))
    }

    /// As many zero bytes as a digest has: what stands for a secret that there is not.
    fn none(algorithm: HashAlgorithm) -> &'static [u8] {
        const ZEROS: [u8; DIGEST_LEN_MAX] = [0; DIGEST_LEN_MAX];
        ZEROS.get(..algorithm.len()).unwrap_or(&[])
    }

    /// The same secret at another place.
    fn again(&self) -> Self {
        Self {
            bytes: Secret::new(*self.bytes.expose()),
            algorithm: self.algorithm,
            provider: PhantomData,
        }
    }
}

/// After the key exchange.
pub struct HandshakeSecret<P>(Stage<P>);

impl<P: Provider> HandshakeSecret<P> {
    /// From the shared secret of the key exchange, under the hash of the suite.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn new(algorithm: HashAlgorithm, shared: &[u8]) -> Result<Self, CryptoError> {
        let early = Stage::<P>::extract(algorithm, &[], Stage::<P>::none(algorithm));
        early.next(shared).map(Self)
    }

    /// The handshake traffic secrets, given the hash of ClientHello to ServerHello.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn traffic(&self, transcript: &Digest) -> Result<TrafficSecrets<P>, CryptoError> {
        Ok(TrafficSecrets {
            client: TrafficSecret(self.0.derive(b"c hs traffic", transcript)?),
            server: TrafficSecret(self.0.derive(b"s hs traffic", transcript)?),
        })
    }

    /// The next stage.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn master(&self) -> Result<MasterSecret<P>, CryptoError> {
        self.0.next(Stage::<P>::none(self.0.algorithm)).map(MasterSecret)
    }
}

/// After the server's Finished.
pub struct MasterSecret<P>(Stage<P>);

impl<P: Provider> MasterSecret<P> {
    /// The application traffic secrets, given the hash of ClientHello to the server's Finished.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn traffic(&self, transcript: &Digest) -> Result<TrafficSecrets<P>, CryptoError> {
        Ok(TrafficSecrets {
            client: TrafficSecret(self.0.derive(b"c ap traffic", transcript)?),
            server: TrafficSecret(self.0.derive(b"s ap traffic", transcript)?),
        })
    }

    /// The exporter secret, given the hash of ClientHello to the server's Finished. The schedule ends here: there is no
    /// resumption, so the master secret is not needed any more.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn into_exporter(self, transcript: &Digest) -> Result<ExporterSecret<P>, CryptoError> {
        self.0.derive(b"exp master", transcript).map(ExporterSecret)
    }
}

/// The secrets of both directions at one stage.
pub struct TrafficSecrets<P> {
    /// What the client writes with.
    pub client: TrafficSecret<P>,
    /// What the server writes with.
    pub server: TrafficSecret<P>,
}

/// The secret of one direction, from which its record keys come.
pub struct TrafficSecret<P>(Stage<P>);

/// Proof that the peer's Finished was right. Made by [`TrafficSecret::check_finished`] only.
pub struct FinishedVerified(());

impl<P: Provider> TrafficSecret<P> {
    #[cfg(test)]
    pub(crate) fn fixed(algorithm: HashAlgorithm, byte: u8) -> Self {
        let mut stage = Stage::zero(algorithm);
        stage.bytes.expose_mut()[..algorithm.len()].fill(byte);
        Self(stage)
    }

    /// The record key: fills `out` with as many bytes as the suite wants (§7.3).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for more than 8,160 bytes.
    pub fn key(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.expand_label(b"key", &[], out)
    }

    /// The record IV: fills `out` with as many bytes as the suite wants (§7.3).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for more than 8,160 bytes.
    pub fn iv(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.expand_label(b"iv", &[], out)
    }

    /// `verify_data` of this side's Finished over the hash of the messages before it (§4.4.4).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn finished(&self, transcript: &Digest) -> Result<Digest, CryptoError> {
        let key = self.0.expand(b"finished", &[])?;
        let parts = &[transcript.as_bytes()];
        Ok(match self.0.algorithm {
            HashAlgorithm::Sha256 => Digest::of_sha256(&Hmac::<P::Sha256>::tag(key.expose(), parts)),
            HashAlgorithm::Sha384 => {
                Digest::of_sha384(Hmac::<P::Sha384, SHA384_LEN>::tag(key.expose(), parts))
            }
        })
    }

    /// Compares the peer's `verify_data` in constant time. `self` is the peer's secret.
    ///
    /// # Errors
    /// [`CryptoError::Rejected`] when it is not the right one.
    pub fn check_finished(
        &self,
        transcript: &Digest,
        verify_data: &[u8],
    ) -> Result<FinishedVerified, CryptoError> {
        let expected = self.finished(transcript)?;
        if expected.as_bytes().ct_eq(verify_data).into() {
            Ok(FinishedVerified(()))
        } else {
            Err(CryptoError::Rejected)
        }
    }

    /// The secret after a KeyUpdate (§7.2).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn updated(&self) -> Result<Self, CryptoError> {
        self.0.expand(b"traffic upd", &[]).map(Self)
    }

    /// The same secret at another place.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.again())
    }

    /// The hash that it belongs to.
    pub(crate) const fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm
    }

    /// The secret itself, for comparison with published vectors.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The secret from which exporters are derived.
pub struct ExporterSecret<P>(Stage<P>);

impl<P: Provider> ExporterSecret<P> {
    /// `TLS-Exporter(label, context, out.len())` (§7.5). No context and an empty one are the same in TLS 1.3.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for a label above 249 bytes or an output above 8,160.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        let algorithm = self.0.algorithm;
        let secret = self.0.derive(label, &digest::<P>(algorithm, &[]))?;
        secret.expand_label(b"exporter", digest::<P>(algorithm, context).as_bytes(), out)
    }

    /// The secret itself, for comparison with published vectors.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rustcrypto::RustCrypto;

    /// RFC 8446 §7.1: both vectors of an HkdfLabel have at most 255 bytes, the label's six of its prefix among them.
    #[test]
    fn the_longest_label_and_context_fit() {
        let expand = |label: usize, context: usize| {
            let bytes = [b'x'; 256];
            let (label, context) = (bytes.get(..label).unwrap(), bytes.get(..context).unwrap());
            expand_label::<RustCrypto>(HashAlgorithm::Sha256, &[7; 32], label, context, &mut [0; 32])
        };
        assert_eq!(expand(249, 255), Ok(()));
        assert_eq!(expand(250, 255), Err(CryptoError::BadLength));
        assert_eq!(expand(249, 256), Err(CryptoError::BadLength));
    }
}
