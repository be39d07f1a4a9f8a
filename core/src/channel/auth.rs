//! Proving and checking who is there (RFC 8446 §4.4): the steps that both roles share, and the proofs they leave.

use super::digest::{DIGEST_LEN_MAX, Digest};
use super::error::ChannelError;
use super::messages::auth::{
    emit_certificate_prefix, emit_certificate_verify, emit_finished, parse_certificate_verify,
};
use super::outgoing::Outgoing;
use super::transcript::Transcript;
use super::verify::{Alpn, Protocol, VerifiedPeer};
use super::{CERTIFICATE_LEN_MAX, Env, Role};
use crate::crypto::{CryptoError, Provider, SIGNATURE_LEN_MAX, SigningKey as _, VerifyingKey as _};
use crate::wire::Writer;

/// Proof that the certificate is pinned for the protocol. Made by [`check_certificate`] only.
pub(crate) struct Pinned(VerifiedPeer);

/// Proof that the peer owns the pinned key, and may use the protocol. Made by [`check_certificate_verify`] only.
pub(crate) struct Proved(VerifiedPeer);

impl Proved {
    pub(crate) const fn peer(&self) -> VerifiedPeer {
        self.0
    }
}

/// Most bytes of what a CertificateVerify signs (§4.4.3): 64 spaces, a context string, a zero byte, the transcript's hash.
const SIGNED_LEN_MAX: usize = 64 + 33 + 1 + DIGEST_LEN_MAX;

/// Writes what is signed; returns its length.
fn signed(signer: Role, transcript: &Digest, out: &mut [u8; SIGNED_LEN_MAX]) -> Result<usize, ChannelError> {
    let context: &[u8; 33] = match signer {
        Role::Client => b"TLS 1.3, client CertificateVerify",
        Role::Server => b"TLS 1.3, server CertificateVerify",
    };
    let mut w = Writer::new(out);
    w.bytes(&[b' '; 64])
        .and_then(|()| w.bytes(context))
        .and_then(|()| w.u8(0))
        .and_then(|()| w.bytes(transcript.as_bytes()))
        .map_err(|_| ChannelError::State)?;
    Ok(w.len())
}

fn protocol<'e, P: Provider>(env: &Env<'e, P>, alpn: &Alpn) -> Result<Protocol<'e>, ChannelError> {
    let spoken = env
        .protocols
        .iter()
        .find(|protocol| protocol.alpn == alpn.as_bytes());
    spoken.copied().ok_or(ChannelError::ProtocolWithdrawn)
}

/// Asks the protocol's verifier for the pin of a certificate.
pub(crate) fn check_certificate<P: Provider>(
    env: &Env<'_, P>,
    alpn: &Alpn,
    certificate_der: &[u8],
) -> Result<Pinned, ChannelError> {
    let verifier = protocol(env, alpn)?.verifier;
    let peer = verifier.verify(alpn.as_bytes(), certificate_der, env.now);
    peer.map(Pinned).map_err(ChannelError::PeerRefused)
}

/// Checks the peer's signature with the pinned key, then asks the verifier what the peer may do. One public-key
/// operation.
pub(crate) fn check_certificate_verify<P: Provider>(
    env: &Env<'_, P>,
    alpn: &Alpn,
    Pinned(peer): Pinned,
    signer: Role,
    transcript: &Digest,
    message: &[u8],
) -> Result<Proved, ChannelError> {
    let signature = parse_certificate_verify(message)?;
    let key = P::VerifyingKey::from_point(&peer.point).map_err(|_| ChannelError::Lent)?;
    let mut place = [0; SIGNED_LEN_MAX];
    let len = signed(signer, transcript, &mut place)?;
    key.verify(place.get(..len).ok_or(ChannelError::State)?, signature)
        .map_err(|_| ChannelError::BadSignature)?;
    let verifier = protocol(env, alpn)?.verifier;
    verifier
        .authorize(alpn.as_bytes(), &peer, env.now)
        .map_err(ChannelError::PeerRefused)?;
    Ok(Proved(peer))
}

/// Stages our Certificate.
pub(crate) fn stage_certificate<P: Provider>(
    env: &Env<'_, P>,
    transcript: &mut Transcript<P>,
    outgoing: &mut Outgoing,
) -> Result<(), ChannelError> {
    let der = env.identity.certificate_der;
    if der.is_empty() || der.len() > CERTIFICATE_LEN_MAX {
        return Err(ChannelError::Lent);
    }
    outgoing.stage_certificate(transcript, der, |w| emit_certificate_prefix(w, der.len()))
}

/// Signs and stages our CertificateVerify. One public-key operation.
pub(crate) fn stage_certificate_verify<P: Provider>(
    env: &mut Env<'_, P>,
    signer: Role,
    transcript: &mut Transcript<P>,
    outgoing: &mut Outgoing,
) -> Result<(), ChannelError> {
    let mut signature = [0; SIGNATURE_LEN_MAX];
    let mut place = [0; SIGNED_LEN_MAX];
    let len = signed(signer, &transcript.hash(), &mut place)?;
    let signed = place.get(..len).ok_or(ChannelError::State)?;
    let len = env
        .identity
        .signing_key
        .sign(signed, env.entropy, &mut signature)
        .map_err(|error| match error {
            CryptoError::Entropy => ChannelError::Entropy,
            _ => ChannelError::Signer,
        })?;
    let signature = signature.get(..len).ok_or(ChannelError::Provider)?;
    outgoing.stage(transcript, |w| emit_certificate_verify(w, signature))
}

/// Stages our Finished.
pub(crate) fn stage_finished<P: Provider>(
    secret: &super::key_schedule::TrafficSecret<P>,
    transcript: &mut Transcript<P>,
    outgoing: &mut Outgoing,
) -> Result<(), ChannelError> {
    let verify_data = secret
        .finished(&transcript.hash())
        .map_err(|_| ChannelError::Provider)?;
    outgoing.stage(transcript, |w| emit_finished(w, verify_data.as_bytes()))
}
