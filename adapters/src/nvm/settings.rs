//! What a device's memory holds, byte by byte (`docs/nvm.md`). All numbers are little-endian.

use dbmirror_core::cert::{CERTIFICATE_LEN_MAX, Pin};
use dbmirror_core::crypto::Hash;
use dbmirror_core::keys::WRAPPED_KEY_LEN_MAX;
use dbmirror_core::message::{Address, InstanceId, InstanceName, Text};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use dbmirror_core::wire::{Full, Malformed, Reader, Writer};
use embedded_storage_async::nor_flash::NorFlash;

use super::{Key, Kind, NvmError, Store, VALUE_LEN_MAX};

/// The version of the layout.
pub const SCHEMA: u16 = 1;
/// Most certificates of peers.
pub const PEERS_MAX: u8 = 8;

/// The name of a login.
pub type LoginName = Text<128>;

/// Why a memory cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The memory itself.
    Nvm(NvmError),
    /// A value is not there: never provisioned, or not wholly.
    Missing(Kind),
    /// A value does not have its form.
    Malformed(Kind),
    /// The layout has a version that this program does not know.
    Schema {
        /// That version.
        found: u16,
    },
}

impl From<NvmError> for SettingsError {
    fn from(error: NvmError) -> Self {
        Self::Nvm(error)
    }
}

impl core::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nvm(error) => error.fmt(f),
            Self::Missing(kind) => write!(f, "the memory has no {}", name(*kind)),
            Self::Malformed(kind) => write!(f, "the memory's {} is malformed", name(*kind)),
            Self::Schema { found } => write!(
                f,
                "the memory has layout {found}, and this program knows layout {SCHEMA}: provision it again"
            ),
        }
    }
}

impl core::error::Error for SettingsError {}

/// A word for a kind of value.
#[must_use]
pub const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Header => "header",
        Kind::Network => "network settings",
        Kind::Identity => "identity",
        Kind::Peer => "peer",
        Kind::Start => "seed",
        Kind::Floor => "time",
        Kind::Record => "record",
        Kind::HandedOver => "handed-over certificate",
        Kind::Succession => "own successor",
    }
}

/// Reads the value of `key` and takes it apart; nothing may be left. A frame of its own: a device's stack holds one of these buffers at a
/// time.
#[inline(never)]
pub(super) fn read<H: Hash, F: NorFlash, T>(
    store: &mut Store<F>,
    key: Key,
    take: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Option<T>, SettingsError> {
    // Seeds and wrapped keys pass through here: wiped when it goes.
    let mut bytes = Secret::<VALUE_LEN_MAX>::zero();
    let Some(len) = store.get::<H>(key, bytes.expose_mut())? else {
        return Ok(None);
    };
    let malformed = SettingsError::Malformed(key.kind);
    let mut from = Reader::new(bytes.expose().get(..len).ok_or(malformed)?);
    let value = take(&mut from).map_err(|_| malformed)?;
    from.finish().map_err(|_| malformed)?;
    Ok(Some(value))
}

#[inline(never)]
pub(super) fn write<H: Hash, F: NorFlash>(
    store: &mut Store<F>,
    key: Key,
    give: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) -> Result<(), SettingsError> {
    let mut bytes = Secret::<VALUE_LEN_MAX>::zero();
    let mut to = Writer::new(bytes.expose_mut());
    give(&mut to).map_err(|Full| NvmError::TooLong)?;
    let len = to.len();
    store.put::<H>(key, bytes.expose().get(..len).ok_or(NvmError::TooLong)?)?;
    Ok(())
}

fn put_text<const N: usize>(to: &mut Writer<'_>, text: &Text<N>) -> Result<(), Full> {
    let text = text.as_str().as_bytes();
    to.u16_le(u16::try_from(text.len()).map_err(|_| Full)?)?;
    to.bytes(text)
}

fn take_text<const N: usize>(from: &mut Reader<'_>) -> Result<Text<N>, Malformed> {
    let malformed = from.malformed();
    let len = from.u16_le()?;
    Text::from_bytes(from.bytes(len.into())?).map_err(|_| malformed)
}

pub(super) fn put_i64(to: &mut Writer<'_>, number: i64) -> Result<(), Full> {
    to.bytes(&number.to_le_bytes())
}

pub(super) fn take_i64(from: &mut Reader<'_>) -> Result<i64, Malformed> {
    from.array().map(i64::from_le_bytes)
}

pub(super) fn put_pin(to: &mut Writer<'_>, pin: &Pin) -> Result<(), Full> {
    to.bytes(&pin.sha256)?;
    to.bytes(&pin.point)?;
    put_i64(to, pin.not_before.0)?;
    put_i64(to, pin.not_after.0)
}

pub(super) fn take_pin(from: &mut Reader<'_>) -> Result<Pin, Malformed> {
    Ok(Pin {
        sha256: from.array()?,
        point: from.array()?,
        not_before: UnixSeconds(take_i64(from)?),
        not_after: UnixSeconds(take_i64(from)?),
    })
}

/// Which device this is, and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The instance id.
    pub instance: InstanceId,
    /// The instance's name.
    pub name: InstanceName,
    /// How many peers were provisioned: one that is gone is noticed.
    pub peers: u8,
    /// When it was provisioned.
    pub provisioned: UnixSeconds,
}

impl Header {
    const KEY: Key = Key::only(Kind::Header);

    /// Reads it; the version comes first.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Self, SettingsError> {
        let mut other = None;
        let header = read::<H, F, _>(store, Self::KEY, |from| {
            let schema = from.u16_le()?;
            if schema != SCHEMA {
                other = Some(schema);
                from.take_rest();
                return Ok(None);
            }
            Ok(Some(Self {
                instance: InstanceId(from.array()?),
                peers: from.u8()?,
                provisioned: UnixSeconds(take_i64(from)?),
                name: take_text(from)?,
            }))
        })?;
        match (header, other) {
            (_, Some(found)) => Err(SettingsError::Schema { found }),
            (Some(Some(header)), None) if header.peers <= PEERS_MAX => Ok(header),
            (Some(_), None) => Err(SettingsError::Malformed(Kind::Header)),
            (None, None) => Err(SettingsError::Missing(Kind::Header)),
        }
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| {
            to.u16_le(SCHEMA)?;
            to.bytes(&self.instance.0)?;
            to.u8(self.peers)?;
            put_i64(to, self.provisioned.0)?;
            put_text(to, &self.name)
        })
    }
}

/// The device's place in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IPv4 address.
    pub address: [u8; 4],
    /// Bits of the network in it, 1 to 30.
    pub prefix: u8,
    /// The way to other networks.
    pub gateway: Option<[u8; 4]>,
    /// The endpoint's port.
    pub port: u16,
}

impl NetworkSettings {
    const KEY: Key = Key::only(Kind::Network);

    /// Reads it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Self, SettingsError> {
        read::<H, F, _>(store, Self::KEY, |from| {
            let malformed = from.malformed();
            let settings = Self {
                mac: from.array()?,
                address: from.array()?,
                prefix: from.u8()?,
                gateway: Some(from.array()?).filter(|gateway| *gateway != [0; 4]),
                port: from.u16_le()?,
            };
            if (1..=30).contains(&settings.prefix) && settings.port > 0 {
                Ok(settings)
            } else {
                Err(malformed)
            }
        })?
        .ok_or(SettingsError::Missing(Kind::Network))
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| {
            to.bytes(&self.mac)?;
            to.bytes(&self.address)?;
            to.u8(self.prefix)?;
            to.bytes(&self.gateway.unwrap_or([0; 4]))?;
            to.u16_le(self.port)
        })
    }
}

/// A DER value of bounded length.
#[derive(Clone, PartialEq, Eq)]
pub struct Der<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Der<N> {
    /// Takes `der` of at most `N` bytes.
    #[must_use]
    pub fn new(der: &[u8]) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..der.len())?.copy_from_slice(der);
        Some(Self {
            bytes,
            len: der.len(),
        })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn put(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u16_le(u16::try_from(self.len).map_err(|_| Full)?)?;
        to.bytes(self.as_bytes())
    }

    pub(super) fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = from.malformed();
        let len = from.u16_le()?;
        Self::new(from.bytes(len.into())?).ok_or(malformed)
    }
}

/// Who the device is.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentitySettings {
    /// The certificate's number in the catalog that it came from.
    pub certificate_id: u32,
    /// The database master key, wrapped by the device's key (`docs/keys.md`).
    pub master_key: Der<WRAPPED_KEY_LEN_MAX>,
    /// The private key, wrapped by the database master key.
    pub private_key: Der<WRAPPED_KEY_LEN_MAX>,
    /// The certificate.
    pub certificate: Der<CERTIFICATE_LEN_MAX>,
}

impl IdentitySettings {
    const KEY: Key = Key::only(Kind::Identity);

    /// Reads it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Self, SettingsError> {
        read::<H, F, _>(store, Self::KEY, |from| {
            Ok(Self {
                certificate_id: from.u32_le()?,
                master_key: Der::take(from)?,
                private_key: Der::take(from)?,
                certificate: Der::take(from)?,
            })
        })?
        .ok_or(SettingsError::Missing(Kind::Identity))
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| {
            to.u32_le(self.certificate_id)?;
            self.master_key.put(to)?;
            self.private_key.put(to)?;
            self.certificate.put(to)
        })
    }
}

/// Whether a login may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connect {
    /// Neither granted nor denied: refused.
    None,
    /// GRANT CONNECT.
    Granted,
    /// DENY CONNECT.
    Denied,
}

/// A peer: one certificate and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The certificate's number.
    pub certificate_id: u32,
    /// The login behind it; 0 for none.
    pub login_id: u32,
    /// CONNECT on the endpoint.
    pub connect: Connect,
    /// What it must show.
    pub pin: Pin,
    /// The login's name.
    pub login: LoginName,
    /// Where the device dials it: `TCP://a.b.c.d:port`; empty for not at all.
    pub address: Address,
}

impl Peer {
    /// Reads the peer with that number, from 0.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>, number: u8) -> Result<Self, SettingsError> {
        read::<H, F, _>(store, Key::numbered(Kind::Peer, number), |from| {
            let malformed = from.malformed();
            Ok(Self {
                certificate_id: from.u32_le()?,
                login_id: from.u32_le()?,
                connect: match from.u8()? {
                    0 => Connect::None,
                    1 => Connect::Granted,
                    2 => Connect::Denied,
                    _ => return Err(malformed),
                },
                pin: take_pin(from)?,
                login: take_text(from)?,
                address: take_text(from)?,
            })
        })?
        .ok_or(SettingsError::Missing(Kind::Peer))
    }

    /// Stores it under that number.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>, number: u8) -> Result<(), SettingsError> {
        write::<H, F>(store, Key::numbered(Kind::Peer, number), |to| {
            to.u32_le(self.certificate_id)?;
            to.u32_le(self.login_id)?;
            to.u8(match self.connect {
                Connect::None => 0,
                Connect::Granted => 1,
                Connect::Denied => 2,
            })?;
            put_pin(to, &self.pin)?;
            put_text(to, &self.login)?;
            put_text(to, &self.address)
        })
    }
}

/// The seed, and how often the device was started.
pub struct Start {
    /// Starts so far.
    pub count: u64,
    /// Used by the next start alone (`seed`).
    pub seed: Secret<32>,
}

impl Start {
    const KEY: Key = Key::only(Kind::Start);

    /// Reads it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Self, SettingsError> {
        read::<H, F, _>(store, Self::KEY, |from| {
            Ok(Self {
                count: from.u64_le()?,
                seed: Secret::new(from.array()?),
            })
        })?
        .ok_or(SettingsError::Missing(Kind::Start))
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| {
            to.u64_le(self.count)?;
            to.bytes(self.seed.expose())
        })
    }
}

/// The time that has certainly passed: notAfter is judged by it, notBefore is not judged (`docs/appliance.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor(pub UnixSeconds);

impl Floor {
    const KEY: Key = Key::only(Kind::Floor);

    /// Reads it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Self, SettingsError> {
        read::<H, F, _>(store, Self::KEY, |from| Ok(Self(UnixSeconds(take_i64(from)?))))?
            .ok_or(SettingsError::Missing(Kind::Floor))
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| put_i64(to, self.0.0))
    }
}
