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
//! There are no pre-shared keys, so the early secret is a constant and has no type of its own.

use core::marker::PhantomData;

use crate::crypto::hmac::{Hkdf, Hmac};
use crate::crypto::{CryptoError, HASH_LEN, Hash};
use crate::secret::Secret;
use crate::wire::Writer;

/// Most bytes of an HkdfLabel: two of length, and two vectors of at most 255 bytes.
const LABEL_LEN_MAX: usize = 2 + 1 + 255 + 1 + 255;

/// `HKDF-Expand-Label(secret, label, context, out.len())`. The label comes without its `tls13 ` prefix.
///
/// # Errors
/// [`CryptoError::BadLength`] for a label above 249 bytes, a context above 255 or an output above 8,160.
pub fn expand_label<H: Hash>(
    secret: &Secret<HASH_LEN>,
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
    Hkdf::<H>::expand(secret, &[w.written()], out)
}

/// `Derive-Secret(secret, label, messages)`, given the hash of the messages.
fn derive<H: Hash>(
    secret: &Secret<HASH_LEN>,
    label: &[u8],
    transcript: &[u8; HASH_LEN],
) -> Result<Secret<HASH_LEN>, CryptoError> {
    let mut out = Secret::zero();
    expand_label::<H>(secret, label, transcript, out.expose_mut())?;
    Ok(out)
}

/// The salt of the next stage: `Derive-Secret(secret, "derived", "")`.
fn next_salt<H: Hash>(secret: &Secret<HASH_LEN>) -> Result<Secret<HASH_LEN>, CryptoError> {
    derive::<H>(secret, b"derived", &H::digest(&[]))
}

/// After the key exchange.
pub struct HandshakeSecret<H>(Secret<HASH_LEN>, PhantomData<H>);

impl<H: Hash> HandshakeSecret<H> {
    /// From the shared secret of the key exchange: 32 bytes of ECDH over P-256.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn new(shared: &[u8]) -> Result<Self, CryptoError> {
        let early = Hkdf::<H>::extract(&[], &[0; HASH_LEN]);
        let salt = next_salt::<H>(&early)?;
        Ok(Self(Hkdf::<H>::extract(salt.expose(), shared), PhantomData))
    }

    /// The handshake traffic secrets, given the hash of ClientHello to ServerHello.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn traffic(&self, transcript: &[u8; HASH_LEN]) -> Result<TrafficSecrets<H>, CryptoError> {
        Ok(TrafficSecrets {
            client: TrafficSecret::new(derive::<H>(&self.0, b"c hs traffic", transcript)?),
            server: TrafficSecret::new(derive::<H>(&self.0, b"s hs traffic", transcript)?),
        })
    }

    /// The next stage.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn master(&self) -> Result<MasterSecret<H>, CryptoError> {
        let salt = next_salt::<H>(&self.0)?;
        Ok(MasterSecret(
            Hkdf::<H>::extract(salt.expose(), &[0; HASH_LEN]),
            PhantomData,
        ))
    }
}

/// After the server's Finished.
pub struct MasterSecret<H>(Secret<HASH_LEN>, PhantomData<H>);

impl<H: Hash> MasterSecret<H> {
    /// The application traffic secrets, given the hash of ClientHello to the server's Finished.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn traffic(&self, transcript: &[u8; HASH_LEN]) -> Result<TrafficSecrets<H>, CryptoError> {
        Ok(TrafficSecrets {
            client: TrafficSecret::new(derive::<H>(&self.0, b"c ap traffic", transcript)?),
            server: TrafficSecret::new(derive::<H>(&self.0, b"s ap traffic", transcript)?),
        })
    }

    /// The exporter secret, given the hash of ClientHello to the server's Finished. The schedule ends here: there is no
    /// resumption, so the master secret is not needed any more.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn into_exporter(self, transcript: &[u8; HASH_LEN]) -> Result<ExporterSecret<H>, CryptoError> {
        Ok(ExporterSecret(
            derive::<H>(&self.0, b"exp master", transcript)?,
            PhantomData,
        ))
    }
}

/// The secrets of both directions at one stage.
pub struct TrafficSecrets<H> {
    /// What the client writes with.
    pub client: TrafficSecret<H>,
    /// What the server writes with.
    pub server: TrafficSecret<H>,
}

/// The secret of one direction, from which its record keys come.
pub struct TrafficSecret<H>(Secret<HASH_LEN>, PhantomData<H>);

/// Proof that the peer's Finished was right. Made by [`TrafficSecret::check_finished`] only.
pub struct FinishedVerified(());

impl<H: Hash> TrafficSecret<H> {
    pub(crate) fn new(secret: Secret<HASH_LEN>) -> Self {
        Self(secret, PhantomData)
    }

    /// The record key: fills `out` with as many bytes as the suite wants (§7.3).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for more than 8,160 bytes.
    pub fn key(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        expand_label::<H>(&self.0, b"key", &[], out)
    }

    /// The record IV: fills `out` with as many bytes as the suite wants (§7.3).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for more than 8,160 bytes.
    pub fn iv(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        expand_label::<H>(&self.0, b"iv", &[], out)
    }

    /// `verify_data` of this side's Finished over the hash of the messages before it (§4.4.4).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn finished(&self, transcript: &[u8; HASH_LEN]) -> Result<[u8; HASH_LEN], CryptoError> {
        Ok(self.finished_mac(transcript)?.finish())
    }

    /// Compares the peer's `verify_data` in constant time. `self` is the peer's secret.
    ///
    /// # Errors
    /// [`CryptoError::Rejected`] when it is not the right one.
    pub fn check_finished(
        &self,
        transcript: &[u8; HASH_LEN],
        verify_data: &[u8],
    ) -> Result<FinishedVerified, CryptoError> {
        self.finished_mac(transcript)?.verify(verify_data)?;
        Ok(FinishedVerified(()))
    }

    /// The secret after a KeyUpdate (§7.2).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn updated(&self) -> Result<Self, CryptoError> {
        let mut next = Secret::zero();
        expand_label::<H>(&self.0, b"traffic upd", &[], next.expose_mut())?;
        Ok(Self::new(next))
    }

    /// The same secret at another place.
    pub(crate) fn again(&self) -> Self {
        Self::new(Secret::new(*self.0.expose()))
    }

    fn finished_mac(&self, transcript: &[u8; HASH_LEN]) -> Result<Hmac<H>, CryptoError> {
        let mut key = Secret::<HASH_LEN>::zero();
        expand_label::<H>(&self.0, b"finished", &[], key.expose_mut())?;
        let mut mac = Hmac::new(key.expose());
        mac.update(transcript);
        Ok(mac)
    }

    /// The secret itself, for comparison with published vectors.
    #[must_use]
    pub fn expose(&self) -> &[u8; HASH_LEN] {
        self.0.expose()
    }
}

/// The secret from which exporters are derived.
pub struct ExporterSecret<H>(Secret<HASH_LEN>, PhantomData<H>);

impl<H: Hash> ExporterSecret<H> {
    /// `TLS-Exporter(label, context, out.len())` (§7.5). No context and an empty one are the same in TLS 1.3.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for a label above 249 bytes or an output above 8,160.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
        let secret = derive::<H>(&self.0, label, &H::digest(&[]))?;
        expand_label::<H>(&secret, b"exporter", &H::digest(context), out)
    }

    /// The secret itself, for comparison with published vectors.
    #[must_use]
    pub fn expose(&self) -> &[u8; HASH_LEN] {
        self.0.expose()
    }
}
