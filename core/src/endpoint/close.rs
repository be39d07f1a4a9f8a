//! Why connections end: one reason each, with its documented number and the step at which it happened.

use super::env::IdentityError;
use crate::channel::{Alert, ChannelError, PeerRefusal};
use crate::message::InstanceId;
use crate::pairing::Refusal;

/// The steps of a connection, in order (`sys.dm_dbmirror_errors.step`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The transport is being connected.
    Connect,
    /// The channel's handshake, up to the peer's certificate.
    Tls,
    /// The peer's certificate is looked up and its proof of possession checked.
    Certificate,
    /// The login behind it and its CONNECT.
    Login,
    /// Both tell which instance they are.
    Hello,
    /// Messages flow.
    Online,
    /// Two instances pair.
    Pairing,
}

impl Step {
    /// One lower-case word for logs and views.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Login => "login",
            Self::Hello => "hello",
            Self::Online => "online",
            Self::Pairing => "pairing",
        }
    }
}

/// Why the driver could not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The address does not parse or has no host (1449).
    BadAddress,
    /// The name does not resolve (9783).
    NoName,
    /// Nobody listens there.
    Refused,
    /// No route, or the network is down.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Anything else of the transport.
    Other,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was never connected.
    Dial(DialError),
    /// This endpoint cannot prove who it is.
    Identity(IdentityError),
    /// The channel failed: the peer was refused, refused us, or broke the protocol.
    Channel(ChannelError),
    /// The handshake took too long.
    HandshakeTimeout,
    /// The peer was authenticated and then said nothing for the idle time.
    Idle,
    /// Nothing was heard for the sessions' time-out.
    PingTimeout,
    /// A message was malformed, came out of turn, or is unknown and mandatory.
    BadMessage {
        /// Its kind.
        kind: u16,
    },
    /// The peer speaks no version of the messages that we speak.
    NoCommonVersion,
    /// The peer is this instance itself.
    OwnInstance,
    /// The peer's instance id has another login's sessions here, or the login is over its number of connections.
    TooManyOfLogin,
    /// Its place was given to a newer connection while it was not authenticated.
    Evicted,
    /// Another connection to the same instance is used (28032, 28033).
    Duplicate {
        /// Whether the one that is used is the newer one.
        newer_won: bool,
    },
    /// The peer ended it in order.
    PeerClosed,
    /// This side ended it in order: the endpoint stops, a test is over, nobody needs it.
    Done,
    /// The login or certificate was denied or dropped while connected.
    Revoked,
    /// Not who is configured at the address that was dialed.
    NotThePartner {
        /// Who answered.
        instance: InstanceId,
    },
    /// One side takes only records that do not hold a whole message, and this endpoint was lent no place for messages in pieces.
    ShortRecords,
    /// The driver could not send or receive.
    Transport,
    /// A pairing came to nothing.
    Pairing {
        /// Why.
        refusal: Refusal,
        /// The other side said so.
        by_peer: bool,
    },
}

impl CloseReason {
    /// The message number under which it is logged; 0 for an orderly end.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Dial(DialError::BadAddress) => 1449,
            Self::Dial(DialError::NoName) => 9783,
            Self::Dial(_) => 9754,
            Self::Identity(IdentityError::NoCertificate) => 28036,
            Self::Identity(IdentityError::NoKey) => 28037,
            Self::Channel(error) => channel_number(error),
            Self::HandshakeTimeout | Self::Idle => 9760,
            Self::PingTimeout => 1479,
            Self::BadMessage { .. } => 1434,
            Self::NoCommonVersion => 9757,
            Self::OwnInstance => 1452,
            Self::TooManyOfLogin | Self::Evicted => 28026,
            Self::Duplicate { newer_won: false } => 28032,
            Self::Duplicate { newer_won: true } => 28033,
            Self::PeerClosed | Self::Done => 0,
            Self::Revoked => 28034,
            Self::NotThePartner { .. } => 1402,
            Self::ShortRecords => 28040,
            Self::Transport => 9799,
            Self::Pairing { refusal, .. } => refusal.number(),
        }
    }

    /// Whether it is an end that both sides expected, not worth an error line.
    #[must_use]
    pub const fn is_orderly(self) -> bool {
        matches!(self, Self::PeerClosed | Self::Done | Self::Duplicate { .. })
    }

    /// The login and certificate that the refusal itself names, when the handshake got so far.
    #[must_use]
    pub const fn refused_ids(self) -> (Option<u32>, Option<u32>) {
        match self {
            Self::Channel(ChannelError::PeerRefused(refusal)) => match refusal {
                PeerRefusal::NoConnect {
                    login_id,
                    certificate_id,
                } => (Some(login_id), Some(certificate_id)),
                PeerRefusal::NotYetValid { certificate_id }
                | PeerRefusal::Expired { certificate_id }
                | PeerRefusal::NoLogin { certificate_id } => (None, Some(certificate_id)),
                _ => (None, None),
            },
            _ => (None, None),
        }
    }
}

/// The number of a channel's failure.
const fn channel_number(error: ChannelError) -> u32 {
    match error {
        ChannelError::PeerRefused(refusal) => match refusal {
            PeerRefusal::NoLogin { .. } | PeerRefusal::NoConnect { .. } => 28034,
            _ => 28035,
        },
        ChannelError::PeerAlert(Alert::HandshakeFailure) => 28027,
        ChannelError::PeerAlert(_) => 28047,
        ChannelError::NoCommonVersion
        | ChannelError::NoCommonSuite
        | ChannelError::PeerDoesNotEncrypt
        | ChannelError::PeerRequiresEncryption
        | ChannelError::NoCommonGroup
        | ChannelError::NoCommonSignature
        | ChannelError::NoCommonProtocol
        | ChannelError::NotMutual => 28027,
        ChannelError::CertificateMissing | ChannelError::CertificateForm => 28035,
        ChannelError::BadSignature | ChannelError::BadFinished | ChannelError::SignatureAlgorithm => 28038,
        ChannelError::ClosedInHandshake => 28028,
        ChannelError::Truncated => 9799,
        ChannelError::Entropy | ChannelError::Signer | ChannelError::Provider | ChannelError::State => 28031,
        ChannelError::Lent => 28036,
        _ => 28040,
    }
}
