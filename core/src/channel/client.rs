//! The client's side of the handshake (RFC 8446 §2, appendix A.1). The drawing is in `handshake`.

use super::auth::{self, Pinned, Proved};
use super::error::ChannelError;
use super::group::NamedGroup;
use super::handshake::{Cost, State, Work};
use super::key_schedule::FinishedVerified;
use super::messages::auth::{check_certificate_request, parse_certificate, parse_finished};
use super::messages::client_hello::Offer;
use super::messages::server_hello::{Said, ServerAnswer, parse_encrypted_extensions};
use super::messages::{RANDOM_LEN, SESSION_ID_LEN_MAX, message_type, split};
use super::server::SessionId;
use super::suite::CipherSuite;
use super::traffic::Outcome;
use super::transcript::Transcript;
use super::verify::Alpn;
use super::{ClientOptions, Env, Role};
use crate::crypto::Provider;
use crate::entropy::{Entropy as _, Watched};
use crate::wire;

/// Most bytes of a cookie that is repeated. OpenSSL's is below 200.
const COOKIE_LEN_MAX: usize = 256;

pub(crate) enum Client<P: Provider> {
    SendHello(ClientOptions),
    SendSecondHello(Hello<P>, CipherSuite, Option<NamedGroup>, Cookie),
    ExpectHello(Hello<P>, Retried),
    ExpectExtensions(Keyed<P>),
    ExpectRequest(Keyed<P>, Alpn),
    ExpectCertificate(Keyed<P>, Alpn),
    ExpectVerify(Keyed<P>, Alpn, Pinned),
    ExpectFinished(Keyed<P>, Alpn, Proved),
    Send(Answer<P>, Next),
}

/// Whether there has been a HelloRetryRequest: there is no second one, and the suite that it named stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retried {
    No,
    Yes(CipherSuite),
}

/// What was said in the ClientHello, to be held against the answer.
pub(crate) struct Hello<P: Provider> {
    transcript: Transcript<P>,
    options: ClientOptions,
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
    transcript: Transcript<P>,
    session_id: SessionId,
}

/// After the server's Finished, while our flight is sent.
pub(crate) struct Answer<P: Provider> {
    transcript: Transcript<P>,
    alpn: Alpn,
    proofs: (Proved, FinishedVerified),
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

    #[inline(never)]
    pub(crate) fn on_message(
        self,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
        message: &[u8],
    ) -> Result<Self, ChannelError> {
        Ok(match self {
            Self::ExpectHello(hello, retried) => hello.on_answer(work, retried, message)?,
            Self::ExpectExtensions(keyed) => {
                let (alpn, limit) = parse_encrypted_extensions(message, env.protocols)?;
                work.keys.mind(limit);
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
            Self::ExpectFinished(keyed, alpn, proved) => keyed.on_finished(work, alpn, proved, message)?,
            Self::SendHello(_) | Self::SendSecondHello(..) | Self::Send(..) => {
                return Err(ChannelError::State);
            }
        })
    }

    /// Stages the next message of ours.
    #[inline(never)]
    pub(crate) fn stage(
        self,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
    ) -> Result<(State<P>, Cost), ChannelError> {
        let (client, cost) = match self {
            Self::SendHello(options) => {
                let hello = Hello::start(options, work, env)?;
                let hello = hello.stage(work, env, &[])?;
                work.outgoing.as_first();
                work.hellos.seen = true;
                (Self::ExpectHello(hello, Retried::No), Cost::PublicKey)
            }
            Self::SendSecondHello(hello, suite, group, cookie) => {
                let cookie = cookie.bytes.get(..cookie.len).ok_or(ChannelError::State)?;
                let cost = match group {
                    None => Cost::Cheap,
                    Some(group) => {
                        work.keys.draw_as_client(group, &mut Watched::new(env.entropy))?;
                        Cost::PublicKey
                    }
                };
                (
                    Self::ExpectHello(hello.stage(work, env, cookie)?, Retried::Yes(suite)),
                    cost,
                )
            }
            Self::Send(answer, next) => return answer.stage(next, work, env),
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
    #[inline(never)]
    fn start(
        options: ClientOptions,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
    ) -> Result<Self, ChannelError> {
        let mut entropy = Watched::new(env.entropy);
        let mut public = [0; RANDOM_LEN + SESSION_ID_LEN_MAX];
        entropy
            .fill_public(&mut public)
            .map_err(|_| ChannelError::Entropy)?;
        let (random, id) = public.split_first_chunk().ok_or(ChannelError::State)?;
        let session_id = SessionId::new(if options.middlebox_compatible { id } else { &[] })?;
        let favourite = options.groups().list::<P>().next().ok_or(ChannelError::State)?;
        work.keys.draw_as_client(favourite, &mut entropy)?;
        #[cfg(feature = "key-log")]
        {
            work.keys.client_random = *random;
        }
        Ok(Self {
            transcript: Transcript::undecided(),
            options,
            random: *random,
            session_id,
        })
    }

    #[inline(never)]
    fn stage(
        mut self,
        work: &mut Work<'_, P>,
        env: &Env<'_, P>,
        cookie: &[u8],
    ) -> Result<Self, ChannelError> {
        if env.protocols.is_empty() || env.protocols.iter().any(|p| Alpn::new(p.alpn).is_err()) {
            return Err(ChannelError::Lent);
        }
        let share = work.keys.client_share()?;
        let offer = Offer {
            random: &self.random,
            session_id: self.session_id.as_bytes(),
            groups: self.options.groups(),
            group: work.keys.group,
            share: share.as_bytes(),
            protocols: env.protocols,
            suites: self.options.suites(),
            record_size_limit: self.options.record_size_limit,
            cookie,
        };
        work.outgoing
            .stage(&mut self.transcript, |w| offer.emit::<P>(w))?;
        Ok(self)
    }

    /// A ServerHello or a HelloRetryRequest. One public-key operation: the shared secret.
    #[inline(never)]
    fn on_answer(
        self,
        work: &mut Work<'_, P>,
        retried: Retried,
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        let message_type = message_type::SERVER_HELLO;
        let said = Said {
            session_id: self.session_id.as_bytes(),
            suites: self.options.suites(),
            groups: self.options.groups(),
            group: work.keys.group,
            again: retried != Retried::No,
        };
        match (ServerAnswer::parse::<P>(message, &said)?, retried) {
            (ServerAnswer::Retry { .. }, Retried::Yes(_)) => {
                Err(ChannelError::UnexpectedMessage { message_type })
            }
            (ServerAnswer::Retry { suite, group, cookie }, Retried::No) => {
                self.on_retry(work, (suite, group, cookie), message)
            }
            // The suite of the retry is the suite of the connection (§4.1.4).
            (ServerAnswer::Hello { suite, .. }, Retried::Yes(named)) if suite != named => {
                Err(ChannelError::IllegalValue { message_type })
            }
            (ServerAnswer::Hello { suite, share }, _) => {
                work.keys.agree_on(suite);
                self.on_hello(work, share, message)
            }
        }
    }

    #[inline(never)]
    fn on_retry(
        self,
        work: &mut Work<'_, P>,
        (suite, group, cookie): (CipherSuite, Option<NamedGroup>, &[u8]),
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        let mut bytes = [0; COOKIE_LEN_MAX];
        let too_long = ChannelError::MessageTooLong {
            message_type: message_type::SERVER_HELLO,
        };
        let len = wire::copy(&mut bytes, cookie).ok_or(too_long)?;
        let Self {
            transcript,
            options,
            random,
            session_id,
        } = self;
        let mut transcript = transcript.decide(suite.hash())?.retried();
        transcript.add(message);
        work.hellos.owe_change_cipher_spec(session_id.as_bytes());
        let hello = Self {
            transcript,
            options,
            random,
            session_id,
        };
        Ok(Client::SendSecondHello(
            hello,
            suite,
            group,
            Cookie { bytes, len },
        ))
    }

    #[inline(never)]
    fn on_hello(
        self,
        work: &mut Work<'_, P>,
        share: &[u8],
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        let Self {
            transcript,
            session_id,
            ..
        } = self;
        work.keys.exchange(share)?;
        let mut transcript = transcript.decide(work.keys.protection.suite.hash())?;
        transcript.add(message);
        work.keys.handshake_keys(Role::Client, &transcript.hash())?;
        work.keys.switch_sealer()?;
        work.hellos.await_change_cipher_spec(session_id.as_bytes());
        Ok(Client::ExpectExtensions(Keyed {
            transcript,
            session_id,
        }))
    }
}

impl<P: Provider> Keyed<P> {
    fn said(mut self, message: &[u8]) -> Self {
        self.transcript.add(message);
        self
    }

    #[inline(never)]
    fn on_finished(
        self,
        work: &mut Work<'_, P>,
        alpn: Alpn,
        proved: Proved,
        message: &[u8],
    ) -> Result<Client<P>, ChannelError> {
        let transcript = self.transcript.hash();
        let verify_data = parse_finished(message, transcript.algorithm().len())?;
        let opener = work.keys.opener.as_ref().ok_or(ChannelError::State)?;
        let finished = opener
            .secret()
            .check_finished(&transcript, verify_data)
            .map_err(|_| ChannelError::BadFinished)?;
        let Self {
            transcript,
            session_id,
        } = self.said(message);
        work.keys.application_keys(Role::Client, &transcript.hash())?;
        work.keys.switch_opener()?;
        work.hellos.owe_change_cipher_spec(session_id.as_bytes());
        let answer = Answer {
            transcript,
            alpn,
            proofs: (proved, finished),
        };
        Ok(Client::Send(answer, Next::Certificate))
    }
}

impl<P: Provider> Answer<P> {
    /// One public-key operation at most: the signature.
    #[inline(never)]
    fn stage(
        mut self,
        next: Next,
        work: &mut Work<'_, P>,
        env: &mut Env<'_, P>,
    ) -> Result<(State<P>, Cost), ChannelError> {
        let transcript = &mut self.transcript;
        let (next, cost) = match next {
            Next::Certificate => {
                auth::stage_certificate(env, transcript, work.outgoing)?;
                (Next::Verify, Cost::Cheap)
            }
            Next::Verify => {
                auth::stage_certificate_verify(env, Role::Client, transcript, work.outgoing)?;
                (Next::Finished, Cost::PublicKey)
            }
            Next::Finished => {
                let sealer = work.keys.sealer.as_ref().ok_or(ChannelError::State)?;
                auth::stage_finished::<P>(sealer.secret(), transcript, work.outgoing)?;
                (Next::SwitchKeys, Cost::Cheap)
            }
            Next::SwitchKeys => {
                work.keys.switch_sealer()?;
                let outcome = Outcome::new(Role::Client, self.alpn, self.proofs, work.keys);
                return Ok((State::Done(outcome), Cost::Cheap));
            }
        };
        Ok((State::Client(Client::Send(self, next)), cost))
    }
}
