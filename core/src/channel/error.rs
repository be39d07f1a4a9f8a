//! Why a channel died, whose fault that is, and what the peer is told.

use super::alert::Alert;

/// Who has to act when a channel dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The peer, or somebody between, broke the protocol.
    Peer,
    /// The two sides are set up so that they cannot agree: an operator has to look at both.
    Configuration,
    /// Something on this machine failed: entropy, a signing device, a limit.
    Local,
    /// This code contradicts itself.
    Bug,
}

/// Why a verifier turns a peer away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// No such certificate is pinned for this protocol.
    Unknown,
    /// It is pinned, and not valid yet.
    NotYetValid {
        /// The certificate that matched.
        certificate_id: u32,
    },
    /// It is pinned, and not valid any more.
    Expired {
        /// The certificate that matched.
        certificate_id: u32,
    },
    /// It is pinned, but its owner maps to no login.
    NoLogin {
        /// The certificate that matched.
        certificate_id: u32,
    },
    /// The login was not granted CONNECT on the endpoint.
    NoConnect {
        /// The login that the certificate's owner maps to.
        login_id: u32,
        /// The certificate that matched.
        certificate_id: u32,
    },
    /// It is our own certificate, sent back to us.
    OwnCertificate,
}

impl PeerRefusal {
    /// What the peer is told: less than is known here.
    #[must_use]
    pub const fn alert(self) -> Alert {
        match self {
            Self::Unknown => Alert::CertificateUnknown,
            Self::NotYetValid { .. } | Self::Expired { .. } => Alert::CertificateExpired,
            Self::NoLogin { .. } | Self::NoConnect { .. } => Alert::AccessDenied,
            Self::OwnCertificate => Alert::BadCertificate,
        }
    }
}

macro_rules! channel_errors {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),+ })? =
        $code:literal, $blame:ident, $alert:expr, $text:literal;)*) => {
        /// Why a channel died. Once one has been reported, every later call reports it again.
        ///
        /// The numbers of [`ChannelError::code`] are frozen; `docs/channel.md` lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ChannelError {
            $($(#[$doc])* $name $({
                $($(#[$field_doc])* $field: $type),+
            })?,)*
            /// The caller's verifier turned the peer away.
            PeerRefused(PeerRefusal),
            /// The peer ended the handshake or the connection with this alert.
            PeerAlert(Alert),
        }

        impl ChannelError {
            /// A number that never changes its meaning.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => $code,)*
                    Self::PeerRefused(PeerRefusal::Unknown) => 60,
                    Self::PeerRefused(PeerRefusal::NotYetValid { .. }) => 61,
                    Self::PeerRefused(PeerRefusal::Expired { .. }) => 62,
                    Self::PeerRefused(PeerRefusal::NoLogin { .. }) => 63,
                    Self::PeerRefused(PeerRefusal::NoConnect { .. }) => 64,
                    Self::PeerRefused(PeerRefusal::OwnCertificate) => 65,
                    Self::PeerAlert(_) => 70,
                }
            }

            /// Who has to act.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => Blame::$blame,)*
                    Self::PeerRefused(_) | Self::PeerAlert(_) => Blame::Configuration,
                }
            }

            /// What the peer is told; `None` when the peer spoke last, or is gone.
            #[must_use]
            pub const fn alert(self) -> Option<Alert> {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => $alert,)*
                    Self::PeerRefused(refusal) => Some(refusal.alert()),
                    Self::PeerAlert(_) => None,
                }
            }

            /// One of each.
            #[cfg(test)]
            pub(crate) fn samples() -> std::vec::Vec<Self> {
                std::vec![
                    $(Self::$name $({ $($field: Default::default()),+ })?,)*
                    Self::PeerRefused(PeerRefusal::Unknown),
                    Self::PeerRefused(PeerRefusal::NotYetValid { certificate_id: 0 }),
                    Self::PeerRefused(PeerRefusal::Expired { certificate_id: 0 }),
                    Self::PeerRefused(PeerRefusal::NoLogin { certificate_id: 0 }),
                    Self::PeerRefused(PeerRefusal::NoConnect { login_id: 0, certificate_id: 0 }),
                    Self::PeerRefused(PeerRefusal::OwnCertificate),
                    Self::PeerAlert(Alert::CloseNotify),
                ]
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => $text,)*
                    Self::PeerRefused(PeerRefusal::Unknown) => "the peer's certificate is not one that is stored here",
                    Self::PeerRefused(PeerRefusal::NotYetValid { .. }) => "the peer's certificate is not valid yet",
                    Self::PeerRefused(PeerRefusal::Expired { .. }) => "the peer's certificate has expired",
                    Self::PeerRefused(PeerRefusal::NoLogin { .. }) => "the peer's certificate maps to no login",
                    Self::PeerRefused(PeerRefusal::NoConnect { .. }) => "the peer's login lacks CONNECT on the endpoint",
                    Self::PeerRefused(PeerRefusal::OwnCertificate) => "the peer sent our own certificate",
                    Self::PeerAlert(_) => "the peer refused",
                }
            }
        }
    };
}

channel_errors! {
    /// A record, or what is inside it, is longer than allowed (RFC 8446 §5.1, §5.2).
    RecordOverflow = 1, Peer, Some(Alert::RecordOverflow), "a record is too long";
    /// A protected record did not open: changed, replayed, out of order, or made with another key.
    BadRecordMac = 2, Peer, Some(Alert::BadRecordMac), "a record was changed on the way";
    /// A record of a type that may not come now; also anything that is not TLS.
    UnexpectedRecord { /** Its outer or, once it is open, inner content type. */ content_type: u8 } = 3, Peer, Some(Alert::UnexpectedMessage), "a record of an unexpected type";
    /// A handshake or alert record without content, or a protected one without even a content type.
    EmptyRecord = 4, Peer, Some(Alert::UnexpectedMessage), "a record without content";
    /// A change_cipher_spec that is not the single byte 1, or out of its time (RFC 8446 §5).
    BadChangeCipherSpec = 5, Peer, Some(Alert::UnexpectedMessage), "a wrong change_cipher_spec";
    /// Too many records in a row that move nothing: empty ones, change_cipher_spec, KeyUpdate, tickets.
    Flood = 6, Peer, Some(Alert::UnexpectedMessage), "too many records that carry nothing";
    /// A handshake message that may not come now.
    UnexpectedMessage { /** Its type. */ message_type: u8 } = 7, Peer, Some(Alert::UnexpectedMessage), "a handshake message out of turn";
    /// Another kind of record within a fragmented handshake message (RFC 8446 §5.1).
    Interleaved = 8, Peer, Some(Alert::UnexpectedMessage), "another record inside a handshake message";
    /// Bytes after a message that changes keys, in the same record (RFC 8446 §5.1).
    KeyChangeNotAligned = 9, Peer, Some(Alert::UnexpectedMessage), "a record spans a change of keys";
    /// A handshake message longer than [`super::MESSAGE_LEN_MAX`].
    MessageTooLong { /** Its type. */ message_type: u8 } = 10, Peer, Some(Alert::DecodeError), "a handshake message is too long";
    /// A handshake message that does not have its form.
    Malformed { /** Its type. */ message_type: u8, /** Where, in bytes from its start. */ at: u16 } = 11, Peer, Some(Alert::DecodeError), "a handshake message is malformed";
    /// An alert that is not two bytes.
    MalformedAlert = 12, Peer, Some(Alert::DecodeError), "an alert is malformed";
    /// A record whose version is not one of TLS.
    NotTls = 13, Peer, Some(Alert::ProtocolVersion), "the peer does not speak TLS";
    /// The peer does not speak TLS 1.3.
    NoCommonVersion = 14, Configuration, Some(Alert::ProtocolVersion), "the peer does not speak TLS 1.3";
    /// A peer that could speak TLS 1.3 was talked out of it by somebody between (RFC 8446 §4.1.3).
    Downgrade = 15, Peer, Some(Alert::IllegalParameter), "somebody tries to downgrade the connection";
    /// legacy_compression_methods or _method is not null.
    Compression = 16, Peer, Some(Alert::IllegalParameter), "the peer asks for compression";
    /// An extension that comes twice in a message.
    DuplicateExtension { /** Its type. */ extension_type: u16 } = 17, Peer, Some(Alert::IllegalParameter), "an extension comes twice";
    /// An extension that must be there is not.
    MissingExtension { /** Its type. */ extension_type: u16 } = 18, Peer, Some(Alert::MissingExtension), "an extension is missing";
    /// An answer to an extension that we did not send.
    UnsolicitedExtension { /** Its type. */ extension_type: u16 } = 19, Peer, Some(Alert::UnsupportedExtension), "an extension that was not asked for";
    /// An extension in a message, or at a place in it, where it may not be.
    MisplacedExtension { /** Its type. */ extension_type: u16 } = 20, Peer, Some(Alert::IllegalParameter), "an extension where it may not be";
    /// No common cipher suite.
    NoCommonSuite = 21, Configuration, Some(Alert::HandshakeFailure), "no common cipher suite";
    /// The peer cannot do secp256r1.
    NoCommonGroup = 22, Configuration, Some(Alert::HandshakeFailure), "no common group for the key exchange";
    /// The peer cannot do ecdsa_secp256r1_sha256.
    NoCommonSignature = 23, Configuration, Some(Alert::HandshakeFailure), "no common signature algorithm";
    /// Key shares that contradict each other or the groups, or a share that is no uncompressed point on the curve.
    BadKeyShare = 24, Peer, Some(Alert::IllegalParameter), "a wrong key share";
    /// The second ClientHello differs from the first where it may not (RFC 8446 §4.1.2).
    HelloChanged = 25, Peer, Some(Alert::IllegalParameter), "the second ClientHello contradicts the first";
    /// A field that the profile or the peer's own earlier word fixes has another value.
    IllegalValue { /** Its type. */ message_type: u8 } = 26, Peer, Some(Alert::IllegalParameter), "a field has an impossible value";
    /// A HelloRetryRequest that asks for nothing new, or for something that was not offered.
    BadRetryRequest = 27, Peer, Some(Alert::IllegalParameter), "a HelloRetryRequest that changes nothing";
    /// No common application protocol, or the peer does without one.
    NoCommonProtocol = 28, Configuration, Some(Alert::NoApplicationProtocol), "no common application protocol (ALPN)";
    /// The server chose an application protocol that was not offered.
    ForeignProtocol = 29, Peer, Some(Alert::IllegalParameter), "the peer chose an application protocol that was not offered";
    /// The application protocol was withdrawn by the caller while the handshake ran.
    ProtocolWithdrawn = 30, Local, Some(Alert::HandshakeFailure), "the application protocol is not offered any more";
    /// The client sent no certificate.
    CertificateMissing = 31, Configuration, Some(Alert::CertificateRequired), "the peer sent no certificate";
    /// More than one certificate, extensions on it, or one longer than [`super::CERTIFICATE_LEN_MAX`].
    CertificateForm = 32, Configuration, Some(Alert::IllegalParameter), "the peer's certificate message is outside the profile";
    /// The server did not ask for our certificate: it would not know us.
    NotMutual = 33, Configuration, Some(Alert::HandshakeFailure), "the peer does not ask for our certificate";
    /// CertificateVerify with another algorithm than the one agreed.
    SignatureAlgorithm = 34, Peer, Some(Alert::IllegalParameter), "a signature with another algorithm than agreed";
    /// CertificateVerify does not verify: the peer does not own the key.
    BadSignature = 35, Peer, Some(Alert::DecryptError), "the peer does not prove that it owns its certificate";
    /// Finished does not verify.
    BadFinished = 36, Peer, Some(Alert::DecryptError), "the handshake was changed on the way";
    /// The peer's endpoint has ENCRYPTION = DISABLED, and ours requires it.
    PeerDoesNotEncrypt = 37, Configuration, Some(Alert::HandshakeFailure), "the peer does not encrypt and this side requires it";
    /// The peer's endpoint has ENCRYPTION = REQUIRED, and ours is DISABLED.
    PeerRequiresEncryption = 38, Configuration, Some(Alert::HandshakeFailure), "the peer requires encryption and this side has it disabled";
    /// The peer closed the transport without close_notify: what it sent may have been cut short.
    Truncated = 40, Peer, None, "the connection was cut off";
    /// The peer closed within the handshake, without saying why.
    ClosedInHandshake = 41, Peer, None, "the peer closed within the handshake";
    /// The entropy source failed.
    Entropy = 50, Local, Some(Alert::InternalError), "the entropy source failed";
    /// Our signing key refused to sign.
    Signer = 51, Local, Some(Alert::InternalError), "our signing key refused to sign";
    /// What the caller lent cannot be used: certificate empty or too long, no or too long protocol names, a bad pin.
    Lent = 52, Configuration, Some(Alert::InternalError), "our own identity, pins or protocols cannot be used";
    /// A key protected as many records as it may, and no update was sent.
    KeyExhausted = 53, Local, Some(Alert::InternalError), "a key has protected too many records";
    /// The provider failed where it cannot.
    Provider = 54, Bug, Some(Alert::InternalError), "the cryptographic provider failed";
    /// An impossible state was reached.
    State = 55, Bug, Some(Alert::InternalError), "the channel contradicts itself";
}

const _: () = assert!(
    size_of::<ChannelError>() <= 16,
    "errors are returned by value everywhere"
);

impl core::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::PeerAlert(alert) => write!(f, " ({alert})"),
            Self::UnexpectedRecord { content_type } => write!(f, " (type {content_type})"),
            Self::Malformed { message_type, at } => write!(f, " (message {message_type}, byte {at})"),
            Self::UnexpectedMessage { message_type }
            | Self::MessageTooLong { message_type }
            | Self::IllegalValue { message_type } => write!(f, " (message {message_type})"),
            Self::DuplicateExtension { extension_type }
            | Self::MissingExtension { extension_type }
            | Self::UnsolicitedExtension { extension_type }
            | Self::MisplacedExtension { extension_type } => write!(f, " (extension {extension_type})"),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for ChannelError {}

/// A call that does not fit the channel's state or the buffer that was lent. The channel lives on, nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UseError {
    /// The handshake is not done.
    NotEstablished,
    /// [`super::Channel::write`] has bytes to give first.
    WritePending,
    /// We have closed, or the channel has died.
    Closed,
    /// The buffer is shorter than head room, payload and tail room together.
    NoRoom,
    /// The payload is longer than the peer takes in one record: see [`super::Channel::payload_len_max`].
    TooLong,
    /// The key has protected as many records as it may: drain [`super::Channel::write`], which updates it.
    KeyExhausted,
    /// An exporter label or length outside what HKDF can give.
    BadExport,
    /// The provider failed where it cannot.
    Provider,
}

impl core::fmt::Display for UseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotEstablished => "the handshake is not done",
            Self::WritePending => "bytes of the channel's own have to be sent first",
            Self::Closed => "the channel is closed for sending",
            Self::NoRoom => "the buffer has no room for the record",
            Self::TooLong => "the payload is too long for one record",
            Self::KeyExhausted => "the key has protected too many records",
            Self::BadExport => "the exporter cannot give that",
            Self::Provider => "the cryptographic provider failed",
        })
    }
}

impl core::error::Error for UseError {}

/// The name of an application protocol is empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlpnTooLong;

impl core::fmt::Display for AlpnTooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the name of an application protocol is empty or too long")
    }
}

impl core::error::Error for AlpnTooLong {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// The page for people lists every number, as it is. A number never changes its meaning: if this fails, a row may be
    /// added, and none changed.
    #[test]
    fn the_documentation_lists_every_error() {
        let page = include_str!("../../../docs/channel.md");
        let mut rows = String::new();
        for error in ChannelError::samples() {
            let debug = std::format!("{error:?}");
            let name = debug
                .split([' ', '{'])
                .next()
                .unwrap()
                .replace("PeerRefused(", "")
                .replace(')', "");
            let name = name.split('(').next().unwrap();
            let alert = error
                .alert()
                .map_or_else(|| String::from("-"), |alert| std::format!("{alert}"));
            let text = error.text();
            let row = std::format!(
                "| {} | {name} | {alert} | {:?} | {text} |",
                error.code(),
                error.blame()
            );
            if !page.contains(&row) {
                rows.push_str(&row);
                rows.push('\n');
            }
        }
        assert!(rows.is_empty(), "docs/channel.md lacks:\n{rows}");
    }

    #[test]
    fn every_number_is_given_once() {
        let mut codes: std::vec::Vec<_> = ChannelError::samples().iter().map(|error| error.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ChannelError::samples().len());
    }
}
