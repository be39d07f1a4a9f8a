//! What the caller lends to each call, and the directory it answers from.

use crate::channel::{Identity, PeerVerifier};
use crate::crypto::Provider;
use crate::entropy::Entropy;
use crate::session::{Reason, Storage};
use crate::time::{Instant, UnixSeconds};

/// The world of one call.
pub struct Env<'e, P: Provider> {
    /// The present on the caller's monotonic clock. One earlier than the last is taken as the last.
    pub now: Instant,
    /// Calendar time, which only certificate validity looks at.
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
    /// The endpoint's own certificate and key.
    ///
    /// # Errors
    /// [`IdentityError`]: new connections are refused with its number.
    fn identity(&self) -> Result<Identity<'_, P>, IdentityError>;

    /// Who decides on peers of `dbm/1`: stored certificates, their logins, CONNECT.
    fn verifier(&self) -> &dyn PeerVerifier;

    /// Why a session for the database called `name` cannot start here, asked when a START arrives for which no session
    /// waits: [`Reason::NoDatabase`], [`Reason::NotRestoring`], [`Reason::NotWaiting`] or [`Reason::AlreadyMirrored`].
    fn not_waiting(&self, name: &str) -> Reason;
}

/// Why the endpoint cannot prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The endpoint names no certificate, or it is gone (28036).
    NoCertificate,
    /// Its private key could not be opened (28037).
    NoKey,
}
