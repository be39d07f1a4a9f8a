//! The client's side of the handshake (RFC 8446 §2, appendix A.1). The drawing is in `handshake`.

use super::auth::{self, Pinned, Proved};
use super::error::ChannelError;
use super::handshake::{Cost, Keys, State};
use super::key_schedule::{ExporterSecret, FinishedVerified, HandshakeSecret, TrafficSecrets};
use super::messages::auth::{check_certificate_request, parse_certificate, parse_finished};
use super::messages::client_hello::Offer;
use super::messages::server_hello::{ServerAnswer, parse_encrypted_extensions};
use super::messages::{RANDOM_LEN, SESSION_ID_LEN_MAX, message_type, split};
use super::outgoing::Outgoing;
use super::protect::{Opener, Sealer};
use super::server::{SessionId, local};
use super::traffic::Outcome;
use super::transcript::Transcript;
use super::verify::Alpn;
use super::{ClientOptions, Env, Role};
use crate::crypto::{CryptoError, KeyExchange, Provider};
use crate::wire;

/// Most bytes of a cookie that is repeated. OpenSSL's is below 200.
const COOKIE_LEN_MAX: usize = 256;

pub(crate) enum Client<P: Provider> {
    SendHello(ClientOptions),
    SendSecondHello(Hello<P>, Cookie),
    ExpectHello(Hello<P>, Retried),
    ExpectExtensions(Keyed<P>),
    ExpectRequest(Keyed<P>, Alpn),
    ExpectCertificate(Keyed<P>, Alpn),
    ExpectVerify(Keyed<P>, Alpn, Pinned),
    ExpectFinished(Keyed<P>, Alpn, Proved),
    Send(Answer<P>, Next),
}

/// Whether there has been a HelloRetryRequest: there is no second one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retried {
    No,
    Yes,
}

/// What was said in the ClientHello, to be held against the answer.
pub(crate) struct Hello<P: Provider> {
    transcript: Transcript<P::Sha256>,
    ephemeral: P::P256,
    random: [u8; RANDOM_LEN],
    session_id: SessionId,
}

/// What a server wants repeated.
pub(crate) struct Cookie {
    bytes: [u8; COOKIE_LEN_MAX],
    len: usize,
}

/// After the key exchange, while the server's flight is awaited.
pub(crate) struct Keyed<P: Provider> {
    transcript: Transcript<P::Sha256>,
    secret: HandshakeSecret<P::Sha256>,
    session_id: SessionId,
}

/// After the server's Finished, while our flight is sent.
pub(crate) struct Answer<P: Provider> {
    transcript: Transcript<P::Sha256>,
    alpn: Alpn,
    proofs: (Proved, FinishedVerified),
    /// For the application: made before our Finished is sent, so that a failure is told under keys that the server has.
    sealer: Sealer<P>,
    exporter: ExporterSecret<P::Sha256>,
}

/// The messages of our flight, and the change of keys behind it.
#[derive(Clone, Copy)]
pub(crate) enum Next {
    Certificate,
    Verify,
    Finished,
    SwitchKeys,
}

impl<P: Provider> Client<P> {
    pub(crate) const fn new(options: ClientOptions) -> Self {
        Self::SendHello(options)
    }

    pub(crate) const fn wants_write(&self) -> bool {
        match self {
            Self::SendHello(_) | Self::SendSecondHello(..) | Self::Send(..) => true,
            Self::ExpectHello(..)
            | Self::ExpectExtensions(_)
            | Self::ExpectRequest(..)
            | Self::ExpectCertificate(..)
            | Self::ExpectVerify(..)
            | Self::ExpectFinished(..) => false,
        }
    }

    pub(crate) fn on_message(
        self,
        keys: &mut Keys<P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<Self, ChannelError> {
        Ok(match self {
            Self::ExpectHello(hello, retried) => hello.on_answer(keys, retried, message)?,
            Self::ExpectExtensions(keyed) => {
                let alpn = parse_encrypted_extensions(message, env.protocols)?;
                Self::ExpectRequest(keyed.said(message), alpn)
            }
            Self::ExpectRequest(keyed, alpn) => {
                let (kind, _) = split(message)?;
                if kind == message_type::CERTIFICATE {
                    return Err(ChannelError::NotMutual);
                }
                check_certificate_request(message)?;
                Self::ExpectCertificate(keyed.said(message), alpn)
            }
            Self::ExpectCertificate(keyed, alpn) => {
                // A server's list is never empty (§4.4.2.4).
                let empty = ChannelError::Malformed {
                    message_type: message_type::CERTIFICATE,
                    at: 1,
                };
                let certificate = parse_certificate(message)?.ok_or(empty)?;
                let pinned = auth::check_certificate(env, &alpn, certificate)?;
                Self::ExpectVerify(keyed.said(message), alpn, pinned)
            }
            Self::ExpectVerify(keyed, alpn, pinned) => {
                let transcript = keyed.transcript.hash();
                let server = Role::Server;
                let proved =
                    auth::check_certificate_verify(env, &alpn, pinned, server, &transcript, message)?;
                Self::ExpectFinished(keyed.said(message), alpn, proved)
            }
            Self::ExpectFinished(keyed, alpn, proved) => keyed.on_finished(keys, alpn, proved, message)?,
            Self::SendHello(_) | Self::SendSecondHello(..) | Self::Send(..) => {
                return Err(ChannelError::State);
            }
        })
    }

    /// Stages the next message of ours.
    pub(crate) fn stage(
        self,
        keys: &mut Keys<P>,
        outgoing: &mut Outgoing,
        env: &mut Env<'_, P>,
    ) -> Result<(State<P>, Cost), ChannelError> {
        let (client, cost) = match self {
            Self::SendHello(options) => {
                let hello = Hello::start(options, env)?;
                let hello = hello.stage(outgoing, env, &[])?;
                outgoing.as_first();
                keys.hello_seen = true;
                (Self::ExpectHello(hello, Retried::No), Cost::PublicKey)
            }
            Self::SendSecondHello(hello, cookie) => {
                let cookie = cookie.bytes.get(..cookie.len).ok_or(ChannelError::State)?;
                (
                    Self::ExpectHello(hello.stage(outgoing, env, cookie)?, Retried::Yes),
                    Cost::Cheap,
                )
            }
            Self::Send(answer, next) => return answer.stage(next, keys, outgoing, env),
            Self::ExpectHello(..)
            | Self::ExpectExtensions(_)
            | Self::ExpectRequest(..)
            | Self::ExpectCertificate(..)
            | Self::ExpectVerify(..)
            | Self::ExpectFinished(..) => return Err(ChannelError::State),
        };
        Ok((State::Client(client), cost))
    }
}

impl<P: Provider> Hello<P> {
    /// One public-key operation: our ephemeral key.
    fn start(options: ClientOptions, env: &mut Env<'_, P>) -> Result<Self, ChannelError> {
        let mut public = [0; RANDOM_LEN + SESSION_ID_LEN_MAX];
        env.entropy
            .fill_public(&mut public)
            .map_err(|_| ChannelError::Entropy)?;
        let (random, id) = public.split_first_chunk().ok_or(ChannelError::State)?;
        let session_id = SessionId::new(if options.middlebox_compatible { id } else { &[] })?;
        let ephemeral = P::P256::start(env.entropy).map_err(local)?;
        Ok(Self {
            transcript: Transcript::new(),
            ephemeral,
            random: *random,
            session_id,
        })
    }

    fn stage(
        mut self,
        outgoing: &mut Outgoing,
        env: &Env<'_, P>,
        cookie: &[u8],
    ) -> Result<Self, ChannelError> {
        if env.protocols.is_empty() || env.protocols.iter().any(|p| Alpn::new(p.alpn).is_err()) {
            return Err(ChannelError::Lent);
        }
        let offer = Offer {
            random: &self.random,
            session_id: self.session_id.as_bytes(),
            share: &self.ephemeral.share(),
            protocols: env.protocols,
            cookie,
        };
        outgoing.stage(&mut self.transcript, |w| offer.emit(w))?;
        Ok(self)
    }

    /// A ServerHello or a HelloRetryRequest. One public-key operation: the shared secret.
    fn on_answer(
        self,
        keys: &mut Keys<P>,
        retried: Retried,
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        match ServerAnswer::parse(message, self.session_id.as_bytes())? {
            ServerAnswer::Retry { .. } if retried == Retried::Yes => Err(ChannelError::UnexpectedMessage {
                message_type: message_type::SERVER_HELLO,
            }),
            ServerAnswer::Retry { cookie } => self.on_retry(keys, cookie, message),
            ServerAnswer::Hello { share } => self.on_hello(keys, share, message),
        }
    }

    fn on_retry(self, keys: &mut Keys<P>, cookie: &[u8], message: &[u8]) -> Result<Client<P>, ChannelError> {
        let mut bytes = [0; COOKIE_LEN_MAX];
        let too_long = ChannelError::MessageTooLong {
            message_type: message_type::SERVER_HELLO,
        };
        let len = wire::copy(&mut bytes, cookie).ok_or(too_long)?;
        let Self {
            transcript,
            ephemeral,
            random,
            session_id,
        } = self;
        let mut transcript = transcript.retried();
        transcript.add(message);
        keys.owe_change_cipher_spec(session_id.as_bytes());
        let hello = Self {
            transcript,
            ephemeral,
            random,
            session_id,
        };
        Ok(Client::SendSecondHello(hello, Cookie { bytes, len }))
    }

    fn on_hello(self, keys: &mut Keys<P>, share: &[u8], message: &[u8]) -> Result<Client<P>, ChannelError> {
        let Self {
            mut transcript,
            ephemeral,
            session_id,
            random: _,
        } = self;
        let shared = ephemeral.finish(share).map_err(|error| match error {
            CryptoError::BadPoint => ChannelError::BadKeyShare,
            other => local(other),
        })?;
        transcript.add(message);
        let secret = HandshakeSecret::new(shared.expose()).map_err(local)?;
        let TrafficSecrets { client, server } = secret.traffic(&transcript.hash()).map_err(local)?;
        keys.opener = Some(Opener::new(server).map_err(local)?);
        keys.sealer = Some(Sealer::new(client).map_err(local)?);
        Ok(Client::ExpectExtensions(Keyed {
            transcript,
            secret,
            session_id,
        }))
    }
}

impl<P: Provider> Keyed<P> {
    fn said(mut self, message: &[u8]) -> Self {
        self.transcript.add(message);
        self
    }

    fn on_finished(
        self,
        keys: &mut Keys<P>,
        alpn: Alpn,
        proved: Proved,
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        let verify_data = parse_finished(message)?;
        let opener = keys.opener.as_ref().ok_or(ChannelError::State)?;
        let finished = opener
            .secret()
            .check_finished(&self.transcript.hash(), &verify_data)
            .map_err(|_| ChannelError::BadFinished)?;
        let Self {
            transcript,
            secret,
            session_id,
        } = self.said(message);
        let hash = transcript.hash();
        let master = secret.into_master().map_err(local)?;
        let TrafficSecrets { client, server } = master.traffic(&hash).map_err(local)?;
        let exporter = master.into_exporter(&hash).map_err(local)?;
        keys.opener = Some(Opener::new(server).map_err(local)?);
        keys.owe_change_cipher_spec(session_id.as_bytes());
        let answer = Answer {
            transcript,
            alpn,
            proofs: (proved, finished),
            sealer: Sealer::new(client).map_err(local)?,
            exporter,
        };
        Ok(Client::Send(answer, Next::Certificate))
    }
}

impl<P: Provider> Answer<P> {
    /// One public-key operation at most: the signature.
    fn stage(
        mut self,
        next: Next,
        keys: &mut Keys<P>,
        outgoing: &mut Outgoing,
        env: &mut Env<'_, P>,
    ) -> Result<(State<P>, Cost), ChannelError> {
        let (next, cost) = match next {
            Next::Certificate => {
                auth::stage_certificate(env, &mut self.transcript, outgoing)?;
                (Next::Verify, Cost::Cheap)
            }
            Next::Verify => {
                auth::stage_certificate_verify(env, Role::Client, &mut self.transcript, outgoing)?;
                (Next::Finished, Cost::PublicKey)
            }
            Next::Finished => {
                let sealer = keys.sealer.as_ref().ok_or(ChannelError::State)?;
                auth::stage_finished::<P>(sealer.secret(), &mut self.transcript, outgoing)?;
                (Next::SwitchKeys, Cost::Cheap)
            }
            Next::SwitchKeys => {
                let Self {
                    alpn,
                    proofs,
                    sealer,
                    exporter,
                    ..
                } = self;
                keys.sealer = Some(sealer);
                let outcome = Outcome::new(Role::Client, alpn, proofs, exporter);
                return Ok((State::Done(outcome), Cost::Cheap));
            }
        };
        Ok((State::Client(Client::Send(self, next)), cost))
    }
}
