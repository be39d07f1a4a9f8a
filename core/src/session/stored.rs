//! The session as stored: the bytes that survive (`docs/protocol.md`, stored record).

use super::command::Safety;
use super::storage::DatabaseId;
use super::view::Role;
use crate::message::codec::Properties;
use crate::message::crc32c;
use crate::message::{
    Address, DatabaseName, FamilyGuid, Field, InstanceId, Position, Record, SessionGuid, Timelines,
};
use crate::wire::{Full, Malformed, Reader, Writer};

/// Most bytes of a stored record.
pub const STORED_LEN_MAX: usize = 1_536;
/// `DBMS`, little-endian: what a stored record begins with.
const MAGIC: u32 = 0x534d_4244;
/// The version of the stored form that is written.
const VERSION: u16 = 2;
/// The one before, which had no witness's address; it is still read.
const VERSION_1: u16 = 1;

/// Where a session stands, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPhase {
    /// A mirror that waits for its principal.
    Waiting,
    /// Both hold it.
    Established,
    /// It ended here: a tombstone.
    Ended,
}

/// Everything durable of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The database.
    pub database: DatabaseId,
    /// Where it stands.
    pub phase: StoredPhase,
    /// The role of this member.
    pub role: Role,
    /// The session; zero while a mirror waits.
    pub guid: SessionGuid,
    /// The database's family; zero for a mirror that has nothing yet.
    pub family: FamilyGuid,
    /// The record (`docs/safety.md` R1).
    pub record: Record,
    /// The number of the highest ask ever persisted (R3); 0 before the first.
    pub ask: u32,
    /// The highest ask is open.
    pub ask_open: bool,
    /// The highest ask is one of forced service (R8).
    pub ask_force: bool,
    /// It has lost blocks that were hardened, so what was acknowledged may be on the partner only (R6).
    pub incomplete: bool,
    /// Mirror: it has nothing and asks to be seeded.
    pub wants_seed: bool,
    /// Mirror: it has taken a seed or a block in this session (R0).
    pub touched: bool,
    /// The login that the partner's address authenticated (R11).
    pub partner_login: u32,
    /// The instance id that the partner's address authenticated (R11).
    pub partner_instance: InstanceId,
    /// The witness; zero where none is set.
    pub witness: InstanceId,
    /// The `role_sequence` at which it was named.
    pub witness_role_sequence: u32,
    /// The `sync_sequence` at which it was named.
    pub witness_sync_sequence: u64,
    /// It is named and not registered yet (R5).
    pub witness_pending: bool,
    /// Where the witness is.
    pub witness_address: Address,
    /// The login that the witness's address authenticated; 0 until this member has met it.
    pub witness_login: u32,
    /// `mirroring_failover_lsn` as of the last change of role: where the new owner's history begins.
    pub failover: Position,
    /// Both partners own one role_sequence (R8): nothing is served before an operator has forced one of them.
    pub clash: bool,
    /// SAFETY, time-out, suspension.
    pub properties: Properties,
    /// The history.
    pub timelines: Timelines,
    /// Where the partner is, as this instance's operator typed it.
    pub partner: Address,
    /// The database's name.
    pub name: DatabaseName,
}

/// Why stored bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredError {
    /// Another beginning: no record at all.
    NotARecord,
    /// A version that this program does not know.
    Version {
        /// That version.
        found: u16,
    },
    /// The checksum does not fit: damaged.
    Damaged,
    /// The checksum fits, the fields do not have their form.
    Malformed(Malformed),
}

impl Stored {
    /// SAFETY as a word.
    #[must_use]
    pub const fn safety(&self) -> Safety {
        if self.properties.safety_full {
            Safety::Full
        } else {
            Safety::Off
        }
    }

    /// Writes the record into `out` and returns its length.
    ///
    /// # Errors
    /// [`Full`] for less room than the record needs; [`STORED_LEN_MAX`] always suffices.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Full> {
        let mut to = Writer::new(out);
        to.u32_le(MAGIC)?;
        to.u16_le(VERSION)?;
        to.u16_le(0)?;
        self.write(&mut to)?;
        let crc = crc32c(to.written());
        to.u32_le(crc)?;
        Ok(to.len())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`StoredError`] for anything but the exact bytes that [`Stored::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = Reader::new(bytes);
        if from.u32_le() != Ok(MAGIC) {
            return Err(StoredError::NotARecord);
        }
        let version = from.u16_le().map_err(StoredError::Malformed)?;
        if version != VERSION && version != VERSION_1 {
            return Err(StoredError::Version { found: version });
        }
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(StoredError::Damaged)?;
        if crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(StoredError::Damaged);
        }
        let mut from = Reader::new(covered);
        from.u32_le()
            .and_then(|_| from.u16_le())
            .and_then(|_| {
                let reserved = from.malformed();
                if from.u16_le()? == 0 {
                    Ok(())
                } else {
                    Err(reserved)
                }
            })
            .and_then(|()| Self::read(&mut from, version))
            .and_then(|stored| from.finish().map(|()| stored))
            .map_err(StoredError::Malformed)
    }

    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u32_le(self.database.0)?;
        to.u8(match self.phase {
            StoredPhase::Waiting => 1,
            StoredPhase::Established => 2,
            StoredPhase::Ended => 3,
        })?;
        to.u8(self.role.code())?;
        self.guid.write(to)?;
        self.family.write(to)?;
        self.record.write(to)?;
        self.ask.write(to)?;
        self.ask_open.write(to)?;
        self.incomplete.write(to)?;
        self.wants_seed.write(to)?;
        self.touched.write(to)?;
        self.partner_login.write(to)?;
        self.partner_instance.write(to)?;
        self.witness.write(to)?;
        self.witness_role_sequence.write(to)?;
        self.witness_sync_sequence.write(to)?;
        self.witness_pending.write(to)?;
        self.properties.write(to)?;
        self.timelines.write(to)?;
        self.partner.write(to)?;
        self.name.write(to)?;
        self.ask_force.write(to)?;
        self.clash.write(to)?;
        self.witness_login.write(to)?;
        self.failover.write(to)?;
        self.witness_address.write(to)
    }

    fn read(from: &mut Reader<'_>, version: u16) -> Result<Self, Malformed> {
        let mut stored = Self {
            database: DatabaseId(from.u32_le()?),
            phase: coded(from, |code| {
                Some(match code {
                    1 => StoredPhase::Waiting,
                    2 => StoredPhase::Established,
                    3 => StoredPhase::Ended,
                    _ => return None,
                })
            })?,
            role: coded(from, |code| {
                Some(match code {
                    1 => Role::Principal,
                    2 => Role::Mirror,
                    _ => return None,
                })
            })?,
            guid: Field::read(from)?,
            family: Field::read(from)?,
            record: Field::read(from)?,
            ask: Field::read(from)?,
            ask_open: Field::read(from)?,
            incomplete: Field::read(from)?,
            wants_seed: Field::read(from)?,
            touched: Field::read(from)?,
            partner_login: Field::read(from)?,
            partner_instance: Field::read(from)?,
            witness: Field::read(from)?,
            witness_role_sequence: Field::read(from)?,
            witness_sync_sequence: Field::read(from)?,
            witness_pending: Field::read(from)?,
            properties: Field::read(from)?,
            timelines: Field::read(from)?,
            partner: Field::read(from)?,
            name: Field::read(from)?,
            ask_force: false,
            clash: false,
            witness_login: 0,
            failover: Position::START,
            witness_address: Address::EMPTY,
        };
        if version != VERSION_1 {
            stored.ask_force = Field::read(from)?;
            stored.clash = Field::read(from)?;
            stored.witness_login = Field::read(from)?;
            stored.failover = Field::read(from)?;
            stored.witness_address = Field::read(from)?;
        }
        Ok(stored)
    }
}

fn coded<T>(from: &mut Reader<'_>, known: impl FnOnce(u8) -> Option<T>) -> Result<T, Malformed> {
    let wrong = from.malformed();
    known(from.u8()?).ok_or(wrong)
}

impl core::fmt::Display for StoredError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotARecord => f.write_str("not a session record"),
            Self::Version { found } => write!(f, "a session record of the unknown version {found}"),
            Self::Damaged => f.write_str("a damaged session record"),
            Self::Malformed(at) => write!(f, "a session record {at}"),
        }
    }
}

impl core::error::Error for StoredError {}
