//! The handshake messages as bytes (RFC 8446 §4): what is in them, and that it has its form. What it means for the
//! connection is decided in `client` and `server`.

pub(crate) mod auth;
pub(crate) mod client_hello;
pub(crate) mod server_hello;

use super::error::ChannelError;
use super::suite::RecordSizeLimit;
use crate::wire::{Full, Malformed, Reader, Writer};

/// Bytes of a handshake message before its body: type, length.
pub(crate) const MESSAGE_HEADER_LEN: usize = 4;
/// Length in bytes of a hello's random.
pub(crate) const RANDOM_LEN: usize = 32;
/// Most bytes of a legacy session id.
pub(crate) const SESSION_ID_LEN_MAX: usize = 32;

/// `HandshakeType` (§4)
pub(crate) mod message_type {
    pub(crate) const CLIENT_HELLO: u8 = 1;
    pub(crate) const SERVER_HELLO: u8 = 2;
    pub(crate) const NEW_SESSION_TICKET: u8 = 4;
    pub(crate) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(crate) const CERTIFICATE: u8 = 11;
    pub(crate) const CERTIFICATE_REQUEST: u8 = 13;
    pub(crate) const CERTIFICATE_VERIFY: u8 = 15;
    pub(crate) const FINISHED: u8 = 20;
    pub(crate) const KEY_UPDATE: u8 = 24;
}

/// `ExtensionType` (§4.2): those that this profile gives a meaning to.
pub(crate) mod extension_type {
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const PADDING: u16 = 21;
    pub(crate) const RECORD_SIZE_LIMIT: u16 = 28;
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    pub(crate) const EARLY_DATA: u16 = 42;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    pub(crate) const COOKIE: u16 = 44;
    pub(crate) const PSK_KEY_EXCHANGE_MODES: u16 = 45;
    pub(crate) const KEY_SHARE: u16 = 51;

    #[cfg(test)]
    pub(crate) const ALL: [u16; 11] = [
        SUPPORTED_GROUPS,
        SIGNATURE_ALGORITHMS,
        ALPN,
        PADDING,
        RECORD_SIZE_LIMIT,
        PRE_SHARED_KEY,
        EARLY_DATA,
        SUPPORTED_VERSIONS,
        COOKIE,
        PSK_KEY_EXCHANGE_MODES,
        KEY_SHARE,
    ];
}

/// `legacy_version` of every hello.
pub(crate) const LEGACY_VERSION: u16 = 0x0303;
/// The one version that is spoken.
pub(crate) const TLS_1_3: u16 = 0x0304;
/// ecdsa_secp256r1_sha256
pub(crate) const ECDSA_SECP256R1_SHA256: u16 = 0x0403;

/// Errors of a message in one place: which message, and where in it.
#[derive(Clone, Copy)]
pub(crate) struct Kind(pub(crate) u8);

impl Kind {
    pub(crate) fn malformed(self, malformed: Malformed) -> ChannelError {
        ChannelError::Malformed {
            message_type: self.0,
            // No message is longer than MESSAGE_LEN_MAX; a longer position would be our own mistake and is only shown.
            at: u16::try_from(malformed.at).unwrap_or(u16::MAX),
        }
    }

    pub(crate) const fn illegal(self) -> ChannelError {
        ChannelError::IllegalValue { message_type: self.0 }
    }

    /// The rest must be empty.
    pub(crate) fn finish(self, reader: Reader<'_>) -> Result<(), ChannelError> {
        reader.finish().map_err(|m| self.malformed(m))
    }

    /// A vector that must not be empty.
    pub(crate) fn non_empty<'a>(self, content: Reader<'a>) -> Result<Reader<'a>, ChannelError> {
        if content.is_empty() {
            Err(self.malformed(content.malformed()))
        } else {
            Ok(content)
        }
    }

    /// The body of a record_size_limit, as the peer of `self` may send it.
    pub(crate) fn record_size_limit(self, mut body: Reader<'_>) -> Result<RecordSizeLimit, ChannelError> {
        let limit = body.u16_be().map_err(|m| self.malformed(m))?;
        self.finish(body)?;
        RecordSizeLimit::of_peer(limit).ok_or(self.illegal())
    }

    /// Whether a non-empty list of 16-bit values contains `wanted`.
    pub(crate) fn contains(self, list: Reader<'_>, wanted: u16) -> Result<bool, ChannelError> {
        let mut list = self.non_empty(list)?;
        let mut found = false;
        while !list.is_empty() {
            found |= list.u16_be().map_err(|m| self.malformed(m))? == wanted;
        }
        Ok(found)
    }
}

/// One extension.
#[derive(Clone, Copy)]
pub(crate) struct Extension<'a> {
    pub(crate) extension_type: u16,
    pub(crate) body: Reader<'a>,
}

/// The extensions of a message, checked to be whole and to come once each.
#[derive(Clone, Copy)]
pub(crate) struct Extensions<'a>(Reader<'a>);

impl<'a> Extensions<'a> {
    /// Takes the extension block from `message`.
    pub(crate) fn parse(kind: Kind, message: &mut Reader<'a>) -> Result<Self, ChannelError> {
        let block = message.vec16_be().map_err(|m| kind.malformed(m))?;
        let mut rest = block;
        while !rest.is_empty() {
            // Quadratic, over at most MESSAGE_LEN_MAX / 4 extensions.
            let before = block
                .peek()
                .get(..block.remaining().saturating_sub(rest.remaining()))
                .unwrap_or(&[]);
            let extension_type = rest.u16_be().map_err(|m| kind.malformed(m))?;
            rest.vec16_be().map_err(|m| kind.malformed(m))?;
            if Extensions(Reader::new(before)).any(|e| e.extension_type == extension_type) {
                return Err(ChannelError::DuplicateExtension { extension_type });
            }
        }
        Ok(Self(block))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        // `parse` has walked them all: nothing here is cut short.
        let extension_type = self.0.u16_be().ok()?;
        let body = self.0.vec16_be().ok()?;
        Some(Extension { extension_type, body })
    }
}

/// Writes a handshake message: its type, and the length of what `body` writes.
pub(crate) fn message(
    w: &mut Writer<'_>,
    message_type: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Result<(), Full> {
    w.u8(message_type)?;
    w.vec24_be(body)
}

/// Writes one extension.
pub(crate) fn extension(
    w: &mut Writer<'_>,
    extension_type: u16,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Result<(), Full> {
    w.u16_be(extension_type)?;
    w.vec16_be(body)
}

/// Splits a message into type and body.
pub(crate) fn split(message: &[u8]) -> Result<(u8, &[u8]), ChannelError> {
    let (header, body) = message
        .split_first_chunk::<MESSAGE_HEADER_LEN>()
        .ok_or(ChannelError::State)?;
    let [message_type, ..] = *header;
    Ok((message_type, body))
}

/// The body of a message that must be of the type `expected`.
pub(crate) fn expect(message: &[u8], expected: u8) -> Result<Reader<'_>, ChannelError> {
    let (message_type, body) = split(message)?;
    if message_type == expected {
        Ok(Reader::new(body))
    } else {
        Err(ChannelError::UnexpectedMessage { message_type })
    }
}
