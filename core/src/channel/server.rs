//! The server's side of the handshake (RFC 8446 §2, appendix A.2). The drawing is in `handshake`.

use super::auth::{self, Pinned, Proved};
use super::error::ChannelError;
use super::handshake::{Cost, Keys, State};
use super::key_schedule::{ExporterSecret, HandshakeSecret, TrafficSecret, TrafficSecrets};
use super::messages::auth::{emit_certificate_request, parse_certificate, parse_finished};
use super::messages::client_hello::{ClientHello, OfferedShare};
use super::messages::server_hello::{emit_encrypted_extensions, emit_retry, emit_server_hello};
use super::messages::{RANDOM_LEN, SESSION_ID_LEN_MAX};
use super::outgoing::Outgoing;
use super::protect::{Opener, Sealer};
use super::traffic::Outcome;
use super::transcript::Transcript;
use super::verify::Alpn;
use super::{Env, Role};
use crate::crypto::{CryptoError, HASH_LEN, KeyExchange, POINT_LEN, Provider};
use crate::wire;

pub(crate) enum Server<P: Provider> {
    ExpectHello(ExpectHello<P>),
    SendRetry(SendRetry<P>),
    SendHello(SendHello<P>),
    SendExtensions(SendExtensions<P>),
    SendFlight(SendFlight<P>),
    SwitchKeys(SwitchKeys<P>),
    ExpectCertificate(Client<P>),
    ExpectVerify(Client<P>, Pinned),
    ExpectFinished(Client<P>, Proved),
}

pub(crate) struct ExpectHello<P: Provider> {
    transcript: Transcript<P::Sha256>,
    /// After a HelloRetryRequest: what the second ClientHello has to repeat.
    fingerprint: Option<[u8; HASH_LEN]>,
}

pub(crate) struct SendRetry<P: Provider> {
    transcript: Transcript<P::Sha256>,
    fingerprint: [u8; HASH_LEN],
    session_id: SessionId,
}

pub(crate) struct SendHello<P: Provider> {
    transcript: Transcript<P::Sha256>,
    session_id: SessionId,
    alpn: Alpn,
    ephemeral: P::P256,
    client_share: [u8; POINT_LEN],
}

/// The ServerHello is out, in clear; what follows is protected. The keys are made before anything changes, so that a
/// failure is told under keys that the client has.
pub(crate) struct SendExtensions<P: Provider> {
    transcript: Transcript<P::Sha256>,
    alpn: Alpn,
    secret: HandshakeSecret<P::Sha256>,
    sealer: Sealer<P>,
}

pub(crate) struct SendFlight<P: Provider> {
    transcript: Transcript<P::Sha256>,
    alpn: Alpn,
    secret: HandshakeSecret<P::Sha256>,
    next: Next,
}

/// The messages of the flight, after EncryptedExtensions.
#[derive(Clone, Copy)]
enum Next {
    Request,
    Certificate,
    Verify,
    Finished,
}

/// The Finished is out, under the handshake keys; what follows is under the application keys.
pub(crate) struct SwitchKeys<P: Provider> {
    client: Client<P>,
    sealer: Sealer<P>,
}

/// While the client's flight is awaited.
pub(crate) struct Client<P: Provider> {
    transcript: Transcript<P::Sha256>,
    alpn: Alpn,
    traffic: TrafficSecret<P::Sha256>,
    exporter: ExporterSecret<P::Sha256>,
}

/// What the client sent as legacy session id, to be echoed.
#[derive(Clone, Copy)]
pub(crate) struct SessionId {
    bytes: [u8; SESSION_ID_LEN_MAX],
    len: usize,
}

impl SessionId {
    pub(crate) fn new(id: &[u8]) -> Result<Self, ChannelError> {
        let mut bytes = [0; SESSION_ID_LEN_MAX];
        let len = wire::copy(&mut bytes, id).ok_or(ChannelError::State)?;
        Ok(Self { bytes, len })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// A provider's failure where the peer cannot be the cause, unless entropy ran out.
pub(crate) const fn local(error: CryptoError) -> ChannelError {
    match error {
        CryptoError::Entropy => ChannelError::Entropy,
        _ => ChannelError::Provider,
    }
}

impl<P: Provider> Server<P> {
    pub(crate) fn new() -> Self {
        Self::ExpectHello(ExpectHello {
            transcript: Transcript::new(),
            fingerprint: None,
        })
    }

    pub(crate) const fn wants_write(&self) -> bool {
        match self {
            Self::SendRetry(_)
            | Self::SendHello(_)
            | Self::SendExtensions(_)
            | Self::SendFlight(_)
            | Self::SwitchKeys(_) => true,
            Self::ExpectHello(_)
            | Self::ExpectCertificate(_)
            | Self::ExpectVerify(..)
            | Self::ExpectFinished(..) => false,
        }
    }

    pub(crate) fn on_message(
        self,
        keys: &mut Keys<P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<State<P>, ChannelError> {
        Ok(State::Server(match self {
            Self::ExpectHello(state) => state.on_hello(keys, env, message)?,
            Self::ExpectCertificate(mut client) => {
                let certificate = parse_certificate(message)?.ok_or(ChannelError::CertificateMissing)?;
                let pinned = auth::check_certificate(env, &client.alpn, certificate)?;
                client.transcript.add(message);
                Self::ExpectVerify(client, pinned)
            }
            Self::ExpectVerify(mut client, pinned) => {
                let transcript = client.transcript.hash();
                let proved = auth::check_certificate_verify(
                    env,
                    &client.alpn,
                    pinned,
                    Role::Client,
                    &transcript,
                    message,
                )?;
                client.transcript.add(message);
                Self::ExpectFinished(client, proved)
            }
            Self::ExpectFinished(client, proved) => return client.on_finished(keys, proved, message),
            Self::SendRetry(_)
            | Self::SendHello(_)
            | Self::SendExtensions(_)
            | Self::SendFlight(_)
            | Self::SwitchKeys(_) => return Err(ChannelError::State),
        }))
    }

    /// Stages the next message of ours.
    pub(crate) fn stage(
        self,
        keys: &mut Keys<P>,
        outgoing: &mut Outgoing,
        env: &mut Env<'_, P>,
    ) -> Result<(Self, Cost), ChannelError> {
        match self {
            Self::SendRetry(state) => state.stage(keys, outgoing),
            Self::SendHello(state) => state.stage(keys, outgoing, env),
            Self::SendExtensions(state) => state.stage(keys, outgoing),
            Self::SendFlight(state) => state.stage(keys, outgoing, env),
            Self::SwitchKeys(SwitchKeys { client, sealer }) => {
                keys.sealer = Some(sealer);
                Ok((Self::ExpectCertificate(client), Cost::Cheap))
            }
            Self::ExpectHello(_)
            | Self::ExpectCertificate(_)
            | Self::ExpectVerify(..)
            | Self::ExpectFinished(..) => Err(ChannelError::State),
        }
    }
}

impl<P: Provider> ExpectHello<P> {
    /// Judges a ClientHello. One public-key operation: our ephemeral key.
    fn on_hello(
        self,
        keys: &mut Keys<P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<Server<P>, ChannelError> {
        let Self {
            mut transcript,
            fingerprint,
        } = self;
        let hello = ClientHello::parse(message)?;
        keys.hello_seen = true;
        hello.check_suite()?;
        hello.check_signature_algorithm()?;
        let offered = hello.share()?;
        let alpn = Alpn::new(hello.choose_protocol(env.protocols)?).map_err(|_| ChannelError::Lent)?;
        let session_id = SessionId::new(hello.session_id)?;
        let client_share = match fingerprint {
            Some(fingerprint) if fingerprint == hello.fingerprint::<P::Sha256>() => hello.retried_share()?,
            Some(_) => return Err(ChannelError::HelloChanged),
            None => match offered {
                OfferedShare::P256(share) => share,
                OfferedShare::Other => {
                    transcript.add(message);
                    let fingerprint = hello.fingerprint::<P::Sha256>();
                    return Ok(Server::SendRetry(SendRetry {
                        transcript,
                        fingerprint,
                        session_id,
                    }));
                }
            },
        };
        transcript.add(message);
        let ephemeral = P::P256::start(env.entropy).map_err(local)?;
        Ok(Server::SendHello(SendHello {
            transcript,
            session_id,
            alpn,
            ephemeral,
            client_share,
        }))
    }
}

impl<P: Provider> SendRetry<P> {
    fn stage(self, keys: &mut Keys<P>, outgoing: &mut Outgoing) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            transcript,
            fingerprint,
            session_id,
        } = self;
        let mut transcript = transcript.retried();
        outgoing.stage(&mut transcript, |w| emit_retry(w, session_id.as_bytes()))?;
        keys.owe_change_cipher_spec(session_id.as_bytes());
        Ok((
            Server::ExpectHello(ExpectHello {
                transcript,
                fingerprint: Some(fingerprint),
            }),
            Cost::Cheap,
        ))
    }
}

impl<P: Provider> SendHello<P> {
    /// One public-key operation: the shared secret. It comes before the ServerHello, so that a share that is no point is
    /// refused in clear.
    fn stage(
        self,
        keys: &mut Keys<P>,
        outgoing: &mut Outgoing,
        env: &mut Env<'_, P>,
    ) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            session_id,
            alpn,
            ephemeral,
            client_share,
        } = self;
        let share = ephemeral.share();
        let shared = ephemeral.finish(&client_share).map_err(|error| match error {
            CryptoError::BadPoint => ChannelError::BadKeyShare,
            other => local(other),
        })?;
        let mut random = [0; RANDOM_LEN];
        env.entropy
            .fill_public(&mut random)
            .map_err(|_| ChannelError::Entropy)?;
        outgoing.stage(&mut transcript, |w| {
            emit_server_hello(w, &random, session_id.as_bytes(), &share)
        })?;
        keys.owe_change_cipher_spec(session_id.as_bytes());
        let secret = HandshakeSecret::new(shared.expose()).map_err(local)?;
        let TrafficSecrets { client, server } = secret.traffic(&transcript.hash()).map_err(local)?;
        let sealer = Sealer::new(server).map_err(local)?;
        keys.opener = Some(Opener::new(client).map_err(local)?);
        Ok((
            Server::SendExtensions(SendExtensions {
                transcript,
                alpn,
                secret,
                sealer,
            }),
            Cost::PublicKey,
        ))
    }
}

impl<P: Provider> SendExtensions<P> {
    fn stage(self, keys: &mut Keys<P>, outgoing: &mut Outgoing) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            alpn,
            secret,
            sealer,
        } = self;
        keys.sealer = Some(sealer);
        outgoing.stage(&mut transcript, |w| emit_encrypted_extensions(w, &alpn))?;
        let next = Next::Request;
        Ok((
            Server::SendFlight(SendFlight {
                transcript,
                alpn,
                secret,
                next,
            }),
            Cost::Cheap,
        ))
    }
}

impl<P: Provider> SendFlight<P> {
    /// One public-key operation at most: the signature.
    fn stage(
        self,
        keys: &mut Keys<P>,
        outgoing: &mut Outgoing,
        env: &mut Env<'_, P>,
    ) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            alpn,
            secret,
            next,
        } = self;
        let (next, cost) = match next {
            Next::Request => {
                outgoing.stage(&mut transcript, emit_certificate_request)?;
                (Next::Certificate, Cost::Cheap)
            }
            Next::Certificate => {
                auth::stage_certificate(env, &mut transcript, outgoing)?;
                (Next::Verify, Cost::Cheap)
            }
            Next::Verify => {
                auth::stage_certificate_verify(env, Role::Server, &mut transcript, outgoing)?;
                (Next::Finished, Cost::PublicKey)
            }
            Next::Finished => {
                let sealer = keys.sealer.as_ref().ok_or(ChannelError::State)?;
                auth::stage_finished::<P>(sealer.secret(), &mut transcript, outgoing)?;
                let hash = transcript.hash();
                let master = secret.into_master().map_err(local)?;
                let TrafficSecrets { client, server } = master.traffic(&hash).map_err(local)?;
                let exporter = master.into_exporter(&hash).map_err(local)?;
                let client = Client {
                    transcript,
                    alpn,
                    traffic: client,
                    exporter,
                };
                return Ok((
                    Server::SwitchKeys(SwitchKeys {
                        client,
                        sealer: Sealer::new(server).map_err(local)?,
                    }),
                    Cost::Cheap,
                ));
            }
        };
        Ok((
            Server::SendFlight(Self {
                transcript,
                alpn,
                secret,
                next,
            }),
            cost,
        ))
    }
}

impl<P: Provider> Client<P> {
    fn on_finished(
        self,
        keys: &mut Keys<P>,
        proved: Proved,
        message: &[u8],
    ) -> Result<State<P>, ChannelError> {
        let Self {
            transcript,
            alpn,
            traffic,
            exporter,
        } = self;
        let verify_data = parse_finished(message)?;
        let opener = keys.opener.as_ref().ok_or(ChannelError::State)?;
        let finished = opener
            .secret()
            .check_finished(&transcript.hash(), &verify_data)
            .map_err(|_| ChannelError::BadFinished)?;
        keys.opener = Some(Opener::new(traffic).map_err(local)?);
        Ok(State::Done(Outcome::new(
            Role::Server,
            alpn,
            (proved, finished),
            exporter,
        )))
    }
}
