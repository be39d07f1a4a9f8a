//! How certificates are replaced over connections that stand (`docs/safety.md` §4, `docs/protocol.md` §2).
//!
//! An instance hands its successor certificate to a peer that has authenticated its present one, with a signature by the
//! successor's own key over what only the two ends of this connection share: who does not own that key, or heard the message
//! elsewhere, gets nothing stored. The directory stores; the answer leaves when it says that this is durable. Nothing here
//! judges who the certificate belongs to: that too is the directory's.

use super::close::CloseReason;
use super::env::{NoticeBody, PeerNotice, PeerNoticeBody};
use super::output::{ConnectionEvent, ConnectionId};
use super::slot::Reply;
use super::{Endpoint, Env};
use crate::cert::Certificate;
use crate::channel::Role;
use crate::crypto::{HASH_LEN, Hash, Provider, SIGNATURE_LEN_MAX, SigningKey as _, VerifyingKey as _};
use crate::message::codec::{CONTROL_LEN_MAX, CertificateAnswer, HEADER_LEN, Message, Retired, Successor};
use crate::message::{Address, InstanceId, Signature};
use crate::session::{Reason, SessionError};
use crate::wire::{Full, Writer};

/// The capability bit of HELLO: the sender takes SUCCESSOR and RETIRED.
pub const SUCCESSION: u64 = 1;
/// Most bytes of a successor certificate in DER, so that its message is a control message.
pub const SUCCESSOR_LEN_MAX: usize = 1_280;
/// The exporter label (RFC 8446 §7.5) for 32 bytes, with an empty context, that the proof is bound to its connection by.
pub const SUCCESSOR_EXPORTER: &[u8] = b"EXPORTER-dbmirror-successor";
/// What the signed bytes begin with, so that no other signature can be taken for this one.
const LABEL: &[u8; 28] = b"dbmirror dbm/1 successor v1\0";
/// Bytes that a successor's key signs.
pub const PROOF_LEN: usize = 28 + 1 + 32 + 16 + 16 + 8 + 32;

/// Bytes of a SUCCESSOR beside its certificate, at most.
const SUCCESSOR_OVERHEAD: usize = HEADER_LEN + 8 + 1 + SIGNATURE_LEN_MAX;
const _: () = assert!(SUCCESSOR_OVERHEAD + SUCCESSOR_LEN_MAX <= CONTROL_LEN_MAX);
/// So many refused notices on one connection end it.
const REFUSED_MAX: u32 = 256;

/// What the key of a successor signs: label, the signer's side of the handshake (0 client, 1 server), the exporter, both
/// instances, the message's number, SHA-256 of the certificate. The side makes what one end said useless as the other's.
#[must_use]
pub fn successor_proof<H: Hash>(
    signer: Role,
    exporter: &[u8; 32],
    from: InstanceId,
    to: InstanceId,
    number: u64,
    certificate: &[u8],
) -> [u8; PROOF_LEN] {
    let mut proof = [0; PROOF_LEN];
    let mut out = Writer::new(&mut proof);
    // The parts are PROOF_LEN bytes together, whatever they hold.
    let _ = (|| {
        out.bytes(LABEL)?;
        out.u8(match signer {
            Role::Client => 0,
            Role::Server => 1,
        })?;
        out.bytes(exporter)?;
        out.bytes(&from.0)?;
        out.bytes(&to.0)?;
        out.u64_le(number)?;
        out.bytes(&H::digest(certificate))
    })();
    proof
}

impl<P: Provider> Endpoint<'_, P> {
    /// Settles with which own certificate a new connection is made.
    pub(super) fn choose_certificate(&mut self, env: &Env<'_, P>, index: usize, dialed: Option<Address>) {
        let chosen = env.directory.certificate_for(dialed.as_ref());
        if let Some(live) = self.live_mut(index) {
            live.own_certificate = chosen;
        }
    }

    /// The directory has done, durably, what a peer's notice asked for, or will not.
    pub fn answer_certificate(
        &mut self,
        env: &mut Env<'_, P>,
        connection: ConnectionId,
        number: u64,
        answer: Result<(), SessionError>,
    ) {
        self.present(env);
        let Some(index) = self.index(connection) else {
            return; // It is asked again on the next connection.
        };
        let Some(live) = self.live_mut(index) else { return };
        if live.notice_open == Some(number) {
            live.notice_open = None;
            // When there is no room the peer has asked for more than two records' worth without reading answers.
            let _ = live.replies.push_back(Reply::Certificate(number, answer.err()));
        }
    }

    /// Says what the peer is still to be told about own certificates, one thing at a time.
    #[inline(never)]
    pub(super) fn say_of_certificates(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        to: &mut Writer<'_>,
        said: &mut u64,
    ) -> Result<(), Full> {
        let own = self.config.instance;
        let Some(live) = self.live_mut(index) else {
            return Ok(());
        };
        let Some(peer) = live.peer() else { return Ok(()) };
        if live.closing.is_some() || live.capabilities & SUCCESSION == 0 || live.notice_unanswered {
            return Ok(());
        }
        let Some(notice) = env.directory.notice(peer.login, peer.instance, live.notice_said) else {
            return Ok(());
        };
        let number = notice.number;
        match notice.body {
            NoticeBody::Retired(digest) => Message::from(Retired { number, digest }).encode(to)?,
            NoticeBody::Successor(successor) => {
                // Before the signature, which is made for nothing when there is no room for it.
                let length = successor.certificate_der.len();
                if to.free_mut().len() < SUCCESSOR_OVERHEAD.saturating_add(length) {
                    return Err(Full);
                }
                let mut exporter = [0; 32];
                let role = live.channel.established().map(|established| established.role);
                let exported = live.channel.export(SUCCESSOR_EXPORTER, &[], &mut exporter);
                let (Some(role), Ok(())) = (role, exported) else {
                    return Ok(());
                };
                let certificate = successor.certificate_der;
                let proof =
                    successor_proof::<P::Sha256>(role, &exporter, own, peer.instance, number, certificate);
                let mut der = [0; SIGNATURE_LEN_MAX];
                let signature = successor
                    .signing_key
                    .sign(&proof, env.entropy, &mut der)
                    .ok()
                    .and_then(|len| Signature::new(der.get(..len)?));
                live.notice_said = number;
                // Without a signature it is tried again on the next connection.
                let Some(signature) = signature else {
                    return Ok(());
                };
                let offer = Successor {
                    number,
                    signature,
                    certificate,
                };
                Message::from(offer).encode(to)?;
            }
        }
        live.notice_said = number;
        live.notice_unanswered = true;
        *said = said.saturating_add(1);
        Ok(())
    }

    /// A peer hands over the certificate that it is going to use.
    pub(super) fn successor_offered(&mut self, env: &mut Env<'_, P>, index: usize, offer: &Successor<'_>) {
        let verdict = self.judge_successor(env, index, offer);
        self.took_notice(env, index, offer.number, Successor::KIND, verdict);
    }

    #[inline(never)]
    fn judge_successor(
        &self,
        env: &Env<'_, P>,
        index: usize,
        offer: &Successor<'_>,
    ) -> Result<(), (bool, SessionError)> {
        let told = |error| (true, error);
        let notice = self.peer_notice(index, offer.number).map_err(told)?;
        let bad = told(SessionError::new(28035, Reason::BadCertificate));
        if offer.certificate.len() > SUCCESSOR_LEN_MAX {
            return Err(bad);
        }
        let certificate = Certificate::parse::<P>(offer.certificate).map_err(|_| bad)?;
        let begun = env.unix >= certificate.not_before() || !env.directory.has_clock();
        if !begun || env.unix > certificate.not_after() {
            return Err(bad);
        }
        let no_proof = told(SessionError::new(28038, Reason::BadProof));
        let live = self.live(index).ok_or(no_proof)?;
        let established = live.channel.established().ok_or(no_proof)?;
        let signer = match established.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let mut exporter = [0; 32];
        live.channel
            .export(SUCCESSOR_EXPORTER, &[], &mut exporter)
            .map_err(|_| no_proof)?;
        let proof = successor_proof::<P::Sha256>(
            signer,
            &exporter,
            notice.instance,
            self.config.instance,
            offer.number,
            offer.certificate,
        );
        P::VerifyingKey::from_point(certificate.point())
            .and_then(|key| key.verify(&proof, offer.signature.as_bytes()))
            .map_err(|_| no_proof)?;
        let notice = PeerNotice {
            body: PeerNoticeBody::Successor {
                der: offer.certificate,
                point: *certificate.point(),
            },
            ..notice
        };
        env.directory.peer_notice(&notice).map_err(|error| (false, error))
    }

    /// A peer will not use a certificate any more.
    pub(super) fn certificate_retired(&mut self, env: &mut Env<'_, P>, index: usize, retired: &Retired) {
        let digest: [u8; HASH_LEN] = retired.digest;
        let verdict = self
            .peer_notice(index, retired.number)
            .map_err(|error| (true, error))
            .and_then(|notice| {
                let notice = PeerNotice {
                    body: PeerNoticeBody::Retired { digest },
                    ..notice
                };
                env.directory.peer_notice(&notice).map_err(|error| (false, error))
            });
        self.took_notice(env, index, retired.number, Retired::KIND, verdict);
    }

    /// The frame of a notice from the peer on `index`, when it may give one now.
    fn peer_notice(&self, index: usize, number: u64) -> Result<PeerNotice<'static>, SessionError> {
        let busy = SessionError::new(1404, Reason::Busy);
        let live = self.live(index).ok_or(busy)?;
        let peer = live.peer().ok_or(busy)?;
        let certificate = live.certificate.ok_or(busy)?;
        if live.notice_open.is_some() {
            return Err(busy);
        }
        Ok(PeerNotice {
            connection: self.id(index),
            login: peer.login,
            certificate,
            instance: peer.instance,
            number,
            body: PeerNoticeBody::Retired {
                digest: [0; HASH_LEN],
            },
        })
    }

    /// Notes that the directory is at it, or says no at once. `told`: the instance has not heard of it otherwise.
    fn took_notice(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        number: u64,
        kind: u16,
        verdict: Result<(), (bool, SessionError)>,
    ) {
        let Some(live) = self.live_mut(index) else { return };
        let (told, error) = match verdict {
            Ok(()) => {
                live.notice_open = Some(number);
                return;
            }
            Err(refused) => refused,
        };
        let _ = live.replies.push_back(Reply::Certificate(number, Some(error)));
        live.refused = live.refused.saturating_add(1);
        let too_many = live.refused > REFUSED_MAX;
        if told {
            self.tell(index, ConnectionEvent::CertificateRefused { refusal: error });
        }
        if too_many {
            self.end_connection(env, index, CloseReason::BadMessage { kind });
        }
    }

    /// The peer answers what it was told about own certificates.
    pub(super) fn certificate_answered(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        answer: &CertificateAnswer,
    ) {
        let Some(live) = self.live_mut(index) else { return };
        if !live.notice_unanswered || answer.number != live.notice_said {
            let kind = CertificateAnswer::KIND;
            self.end_connection(env, index, CloseReason::BadMessage { kind });
            return;
        }
        live.notice_unanswered = false;
        let refusal = (answer.message != 0)
            .then(|| SessionError::new(answer.message, Reason::from_code(answer.reason)));
        let number = answer.number;
        self.tell(index, ConnectionEvent::CertificateAnswered { number, refusal });
    }
}
