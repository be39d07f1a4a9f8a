//! What a witness tells its operator, and what the views show of it.

use crate::message::codec::Properties;
use crate::message::{DatabaseName, FamilyGuid, InstanceId, InstanceName, Record, SessionGuid};
use crate::session::SessionError;

/// Something that happened to a session that this instance is the witness of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WitnessEvent {
    /// An owner registered the session; the record is being stored.
    Registered {
        /// Who.
        owner: InstanceId,
    },
    /// The record changed.
    Recorded(Record),
    /// A partner takes the role.
    Granted {
        /// Who.
        asker: InstanceId,
        /// By FORCE_SERVICE_ALLOW_DATA_LOSS, and with the loss that this allows.
        forced: bool,
    },
    /// A partner asked for the role and was denied it.
    Denied {
        /// Who.
        asker: InstanceId,
        /// By FORCE_SERVICE_ALLOW_DATA_LOSS.
        force: bool,
        /// Nothing but courtesy stood against it: the owner was heard within the time-out. It may be asked again.
        owner_heard: bool,
    },
    /// WITNESS OFF by an owner whose mirror is away.
    Dropped {
        /// Who.
        owner: InstanceId,
    },
    /// The session needs no witness any more, or not this one: its record is being removed.
    Removed,
    /// 1402: somebody who is not a partner of the session sent a message of it. Nothing was changed.
    Stranger {
        /// The login that it authenticated with.
        login: u32,
        /// The instance id that it told.
        instance: InstanceId,
        /// The kind of the message (`docs/protocol.md`).
        kind: u16,
    },
    /// A registration was refused: 1427 when this endpoint cannot be a witness or has no room, 1429 when it would be a partner of the
    /// session too.
    Refused {
        /// Who asked.
        owner: InstanceId,
        /// Why not.
        error: SessionError,
    },
    /// 1403: a partner refused what this witness said.
    PartnerRefused(SessionError),
}

/// One partner of a row of `sys.database_mirroring_witnesses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessPartnerView {
    /// Its instance.
    pub instance: InstanceId,
    /// What it last called itself; empty until it was met.
    pub name: InstanceName,
    /// The login that it comes with; `None` until it was met.
    pub login: Option<u32>,
    /// Whether it and this witness talk about the session.
    pub bound: bool,
}

/// One row of `sys.database_mirroring_witnesses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessView {
    /// `mirroring_guid`.
    pub guid: SessionGuid,
    /// `family_guid`; `None` until it was told.
    pub family: Option<FamilyGuid>,
    /// `database_name`; empty until it was told.
    pub name: DatabaseName,
    /// The record, with `role_sequence_number` and `partner_sync_state`; `None` for a session that was dropped.
    pub record: Option<Record>,
    /// Whether the record is on its way to the storage: then nothing has been said of it yet.
    pub storing: bool,
    /// Who owns the role, or did when it dropped this witness: `principal_server_name`.
    pub principal: WitnessPartnerView,
    /// The other: `mirror_server_name`.
    pub mirror: WitnessPartnerView,
    /// SAFETY, suspension and their numbers as last told; `None` until they were.
    pub properties: Option<Properties>,
}
