//! What a session tells its operator: events, states, refusals with their numbers.

use super::storage::StorageError;
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
    /// This version cannot do that yet: witness and role changes (1428).
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
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 37] = [
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
        assert_eq!(Reason::from_code(37), Reason::Unknown, "one of a later version");
        for code in 0..=255 {
            if let Some(state) = SessionState::from_code(code) {
                assert_eq!(state.code(), code);
            }
        }
    }
}
