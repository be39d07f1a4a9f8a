//! From a catalog to the bytes of a device's memory.

use std::net::Ipv4Addr;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::nvm::settings::{
    Connect, Der, Floor, Header, IdentitySettings, LoginName, NetworkSettings, PEERS_MAX, Peer,
    SettingsError, Start,
};
use dbmirror_adapters::nvm::{DeviceKey, ERASE_LEN, NVM_LEN, Store};
use dbmirror_core::cert::Pin;
use dbmirror_core::crypto::Hash as _;
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::message::{Address, InstanceId, InstanceName};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use super::{DialedPeer, Failure, Network};
use crate::catalog::keys::{self, Sha256};
use crate::catalog::{MASTER_ID, certificates, dates, endpoints};
use crate::engine;
use crate::instance::Instance;
use crate::instance::endpoint::{STARTED, obstacle};

/// ROLE = WITNESS.
const WITNESS: i32 = 2;

/// What the command line adds to the script.
pub(super) struct Plan<'a> {
    pub(super) network: Network,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) peers: &'a [DialedPeer],
}

/// What is to be told about it.
pub(super) struct Summary {
    /// The device's certificate in DER.
    pub(super) certificate: Vec<u8>,
    pub(super) notes: Vec<String>,
}

/// A memory in RAM.
pub(super) struct Memory(pub(super) Vec<u8>);

#[derive(Debug)]
pub(super) struct OutOfRange;

impl NorFlashError for OutOfRange {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::OutOfBounds
    }
}

impl Memory {
    /// An erased one.
    fn new() -> Self {
        Self(vec![0xff; NVM_LEN as usize])
    }

    fn range(&mut self, offset: u32, len: usize) -> Result<&mut [u8], OutOfRange> {
        let offset = offset as usize;
        let end = offset.checked_add(len).ok_or(OutOfRange)?;
        self.0.get_mut(offset..end).ok_or(OutOfRange)
    }
}

impl ErrorType for Memory {
    type Error = OutOfRange;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        bytes.copy_from_slice(self.range(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE_LEN as usize;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), OutOfRange> {
        let len = to.checked_sub(from).ok_or(OutOfRange)? as usize;
        self.range(from, len)?.fill(0xff);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.range(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
}

/// Makes the memory of a device that is what `instance`'s catalog says.
pub(super) fn build(
    instance: &Instance,
    plan: &Plan<'_>,
    device: &DeviceKey,
) -> Result<(Vec<u8>, Summary), Failure> {
    let refused = |text: String| Failure::statement(text);
    let stored = |error: SettingsError| Failure::statement(error.to_string());
    let failed = |error: rusqlite::Error| Failure::statement(error.to_string());
    let catalog = instance.master();
    let mut notes = Vec::new();

    let endpoint = endpoints::mirroring(&catalog).map_err(failed)?.ok_or_else(|| {
        refused("the script makes no endpoint: CREATE ENDPOINT … FOR DATABASE_MIRRORING (…, ROLE = WITNESS) is needed".to_owned())
    })?;
    if endpoint.role != WITNESS {
        return Err(refused(format!(
            "a device keeps no database: give the endpoint {} ROLE = WITNESS",
            endpoint.name
        )));
    }
    if let Some(why) = obstacle(&endpoint) {
        return Err(refused(format!(
            "the endpoint {} cannot run: {why}",
            endpoint.name
        )));
    }
    if endpoint.state != STARTED {
        return Err(refused(format!(
            "the endpoint {} is not STARTED: a device has no other",
            endpoint.name
        )));
    }
    if let Some(address) = &endpoint.ip_address
        && *address != plan.network.address.to_string()
    {
        return Err(refused(format!(
            "LISTENER_IP is {address}, and --address is {}: a device has one address",
            plan.network.address
        )));
    }

    let identity = crate::instance::endpoint::identity(instance, &catalog, endpoint.certificate_id)
        .map_err(|error| refused(error.text))?;
    let certificate = certificates::by_id(&catalog, endpoint.certificate_id)
        .map_err(failed)?
        .ok_or_else(|| refused("the endpoint's certificate is gone".to_owned()))?;
    let master_key = keys::row(&catalog, MASTER_ID)
        .map_err(failed)?
        .ok_or_else(|| refused("master has no master key".to_owned()))?
        .open(&instance.service_master_key())
        .map_err(|error| refused(error.text))?
        .ok_or_else(|| refused("the master key of master does not open by itself".to_owned()))?;
    let above = device
        .service_master_key::<Sha256>()
        .map_err(|error| refused(error.to_string()))?;
    let wrapped = master_key
        .wrap_by_service_master_key(&above)
        .and_then(|wrapped| wrapped.to_der())
        .map_err(|error| refused(error.to_string()))?;
    let too_long = || refused("the certificate or a key is too long for the device".to_owned());
    let private_key = certificate.private_key.as_deref().ok_or_else(too_long)?;
    let identity = IdentitySettings {
        certificate_id: identity.certificate_id.cast_unsigned(),
        master_key: Der::new(&wrapped).ok_or_else(too_long)?,
        private_key: Der::new(private_key).ok_or_else(too_long)?,
        certificate: Der::new(&identity.certificate_der).ok_or_else(too_long)?,
    };

    let peers = peers(
        &certificates::pins(&catalog).map_err(failed)?,
        plan.peers,
        &mut notes,
    )?;
    let now = dates::now_unix();
    if let Some(date) = dates::from_unix(certificate.not_after) {
        notes.push(format!("the device's certificate expires {date} UTC"));
    }
    let header = Header {
        instance: InstanceId(instance.id()),
        name: InstanceName::new(instance.name()).map_err(|_| refused("the name is too long".to_owned()))?,
        peers: u8::try_from(peers.len()).unwrap_or(u8::MAX),
        provisioned: UnixSeconds(now),
    };
    let [a, b, c, d, e, ..] = instance.id();
    let network = NetworkSettings {
        // Locally administered, from the instance id: two devices of one network differ.
        mac: plan.mac.unwrap_or([0x02, a, b, c, d, e]),
        address: plan.network.address.octets(),
        prefix: plan.network.prefix,
        gateway: plan.gateway.map(|gateway| gateway.octets()),
        port: endpoint.port,
    };
    let mut start = Start {
        count: 0,
        seed: Secret::zero(),
    };
    OsEntropy
        .fill_secret(start.seed.expose_mut())
        .map_err(|error| refused(error.to_string()))?;

    let mut store =
        Store::open::<Sha256>(Memory::new(), device).map_err(|error| refused(error.to_string()))?;
    network.write::<Sha256, _>(&mut store).map_err(stored)?;
    identity.write::<Sha256, _>(&mut store).map_err(stored)?;
    for (number, peer) in (0..).zip(&peers) {
        peer.write::<Sha256, _>(&mut store, number).map_err(stored)?;
    }
    start.write::<Sha256, _>(&mut store).map_err(stored)?;
    Floor(UnixSeconds(now))
        .write::<Sha256, _>(&mut store)
        .map_err(stored)?;
    // Without it the memory counts as never provisioned, so it comes last.
    header.write::<Sha256, _>(&mut store).map_err(stored)?;
    let summary = Summary {
        certificate: certificate.der,
        notes,
    };
    Ok((store.into_flash().0, summary))
}

/// The peers of a catalog in the device's form; which of them are dialed is the command line's.
fn peers(pins: &[engine::Pin], dialed: &[DialedPeer], notes: &mut Vec<String>) -> Result<Vec<Peer>, Failure> {
    let known: Vec<&engine::Pin> = pins
        .iter()
        .filter(|pin| !pin.own && pin.login_id.is_some())
        .collect();
    let logins = || {
        let mut names: Vec<&str> = known.iter().map(|pin| pin.login_name.as_str()).collect();
        names.dedup();
        names.join(", ")
    };
    for peer in dialed {
        if !known
            .iter()
            .any(|pin| pin.login_name.eq_ignore_ascii_case(&peer.login))
        {
            return Err(Failure::usage(format!(
                "--peer {}: no certificate of the script belongs to a login of that name. Those that do: {}",
                peer.login,
                logins()
            )));
        }
        let same = dialed
            .iter()
            .filter(|other| other.login.eq_ignore_ascii_case(&peer.login))
            .count();
        if same > 1 {
            return Err(Failure::usage(format!(
                "--peer {} was given more than once",
                peer.login
            )));
        }
    }
    if known.is_empty() {
        return Err(Failure::statement(
            "the script imports no partner's certificate: CREATE LOGIN, CREATE USER, CREATE CERTIFICATE … FROM FILE and GRANT CONNECT are needed for each",
        ));
    }
    if known.len() > usize::from(PEERS_MAX) {
        return Err(Failure::statement(format!(
            "the device has room for {PEERS_MAX} certificates of partners, and the script imports {}",
            known.len()
        )));
    }
    for (at, pin) in known.iter().enumerate() {
        let of_login =
            |pins: &[&engine::Pin]| pins.iter().filter(|other| other.login_id == pin.login_id).count();
        if of_login(&known) > 1 && of_login(&known[..at]) == 0 {
            notes.push(format!(
                "{} has {} certificates, and the device takes them for one partner's: two hosts that share the login would be left behind when the \
                 device renews its own. Give each a login of its own",
                pin.login_name,
                of_login(&known)
            ));
        }
    }
    let mut peers = Vec::new();
    for pin in known {
        let connect = match pin.connect {
            engine::Connect::Granted => Connect::Granted,
            engine::Connect::Denied => Connect::Denied,
            engine::Connect::None => Connect::None,
        };
        if connect != Connect::Granted {
            notes.push(format!(
                "{} has no CONNECT on the endpoint and will be refused",
                pin.login_name
            ));
        }
        let address = dialed
            .iter()
            .find(|peer| peer.login.eq_ignore_ascii_case(&pin.login_name))
            .map(|peer| format!("TCP://{}", peer.address))
            .unwrap_or_default();
        if address.is_empty() {
            notes.push(format!(
                "{} is not dialed: --peer {}=ADDRESS:PORT says where it is",
                pin.login_name, pin.login_name
            ));
        }
        let long = |_| Failure::statement(format!("the login {} has too long a name", pin.login_name));
        peers.push(Peer {
            certificate_id: pin.certificate_id.cast_unsigned(),
            login_id: pin.login_id.unwrap_or_default().cast_unsigned(),
            connect,
            pin: Pin {
                sha256: Sha256::digest(&pin.der),
                point: pin.point,
                not_before: UnixSeconds(pin.not_before),
                not_after: UnixSeconds(pin.not_after),
            },
            login: LoginName::new(&pin.login_name).map_err(long)?,
            address: Address::new(&address).map_err(long)?,
        });
    }
    Ok(peers)
}
