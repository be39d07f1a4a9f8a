//! ServerHello and HelloRetryRequest (RFC 8446 §4.1.3, §4.1.4), and EncryptedExtensions (§4.3.1).

use super::{
    Extensions, Kind, LEGACY_VERSION, RANDOM_LEN, TLS_1_3, expect, extension, extension_type, message,
    message_type,
};
use crate::channel::error::ChannelError;
use crate::channel::group::{Groups, NamedGroup};
use crate::channel::suite::{CipherSuite, RecordSizeLimit, Suites};
use crate::channel::verify::{Alpn, Protocol};
use crate::crypto::Provider;
use crate::wire::{Full, Reader, Writer};

const KIND: Kind = Kind(message_type::SERVER_HELLO);
const KIND_EXTENSIONS: Kind = Kind(message_type::ENCRYPTED_EXTENSIONS);

/// The random that makes a ServerHello a HelloRetryRequest: SHA-256 of "HelloRetryRequest" (§4.1.3).
const RETRY_RANDOM: [u8; RANDOM_LEN] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// How the random of a server ends that could do TLS 1.3 and was asked for 1.2, or for 1.1 or older (§4.1.3).
const DOWNGRADE_ENDS: [&[u8]; 2] = [b"DOWNGRD\x01", b"DOWNGRD\x00"];

/// What a server answered to our ClientHello.
pub(crate) enum ServerAnswer<'a> {
    /// It goes on.
    Hello {
        /// Of those that we offered.
        suite: CipherSuite,
        /// Its share for the group of ours; whether it is one is for the provider to say.
        share: &'a [u8],
    },
    /// It wants another ClientHello, with a share for this group or a cookie that is repeated, or both.
    Retry {
        /// Of those that we offered; the ServerHello must name the same.
        suite: CipherSuite,
        /// One that we offered and sent no share for.
        group: Option<NamedGroup>,
        /// Empty without one.
        cookie: &'a [u8],
    },
}

/// What we said in our ClientHello, as far as an answer is held against it.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) session_id: &'a [u8],
    pub(crate) suites: Suites,
    pub(crate) groups: Groups,
    /// The group of the share that we sent.
    pub(crate) group: NamedGroup,
    /// Whether it was the second time: there is no third.
    pub(crate) again: bool,
}

impl<'a> ServerAnswer<'a> {
    /// Takes a whole message apart and holds it against what we offered: TLS 1.3, the suites, the groups, one share.
    pub(crate) fn parse<P: Provider>(message: &'a [u8], said: &Said<'_>) -> Result<Self, ChannelError> {
        let bad = |m| KIND.malformed(m);
        let mut r = expect(message, message_type::SERVER_HELLO)?;
        let legacy_version = r.u16_be().map_err(bad)?;
        let random = r.array::<RANDOM_LEN>().map_err(bad)?;
        let echoed = r.vec8().map_err(bad)?;
        let suite_code = r.u16_be().map_err(bad)?;
        let compression = r.u8().map_err(bad)?;
        if r.is_empty() {
            return Err(refused_version(&random));
        }
        if said.again && random == RETRY_RANDOM {
            let message_type = message_type::SERVER_HELLO;
            return Err(ChannelError::UnexpectedMessage { message_type });
        }
        let extensions = Extensions::parse(KIND, &mut r)?;
        KIND.finish(r)?;
        let mut version = None;
        let mut key_share = None;
        let mut cookie = None;
        for e in extensions {
            match e.extension_type {
                extension_type::SUPPORTED_VERSIONS => version = Some(e.body),
                extension_type::KEY_SHARE => key_share = Some(e.body),
                extension_type::COOKIE if random == RETRY_RANDOM => cookie = Some(e.body),
                extension_type::SUPPORTED_GROUPS
                | extension_type::SIGNATURE_ALGORITHMS
                | extension_type::RECORD_SIZE_LIMIT
                | extension_type::ALPN => {
                    return Err(ChannelError::MisplacedExtension {
                        extension_type: e.extension_type,
                    });
                }
                extension_type => return Err(ChannelError::UnsolicitedExtension { extension_type }),
            }
        }
        let mut version = version.ok_or_else(|| refused_version(&random))?;
        let selected = version.u16_be().map_err(bad)?;
        KIND.finish(version)?;
        let offered = said.suites.list::<P>().find(|suite| suite.code() == suite_code);
        let suite = offered.ok_or(KIND.illegal())?;
        if selected != TLS_1_3 || legacy_version != LEGACY_VERSION || echoed.peek() != said.session_id {
            return Err(KIND.illegal());
        }
        if compression != 0 {
            return Err(ChannelError::Compression);
        }
        if random == RETRY_RANDOM {
            Self::retry::<P>(said, suite, key_share, cookie)
        } else {
            Self::hello(said, suite, key_share)
        }
    }

    fn hello(
        said: &Said<'_>,
        suite: CipherSuite,
        key_share: Option<Reader<'a>>,
    ) -> Result<Self, ChannelError> {
        let extension_type = extension_type::KEY_SHARE;
        let mut body = key_share.ok_or(ChannelError::MissingExtension { extension_type })?;
        let group = body.u16_be().map_err(|m| KIND.malformed(m))?;
        let share = body.vec16_be().map_err(|m| KIND.malformed(m))?;
        KIND.finish(body)?;
        if group == said.group.code() {
            let share = share.peek();
            Ok(Self::Hello { suite, share })
        } else {
            Err(KIND.illegal())
        }
    }

    /// A group that is asked for is one that we offered and sent no share for, and something must be asked for (§4.1.4).
    fn retry<P: Provider>(
        said: &Said<'_>,
        suite: CipherSuite,
        key_share: Option<Reader<'a>>,
        cookie: Option<Reader<'a>>,
    ) -> Result<Self, ChannelError> {
        let bad = |m| KIND.malformed(m);
        let group = match key_share {
            None => None,
            Some(mut body) => {
                let code = body.u16_be().map_err(bad)?;
                KIND.finish(body)?;
                let offered = said.groups.list::<P>().find(|group| group.code() == code);
                Some(
                    offered
                        .filter(|group| *group != said.group)
                        .ok_or(ChannelError::BadRetryRequest)?,
                )
            }
        };
        let cookie = match cookie {
            None if group.is_none() => return Err(ChannelError::BadRetryRequest),
            None => &[],
            Some(mut body) => {
                let cookie = KIND.non_empty(body.vec16_be().map_err(bad)?)?;
                KIND.finish(body)?;
                cookie.peek()
            }
        };
        Ok(Self::Retry { suite, group, cookie })
    }
}

/// The server did not choose TLS 1.3: because it cannot, or because somebody changed our offer.
fn refused_version(random: &[u8; RANDOM_LEN]) -> ChannelError {
    if DOWNGRADE_ENDS.iter().any(|end| random.ends_with(end)) {
        ChannelError::Downgrade
    } else {
        ChannelError::NoCommonVersion
    }
}

/// Writes a ServerHello.
pub(crate) fn emit_server_hello(
    w: &mut Writer<'_>,
    random: &[u8; RANDOM_LEN],
    session_id: &[u8],
    suite: CipherSuite,
    (group, share): (NamedGroup, &[u8]),
) -> Result<(), Full> {
    emit(w, random, session_id, suite, |w| {
        w.u16_be(group.code())?;
        w.vec16_be(|w| w.bytes(share))
    })
}

/// Writes a HelloRetryRequest that asks for a share of `group`.
pub(crate) fn emit_retry(
    w: &mut Writer<'_>,
    session_id: &[u8],
    suite: CipherSuite,
    group: NamedGroup,
) -> Result<(), Full> {
    emit(w, &RETRY_RANDOM, session_id, suite, |w| w.u16_be(group.code()))
}

fn emit(
    w: &mut Writer<'_>,
    random: &[u8; RANDOM_LEN],
    session_id: &[u8],
    suite: CipherSuite,
    key_share: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Result<(), Full> {
    message(w, message_type::SERVER_HELLO, |w| {
        w.u16_be(LEGACY_VERSION)?;
        w.bytes(random)?;
        w.vec8(|w| w.bytes(session_id))?;
        w.u16_be(suite.code())?;
        w.u8(0)?;
        w.vec16_be(|w| {
            extension(w, extension_type::SUPPORTED_VERSIONS, |w| w.u16_be(TLS_1_3))?;
            extension(w, extension_type::KEY_SHARE, key_share)
        })
    })
}

/// Writes an EncryptedExtensions with the chosen application protocol, and our limit for a client that sent its own.
pub(crate) fn emit_encrypted_extensions(
    w: &mut Writer<'_>,
    alpn: &Alpn,
    record_size_limit: Option<RecordSizeLimit>,
) -> Result<(), Full> {
    message(w, message_type::ENCRYPTED_EXTENSIONS, |w| {
        w.vec16_be(|w| {
            extension(w, extension_type::ALPN, |w| {
                w.vec16_be(|w| w.vec8(|w| w.bytes(alpn.as_bytes())))
            })?;
            match record_size_limit {
                Some(limit) => extension(w, extension_type::RECORD_SIZE_LIMIT, |w| w.u16_be(limit.get())),
                None => Ok(()),
            }
        })
    })
}

/// Takes an EncryptedExtensions apart: the application protocol, which must be one that we offered, and the longest
/// record that the server takes.
pub(crate) fn parse_encrypted_extensions(
    message: &[u8],
    offered: &[Protocol<'_>],
) -> Result<(Alpn, RecordSizeLimit), ChannelError> {
    let bad = |m| KIND_EXTENSIONS.malformed(m);
    let mut r = expect(message, message_type::ENCRYPTED_EXTENSIONS)?;
    let extensions = Extensions::parse(KIND_EXTENSIONS, &mut r)?;
    KIND_EXTENSIONS.finish(r)?;
    let mut chosen = None;
    let mut limit = RecordSizeLimit::MAX;
    for e in extensions {
        match e.extension_type {
            extension_type::ALPN => chosen = Some(e.body),
            extension_type::RECORD_SIZE_LIMIT => limit = server_limit(e.body)?,
            // The server's own preference, for a next time (§4.2.7).
            extension_type::SUPPORTED_GROUPS => {}
            extension_type::SUPPORTED_VERSIONS
            | extension_type::KEY_SHARE
            | extension_type::SIGNATURE_ALGORITHMS => {
                return Err(ChannelError::MisplacedExtension {
                    extension_type: e.extension_type,
                });
            }
            extension_type => return Err(ChannelError::UnsolicitedExtension { extension_type }),
        }
    }
    let mut body = chosen.ok_or(ChannelError::NoCommonProtocol)?;
    let mut names = body.vec16_be().map_err(bad)?;
    KIND_EXTENSIONS.finish(body)?;
    let name = KIND_EXTENSIONS.non_empty(names.vec8().map_err(bad)?)?;
    if !names.is_empty() || !offered.iter().any(|protocol| protocol.alpn == name.peek()) {
        return Err(ChannelError::ForeignProtocol);
    }
    let alpn = Alpn::new(name.peek()).map_err(|_| ChannelError::Lent)?;
    Ok((alpn, limit))
}

/// A server knows the version, so it has no reason for a limit beyond the version's (RFC 8449 §4).
fn server_limit(body: Reader<'_>) -> Result<RecordSizeLimit, ChannelError> {
    let mut value = body;
    let limit = KIND_EXTENSIONS.record_size_limit(body)?;
    match value.u16_be() {
        Ok(said) if said == limit.get() => Ok(limit),
        _ => Err(KIND_EXTENSIONS.illegal()),
    }
}
