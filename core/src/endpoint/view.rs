//! What the catalog views show of connections.

use super::output::ConnectionId;
use crate::channel::CipherSuite;
use crate::message::{Address, InstanceId, InstanceName};
use crate::time::Instant;

/// `sys.dm_db_mirroring_connections.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// 1: being dialed, or accepted with nothing exchanged.
    New,
    /// 2: the handshake runs.
    Connecting,
    /// 3: the channel stands; the peer's instance is not known yet.
    Connected,
    /// 4: authenticated, messages flow.
    LoggedIn,
    /// 5: closing.
    Closed,
}

impl ConnectionState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::New => 1,
            Self::Connecting => 2,
            Self::Connected => 3,
            Self::LoggedIn => 4,
            Self::Closed => 5,
        }
    }
}

/// `sys.dm_db_mirroring_connections.login_state`: those of its codes that this endpoint passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginState {
    /// 0: nothing exchanged.
    Initial,
    /// 1: waiting for the peer's list of methods and algorithms.
    WaitLoginNegotiate,
    /// 10: waiting for proof that both derived the same keys and own their certificates.
    WaitValidation,
    /// 11: deciding between duplicate connections.
    WaitArbitration,
    /// 12: ready for messages.
    Online,
    /// 13: failed.
    Error,
}

impl LoginState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Initial => 0,
            Self::WaitLoginNegotiate => 1,
            Self::WaitValidation => 10,
            Self::WaitArbitration => 11,
            Self::Online => 12,
            Self::Error => 13,
        }
    }
}

/// One row of `sys.dm_db_mirroring_connections`, as far as core knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// The connection.
    pub connection: ConnectionId,
    /// The address that was dialed; empty for an accepted one.
    pub address: Address,
    /// `is_accept`: accepted here, or opened from here.
    pub accepted: bool,
    /// For a test of the connection: no session is ever moved to it.
    pub probe: bool,
    /// It is for pairing and for nothing else.
    pub pairing: bool,
    /// Whether sessions use it.
    pub used: bool,
    /// `state`.
    pub state: ConnectionState,
    /// `login_state`.
    pub login_state: LoginState,
    /// When it was accepted or dialed.
    pub connect_time: Instant,
    /// When the peer was authenticated.
    pub login_time: Option<Instant>,
    /// When bytes last came or went.
    pub last_activity: Instant,
    /// The login that the peer authenticated with.
    pub login: Option<u32>,
    /// `peer_certificate_id`: the local id of the peer's certificate.
    pub certificate: Option<u32>,
    /// The cipher suite, once the handshake is done.
    pub suite: Option<CipherSuite>,
    /// The own certificate that the handshake showed, or shows (`Directory::certificate_for`).
    pub own_certificate: u32,
    /// `peer_arbitration_id`: the peer's instance id.
    pub instance: Option<InstanceId>,
    /// The peer's name for itself.
    pub name: InstanceName,
    /// Bytes on the wire.
    pub bytes_sent: u64,
    /// Bytes on the wire.
    pub bytes_received: u64,
    /// Messages.
    pub messages_sent: u64,
    /// Messages.
    pub messages_received: u64,
    /// Transmits given to the driver.
    pub sends: u64,
    /// Inputs taken from the driver.
    pub receives: u64,
}
