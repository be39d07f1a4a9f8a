//! The appliance's lines, said with defmt: their text stays in the image's symbols.

use core::net::SocketAddr;

use dbmirror_core::message::{InstanceId, Sync};
use dbmirror_core::witness::WitnessEvent;
use dbmirror_firmware::{Log, Note};

/// Takes lines to the UART.
pub struct Lines;

impl Log for Lines {
    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Ready {
                name,
                instance,
                boot,
                peers,
                port,
            } => defmt::info!(
                "ready name={=str} instance={=u128:032x} boot={=u64} peers={=u8} port={=u16}",
                name,
                u128::from_be_bytes(instance.0),
                boot,
                peers,
                port
            ),
            Note::Dialing { login, address } => defmt::info!("dialing {=str} at {=str}", login, address),
            Note::LoggedIn {
                login,
                certificate,
                peer,
            } => {
                let (address, port) = parts(peer);
                defmt::info!(
                    "Msg 28046: {=str} logged in by certificate {=u32} from {=[u8; 4]}:{=u16}",
                    login,
                    certificate,
                    address,
                    port
                );
            }
            Note::Online { login, instance } => defmt::info!(
                "{=str} is online, instance {=u128:032x}",
                login,
                u128::from_be_bytes(instance.0)
            ),
            Note::Closed {
                number: 0,
                login,
                peer,
                ..
            } => {
                let (address, port) = parts(peer);
                defmt::info!("closed {=str} {=[u8; 4]}:{=u16}", login, address, port);
            }
            Note::Closed {
                number,
                step,
                login,
                peer,
            } => {
                let (address, port) = parts(peer);
                defmt::warn!(
                    "Msg {=u32}: connection ended at step {=str} {=str} {=[u8; 4]}:{=u16}",
                    number,
                    step.name(),
                    login,
                    address,
                    port
                );
            }
            Note::Witness { guid, event } => witness(u128::from_be_bytes(guid.0), event),
            Note::RecordLost => {
                defmt::error!("a record was damaged and is forgotten: its session has to be registered again")
            }
            Note::MemoryFailed => {
                defmt::error!("the memory failed: nothing is recorded or granted until a restart")
            }
            Note::FloorMoved { to } => {
                defmt::info!("the floor of time is now {=i64} seconds after 1970", to.0);
            }
            Note::SuccessorStored { login, certificate } => defmt::info!(
                "{=str}: its successor certificate is stored as {=u32}",
                login,
                certificate
            ),
            Note::CertificateDropped { login, certificate } => {
                defmt::info!("{=str}: certificate {=u32} is given up", login, certificate);
            }
            Note::SuccessorRefused { login, number } => {
                defmt::warn!(
                    "Msg {=u32}: a certificate that {=str} handed over is refused",
                    number,
                    login
                );
            }
            Note::Rotation { step, login } => {
                defmt::info!("own certificate: {=str} {=str}", step.text(), login);
            }
            Note::Lost { count } => defmt::warn!("{=u32} lines were lost", count),
        }
    }
}

fn witness(guid: u128, event: WitnessEvent) {
    let of = |instance: InstanceId| u128::from_be_bytes(instance.0);
    match event {
        WitnessEvent::Registered { owner } => {
            defmt::info!(
                "session {=u128:032x}: registered by {=u128:032x}",
                guid,
                of(owner)
            );
        }
        WitnessEvent::Recorded(record) => defmt::info!(
            "session {=u128:032x}: recorded role {=u32} of {=u128:032x}, {=u64} {=str}",
            guid,
            record.role_sequence,
            of(record.owner),
            record.sync_sequence,
            match record.sync {
                Sync::Sync => "SYNC",
                Sync::Unsync => "UNSYNC",
            }
        ),
        WitnessEvent::Granted { asker, forced } => defmt::warn!(
            "session {=u128:032x}: the role is granted to {=u128:032x}, forced={=bool}",
            guid,
            of(asker),
            forced
        ),
        WitnessEvent::Denied {
            asker,
            force,
            owner_heard,
        } => defmt::info!(
            "session {=u128:032x}: the role is denied to {=u128:032x}, forced={=bool} owner_heard={=bool}",
            guid,
            of(asker),
            force,
            owner_heard
        ),
        WitnessEvent::Dropped { owner } => {
            defmt::info!("session {=u128:032x}: dropped by {=u128:032x}", guid, of(owner));
        }
        WitnessEvent::Removed => defmt::info!("session {=u128:032x}: removed", guid),
        WitnessEvent::Stranger {
            login,
            instance,
            kind,
        } => defmt::warn!(
            "Msg 1402: session {=u128:032x}: login {=u32}, instance {=u128:032x} is no partner (message {=u16})",
            guid,
            login,
            of(instance),
            kind
        ),
        WitnessEvent::Refused { owner, error } => defmt::warn!(
            "Msg {=u32}: session {=u128:032x}: registration by {=u128:032x} refused",
            error.number,
            guid,
            of(owner)
        ),
        WitnessEvent::PartnerRefused(error) => {
            defmt::warn!(
                "Msg {=u32}: session {=u128:032x}: a partner refused",
                error.number,
                guid
            );
        }
        _ => {}
    }
}

fn parts(peer: Option<SocketAddr>) -> ([u8; 4], u16) {
    match peer {
        Some(SocketAddr::V4(peer)) => (peer.ip().octets(), peer.port()),
        _ => ([0; 4], 0),
    }
}
