//! ClientHello (RFC 8446 §4.1.2).

use super::{
    ECDSA_SECP256R1_SHA256, Extensions, Kind, LEGACY_VERSION, RANDOM_LEN, SESSION_ID_LEN_MAX, TLS_1_3,
    expect, extension, extension_type, message, message_type,
};
use crate::channel::error::ChannelError;
use crate::channel::group::{Groups, NamedGroup};
use crate::channel::suite::{CipherSuite, Encryption, RecordSizeLimit, Suites};
use crate::channel::verify::Protocol;
use crate::crypto::{HASH_LEN, Hash, Provider};
use crate::wire::{Full, Reader, Writer};

const KIND: Kind = Kind(message_type::CLIENT_HELLO);
/// SSL 3.0: a hello that goes no higher is refused by name (appendix D.5).
const SSL_3: u16 = 0x0300;

/// A ClientHello that offers TLS 1.3 and has its form. What it offers is asked by the methods, in the order in which a
/// server decides.
pub(crate) struct ClientHello<'a> {
    /// 0 to 32 bytes, to be echoed.
    pub(crate) session_id: &'a [u8],
    #[cfg(feature = "key-log")]
    pub(crate) random: [u8; RANDOM_LEN],
    fixed: &'a [u8],
    suites: Reader<'a>,
    extensions: Extensions<'a>,
}

/// What the client sent as key shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferedShare<'a> {
    /// One that we take, of the length that belongs to its group.
    Good(NamedGroup, &'a [u8]),
    /// None that we take, though it could do this group: worth a HelloRetryRequest.
    Missing(NamedGroup),
}

impl<'a> ClientHello<'a> {
    /// Takes a whole message apart.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, ChannelError> {
        let bad = |m| KIND.malformed(m);
        let mut r = expect(message, message_type::CLIENT_HELLO)?;
        let body = r.peek();
        let legacy_version = r.u16_be().map_err(bad)?;
        let _random: [u8; RANDOM_LEN] = r.array().map_err(bad)?;
        let session_id = r.vec8().map_err(bad)?;
        if session_id.remaining() > SESSION_ID_LEN_MAX {
            return Err(bad(session_id.malformed()));
        }
        let suites = r.vec16_be().map_err(bad)?;
        let compression = KIND.non_empty(r.vec8().map_err(bad)?)?;
        let fixed = body.get(..r.position()).unwrap_or(&[]);
        if r.is_empty() || legacy_version <= SSL_3 {
            // Older than extensions, or than TLS.
            return Err(ChannelError::NoCommonVersion);
        }
        let extensions = Extensions::parse(KIND, &mut r)?;
        KIND.finish(r)?;
        let hello = Self {
            session_id: session_id.peek(),
            #[cfg(feature = "key-log")]
            random: _random,
            fixed,
            suites,
            extensions,
        };
        hello.check_version()?;
        if legacy_version != LEGACY_VERSION {
            return Err(KIND.illegal());
        }
        if compression.peek() != [0] {
            return Err(ChannelError::Compression);
        }
        hello.check_pre_shared_key()?;
        Ok(hello)
    }

    /// The first of our cipher suites that the client offers too.
    pub(crate) fn choose_suite<P: Provider>(&self, suites: Suites) -> Result<CipherSuite, ChannelError> {
        for suite in suites.list::<P>() {
            if KIND.contains(self.suites, suite.code())? {
                return Ok(suite);
            }
        }
        let encryption = suites.encryption;
        // Two sides that speak the same and are set up against each other.
        if encryption != Encryption::Disabled && self.offers_any_of(Encryption::Disabled)? {
            return Err(ChannelError::PeerDoesNotEncrypt);
        }
        if encryption == Encryption::Disabled && self.offers_any_of(Encryption::Required)? {
            return Err(ChannelError::PeerRequiresEncryption);
        }
        Err(ChannelError::NoCommonSuite)
    }

    fn offers_any_of(&self, encryption: Encryption) -> Result<bool, ChannelError> {
        let mut any = false;
        for suite in encryption.suites() {
            any |= KIND.contains(self.suites, suite.code())?;
        }
        Ok(any)
    }

    /// The longest record that the client takes, if it says (RFC 8449 §4).
    pub(crate) fn record_size_limit(&self) -> Result<Option<RecordSizeLimit>, ChannelError> {
        self.extension(extension_type::RECORD_SIZE_LIMIT)
            .map(|body| KIND.record_size_limit(body))
            .transpose()
    }

    /// The one signature algorithm. A client that sends no list cannot be authenticated to (§9.2).
    pub(crate) fn check_signature_algorithm(&self) -> Result<(), ChannelError> {
        let mut body = self.required(extension_type::SIGNATURE_ALGORITHMS)?;
        let list = body.vec16_be().map_err(|m| KIND.malformed(m))?;
        KIND.finish(body)?;
        if KIND.contains(list, ECDSA_SECP256R1_SHA256)? {
            Ok(())
        } else {
            Err(ChannelError::NoCommonSignature)
        }
    }

    /// The client's share for the first of our groups that it sends one for; if there is none, the first of our groups that it
    /// could do. Shares and groups must fit each other (§4.2.8).
    pub(crate) fn share<P: Provider>(&self, own: Groups) -> Result<OfferedShare<'a>, ChannelError> {
        let bad = |m| KIND.malformed(m);
        let mut body = self.required(extension_type::SUPPORTED_GROUPS)?;
        let groups = body.vec16_be().map_err(bad)?;
        KIND.finish(body)?;
        let mut body = self.required(extension_type::KEY_SHARE)?;
        let shares = body.vec16_be().map_err(bad)?;
        KIND.finish(body)?;
        let mut rest = shares;
        let mut found: Option<(NamedGroup, &[u8])> = None;
        while !rest.is_empty() {
            let before = shares
                .peek()
                .get(..shares.remaining().saturating_sub(rest.remaining()))
                .unwrap_or(&[]);
            let group = rest.u16_be().map_err(bad)?;
            let share = KIND.non_empty(rest.vec16_be().map_err(bad)?)?;
            if !KIND.contains(groups, group)? || share_groups(before).any(|g| g == group) {
                return Err(ChannelError::BadKeyShare);
            }
            let Some(group) = own.list::<P>().find(|known| known.code() == group) else {
                continue;
            };
            if share.remaining() != group.client_share_len() {
                return Err(ChannelError::BadKeyShare);
            }
            let preferred = own
                .list::<P>()
                .find(|known| *known == group || found.is_some_and(|(before, _)| before == *known));
            if preferred == Some(group) {
                found = Some((group, share.peek()));
            }
        }
        if let Some((group, share)) = found {
            return Ok(OfferedShare::Good(group, share));
        }
        for group in own.list::<P>() {
            if KIND.contains(groups, group.code())? {
                return Ok(OfferedShare::Missing(group));
            }
        }
        Err(ChannelError::NoCommonGroup)
    }

    /// The share of a second ClientHello: exactly the one that was asked for (§4.1.2).
    pub(crate) fn retried_share<P: Provider>(
        &self,
        own: Groups,
        asked: NamedGroup,
    ) -> Result<&'a [u8], ChannelError> {
        match self.share::<P>(own)? {
            OfferedShare::Good(group, share) if group == asked && self.share_count() == 1 => Ok(share),
            OfferedShare::Good(..) | OfferedShare::Missing(_) => Err(ChannelError::HelloChanged),
        }
    }

    /// The first of `protocols` that the client offers too.
    pub(crate) fn choose_protocol<'p>(&self, protocols: &[Protocol<'p>]) -> Result<&'p [u8], ChannelError> {
        let mut body = self
            .extension(extension_type::ALPN)
            .ok_or(ChannelError::NoCommonProtocol)?;
        let names = KIND.non_empty(body.vec16_be().map_err(|m| KIND.malformed(m))?)?;
        KIND.finish(body)?;
        let mut rest = names;
        while !rest.is_empty() {
            KIND.non_empty(rest.vec8().map_err(|m| KIND.malformed(m))?)?;
        }
        let offered = |alpn: &[u8]| {
            let mut rest = names;
            core::iter::from_fn(|| rest.vec8().ok()).any(|name| name.peek() == alpn)
        };
        protocols
            .iter()
            .map(|protocol| protocol.alpn)
            .find(|alpn| offered(alpn))
            .ok_or(ChannelError::NoCommonProtocol)
    }

    /// The hash of all that a second ClientHello must repeat (§4.1.2): everything but the extensions that it may change.
    pub(crate) fn fingerprint<H: Hash>(&self) -> [u8; HASH_LEN] {
        let mut state = H::new();
        state.update(self.fixed);
        for e in self.extensions {
            match e.extension_type {
                extension_type::KEY_SHARE
                | extension_type::COOKIE
                | extension_type::PADDING
                | extension_type::EARLY_DATA
                | extension_type::PRE_SHARED_KEY => {}
                _ => {
                    state.update(&e.extension_type.to_be_bytes());
                    // A body is below 64 KiB, so its length is unambiguous in 16 bits.
                    let len = u16::try_from(e.body.remaining()).unwrap_or(u16::MAX);
                    state.update(&len.to_be_bytes());
                    state.update(e.body.peek());
                }
            }
        }
        state.finish()
    }

    fn check_version(&self) -> Result<(), ChannelError> {
        let mut body = self
            .extension(extension_type::SUPPORTED_VERSIONS)
            .ok_or(ChannelError::NoCommonVersion)?;
        let versions = body.vec8().map_err(|m| KIND.malformed(m))?;
        KIND.finish(body)?;
        if KIND.contains(versions, TLS_1_3)? {
            Ok(())
        } else {
            Err(ChannelError::NoCommonVersion)
        }
    }

    /// Pre-shared keys are not taken, but their rules hold: last, and with modes (§4.2.9, §4.2.11).
    fn check_pre_shared_key(&self) -> Result<(), ChannelError> {
        let psk = extension_type::PRE_SHARED_KEY;
        let mut extensions = self.extensions;
        if !extensions.any(|e| e.extension_type == psk) {
            return Ok(());
        }
        if extensions.next().is_some() {
            return Err(ChannelError::MisplacedExtension { extension_type: psk });
        }
        self.required(extension_type::PSK_KEY_EXCHANGE_MODES).map(|_| ())
    }

    fn share_count(&self) -> usize {
        self.extension(extension_type::KEY_SHARE)
            .and_then(|mut body| body.vec16_be().ok())
            .map_or(0, |shares| share_groups(shares.peek()).count())
    }

    fn extension(&self, extension_type: u16) -> Option<Reader<'a>> {
        self.extensions
            .into_iter()
            .find(|e| e.extension_type == extension_type)
            .map(|e| e.body)
    }

    fn required(&self, extension_type: u16) -> Result<Reader<'a>, ChannelError> {
        self.extension(extension_type)
            .ok_or(ChannelError::MissingExtension { extension_type })
    }
}

/// The groups of a list of key shares that has been walked before.
fn share_groups(shares: &[u8]) -> impl Iterator<Item = u16> {
    let mut rest = Reader::new(shares);
    core::iter::from_fn(move || {
        let group = rest.u16_be().ok()?;
        rest.vec16_be().ok()?;
        Some(group)
    })
}

/// What our own ClientHello says.
pub(crate) struct Offer<'a> {
    pub(crate) random: &'a [u8; RANDOM_LEN],
    pub(crate) session_id: &'a [u8],
    pub(crate) groups: Groups,
    /// The group of the one share.
    pub(crate) group: NamedGroup,
    pub(crate) share: &'a [u8],
    pub(crate) protocols: &'a [Protocol<'a>],
    pub(crate) suites: Suites,
    pub(crate) record_size_limit: RecordSizeLimit,
    /// From a HelloRetryRequest; empty without one.
    pub(crate) cookie: &'a [u8],
}

impl Offer<'_> {
    /// Writes the whole message.
    pub(crate) fn emit<P: Provider>(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        message(w, message_type::CLIENT_HELLO, |w| {
            w.u16_be(LEGACY_VERSION)?;
            w.bytes(self.random)?;
            w.vec8(|w| w.bytes(self.session_id))?;
            w.vec16_be(|w| {
                self.suites
                    .list::<P>()
                    .try_for_each(|suite| w.u16_be(suite.code()))
            })?;
            w.vec8(|w| w.u8(0))?;
            w.vec16_be(|w| {
                extension(w, extension_type::SUPPORTED_VERSIONS, |w| {
                    w.vec8(|w| w.u16_be(TLS_1_3))
                })?;
                extension(w, extension_type::SUPPORTED_GROUPS, |w| {
                    w.vec16_be(|w| {
                        self.groups
                            .list::<P>()
                            .try_for_each(|group| w.u16_be(group.code()))
                    })
                })?;
                extension(w, extension_type::KEY_SHARE, |w| {
                    w.vec16_be(|w| {
                        w.u16_be(self.group.code())?;
                        w.vec16_be(|w| w.bytes(self.share))
                    })
                })?;
                extension(w, extension_type::SIGNATURE_ALGORITHMS, |w| {
                    w.vec16_be(|w| w.u16_be(ECDSA_SECP256R1_SHA256))
                })?;
                extension(w, extension_type::ALPN, |w| {
                    w.vec16_be(|w| {
                        self.protocols
                            .iter()
                            .try_for_each(|protocol| w.vec8(|w| w.bytes(protocol.alpn)))
                    })
                })?;
                extension(w, extension_type::RECORD_SIZE_LIMIT, |w| {
                    w.u16_be(self.record_size_limit.get())
                })?;
                if !self.cookie.is_empty() {
                    extension(w, extension_type::COOKIE, |w| {
                        w.vec16_be(|w| w.bytes(self.cookie))
                    })?;
                }
                Ok(())
            })
        })
    }
}
