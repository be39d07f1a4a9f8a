//! What a witness keeps of one session: the bytes that survive (`docs/protocol.md`, the witness's record).

use crate::crypto::POINT_LEN;
use crate::message::codec::Properties;
use crate::message::crc32c;
use crate::message::{DatabaseName, FamilyGuid, Field, InstanceId, InstanceName, Record, SessionGuid};
use crate::session::StoredError;
use crate::session::decide::witness::Keeping;
use crate::wire::{Full, Malformed, Reader, Writer};

/// Most bytes of a witness's stored record.
pub const WITNESS_STORED_LEN_MAX: usize = 1_024;
/// `DBMW`, little-endian: what a witness's stored record begins with.
const MAGIC: u32 = 0x574d_4244;
/// The version of the stored form, the only one so far.
const VERSION: u16 = 1;

/// One partner of a session, as its registration pins it (`docs/safety.md` R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessPartner {
    /// Its instance.
    pub instance: InstanceId,
    /// The public key that it is to prove itself by until it was met, as an uncompressed point.
    pub key: [u8; POINT_LEN],
    /// The login under which it proved that, here; 0 until it was met. From then on the login stands for it, whose certificates may be
    /// renewed.
    pub login: u32,
    /// What it last called itself; empty until it was met.
    pub name: InstanceName,
}

/// Everything that a witness keeps of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessStored {
    /// The session.
    pub guid: SessionGuid,
    /// The record, or the mark that it was dropped.
    pub keeping: Keeping,
    /// The two partners: who registered the session, then its mirror at that time.
    pub partners: [WitnessPartner; 2],
    /// The database's family; zero until it was told. Shown, and nothing is decided by it, as the two below.
    pub family: FamilyGuid,
    /// SAFETY, time-out, suspension as last told.
    pub properties: Properties,
    /// The database's name; empty until it was told.
    pub name: DatabaseName,
}

impl WitnessStored {
    /// Writes it into `out` and returns its length.
    ///
    /// # Errors
    /// [`Full`] for less room than it needs; [`WITNESS_STORED_LEN_MAX`] always suffices.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Full> {
        let mut to = Writer::new(out);
        to.u32_le(MAGIC)?;
        to.u16_le(VERSION)?;
        to.u16_le(0)?;
        self.guid.write(&mut to)?;
        self.keeping.stored().write(&mut to)?;
        for partner in &self.partners {
            partner.instance.write(&mut to)?;
            partner.key.write(&mut to)?;
            partner.login.write(&mut to)?;
            partner.name.write(&mut to)?;
        }
        self.family.write(&mut to)?;
        self.properties.write(&mut to)?;
        self.name.write(&mut to)?;
        let crc = crc32c(to.written());
        to.u32_le(crc)?;
        Ok(to.len())
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`StoredError`] for anything but the exact bytes that [`WitnessStored::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = Reader::new(bytes);
        if from.u32_le() != Ok(MAGIC) {
            return Err(StoredError::NotARecord);
        }
        let version = from.u16_le().map_err(StoredError::Malformed)?;
        if version != VERSION {
            return Err(StoredError::Version { found: version });
        }
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(StoredError::Damaged)?;
        if crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(StoredError::Damaged);
        }
        let mut from = Reader::new(covered);
        Self::read(&mut from)
            .and_then(|stored| from.finish().map(|()| stored))
            .map_err(StoredError::Malformed)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.u32_le()?;
        from.u16_le()?;
        let reserved = from.malformed();
        if from.u16_le()? != 0 {
            return Err(reserved);
        }
        let guid = Field::read(from)?;
        let wrong = from.malformed();
        let record = Record::read(from)?;
        let keeping = Keeping::read(&record);
        // Nothing at all is not stored, and of a dropped session nothing but its owner is.
        if keeping == Keeping::Blank || keeping.stored() != record {
            return Err(wrong);
        }
        let mut partner = || {
            Ok(WitnessPartner {
                instance: Field::read(from)?,
                key: Field::read(from)?,
                login: Field::read(from)?,
                name: Field::read(from)?,
            })
        };
        Ok(Self {
            guid,
            keeping,
            partners: [partner()?, partner()?],
            family: Field::read(from)?,
            properties: Field::read(from)?,
            name: Field::read(from)?,
        })
    }
}

/// The longest: header, guid, record, two partners, family, properties, name, checksum.
const _: () = assert!(
    8 + 16 + 30 + 2 * (16 + POINT_LEN + 4 + 2 + 128) + 16 + 16 + 2 + 384 + 4 <= WITNESS_STORED_LEN_MAX
);
