//! The server's side of the handshake (RFC 8446 §2, appendix A.2). The drawing is in `handshake`.

use super::auth::{self, Pinned, Proved};
use super::error::ChannelError;
use super::group::{Groups, NamedGroup};
use super::handshake::{Cost, State, Work};
use super::messages::auth::{emit_certificate_request, parse_certificate, parse_finished};
use super::messages::client_hello::{ClientHello, OfferedShare};
use super::messages::server_hello::{emit_encrypted_extensions, emit_retry, emit_server_hello};
use super::messages::{RANDOM_LEN, SESSION_ID_LEN_MAX};
use super::suite::{CipherSuite, RecordSizeLimit, Suites};
use super::traffic::Outcome;
use super::transcript::Transcript;
use super::verify::Alpn;
use super::{Env, Role, ServerOptions};
use crate::crypto::{HASH_LEN, Provider};
use crate::entropy::{Entropy as _, Watched};
use crate::wire;

pub(crate) enum Server<P: Provider> {
    ExpectHello(ExpectHello<P>),
    SendRetry(SendRetry<P>),
    SendHello(SendHello<P>),
    SendExtensions(SendExtensions<P>),
    SendFlight(SendFlight<P>),
    /// The Finished is out, under the handshake keys; what follows is under the application keys.
    SwitchKeys(Client<P>),
    ExpectCertificate(Client<P>),
    ExpectVerify(Client<P>, Pinned),
    ExpectFinished(Client<P>, Proved),
}

pub(crate) struct ExpectHello<P: Provider> {
    suites: Suites,
    groups: Groups,
    retried: Option<Retried<P>>,
}

/// What stays of a first ClientHello after a HelloRetryRequest.
pub(crate) struct Retried<P: Provider> {
    transcript: Transcript<P>,
    /// What the second ClientHello has to repeat.
    fingerprint: [u8; HASH_LEN],
    /// What it has to bring a share for.
    group: NamedGroup,
}

pub(crate) struct SendRetry<P: Provider> {
    retried: Retried<P>,
    suites: Suites,
    groups: Groups,
    suite: CipherSuite,
    session_id: SessionId,
}

pub(crate) struct SendHello<P: Provider> {
    transcript: Transcript<P>,
    random: [u8; RANDOM_LEN],
    session_id: SessionId,
    alpn: Alpn,
    limit: Option<RecordSizeLimit>,
}

/// The ServerHello is out, in clear; what follows is protected. The keys were made before anything changed, so that a
/// failure is told under keys that the client has.
pub(crate) struct SendExtensions<P: Provider> {
    transcript: Transcript<P>,
    alpn: Alpn,
    limit: Option<RecordSizeLimit>,
}

pub(crate) struct SendFlight<P: Provider> {
    transcript: Transcript<P>,
    alpn: Alpn,
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

/// While the client's flight is awaited.
pub(crate) struct Client<P: Provider> {
    transcript: Transcript<P>,
    alpn: Alpn,
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

impl<P: Provider> Server<P> {
    pub(crate) const fn new(options: ServerOptions) -> Self {
        Self::ExpectHello(ExpectHello {
            suites: options.suites(),
            groups: options.groups(),
            retried: None,
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

    #[inline(never)]
    pub(crate) fn on_message(
        self,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<State<P>, ChannelError> {
        Ok(State::Server(match self {
            Self::ExpectHello(state) => state.on_hello(work, env, message)?,
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
            Self::ExpectFinished(client, proved) => return client.on_finished(work, proved, message),
            Self::SendRetry(_)
            | Self::SendHello(_)
            | Self::SendExtensions(_)
            | Self::SendFlight(_)
            | Self::SwitchKeys(_) => return Err(ChannelError::State),
        }))
    }

    /// Stages the next message of ours.
    #[inline(never)]
    pub(crate) fn stage(
        self,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
    ) -> Result<(Self, Cost), ChannelError> {
        match self {
            Self::SendRetry(state) => state.stage(work),
            Self::SendHello(state) => state.stage(work, env),
            Self::SendExtensions(state) => state.stage(work),
            Self::SendFlight(state) => state.stage(work, env),
            Self::SwitchKeys(client) => {
                work.keys.switch_sealer()?;
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
    #[inline(never)]
    fn on_hello(
        self,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<Server<P>, ChannelError> {
        let Self {
            suites,
            groups,
            retried,
        } = self;
        let hello = ClientHello::parse(message)?;
        work.hellos.seen = true;
        let suite = hello.choose_suite::<P>(suites)?;
        hello.check_signature_algorithm()?;
        let offered = hello.share::<P>(groups)?;
        let limit = hello.record_size_limit()?;
        let alpn = Alpn::new(hello.choose_protocol(env.protocols)?).map_err(|_| ChannelError::Lent)?;
        let session_id = SessionId::new(hello.session_id)?;
        let fingerprint = || hello.fingerprint::<P::Sha256>();
        let (mut transcript, group, client_share) = match (retried, offered) {
            (Some(retried), _) if retried.fingerprint == fingerprint() => {
                let share = hello.retried_share::<P>(groups, retried.group)?;
                (retried.transcript, retried.group, share)
            }
            (Some(_), _) => return Err(ChannelError::HelloChanged),
            (None, OfferedShare::Good(group, share)) => (Transcript::new(suite.hash()), group, share),
            (None, OfferedShare::Missing(group)) => {
                let mut transcript = Transcript::new(suite.hash());
                transcript.add(message);
                return Ok(Server::SendRetry(SendRetry {
                    retried: Retried {
                        transcript: transcript.retried(),
                        fingerprint: fingerprint(),
                        group,
                    },
                    suites,
                    groups,
                    suite,
                    session_id,
                }));
            }
        };
        transcript.add(message);
        #[cfg(feature = "key-log")]
        {
            work.keys.client_random = hello.random;
        }
        work.keys.agree_on(suite);
        if let Some(limit) = limit {
            work.keys.mind(limit);
        }
        let mut entropy = Watched::new(env.entropy);
        let mut random = [0; RANDOM_LEN];
        entropy
            .fill_public(&mut random)
            .map_err(|_| ChannelError::Entropy)?;
        work.keys.draw(group, &mut entropy)?;
        work.keys.keep_share(client_share)?;
        Ok(Server::SendHello(SendHello {
            transcript,
            random,
            session_id,
            alpn,
            limit,
        }))
    }
}

impl<P: Provider> SendRetry<P> {
    #[inline(never)]
    fn stage(self, work: &mut Work<'_, P>) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut retried,
            suites,
            groups,
            suite,
            session_id,
        } = self;
        let group = retried.group;
        work.outgoing.stage(&mut retried.transcript, |w| {
            emit_retry(w, session_id.as_bytes(), suite, group)
        })?;
        work.hellos.owe_change_cipher_spec(session_id.as_bytes());
        Ok((
            Server::ExpectHello(ExpectHello {
                suites,
                groups,
                retried: Some(retried),
            }),
            Cost::Cheap,
        ))
    }
}

impl<P: Provider> SendHello<P> {
    /// One public-key operation: the shared secret. It comes before the ServerHello, so that a share that is no point is
    /// refused in clear.
    #[inline(never)]
    fn stage(self, work: &mut Work<'_, P>, env: &mut Env<'_, P>) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            random,
            session_id,
            alpn,
            limit,
        } = self;
        let mut entropy = Watched::new(env.entropy);
        let share = work.keys.respond(&mut entropy)?;
        let (suite, group) = (work.keys.protection.suite, work.keys.group);
        work.outgoing.stage(&mut transcript, |w| {
            let share = (group, share.as_bytes());
            emit_server_hello(w, &random, session_id.as_bytes(), suite, share)
        })?;
        work.hellos.owe_change_cipher_spec(session_id.as_bytes());
        work.keys.handshake_keys(Role::Server, &transcript.hash())?;
        Ok((
            Server::SendExtensions(SendExtensions {
                transcript,
                alpn,
                limit,
            }),
            Cost::PublicKey,
        ))
    }
}

impl<P: Provider> SendExtensions<P> {
    #[inline(never)]
    fn stage(self, work: &mut Work<'_, P>) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            alpn,
            limit,
        } = self;
        work.keys.switch_sealer()?;
        // Ours in answer to the client's only: it may not know what that is.
        let limit = limit.map(|_| work.keys.protection.own_limit);
        work.outgoing
            .stage(&mut transcript, |w| emit_encrypted_extensions(w, &alpn, limit))?;
        let next = Next::Request;
        Ok((
            Server::SendFlight(SendFlight {
                transcript,
                alpn,
                next,
            }),
            Cost::Cheap,
        ))
    }
}

impl<P: Provider> SendFlight<P> {
    /// One public-key operation at most: the signature.
    #[inline(never)]
    fn stage(self, work: &mut Work<'_, P>, env: &mut Env<'_, P>) -> Result<(Server<P>, Cost), ChannelError> {
        let Self {
            mut transcript,
            alpn,
            next,
        } = self;
        let (next, cost) = match next {
            Next::Request => {
                work.outgoing.stage(&mut transcript, emit_certificate_request)?;
                (Next::Certificate, Cost::Cheap)
            }
            Next::Certificate => {
                auth::stage_certificate(env, &mut transcript, work.outgoing)?;
                (Next::Verify, Cost::Cheap)
            }
            Next::Verify => {
                auth::stage_certificate_verify(env, Role::Server, &mut transcript, work.outgoing)?;
                (Next::Finished, Cost::PublicKey)
            }
            Next::Finished => {
                let sealer = work.keys.sealer.as_ref().ok_or(ChannelError::State)?;
                auth::stage_finished::<P>(sealer.secret(), &mut transcript, work.outgoing)?;
                work.keys.application_keys(Role::Server, &transcript.hash())?;
                return Ok((Server::SwitchKeys(Client { transcript, alpn }), Cost::Cheap));
            }
        };
        Ok((
            Server::SendFlight(Self {
                transcript,
                alpn,
                next,
            }),
            cost,
        ))
    }
}

impl<P: Provider> Client<P> {
    #[inline(never)]
    fn on_finished(
        self,
        work: &mut Work<'_, P>,
        proved: Proved,
        message: &[u8],
    ) -> Result<State<P>, ChannelError> {
        let Self { transcript, alpn } = self;
        let transcript = transcript.hash();
        let verify_data = parse_finished(message, transcript.algorithm().len())?;
        let opener = work.keys.opener.as_ref().ok_or(ChannelError::State)?;
        let finished = opener
            .secret()
            .check_finished(&transcript, verify_data)
            .map_err(|_| ChannelError::BadFinished)?;
        work.keys.switch_opener()?;
        Ok(State::Done(Outcome::new(
            Role::Server,
            alpn,
            (proved, finished),
            work.keys,
        )))
    }
}
