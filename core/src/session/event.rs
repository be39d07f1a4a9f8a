//! What a session tells its operator: events, states, refusals with their numbers.

use super::storage::StorageError;
use super::view::Role;
use crate::message::{InstanceId, LogEnd, Position, SessionGuid};

/// `sys.database_mirroring.mirroring_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionState {
    /// 0: not sending, until RESUME.
    Suspended,
    /// 1: the partner is not there, or not (yet) in this session.
    #[default]
    Disconnected,
    /// 2: the mirror is behind.
    Synchronizing,
    /// 3: a fail-over is under way.
    PendingFailover,
    /// 4: the mirror has hardened everything.
    Synchronized,
}

impl SessionState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Suspended => 0,
            Self::Disconnected => 1,
            Self::Synchronizing => 2,
            Self::PendingFailover => 3,
            Self::Synchronized => 4,
        }
    }

    /// The state with that code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Suspended,
            1 => Self::Disconnected,
            2 => Self::Synchronizing,
            3 => Self::PendingFailover,
            4 => Self::Synchronized,
            _ => return None,
        })
    }
}

/// Something that the operator or the instance should know of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// SET PARTNER is stored: the database waits for its principal's START.
    Waiting,
    /// 1440: the session runs, and this instance is its principal.
    StartedAsPrincipal {
        /// The session.
        guid: SessionGuid,
    },
    /// 1441: the session runs, and this instance is its mirror.
    StartedAsMirror {
        /// The session.
        guid: SessionGuid,
    },
    /// The start of a session failed; on the principal nothing is left of it, a mirror waits as before.
    StartFailed(SessionError),
    /// The principal has not taken part in this session, which had not begun: the mirror waits again for a start.
    WaitsAgain,
    /// The state that the view shows has changed.
    State(SessionState),
    /// 1443: the session ended here.
    Ended {
        /// Who ended it.
        by: EndedBy,
    },
    /// The principal may append to the log. Given once after each restart of a principal, when it has heard its mirror or
    /// may go on without it; until then nothing is to be captured (`docs/safety.md` R7).
    MayCapture {
        /// The log has to go on in a new timeline: begin one, and tell it by `Endpoint::new_timeline`.
        new_timeline: bool,
    },
    /// The principal took over what the mirror held beyond its log.
    TailAdopted {
        /// The end of the own log before.
        from: Position,
        /// Its end now.
        to: LogEnd,
    },
    /// The two logs differ inside one history, or cannot be joined; the mirror is seeded anew.
    Reseed {
        /// Why.
        why: ReseedReason,
        /// Where the mirror's log ends, or where the difference was found.
        at: Position,
    },
    /// A seed begins to be sent or received.
    SeedStarted {
        /// What position it is a snapshot of.
        at: Position,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The mirror has taken the seed.
    SeedDone {
        /// Where its log begins.
        at: LogEnd,
    },
    /// A seed failed; it is tried again later.
    SeedFailed(SessionError),
    /// 1453 / 1454: the storage here or at the partner refused; the session waits and tries again.
    StorageFailed(StorageError),
    /// 5173: the mirror's operator asked to resume, and this principal's file is refused. The session stays suspended.
    ResumeRefused,
    /// The partner does not hold this session: it answered *none* (`docs/safety.md` R0).
    PartnerHasNone,
    /// The partner's record does not allow this member to go on; an operator has to look.
    RecordConflict(SessionError),
    /// Who answered at the partner's address is not the partner of this session (1402).
    NotThePartner {
        /// The login that it authenticated with.
        login: u32,
        /// The instance id that it told.
        instance: InstanceId,
    },
    /// 1402: somebody who is not this session's partner, or not in that role, sent a message of it. Nothing was changed.
    Stranger {
        /// The login that it authenticated with.
        login: u32,
        /// The instance id that it told.
        instance: InstanceId,
        /// The kind of the message (`docs/protocol.md`).
        kind: u16,
    },
    /// The partner refused something.
    PartnerRefused(SessionError),
    /// SAFETY, the time-out or the suspension changed.
    PropertiesChanged,
    /// 1479: nothing was heard of the partner for its time-out, or it made no progress.
    TimedOut,
    /// Stop serving *now* (I3): answer every waiting application with an error, then shut all writers out. With
    /// [`Fence::Failover`] settle what is under way first: every commit that was offered is told as grown log, and its application
    /// waits for its answer. `Endpoint::fenced` says that it is done.
    Fence(Fence),
    /// This member holds the role and serves: the fence is lifted. Given after [`SessionEvent::MayCapture`].
    Serving {
        /// The role_sequence that it serves under.
        role_sequence: u32,
    },
    /// 1480: the role of this member is another now, durably. A new principal applies everything that it has hardened, then awaits
    /// [`SessionEvent::MayCapture`]; a new mirror stops capturing.
    RoleChanged {
        /// The role now.
        role: Role,
        /// The role_sequence.
        role_sequence: u32,
        /// Why.
        why: RoleChange,
        /// `mirroring_failover_lsn`: the end of this member's log at the change.
        at: Position,
    },
    /// Waiting applications may be told *committed* up to here (I1, R1, R6); `Endpoint::acknowledged` answers the same at any time.
    Acknowledged {
        /// The last such block.
        upto: Position,
        /// What the newest of it rests on.
        rests_on: RestsOn,
    },
    /// Mirror: its log goes on where its principal's does not. Undo everything after `to`, in log and file, then call
    /// `Endpoint::rewound`; or `Endpoint::cannot_rewind`, and a seed takes the copy's place.
    Rewind {
        /// The last block that both have.
        to: Position,
    },
    /// The witness as this member sees it has changed.
    Witness(WitnessState),
    /// SET WITNESS, or WITNESS OFF, is done and durable here.
    WitnessChanged,
    /// SET WITNESS or WITNESS OFF came to nothing, or cannot go on at the moment.
    WitnessRefused(SessionError),
    /// FAILOVER was given up. Writers stay out until [`Self::Serving`] comes: at once where the mirror is bound or no witness is set, else when
    /// the witness has confirmed that the role is still here.
    FailoverFailed(SessionError),
    /// FORCE_SERVICE_ALLOW_DATA_LOSS was refused by the witness, or could not be asked; it is not repeated.
    ForceRefused(SessionError),
    /// Forced service took the role (before its [`SessionEvent::RoleChanged`]).
    Forced {
        /// What is surely on both: nothing up to here is lost.
        common: Position,
        /// The old principal may have committed after that, alone or unacknowledged.
        loss_possible: bool,
    },
    /// Mirror, at its start: blocks that were hardened are gone from its log. It takes no role before it is level again
    /// ([`SessionEvent::LogWhole`]) or an operator forces it (R6).
    LogLost {
        /// Where the log ends now.
        end: LogEnd,
    },
    /// Mirror: its log is level with its principal's again, and nothing of what it lost is missing.
    LogWhole,
    /// Both partners own one role_sequence (R8): both refuse writes until FORCE_SERVICE_ALLOW_DATA_LOSS on the one to keep.
    Clash,
}

/// Why a principal stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// FAILOVER: settle what is under way. Once that was given up, writers wait until somebody confirms the role.
    Failover,
    /// Another member owns a higher role_sequence.
    Yielded,
    /// Neither partner nor witness confirms it (955).
    NoQuorum,
    /// Both partners own one role_sequence.
    Clash,
    /// The instance has just started (956): it is not known yet whether this member still owns the role.
    Restarted,
}

/// Why a role has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// FAILOVER.
    Failover,
    /// The witness granted a take-over.
    TakeOver,
    /// FORCE_SERVICE_ALLOW_DATA_LOSS.
    Forced,
    /// The partner owns a higher role_sequence.
    Yielded,
}

/// What an acknowledgement to an application rests on (`docs/safety.md` R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestsOn {
    /// The mirror has hardened it.
    Mirror,
    /// UNSYNC is confirmed, by the mirror or the witness.
    Confirmed,
    /// UNSYNC in the own storage, where no witness is set.
    OwnStorage,
}

/// `mirroring_witness_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WitnessState {
    /// 0: none is set, or it has not been looked for yet in this run.
    #[default]
    Unknown,
    /// 1: it is bound, and takes part.
    Connected,
    /// 2: it is not.
    Disconnected,
}

impl WitnessState {
    /// The view's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Connected => 1,
            Self::Disconnected => 2,
        }
    }
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// PARTNER OFF here.
    Operator,
    /// PARTNER OFF at the partner, whose tombstone arrived.
    Partner,
}

/// Why a mirror has to be seeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReseedReason {
    /// It has nothing yet and asks for it.
    Asked,
    /// Its chain differs from the principal's at the same position: two histories.
    ChainMismatch,
    /// It stands on a timeline that the principal left earlier.
    LeftBehind,
    /// The principal's log does not reach back to it.
    LogGone,
    /// Changes of the principal's database never reached its log.
    Gap,
    /// Its tail could not be taken over.
    CannotAdopt,
}

/// A refusal by its documented number, with the reason that the number alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionError {
    /// The message number (`docs/protocol.md` lists those that are sent).
    pub number: u32,
    /// Why.
    pub reason: Reason,
}

impl SessionError {
    /// That number for that reason.
    #[must_use]
    pub const fn new(number: u32, reason: Reason) -> Self {
        Self { number, reason }
    }
}

/// Why something of a session was refused. The discriminant is what is sent (`docs/protocol.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum Reason {
    /// A reason that this version does not know.
    Unknown = 0,
    /// The database already takes part in a session here (1405), or there (1460).
    AlreadyMirrored = 1,
    /// The database does not take part in a session (1416).
    NotMirrored = 2,
    /// No database of that name (1448).
    NoDatabase = 3,
    /// The database is not RESTORING (1464).
    NotRestoring = 4,
    /// The database is RESTORING, and SET PARTNER has not been run for it there (1416).
    NotWaiting = 5,
    /// The copies are not of one family (1407).
    OtherFamily = 6,
    /// The mirror's log ends before the principal's begins (1408).
    TooOld = 7,
    /// The mirror's log does not lie on the principal's (1412).
    OffHistory = 8,
    /// The partner is this instance itself (1452).
    OwnInstance = 9,
    /// The mirror could not reach the principal at the address that its own operator gave (1418).
    CannotDialBack = 10,
    /// Who answers at that address is another login or instance than who sent this (1402).
    NotThePartner = 11,
    /// The member may not say this in its role, or is no member (1402).
    NoAuthority = 12,
    /// Busy with an earlier start; try again (1404).
    Busy = 13,
    /// No room for another session, or for another certificate of a login (1438).
    NoRoom = 14,
    /// No answer within the time (1421).
    NoAnswer = 15,
    /// The connection could not be made (1418).
    Unreachable = 16,
    /// Only the principal may do this (1470).
    OnlyPrincipal = 17,
    /// The message does not fit the session's state (1428).
    WrongState = 18,
    /// The role sequence is not the session's (1428).
    OtherRoleSequence = 19,
    /// The storage refused (1454).
    Storage = 20,
    /// The chain does not match (1454).
    Chain = 21,
    /// This version cannot do that (1428).
    NotSupported = 22,
    /// The value is out of range (1425).
    BadValue = 23,
    /// The partner holds a newer value or number (1424).
    Newer = 24,
    /// The stored record is damaged or of an unknown version (1459).
    BadRecord = 25,
    /// The address does not fit or is empty (1449).
    BadAddress = 26,
    /// The partner's role sequence is more than 1,000 ahead, or its record names another owner (1428).
    RecordConflict = 27,
    /// The endpoint's role does not allow it: a witness is no partner (1486).
    EndpointRole = 28,
    /// The session is already suspended, or is not (1447).
    NotSuspended = 29,
    /// The partner is not connected (1447).
    NotConnected = 30,
    /// The session ended there (1443).
    Ended = 31,
    /// The signature over a successor certificate is not by its own key for this connection (28038).
    BadProof = 32,
    /// A successor certificate that cannot be read, is too long or is not valid now (28035).
    BadCertificate = 33,
    /// The certificate, or its key, is another's there (15232).
    CertificateOfAnother = 34,
    /// The login has a successor already that it has not come with yet (15232).
    SuccessorPending = 35,
    /// The principal's file was refused, and its operator has not accepted it (5173).
    FileRefused = 36,
    /// Neither the partner nor the witness is there to agree, or the witness is pending or blank (1431).
    NoQuorum = 37,
    /// The mirror is not SYNCHRONIZED (1422; 1426 at SET WITNESS).
    NotSynchronized = 38,
    /// SAFETY is not FULL (1477).
    SafetyOff = 39,
    /// The witness is one of the partners (1429).
    WitnessIsPartner = 40,
    /// That instance is the witness already (1446).
    WitnessSame = 41,
    /// No witness is set (1439).
    WitnessNone = 42,
    /// Who answers there does not act as a witness (1427).
    NotAWitness = 43,
    /// The partner is connected or this member serves: no service is to be forced (1455).
    PartnerConnected = 44,
    /// The witness said no (1455).
    Denied = 45,
    /// Writers could not be shut out within the partner time-out (1404).
    WritersStay = 46,
    /// A change of role or of witness is under way (1404).
    RoleChanging = 47,
    /// This member may lack acknowledged commits that its partner has (1455).
    Incomplete = 48,
    /// Both partners own one role_sequence (1455).
    Clash = 49,
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 50] = [
        Self::Unknown,
        Self::AlreadyMirrored,
        Self::NotMirrored,
        Self::NoDatabase,
        Self::NotRestoring,
        Self::NotWaiting,
        Self::OtherFamily,
        Self::TooOld,
        Self::OffHistory,
        Self::OwnInstance,
        Self::CannotDialBack,
        Self::NotThePartner,
        Self::NoAuthority,
        Self::Busy,
        Self::NoRoom,
        Self::NoAnswer,
        Self::Unreachable,
        Self::OnlyPrincipal,
        Self::WrongState,
        Self::OtherRoleSequence,
        Self::Storage,
        Self::Chain,
        Self::NotSupported,
        Self::BadValue,
        Self::Newer,
        Self::BadRecord,
        Self::BadAddress,
        Self::RecordConflict,
        Self::EndpointRole,
        Self::NotSuspended,
        Self::NotConnected,
        Self::Ended,
        Self::BadProof,
        Self::BadCertificate,
        Self::CertificateOfAnother,
        Self::SuccessorPending,
        Self::FileRefused,
        Self::NoQuorum,
        Self::NotSynchronized,
        Self::SafetyOff,
        Self::WitnessIsPartner,
        Self::WitnessSame,
        Self::WitnessNone,
        Self::NotAWitness,
        Self::PartnerConnected,
        Self::Denied,
        Self::WritersStay,
        Self::RoleChanging,
        Self::Incomplete,
        Self::Clash,
    ];

    /// The code as sent.
    #[must_use]
    pub fn code(self) -> u16 {
        Self::ALL
            .iter()
            .position(|r| *r == self)
            .and_then(|i| u16::try_from(i).ok())
            .unwrap_or(0)
    }

    /// The reason with that code; [`Reason::Unknown`] for one that this version does not know.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Unknown)
    }

    /// What it means, in one line for a log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "a reason that this version does not know",
            Self::AlreadyMirrored => "the database already takes part in a mirroring session",
            Self::NotMirrored => "the database does not take part in a mirroring session",
            Self::NoDatabase => "there is no database of that name",
            Self::NotRestoring => "the database is not in the RESTORING state",
            Self::NotWaiting => "SET PARTNER has not been run for the database on the mirror",
            Self::OtherFamily => "the two copies are not of one family",
            Self::TooOld => "the mirror's copy ends before the principal's log begins",
            Self::OffHistory => "the mirror's copy does not lie on the principal's log",
            Self::OwnInstance => "the partner address leads back to this instance",
            Self::CannotDialBack => "the mirror could not reach the principal at the address it was given",
            Self::NotThePartner => "another login or instance answers at the configured address",
            Self::NoAuthority => "the sender is not the session's partner, or not in that role",
            Self::Busy => "busy with an earlier start",
            Self::NoRoom => "no room for another one",
            Self::NoAnswer => "no answer within the time",
            Self::Unreachable => "the connection could not be made",
            Self::OnlyPrincipal => "only the principal may do this",
            Self::WrongState => "the message does not fit the session's state",
            Self::OtherRoleSequence => "the role sequence is not the session's",
            Self::Storage => "the storage refused",
            Self::Chain => "the chain does not match",
            Self::NotSupported => "not supported by this version",
            Self::BadValue => "the value is out of range",
            Self::Newer => "the partner holds a newer value",
            Self::BadRecord => "the stored session record is damaged or of an unknown version",
            Self::BadAddress => "the server network address is empty or too long",
            Self::RecordConflict => "the partner's record contradicts this member's",
            Self::EndpointRole => "the endpoint's role does not allow partners",
            Self::NotSuspended => "the session is not in the state that the command asks for",
            Self::NotConnected => "the partner is not connected",
            Self::Ended => "the session has ended there",
            Self::BadProof => "the proof does not show that the sender owns the successor's key",
            Self::BadCertificate => {
                "the successor certificate cannot be read, is too long, or is not valid now"
            }
            Self::CertificateOfAnother => "the certificate or its key is known there as another's",
            Self::SuccessorPending => "another successor of that login is waiting there to be used",
            Self::FileRefused => {
                "the principal's file was refused as no continuation of what was captured, and nobody has accepted it there"
            }
            Self::NoQuorum => "neither the partner nor the witness is available",
            Self::NotSynchronized => "the mirror is not synchronized with the principal",
            Self::SafetyOff => "SAFETY is not FULL",
            Self::WitnessIsPartner => "the witness is one of the two partners",
            Self::WitnessSame => "that instance is the witness already",
            Self::WitnessNone => "no witness is set",
            Self::NotAWitness => "the instance does not act as a witness",
            Self::PartnerConnected => "the partner is connected, or this member serves already",
            Self::Denied => {
                "the witness refused: it knows a record that is not lower, knows none, or sees the other partner"
            }
            Self::WritersStay => "writers hold the database and could not be shut out in time",
            Self::RoleChanging => "a change of role or of witness is under way",
            Self::Incomplete => {
                "this member has lost hardened blocks, and may lack acknowledged commits that only its partner holds"
            }
            Self::Clash => "both partners took one and the same role number",
        }
    }
}

impl core::fmt::Display for SessionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.number, self.reason.text())
    }
}

impl core::error::Error for SessionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sent_as_their_numbers() {
        for (code, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, code, "{reason:?}");
            assert_eq!(usize::from(reason.code()), code);
            assert_eq!(Reason::from_code(reason.code()), *reason);
        }
        assert_eq!(Reason::from_code(50), Reason::Unknown, "one of a later version");
        for code in 0..=255 {
            if let Some(state) = SessionState::from_code(code) {
                assert_eq!(state.code(), code);
            }
        }
    }
}
