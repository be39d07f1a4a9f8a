//! The appliance's loop on the host: two devices on one cable, each the other's only peer. Time is what the test says it is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::nvm::settings::{
    Connect, Der, Floor, Header, IdentitySettings, LoginName, NetworkSettings, Peer, SettingsError, Start,
};
use dbmirror_adapters::nvm::{DeviceKey, ERASE_LEN, Kind, NVM_LEN, Store};
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX, Pin};
use dbmirror_core::crypto::{Hash as _, SigningKey as _};
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::keys::{DatabaseMasterKey, PrivateKey, ServiceMasterKey};
use dbmirror_core::message::{Address, InstanceId, InstanceName};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::{Duration, Instant, UnixSeconds};
use dbmirror_firmware::appliance::{Place, Provisioned};
use dbmirror_firmware::{Appliance, Crypto, Log, Memory, Note, Refusal, Sha256};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};

const PROVISIONED: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// A memory in RAM.
#[derive(Clone)]
struct Ram(Vec<u8>);

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}
impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.0.len()
    }
}
impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE_LEN as usize;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a cable.
struct Cable {
    to_me: Frames,
    to_other: Frames,
}

impl Cable {
    fn pair() -> [Self; 2] {
        let (a, b) = (Frames::default(), Frames::default());
        let one = Self {
            to_me: Rc::clone(&a),
            to_other: Rc::clone(&b),
        };
        [
            one,
            Self {
                to_me: b,
                to_other: a,
            },
        ]
    }
}

struct Received(Vec<u8>);
impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sending(Frames);
impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;
    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending)> {
        let frame = self.to_me.borrow_mut().pop_front()?;
        Some((Received(frame), Sending(Rc::clone(&self.to_other))))
    }
    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending> {
        Some(Sending(Rc::clone(&self.to_other)))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A log as text.
#[derive(Clone, Default)]
struct Lines(Rc<RefCell<Vec<String>>>);

impl Log for Lines {
    fn note(&mut self, note: Note<'_>) {
        self.0.borrow_mut().push(format!("{note:?}"));
    }
}

impl Lines {
    fn has(&self, text: &str) -> bool {
        self.0.borrow().iter().any(|line| line.contains(text))
    }
}

/// Who a device is, before it is put into a memory.
struct Person {
    device: DeviceKey,
    above: ServiceMasterKey,
    key: PrivateKey,
    der: Vec<u8>,
    number: u8,
}

impl Person {
    fn new(number: u8) -> Self {
        let above = ServiceMasterKey::generate(&mut OsEntropy).unwrap();
        let device = DeviceKey::from_file::<Sha256>(above.to_file::<Sha256>().expose()).unwrap();
        let key = PrivateKey::generate::<Crypto>(&mut OsEntropy).unwrap();
        let request = cert::Request {
            subject: "device",
            not_before: UnixSeconds(PROVISIONED + DAY),
            not_after: UnixSeconds(PROVISIONED + 2 * DAY),
        };
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let signing = key.signing_key::<Crypto>().unwrap();
        let len = cert::issue::<Crypto>(&request, &signing, &mut OsEntropy, &mut der).unwrap();
        Self {
            device,
            above,
            key,
            der: der[..len].to_vec(),
            number,
        }
    }

    fn address(&self) -> [u8; 4] {
        [192, 168, 7, self.number]
    }

    /// The pin of this one at others.
    fn pin(&self) -> Peer {
        let [a, b, c, d] = self.address();
        Peer {
            certificate_id: 256,
            login_id: 257,
            connect: Connect::Granted,
            pin: Pin {
                sha256: Sha256::digest(&self.der),
                point: self.key.signing_key::<Crypto>().unwrap().public_point(),
                // It is not valid yet by any clock: a device does not look at that.
                not_before: UnixSeconds(PROVISIONED + DAY),
                not_after: UnixSeconds(PROVISIONED + 2 * DAY),
            },
            login: LoginName::new("peer_login").unwrap(),
            address: Address::new(&format!("TCP://{a}.{b}.{c}.{d}:7024")).unwrap(),
        }
    }

    /// A memory in which this one knows `peers`, at a time that many days after the provisioning.
    fn memory(&self, peers: &[Peer], days: i64) -> Ram {
        let ram = Ram(vec![0xff; NVM_LEN as usize]);
        let mut store = Store::open::<Sha256>(ram, &self.device).unwrap();
        let master = DatabaseMasterKey::generate(&mut OsEntropy).unwrap();
        let wrapped = master.wrap_by_service_master_key(&self.above).unwrap();
        let private = self.key.wrap_by_database_master_key(&master).unwrap();
        let identity = IdentitySettings {
            certificate_id: 256,
            master_key: Der::new(&wrapped.to_der().unwrap()).unwrap(),
            private_key: Der::new(&private.to_der().unwrap()).unwrap(),
            certificate: Der::new(&self.der).unwrap(),
        };
        identity.write::<Sha256, _>(&mut store).unwrap();
        let network = NetworkSettings {
            mac: [2, 0, 0, 0, 0, self.number],
            address: self.address(),
            prefix: 24,
            gateway: None,
            port: 7024,
        };
        network.write::<Sha256, _>(&mut store).unwrap();
        for (number, peer) in (0..).zip(peers) {
            peer.write::<Sha256, _>(&mut store, number).unwrap();
        }
        let mut start = Start {
            count: 0,
            seed: Secret::zero(),
        };
        OsEntropy.fill_secret(start.seed.expose_mut()).unwrap();
        start.write::<Sha256, _>(&mut store).unwrap();
        Floor(UnixSeconds(PROVISIONED + days * DAY))
            .write::<Sha256, _>(&mut store)
            .unwrap();
        let header = Header {
            instance: InstanceId([self.number; 16]),
            name: InstanceName::new("DEVICE").unwrap(),
            peers: peers.len() as u8,
            provisioned: UnixSeconds(PROVISIONED),
        };
        header.write::<Sha256, _>(&mut store).unwrap();
        store.into_flash()
    }
}

/// Runs two devices until `done`, for a minute of their time at most. Returns their logs.
fn run(people: [&Person; 2], memories: [Ram; 2], done: impl Fn(&[Lines; 2]) -> bool) -> [Lines; 2] {
    let logs = [Lines::default(), Lines::default()];
    let [mut card_a, mut card_b] = Cable::pair();
    let [ram_a, ram_b] = memories;
    // As on a board: in place for good.
    let [memory_a, memory_b] = [(); 2].map(|()| Box::leak(Box::new(Memory::new())));
    let start = |ram, person: &Person| {
        let place = Box::leak(Box::new(Place::new()));
        Provisioned::read(place, ram, &person.device, b"jitter").unwrap()
    };
    let mut now = Instant::ZERO;
    let (provisioned_a, provisioned_b) = (start(ram_a, people[0]), start(ram_b, people[1]));
    let mut a = Appliance::start(memory_a, provisioned_a, &mut card_a, now, logs[0].clone());
    let mut b = Appliance::start(memory_b, provisioned_b, &mut card_b, now, logs[1].clone());
    let end = now.after(Duration::from_secs(60));
    while !done(&logs) {
        let next = [a.poll(now, &mut card_a), b.poll(now, &mut card_b)];
        let next = next.into_iter().flatten().min().unwrap_or(end);
        now = next
            .max(now.after(Duration::from_micros(100)))
            .min(now.after(Duration::from_millis(5)));
        assert!(
            now < end,
            "nothing came of it:\n{:#?}\n{:#?}",
            logs[0].0.borrow(),
            logs[1].0.borrow()
        );
    }
    logs
}

#[test]
fn two_devices_find_each_other_before_their_certificates_begin() {
    let (one, two) = (Person::new(1), Person::new(2));
    let memories = [one.memory(&[two.pin()], 0), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| {
        logs.iter().all(|log| log.has("Online") && log.has("Dialing"))
    });
    for log in logs {
        assert!(log.has("LoggedIn") && log.has("Ready"), "{:?}", log.0.borrow());
    }
}

#[test]
fn a_certificate_that_ended_before_the_floor_is_refused() {
    let (one, two) = (Person::new(1), Person::new(2));
    let memories = [one.memory(&[two.pin()], 3), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| {
        logs[0].has("number: 28035") && logs[1].has("number: 28047")
    });
    assert!(!logs[0].has("LoggedIn"), "{:?}", logs[0].0.borrow());
}

#[test]
fn who_is_not_known_or_not_granted_is_refused() {
    let (one, two, three) = (Person::new(1), Person::new(2), Person::new(3));
    let unknown = [one.memory(&[three.pin()], 0), two.memory(&[one.pin()], 0)];
    run([&one, &two], unknown, |logs| logs[0].has("number: 28035"));
    let denied = Peer {
        connect: Connect::Denied,
        ..two.pin()
    };
    let memories = [one.memory(&[denied], 0), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| logs[0].has("number: 28034"));
    // And nobody who is denied is dialed.
    assert!(!logs[0].has("Dialing"), "{:?}", logs[0].0.borrow());
}

#[test]
fn a_memory_that_lost_something_does_not_serve() {
    let (one, two) = (Person::new(1), Person::new(2));
    let lacking = |kind: Kind| {
        let ram = one.memory(&[two.pin()], 0);
        let mut store = Store::open::<Sha256>(ram, &one.device).unwrap();
        let gone: Vec<_> = store.keys(kind).collect();
        for key in gone {
            store.remove::<Sha256>(key).unwrap();
        }
        Provisioned::read(&mut Place::new(), store.into_flash(), &one.device, b"").err()
    };
    for kind in [
        Kind::Header,
        Kind::Network,
        Kind::Identity,
        Kind::Peer,
        Kind::Start,
        Kind::Floor,
    ] {
        let refusal = lacking(kind);
        assert_eq!(refusal, Some(Refusal::Settings(SettingsError::Missing(kind))));
        assert!(!refusal.unwrap().text().is_empty());
    }
    assert_eq!(lacking(Kind::Record), None, "a device without sessions serves");
    let ram = one.memory(&[two.pin()], 0);
    assert!(
        Provisioned::read(&mut Place::new(), ram, &two.device, b"").is_err(),
        "another device's key"
    );
}
