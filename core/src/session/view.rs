//! What `sys.database_mirroring` shows of a session.

use super::command::Safety;
use super::event::{SessionError, SessionState, WitnessState};
use super::storage::DatabaseId;
use crate::message::{Address, FamilyGuid, InstanceId, InstanceName, LogEnd, Position, Record, SessionGuid};

/// The role of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 1.
    Principal,
    /// 2.
    Mirror,
}

impl Role {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Principal => 1,
            Self::Mirror => 2,
        }
    }
}

/// Where a session stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Mirror: SET PARTNER was run; no principal has started the session.
    Waiting,
    /// START is under way.
    Starting,
    /// Both hold the session durably.
    Established,
    /// It has ended; the partner is still to be told on this connection.
    Ending,
}

/// A seed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedProgress {
    /// What position it is a snapshot of.
    pub at: Position,
    /// Bytes sent or received.
    pub done: u64,
    /// Bytes of the whole.
    pub total: u64,
}

/// The witness as one partner names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessView {
    /// `mirroring_witness_name`.
    pub address: Address,
    /// Its instance id.
    pub instance: InstanceId,
    /// `mirroring_witness_state`.
    pub state: WitnessState,
    /// It is named and not registered yet (R5).
    pub pending: bool,
}

/// One row of `sys.database_mirroring`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The database.
    pub database: DatabaseId,
    /// `mirroring_guid`; `None` while a mirror waits.
    pub guid: Option<SessionGuid>,
    /// The database's family; `None` for a mirror that has nothing yet.
    pub family: Option<FamilyGuid>,
    /// Where it stands in its life.
    pub phase: Phase,
    /// `mirroring_role`.
    pub role: Role,
    /// `mirroring_state`.
    pub state: SessionState,
    /// Why it is DISCONNECTED, where more is known than that; or why it takes no role.
    pub trouble: Option<SessionError>,
    /// The durable record, with `mirroring_role_sequence`.
    pub record: Record,
    /// `mirroring_safety_level`.
    pub safety: Safety,
    /// `mirroring_safety_sequence`.
    pub safety_sequence: u32,
    /// Suspended by an operator.
    pub suspended: bool,
    /// `mirroring_partner_name`.
    pub partner: Address,
    /// `mirroring_partner_instance`; empty until it was met in this run.
    pub partner_instance_name: InstanceName,
    /// The partner's instance id; `None` while a mirror waits.
    pub partner_instance: Option<InstanceId>,
    /// The login that the partner authenticates with.
    pub partner_login: Option<u32>,
    /// `mirroring_connection_timeout` in seconds.
    pub timeout: u16,
    /// `mirroring_end_of_log_lsn`: the end of the own log.
    pub end: LogEnd,
    /// `mirroring_failover_lsn`: hardened on both.
    pub hardened_on_both: Position,
    /// Where the present owner's history begins: the end of log at the last change of role, [`Position::START`] before one.
    pub failover: Position,
    /// Principal: it serves. Not after a restart before R4 allows it, not without quorum, not while it is fenced.
    pub serves: bool,
    /// Principal: waiting applications may be told *committed* up to here.
    pub acknowledged: Position,
    /// It has lost hardened blocks and takes no role until it is level, or forced (R6).
    pub incomplete: bool,
    /// Mirror: it may ask the witness for the role once the principal is lost (R3).
    pub may_take_over: bool,
    /// The witness, if one is set.
    pub witness: Option<WitnessView>,
    /// Principal: how far the log was sent. Mirror: how far it was received.
    pub streamed: Position,
    /// A seed on its way.
    pub seed: Option<SeedProgress>,
    /// Whether the two talk about this session.
    pub bound: bool,
}
