//! The messages of `dbm/1` as one table: kind, fields, order (`docs/protocol.md` §2, §3). [`super::codec`] puts them into bytes.

use super::field::Field;
use super::ids::{DatabaseSum, FamilyGuid, InstanceId, LogEnd, Position, SessionGuid, UseNumber};
use super::record::Record;
use super::signature::Signature;
use super::text::{Address, DatabaseName, InstanceName};
use super::timeline::Timelines;
use crate::crypto::{HASH_LEN, POINT_LEN};
use crate::wire::{Full, Malformed, Reader, Writer};

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$lt:lifetime>)? = $kind:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name $(<$lt>)? {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $(<$lt>)? $name $(<$lt>)? {
                /// The kind as sent.
                pub const KIND: u16 = $kind;
            }
        )*

        /// Any message.
        #[expect(
            clippy::large_enum_variant,
            reason = "there is no heap to box on; a message lives on the stack between decoding and its session"
        )]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $($(#[$doc])* $name($name $(<$lt>)?),)*
            /// What only partners say to one another; a witness refuses it, whatever else is in it.
            #[cfg(not(feature = "partner"))]
            OfPartners(OfPartners),
        }

        impl<'a> Message<'a> {
            /// Every kind that this version knows.
            pub const KINDS: &'static [u16] = &[$($kind),*];

            /// The kind as sent.
            #[must_use]
            pub const fn kind(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $kind,)*
                    #[cfg(not(feature = "partner"))]
                    Self::OfPartners(message) => message.kind,
                }
            }

            #[inline(never)]
            pub(super) fn read_body(kind: u16, from: &mut Reader<'a>) -> Option<Result<Self, Malformed>> {
                Some(match kind {
                    $(
                        #[cfg(not(feature = "partner"))]
                        $kind if const { of_partners($kind) } => OfPartners::read(kind, from).map(Self::OfPartners),
                    )*
                    $($kind => (|| Ok(Self::$name($name { $($field: Field::read(from)?),* })))(),)*
                    _ => return None,
                })
            }

            pub(super) fn write_body(&self, to: &mut Writer<'_>) -> Result<(), Full> {
                match self {
                    $(Self::$name(message) => { $(message.$field.write(to)?;)* })*
                    // It is never said.
                    #[cfg(not(feature = "partner"))]
                    Self::OfPartners(_) => return Err(Full),
                }
                Ok(())
            }
        }

        $(
            impl<'a> From<$name $(<$lt>)?> for Message<'a> $(where $lt: 'a, 'a: $lt)? {
                fn from(message: $name $(<$lt>)?) -> Self {
                    Self::$name(message)
                }
            }
        )*
    };
}

messages! {
    /// First on every connection, from both sides: who speaks, and what.
    Hello = 0x0001 {
        /// The lowest version that the sender speaks.
        version_min: u16,
        /// The highest version that the sender speaks.
        version_max: u16,
        /// What the sender can do beyond the version; unknown bits are ignored.
        capabilities: u64,
        /// The sender's instance id.
        instance: InstanceId,
        /// The sender's count of starts.
        boot: u64,
        /// This connection is a test: no session is moved to it.
        probe: bool,
        /// The sender's name, for people.
        name: InstanceName,
    }
    /// The instance with the lower id names the connection that both use from here on.
    Use = 0x0002 {
        /// Its number.
        number: UseNumber,
    }
    /// The sender lives.
    Ping = 0x0003 {
        /// Age in milliseconds of the oldest unfinished operation of its storage.
        progress_age: u32,
    }
    /// The sender is about to close, in order.
    Goodbye = 0x0004 {
        /// Why: the message number, 0 when nothing is wrong.
        number: u32,
    }
    /// A message was not accepted; nothing was changed by it.
    Refusal = 0x0005 {
        /// The session it was about; zero when about none.
        guid: SessionGuid,
        /// The kind of the refused message.
        kind: u16,
        /// The message number.
        number: u32,
        /// The reason's code.
        reason: u16,
    }

    /// The sender is going to prove itself by this certificate: keep it beside the one that it proves itself by now.
    Successor<'a> = 0x0006 {
        /// The sender's number for this message; it rises.
        number: u64,
        /// By the certificate's own key, over what `docs/protocol.md` §2 lists.
        signature: Signature,
        /// The certificate in DER.
        certificate: &'a [u8],
    }
    /// The sender will never again prove itself by that certificate: it need not be kept.
    Retired = 0x0007 {
        /// The sender's number for this message; it rises.
        number: u64,
        /// SHA-256 of the certificate in DER.
        digest: [u8; HASH_LEN],
    }
    /// Answers a SUCCESSOR or RETIRED.
    CertificateAnswer = 0x0008 {
        /// The number of what is answered.
        number: u64,
        /// 0: it is done, durably; else the message number of the refusal.
        message: u32,
        /// The reason's code.
        reason: u16,
    }

    /// 0x8009: the time at the sender, which has a clock. Said when the connection comes online, and once a day. Nothing is decided by it but
    /// on a device that has no clock (`docs/appliance.md`).
    Time = 0x8009 {
        /// Seconds since 1970, UTC.
        unix: u64,
    }

    /// Principal to mirror: begin a session. Idempotent by guid.
    Start = 0x0010 {
        /// The new session.
        guid: SessionGuid,
        /// The record to begin with.
        record: Record,
        /// The database's family.
        family: FamilyGuid,
        /// The end of the principal's log.
        end: LogEnd,
        /// SAFETY, time-out and suspension to begin with.
        properties: Properties,
        /// The history with the session's new timeline as its last.
        timelines: Timelines,
        /// The address that the principal dials, for people.
        partner: Address,
        /// The database's name.
        name: DatabaseName,
    }
    /// Mirror to principal: it is durable here.
    StartAccepted = 0x0011 {
        /// The session.
        guid: SessionGuid,
        /// The record as persisted.
        record: Record,
        /// The end of the mirror's log.
        end: LogEnd,
        /// It has nothing and asks to be seeded.
        wants_seed: bool,
        /// The mirror's history.
        timelines: Timelines,
    }
    /// Mirror to principal: no session began.
    StartRefused = 0x0012 {
        /// The session that was asked for.
        guid: SessionGuid,
        /// The message number.
        number: u32,
        /// The reason's code.
        reason: u16,
    }
    /// What a member holds of a session, once on each connection that is used, and after a change of role.
    SessionHello = 0x0013 {
        /// The session.
        guid: SessionGuid,
        /// The member's durable record.
        record: Record,
        /// The number of an open ask; 0 when none is open.
        ask: u32,
        /// The witness; zero when there is none.
        witness: InstanceId,
        /// The role_sequence at which it was named.
        witness_role_sequence: u32,
        /// The sync_sequence at which it was named.
        witness_sync_sequence: u64,
        /// It is named and not registered yet.
        witness_pending: bool,
        /// The end of the member's log, after every write begun earlier.
        end: LogEnd,
        /// It has nothing and asks to be seeded.
        wants_seed: bool,
        /// Bytes that the other may send before more credit comes.
        credit: u32,
        /// SAFETY, time-out and suspension as the member knows them.
        properties: Properties,
        /// The member's history.
        timelines: Timelines,
    }
    /// The sender does not hold that session.
    None = 0x0014 {
        /// The session.
        guid: SessionGuid,
    }
    /// The session was ended by the sender's operator.
    Tombstone = 0x0015 {
        /// The session.
        guid: SessionGuid,
        /// The sender's last record.
        record: Record,
    }
    /// Goes right before a hello that is not the first on its binding: it says why that hello comes.
    HelloAgain = 0x0016 {
        /// The session.
        guid: SessionGuid,
        /// The sender's role_sequence has changed, or it learnt of another's: to be answered by the receiver's hello, once.
        answer: bool,
    }

    /// Principal to mirror: a piece of a log block as stored.
    Block<'a> = 0x0020 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment it is sent under.
        role_sequence: u32,
        /// The block.
        position: Position,
        /// Everything up to here is decided: published, never to be voided.
        decided: Position,
        /// Length of the whole block.
        total: u32,
        /// Offset of the piece.
        offset: u32,
        /// The piece.
        bytes: &'a [u8],
    }
    /// Mirror to principal: hardened up to here.
    Ack = 0x0021 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment of what is acknowledged.
        role_sequence: u32,
        /// The last hardened block.
        position: Position,
        /// The first eight bytes of the chain after it.
        chain_prefix: u64,
    }
    /// How many bytes of pieces may be sent in all since the session was bound here.
    Credit = 0x0022 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// The limit.
        limit: u64,
    }
    /// Principal to mirror: the session's state, and what is decided.
    Status = 0x0023 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// `mirroring_state`.
        state: u8,
        /// The end of the principal's log.
        end: Position,
        /// Everything up to here is decided.
        decided: Position,
    }
    /// Principal to mirror, after the principal's restart: send what you hold beyond this.
    TailRequest = 0x0024 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// The end of the principal's log.
        from: LogEnd,
        /// The end of the mirror's, from its hello.
        to: Position,
    }
    /// Mirror to principal: a piece of a block of the tail that was asked for.
    Tail<'a> = 0x0025 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment of the request.
        role_sequence: u32,
        /// The block.
        position: Position,
        /// Length of the whole block.
        total: u32,
        /// Offset of the piece.
        offset: u32,
        /// The piece.
        bytes: &'a [u8],
    }

    /// Mirror to principal: begin a seed.
    SeedRequest = 0x0030 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
    }
    /// Principal to mirror: a seed begins.
    SeedBegin = 0x0031 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// The position whose content it has.
        at: LogEnd,
        /// Bytes of a page.
        page_size: u32,
        /// Bytes of the whole.
        bytes: u64,
        /// The history up to there.
        timelines: Timelines,
    }
    /// Principal to mirror: a piece of the seed.
    Seed<'a> = 0x0032 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// Offset of the piece.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    }
    /// Principal to mirror: the seed is complete.
    SeedEnd = 0x0033 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// Bytes of the whole.
        bytes: u64,
        /// The sum of the content.
        sum: DatabaseSum,
    }

    /// Principal to mirror: SAFETY, time-out and suspension.
    SetProperties = 0x0040 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// The values with their numbers.
        properties: Properties,
    }
    /// Mirror to principal: its operator asks to suspend or resume. Void if the numbers have moved.
    AskSuspend = 0x0041 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment that was seen.
        role_sequence: u32,
        /// The suspension's number that was seen.
        suspended_sequence: u32,
        /// Suspend, or resume.
        suspend: bool,
    }
    /// Principal to mirror: what its instance keeps beside the database for whoever serves it next, in place of what came
    /// before. Opaque here.
    Attachment<'a> = 0x8042 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment it was sent under.
        role_sequence: u32,
        /// The bytes; none: there is nothing any more.
        bytes: &'a [u8],
    }

    /// A role claim: the sender proposes this record (FAILOVER, hand-back).
    Propose = 0x0050 {
        /// The session.
        guid: SessionGuid,
        /// The proposed record.
        record: Record,
        /// The end of the sender's log.
        end: LogEnd,
    }
    /// Mirror to witness: may I take over?
    Ask = 0x0051 {
        /// The session.
        guid: SessionGuid,
        /// The ask's number.
        number: u32,
        /// The mirror's record.
        record: Record,
        /// The partner time-out in milliseconds.
        timeout: u32,
        /// By FORCE_SERVICE_ALLOW_DATA_LOSS.
        force: bool,
    }
    /// Witness to mirror: yes.
    Grant = 0x0052 {
        /// The session.
        guid: SessionGuid,
        /// The ask that is answered.
        ask: u32,
        /// The record as persisted.
        record: Record,
    }
    /// Witness to mirror: no.
    Denial = 0x0053 {
        /// The session.
        guid: SessionGuid,
        /// The ask that is answered.
        ask: u32,
        /// The witness's record.
        record: Record,
    }
    /// Owner to witness: take part with this record.
    Register = 0x0054 {
        /// The session.
        guid: SessionGuid,
        /// The request's number.
        request: u64,
        /// The record to persist.
        record: Record,
        /// The principal's instance.
        principal: InstanceId,
        /// The principal's public key.
        principal_key: [u8; POINT_LEN],
        /// The mirror's instance.
        mirror: InstanceId,
        /// The mirror's public key.
        mirror_key: [u8; POINT_LEN],
    }
    /// Owner to mirror or witness: persist this record; or the answer: it is persisted.
    Confirm = 0x0055 {
        /// The session.
        guid: SessionGuid,
        /// The request's number; 0 in a request that needs none.
        request: u64,
        /// This is the answer.
        answer: bool,
        /// The record.
        record: Record,
    }
    /// Owner to witness: the session needs you no more.
    Drop = 0x0056 {
        /// The session.
        guid: SessionGuid,
        /// The request's number.
        request: u64,
        /// The owner's record.
        record: Record,
    }
    /// Owner to mirror: name this witness (pending), or: I have persisted it (no longer pending). The mirror answers with what it
    /// names then.
    NameWitness = 0x0057 {
        /// The session.
        guid: SessionGuid,
        /// This is the answer.
        answer: bool,
        /// The sender's record; the mirror names the witness at these numbers.
        record: Record,
        /// The witness's instance; zero for none.
        witness: InstanceId,
        /// It is named and not registered yet.
        pending: bool,
        /// Where the witness is; empty for none, and in an answer.
        address: Address,
    }
    /// 0x8058, owner to witness: what the witness shows of the session and decides nothing by. Said on every binding, and after every
    /// change.
    Described = 0x8058 {
        /// The session.
        guid: SessionGuid,
        /// The role assignment.
        role_sequence: u32,
        /// The database's family.
        family: FamilyGuid,
        /// SAFETY, time-out, suspension.
        properties: Properties,
        /// The database's name.
        name: DatabaseName,
    }
}

/// A message that partners say to one another, as a build that is a witness and nothing else takes it: what it is about.
#[cfg(not(feature = "partner"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfPartners {
    /// Its kind.
    pub kind: u16,
    /// The session.
    pub guid: SessionGuid,
}

#[cfg(not(feature = "partner"))]
impl OfPartners {
    fn read(kind: u16, from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let guid = Field::read(from)?;
        from.take_rest();
        Ok(Self { kind, guid })
    }
}

/// Kinds that no witness ever hears from who keeps to the protocol, nor says. All begin with the session's guid.
#[cfg(not(feature = "partner"))]
const fn of_partners(kind: u16) -> bool {
    matches!(
        kind,
        Start::KIND
            | Block::KIND
            | Ack::KIND
            | Credit::KIND
            | Status::KIND
            | TailRequest::KIND
            | Tail::KIND
            | SeedRequest::KIND
            | SeedBegin::KIND
            | Seed::KIND
            | SeedEnd::KIND
            | SetProperties::KIND
            | AskSuspend::KIND
            | Attachment::KIND
            | Propose::KIND
            | NameWitness::KIND
    )
}

/// SAFETY, time-out and suspension with the numbers that version them (`docs/safety.md` R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Version of SAFETY.
    pub safety_sequence: u32,
    /// SAFETY is FULL.
    pub safety_full: bool,
    /// Version of the suspension.
    pub suspended_sequence: u32,
    /// The session is suspended.
    pub suspended: bool,
    /// Version of the time-out.
    pub timeout_sequence: u32,
    /// The partner time-out in seconds.
    pub timeout: u16,
}

impl<'a> Field<'a> for Properties {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            safety_sequence: Field::read(from)?,
            safety_full: Field::read(from)?,
            suspended_sequence: Field::read(from)?,
            suspended: Field::read(from)?,
            timeout_sequence: Field::read(from)?,
            timeout: Field::read(from)?,
        })
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        self.safety_sequence.write(to)?;
        self.safety_full.write(to)?;
        self.suspended_sequence.write(to)?;
        self.suspended.write(to)?;
        self.timeout_sequence.write(to)?;
        self.timeout.write(to)
    }
}

impl Default for Properties {
    /// FULL, not suspended, ten seconds; every number 1.
    fn default() -> Self {
        Self {
            safety_sequence: 1,
            safety_full: true,
            suspended_sequence: 1,
            suspended: false,
            timeout_sequence: 1,
            timeout: 10,
        }
    }
}

#[cfg(all(test, not(feature = "partner")))]
mod tests {
    use super::*;
    use crate::message::codec::HEADER_LEN;

    /// What a witness has to answer of it is there; what only a partner could use is not looked at.
    #[test]
    fn of_partners_what_it_is_about_is_read() {
        let guid = SessionGuid([7; 16]);
        let mut seen = 0;
        for kind in Message::KINDS.iter().copied().filter(|kind| of_partners(*kind)) {
            let mut bytes = std::vec![0xee; HEADER_LEN + 16 + 40];
            bytes[..4].copy_from_slice(&56_u32.to_le_bytes());
            bytes[4..6].copy_from_slice(&kind.to_le_bytes());
            bytes[6..8].fill(0);
            bytes[8..24].copy_from_slice(&guid.0);
            let message = Message::decode(&mut Reader::new(&bytes)).unwrap().unwrap();
            assert_eq!((message.kind(), message.guid()), (kind, Some(guid)));
            // Not even whose it is.
            bytes.truncate(HEADER_LEN + 15);
            bytes[..4].copy_from_slice(&15_u32.to_le_bytes());
            assert!(Message::decode(&mut Reader::new(&bytes)).is_err(), "{kind:#06x}");
            seen += 1;
        }
        assert_eq!(seen, 16);
    }

    /// Whatever a witness acts on is read whole, as on a server.
    #[test]
    fn of_partners_are_none_that_a_witness_hears() {
        for kind in [
            Hello::KIND,
            SessionHello::KIND,
            None::KIND,
            Tombstone::KIND,
            HelloAgain::KIND,
            Refusal::KIND,
            Ask::KIND,
            Register::KIND,
            Confirm::KIND,
            Drop::KIND,
            Described::KIND,
            Grant::KIND,
            Denial::KIND,
        ] {
            assert!(!of_partners(kind), "{kind:#06x}");
        }
    }
}
