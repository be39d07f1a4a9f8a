//! What a device's memory says, without its secrets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use dbmirror_adapters::nvm::settings::{
    Connect, Floor, Header, IdentitySettings, NetworkSettings, Peer, SettingsError, Start,
};
use dbmirror_adapters::nvm::succession::{HANDED_OVER_MAX, HandedOver, OwnSuccession, SuccessionStep};
use dbmirror_adapters::nvm::{DeviceKey, Kind, NVM_LEN, Store};
use dbmirror_core::crypto::Hash as _;
use dbmirror_core::message::{InstanceId, Sync};
use dbmirror_core::session::decide::witness::Keeping;
use dbmirror_core::witness::WitnessStored;

use super::image::Memory;
use super::{Failure, hex};
use crate::catalog::dates;
use crate::catalog::keys::{Crypto, Sha256};
use crate::exit;
use crate::instance::read_bounded;

/// `dbmirror provision --show IMAGE`
pub(super) fn run(image: &Path, device_key: &Path) -> Result<(), Failure> {
    let device = super::read_device_key(device_key)?;
    let bytes = read_bounded(image, NVM_LEN.into())
        .map_err(|error| Failure::usage(format!("{}: {error}", image.display())))?;
    print(&bytes, &device)
}

/// Prints what the memory says.
pub(super) fn print(bytes: &[u8], device: &DeviceKey) -> Result<(), Failure> {
    let lines = describe(bytes, device).map_err(|error| Failure {
        text: format!("{error}. The device with this memory does not serve; provision it again"),
        code: exit::CHECK_FAILED,
    })?;
    for (name, value) in lines {
        super::say(format_args!("{name:<16} {value}"))?;
    }
    Ok(())
}

/// Name and value of each line.
pub(super) fn describe(
    bytes: &[u8],
    device: &DeviceKey,
) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let mut store = Store::open::<Sha256>(Memory(bytes.to_vec()), device)?;
    let header = Header::read::<Sha256, _>(&mut store)?;
    let network = NetworkSettings::read::<Sha256, _>(&mut store)?;
    let identity = IdentitySettings::read::<Sha256, _>(&mut store)?;
    let start = Start::read::<Sha256, _>(&mut store)?;
    let floor = Floor::read::<Sha256, _>(&mut store)?;
    let date = |seconds: i64| dates::from_unix(seconds).unwrap_or_else(|| seconds.to_string());
    let mut lines = vec![
        ("name", header.name.as_str().to_owned()),
        ("instance", hex(&header.instance.0)),
        ("provisioned", date(header.provisioned.0)),
        (
            "address",
            format!("{}/{}", Ipv4Addr::from(network.address), network.prefix),
        ),
        (
            "gateway",
            network.gateway.map_or_else(
                || "none".to_owned(),
                |gateway| Ipv4Addr::from(gateway).to_string(),
            ),
        ),
        ("port", network.port.to_string()),
        (
            "ethernet",
            network.mac.map(|byte| format!("{byte:02x}")).join(":"),
        ),
        ("starts", start.count.to_string()),
        ("time at least", date(floor.0.0)),
    ];
    let own = identity.certificate.as_bytes();
    if let Ok(certificate) = dbmirror_core::cert::Certificate::parse::<Crypto>(own) {
        lines.push(("subject", certificate.subject().to_string()));
    }
    lines.push(("fingerprint", hex(&Sha256::digest(own))));
    let mut logins = BTreeMap::new();
    for number in 0..header.peers {
        let peer = Peer::read::<Sha256, _>(&mut store, number)?;
        logins.insert(peer.login_id, peer.login.as_str().to_owned());
        let connect = match peer.connect {
            Connect::Granted => "may connect",
            Connect::Denied => "denied",
            Connect::None => "may not connect",
        };
        let dialed = match peer.address.as_str() {
            "" => "not dialed".to_owned(),
            address => format!("dialed at {address}"),
        };
        lines.push((
            "peer",
            format!(
                "{}, {connect}, {dialed}, certificate {} until {}",
                peer.login.as_str(),
                hex(&peer.pin.sha256),
                date(peer.pin.not_after.0)
            ),
        ));
    }
    for number in 0..HANDED_OVER_MAX {
        let Some(handed) = HandedOver::read::<Sha256, _>(&mut store, number)? else {
            continue;
        };
        let used = if handed.used { "used" } else { "not used yet" };
        lines.push((
            "handed over",
            format!(
                "by {}, certificate {} until {}, {used}",
                logins.get(&handed.login_id).map_or("nobody", String::as_str),
                hex(&handed.pin.sha256),
                date(handed.pin.not_after.0)
            ),
        ));
    }
    if let Some(next) = OwnSuccession::read::<Sha256, _>(&mut store)? {
        let step = match next.step {
            _ if next.certificate_id == identity.certificate_id => "the predecessor is given up",
            SuccessionStep::Distributing => "handed out",
            SuccessionStep::Switched => "in use",
        };
        let fingerprint = hex(&Sha256::digest(next.certificate.as_bytes()));
        lines.push(("successor", format!("{fingerprint}, {step}")));
    }
    let keys: Vec<_> = store.keys(Kind::Record).collect();
    for key in keys {
        let mut record = [0; 2048];
        let told = match store.get::<Sha256>(key, &mut record) {
            Ok(Some(len)) => match record.get(..len).map(WitnessStored::decode) {
                Some(Ok(stored)) => session(&stored),
                _ => "not readable".to_owned(),
            },
            Ok(None) => continue,
            Err(error) => error.to_string(),
        };
        lines.push(("session", told));
    }
    Ok(lines)
}

/// What the device keeps of one session: which it is, and the record that decides.
fn session(stored: &WitnessStored) -> String {
    let who = |instance: InstanceId| {
        stored
            .partners
            .iter()
            .find(|partner| partner.instance == instance && !partner.name.is_empty())
            .map_or_else(|| hex(&instance.0), |partner| partner.name.as_str().to_owned())
    };
    let kept = match stored.keeping {
        Keeping::Blank => "no record".to_owned(),
        Keeping::Dropped { owner } => format!("dropped by {}", who(owner)),
        Keeping::Record(record) => format!(
            "role {} of {}, {} {}",
            record.role_sequence,
            who(record.owner),
            record.sync_sequence,
            match record.sync {
                Sync::Sync => "SYNC",
                Sync::Unsync => "UNSYNC",
            }
        ),
    };
    format!("{} {}: {kept}", stored.name.as_str(), stored.guid)
}
