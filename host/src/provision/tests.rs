//! Command line values, and images from scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dbmirror_adapters::nvm::Store;
use dbmirror_adapters::nvm::settings::{Der, IdentitySettings, Peer};
use dbmirror_adapters::nvm::succession::{HandedOver, OwnSuccession, SuccessionStep};

use super::image::Memory;
use super::*;
use crate::cli::ProvisionArgs;

#[test]
fn addresses_are_numbers() {
    let good = network("192.168.1.9/24").unwrap();
    assert_eq!((good.address.octets(), good.prefix), ([192, 168, 1, 9], 24));
    for bad in [
        "192.168.1.9",
        "host/24",
        "192.168.1.9/0",
        "192.168.1.9/31",
        "0.0.0.0/8",
        "127.0.0.1/8",
        "224.0.0.1/8",
        "::1/64",
    ] {
        assert!(network(bad).is_err(), "{bad}");
    }
    let peer = dialed_peer("A=B=10.0.2.2:7024").unwrap();
    assert_eq!((peer.login.as_str(), peer.address.port()), ("A=B", 7024));
    for bad in [
        "A",
        "A=host:7024",
        "A=10.0.2.2",
        "=10.0.2.2:7024",
        "A=10.0.2.2:0",
        "A=[::1]:7024",
    ] {
        assert!(dialed_peer(bad).is_err(), "{bad}");
    }
    assert_eq!(mac("02:00:00:12:34:ff"), Ok([2, 0, 0, 0x12, 0x34, 0xff]));
    for bad in [
        "02:00:00:12:34",
        "02:00:00:12:34:ff:00",
        "01:00:00:12:34:ff",
        "2:0:0:1:2:3",
        "02-00-00-12-34-ff",
    ] {
        assert!(mac(bad).is_err(), "{bad}");
    }
}

/// The documented script of a device, around `role` and with `more` at its end.
fn script(role: &str, more: &str) -> String {
    format!(
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>';
GO
CREATE CERTIFICATE WITNESS_cert WITH SUBJECT = 'WITNESS certificate', EXPIRY_DATE = '2044-01-01';
CREATE ENDPOINT Endpoint_Mirroring STATE = STARTED
   AS TCP (LISTENER_PORT = 7024, LISTENER_IP = (10.0.2.15))
   FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE WITNESS_cert, ENCRYPTION = REQUIRED ALGORITHM AES, ROLE = {role});
GO
CREATE LOGIN HOST_A_login WITH PASSWORD = '=Sample#2_Strong_Password2';
CREATE USER HOST_A_user FOR LOGIN HOST_A_login;
CREATE CERTIFICATE HOST_A_cert AUTHORIZATION HOST_A_user FROM FILE = 'C:\\HOST_A_cert.cer';
GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO HOST_A_login;
GO
{more}"
    )
}

/// A certificate of somebody else.
fn foreign_certificate() -> Vec<u8> {
    use dbmirror_adapters::entropy::OsEntropy;
    use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX, Request};
    use dbmirror_core::keys::PrivateKey;
    use dbmirror_core::time::UnixSeconds;
    type Crypto = crate::catalog::keys::Crypto;
    let key = PrivateKey::generate::<Crypto>(&mut OsEntropy).unwrap();
    let request = Request {
        subject: "HOST_A",
        not_before: UnixSeconds(1_700_000_000),
        not_after: UnixSeconds(2_300_000_000),
    };
    let mut der = [0; CERTIFICATE_LEN_MAX];
    let key = key.signing_key::<Crypto>().unwrap();
    let len = cert::issue::<Crypto>(&request, &key, &mut OsEntropy, &mut der).unwrap();
    der[..len].to_vec()
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("HOST_A_cert.cer"), foreign_certificate()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn args(&self, script: &str) -> ProvisionArgs {
        fs::write(self.path("device.sql"), script).unwrap();
        ProvisionArgs {
            script: Some(self.path("device.sql")),
            out: Some(self.path("nvm.img")),
            device_key: self.path("device.key"),
            name: Some("WITNESS_1".into()),
            address: Some(network("10.0.2.15/24").unwrap()),
            gateway: Some("10.0.2.2".parse().unwrap()),
            mac: None,
            peers: vec![dialed_peer("host_a_LOGIN=10.0.2.2:7024").unwrap()],
            files: None,
            certificate: None,
            show: None,
        }
    }
}

fn shown(image: &Path, key: &Path) -> Vec<(&'static str, String)> {
    let device = read_device_key(key).ok().unwrap();
    show::describe(&fs::read(image).unwrap(), &device).unwrap()
}

#[test]
fn an_image_says_what_the_script_said() {
    use std::os::unix::fs::MetadataExt as _;
    let bench = Bench::new();
    let args = bench.args(&script(
        "WITNESS",
        "BACKUP CERTIFICATE WITNESS_cert TO FILE = 'C:\\WITNESS_cert.cer';",
    ));
    assert_eq!(run(&args), exit::DONE);
    let (image, key) = (bench.path("nvm.img"), bench.path("device.key"));
    assert_eq!(fs::metadata(&image).unwrap().size(), 64 * 1024);
    assert_eq!(fs::metadata(&image).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    // What BACKUP wrote is what is given to the partners anyway.
    assert_eq!(
        fs::read(bench.path("WITNESS_cert.cer")).unwrap(),
        fs::read(bench.path("nvm.cer")).unwrap()
    );
    let lines = shown(&image, &key);
    let value = |name: &str| {
        lines
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.clone())
            .unwrap()
    };
    assert_eq!(value("name"), "WITNESS_1");
    assert_eq!(value("address"), "10.0.2.15/24");
    assert_eq!(value("gateway"), "10.0.2.2");
    assert_eq!(value("port"), "7024");
    assert_eq!(value("starts"), "0");
    assert!(value("ethernet").starts_with("02:"));
    let peer = value("peer");
    assert!(
        peer.starts_with("HOST_A_login, may connect, dialed at TCP://10.0.2.2:7024"),
        "{peer}"
    );
    // What partners have handed over since, and a rotation under way, are shown too.
    let device = read_device_key(&key).ok().unwrap();
    let mut store = Store::open::<Sha256>(Memory(fs::read(&image).unwrap()), &device).unwrap();
    let login = Peer::read::<Sha256, _>(&mut store, 0).unwrap();
    let handed = HandedOver {
        certificate_id: 900,
        login_id: login.login_id,
        used: false,
        pin: login.pin,
    };
    handed.write::<Sha256, _>(&mut store, 1).unwrap();
    let identity = IdentitySettings::read::<Sha256, _>(&mut store).unwrap();
    let next = OwnSuccession {
        step: SuccessionStep::Switched,
        certificate_id: identity.certificate_id + 1,
        predecessor: [0; 32],
        private_key: identity.private_key.clone(),
        certificate: Der::new(b"a successor").unwrap(),
    };
    next.write::<Sha256, _>(&mut store).unwrap();
    let rotating = bench.path("rotating.img");
    fs::write(&rotating, store.into_flash().0).unwrap();
    let told = shown(&rotating, &key);
    let told = |name: &str| told.iter().find(|(found, _)| *found == name).unwrap().1.clone();
    assert!(told("handed over").starts_with("by HOST_A_login, certificate "));
    assert!(told("handed over").ends_with("not used yet"));
    assert!(told("successor").ends_with(", in use"));
    // The directory is the user's, and stays as it was.
    assert_eq!(fs::metadata(bench.dir.path()).unwrap().mode() & 0o777, 0o755);
    // Neither a second run nor another key gets at it.
    assert_eq!(run(&args), exit::USAGE);
    let other = ProvisionArgs {
        show: Some(image.clone()),
        device_key: bench.path("other.key"),
        ..args
    };
    assert_eq!(run(&other), exit::USAGE, "showing makes no key");
    fs::copy(&key, bench.path("other.key")).unwrap();
    assert_eq!(run(&other), exit::DONE);
    let fresh = ServiceMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy).unwrap();
    fs::write(bench.path("other.key"), fresh.to_file::<Sha256>().expose()).unwrap();
    assert_eq!(run(&other), exit::CHECK_FAILED);
}

#[test]
fn the_private_key_opens_by_the_devices_key_alone() {
    use dbmirror_adapters::nvm::Store;
    use dbmirror_adapters::nvm::settings::IdentitySettings;
    use dbmirror_core::keys::{DatabaseMasterKey, KeyError, PrivateKey, WrappedKey};
    type Crypto = crate::catalog::keys::Crypto;
    let bench = Bench::new();
    assert_eq!(run(&bench.args(&script("WITNESS", ""))), exit::DONE);
    let device = read_device_key(&bench.path("device.key")).ok().unwrap();
    let image = image::Memory(fs::read(bench.path("nvm.img")).unwrap());
    let mut store = Store::open::<Sha256>(image, &device).unwrap();
    let identity = IdentitySettings::read::<Sha256, _>(&mut store).unwrap();
    let open = |above: &ServiceMasterKey| -> Result<PrivateKey, KeyError> {
        let master = WrappedKey::from_der(identity.master_key.as_bytes())?;
        let master = DatabaseMasterKey::unwrap_by_service_master_key(&master, above)?;
        let wrapped = WrappedKey::from_der(identity.private_key.as_bytes())?;
        PrivateKey::unwrap_by_database_master_key::<Crypto>(&wrapped, &master)
    };
    let key = open(&device.service_master_key::<Sha256>().unwrap()).unwrap();
    let own = dbmirror_core::cert::Certificate::parse::<Crypto>(identity.certificate.as_bytes()).unwrap();
    assert!(key.belongs_to::<Crypto>(own.point()));
    let other = ServiceMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy).unwrap();
    assert_eq!(open(&other).err(), Some(KeyError::Rejected));
}

#[test]
fn scripts_that_make_no_device_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    let cases = [
        (script("ALL", ""), exit::STATEMENT_ERROR),
        (script("PARTNER", ""), exit::STATEMENT_ERROR),
        (
            script("WITNESS", "ALTER ENDPOINT Endpoint_Mirroring STATE = STOPPED;"),
            exit::STATEMENT_ERROR,
        ),
        (script("WITNESS", "DROP CERTIFICATE HOST_A_cert;"), exit::USAGE),
        (
            script("WITNESS", "CREATE CERTIFICATE no_such FROM FILE = 'missing.cer';"),
            exit::STATEMENT_ERROR,
        ),
        (script("WITNESS", "GO x"), exit::STATEMENT_ERROR),
        ("SELECT 1;".to_owned(), exit::STATEMENT_ERROR),
    ];
    for (text, code) in cases {
        assert_eq!(run(&bench.args(&text)), code, "{text}");
        assert!(!bench.path("nvm.img").exists(), "{text}");
    }
    let mut args = bench.args(&script("WITNESS", ""));
    args.peers = vec![dialed_peer("nobody=10.0.2.2:1").unwrap()];
    assert_eq!(run(&args), exit::USAGE);
    args.peers = Vec::new();
    args.address = Some(network("10.0.2.16/24").unwrap());
    assert_eq!(
        run(&args),
        exit::STATEMENT_ERROR,
        "LISTENER_IP is another address"
    );
}
