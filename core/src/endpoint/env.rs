//! What the caller lends to each call, and the directory it answers from.

use super::output::ConnectionId;
use crate::channel::{Identity, PeerVerifier};
use crate::crypto::{HASH_LEN, POINT_LEN, Provider};
use crate::entropy::Entropy;
use crate::message::{Address, InstanceId};
use crate::session::{Reason, SessionError, Storage};
use crate::time::{Instant, UnixSeconds};

/// The world of one call.
pub struct Env<'e, P: Provider> {
    /// The present on the caller's monotonic clock. One earlier than the last is taken as the last.
    pub now: Instant,
    /// Calendar time, which only certificate validity looks at: the present, or without a clock ([`Directory::has_clock`]) a time that
    /// has passed for certain.
    pub unix: UnixSeconds,
    /// Randomness.
    pub entropy: &'e mut dyn Entropy,
    /// Who we are, and who may come.
    pub directory: &'e dyn Directory<P>,
    /// The logs and files of the databases.
    pub storage: &'e mut dyn Storage,
}

/// The instance's catalog as the endpoint asks it.
pub trait Directory<P: Provider> {
    /// Whether [`Env::unix`] is the present. A device without a clock lends a time that has passed instead, by which the end of a
    /// certificate can be judged and its beginning cannot (`docs/appliance.md`).
    fn has_clock(&self) -> bool {
        true
    }

    /// The endpoint's own certificate and key.
    ///
    /// # Errors
    /// [`IdentityError`]: new connections are refused with its number.
    fn identity(&self) -> Result<Identity<'_, P>, IdentityError>;

    /// Which of the own certificates a new connection is to be made with, as a number of the directory's own; `dialed` is the
    /// address that is dialed, and nothing for an accepted one. The whole handshake stays with it, whatever changes meanwhile.
    fn certificate_for(&self, dialed: Option<&Address>) -> u32 {
        let _ = dialed;
        0
    }

    /// The certificate and key with that number. One that is gone meanwhile is answered by [`Directory::identity`].
    ///
    /// # Errors
    /// As [`Directory::identity`].
    fn identity_of(&self, certificate: u32) -> Result<Identity<'_, P>, IdentityError> {
        let _ = certificate;
        self.identity()
    }

    /// What that peer is still to be told about this instance's certificates: of those with a number above `after` the one
    /// with the lowest, which the peer has not answered. Asked whenever a connection to it may speak.
    fn notice(&self, login: u32, instance: InstanceId, after: u64) -> Option<Notice<'_, P>> {
        let _ = (login, instance, after);
        None
    }

    /// A peer tells about its own certificates; a successor's proof has been verified. `Ok` takes it over: once what it leads to is
    /// durable, `Endpoint::answer_certificate` says so. There is at most one that is not answered for each connection.
    ///
    /// # Errors
    /// A refusal, which the peer is told at once.
    fn peer_notice(&self, notice: &PeerNotice<'_>) -> Result<(), SessionError> {
        let _ = notice;
        Err(SessionError::new(1428, Reason::NotSupported))
    }

    /// Who decides on peers of `dbm/1`: stored certificates, their logins, CONNECT.
    fn verifier(&self) -> &dyn PeerVerifier;

    /// Why a session for the database called `name` cannot start here, asked when a START arrives for which no session
    /// waits: [`Reason::NoDatabase`], [`Reason::NotRestoring`], [`Reason::NotWaiting`] or [`Reason::AlreadyMirrored`].
    fn not_waiting(&self, name: &str) -> Reason;
}

/// Something to be told to a peer about own certificates (`docs/protocol.md` §2).
pub struct Notice<'a, P: Provider> {
    /// Its number: above 0, and rising.
    pub number: u64,
    /// What.
    pub body: NoticeBody<'a, P>,
}

/// What is told about own certificates.
pub enum NoticeBody<'a, P: Provider> {
    /// This one is going to be used. At most [`super::SUCCESSOR_LEN_MAX`] bytes.
    Successor(Identity<'a, P>),
    /// The one with this SHA-256 will never be used again.
    Retired([u8; HASH_LEN]),
}

/// What a peer told about its own certificates.
#[derive(Clone, Copy, Debug)]
pub struct PeerNotice<'a> {
    /// Where it came.
    pub connection: ConnectionId,
    /// The login that the peer is authenticated as.
    pub login: u32,
    /// The certificate that it proved itself by on this connection.
    pub certificate: u32,
    /// Which instance it says to be.
    pub instance: InstanceId,
    /// The number to answer by.
    pub number: u64,
    /// What.
    pub body: PeerNoticeBody<'a>,
}

/// What a peer told about its own certificates.
#[derive(Clone, Copy, Debug)]
pub enum PeerNoticeBody<'a> {
    /// It is going to prove itself by this certificate. It is well formed, valid now, and the peer has proved that it owns its
    /// key.
    Successor {
        /// The certificate in DER, at most [`super::SUCCESSOR_LEN_MAX`] bytes.
        der: &'a [u8],
        /// Its public key.
        point: [u8; POINT_LEN],
    },
    /// It will never again prove itself by the one with this SHA-256.
    Retired {
        /// The digest of the DER.
        digest: [u8; HASH_LEN],
    },
}

/// Why the endpoint cannot prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The endpoint names no certificate, or it is gone (28036).
    NoCertificate,
    /// Its private key could not be opened (28037).
    NoKey,
}
