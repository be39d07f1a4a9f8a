//! Two devices on one cable, their memories and their logs, for the tests beside this file.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::nvm::settings::{
    Connect, Der, Floor, Header, IdentitySettings, LoginName, NetworkSettings, Peer, Start,
};
use dbmirror_adapters::nvm::{DeviceKey, ERASE_LEN, NVM_LEN, Store};
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

pub const PROVISIONED: i64 = 1_800_000_000;
pub const DAY: i64 = 86_400;

/// A memory in RAM that outlives its device, and may stop to take writes.
#[derive(Clone)]
pub struct Ram {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// Writes and erasures until the power goes; the last one is torn.
    left: Rc<Cell<usize>>,
}

impl Ram {
    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Rc::new(RefCell::new(bytes)),
            left: Rc::new(Cell::new(usize::MAX)),
        }
    }

    /// The power goes at write number `left`, from 0.
    pub fn cut_after(&self, left: usize) {
        self.left.set(left);
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    /// Half of the write that finds the power gone, then none.
    fn whole(&self) -> Result<bool, NorFlashErrorKind> {
        match self.left.get() {
            usize::MAX => Ok(true),
            0 => {
                // Nothing after the torn one.
                self.left.set(GONE);
                Ok(false)
            }
            GONE => Err(NorFlashErrorKind::Other),
            left => {
                self.left.set(left - 1);
                Ok(true)
            }
        }
    }
}

/// The power is gone.
const GONE: usize = usize::MAX - 1;

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}
impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(&self.bytes.borrow()[offset as usize..][..bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.bytes.borrow().len()
    }
}
impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE_LEN as usize;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let whole = self.whole()?;
        let to = if whole { to } else { from + (to - from) / 2 };
        self.bytes.borrow_mut()[from as usize..to as usize].fill(0xff);
        if whole {
            Ok(())
        } else {
            Err(NorFlashErrorKind::Other)
        }
    }
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let whole = self.whole()?;
        let len = if whole { bytes.len() } else { bytes.len() / 2 };
        self.bytes.borrow_mut()[offset as usize..][..len].copy_from_slice(&bytes[..len]);
        if whole {
            Ok(())
        } else {
            Err(NorFlashErrorKind::Other)
        }
    }
}

type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a cable.
struct Cable {
    to_me: Frames,
    to_other: Frames,
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
pub struct Lines(pub Rc<RefCell<Vec<String>>>);

impl Log for Lines {
    fn note(&mut self, note: Note<'_>) {
        self.0.borrow_mut().push(format!("{note:?}"));
    }
}

impl Lines {
    pub fn has(&self, text: &str) -> bool {
        self.0.borrow().iter().any(|line| line.contains(text))
    }
}

/// Who a device is, before it is put into a memory.
pub struct Person {
    pub device: DeviceKey,
    above: ServiceMasterKey,
    pub key: PrivateKey,
    pub der: Vec<u8>,
    number: u8,
}

impl Person {
    pub fn new(number: u8) -> Self {
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

    pub fn address(&self) -> [u8; 4] {
        [192, 168, 7, self.number]
    }

    /// The pin of this one at others.
    pub fn pin(&self) -> Peer {
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
    pub fn memory(&self, peers: &[Peer], days: i64) -> Ram {
        let ram = Ram::of(vec![0xff; NVM_LEN as usize]);
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

/// One device that is switched on.
struct Node {
    appliance: Appliance<'static, Ram, Lines>,
    card: Cable,
}

/// Two devices on one cable, each the other's only peer.
pub struct Bed<'p> {
    people: [&'p Person; 2],
    pub memories: [Ram; 2],
    pub logs: [Lines; 2],
    frames: [Frames; 2],
    nodes: [Option<Node>; 2],
    now: Instant,
}

impl<'p> Bed<'p> {
    /// Both are off.
    pub fn new(people: [&'p Person; 2], memories: [Ram; 2]) -> Self {
        Self {
            people,
            memories,
            logs: [Lines::default(), Lines::default()],
            frames: [Frames::default(), Frames::default()],
            nodes: [None, None],
            now: Instant::ZERO,
        }
    }

    /// Power off and on again, with an empty log; the memory takes writes again. The reason when the device does not serve.
    pub fn start(&mut self, at: usize) -> Result<(), Refusal> {
        self.nodes[at] = None;
        self.memories[at].left.set(usize::MAX);
        self.start_with(at)
    }

    /// The same, with a memory that may still fail.
    pub fn start_with(&mut self, at: usize) -> Result<(), Refusal> {
        self.frames[at].borrow_mut().clear();
        self.logs[at] = Lines::default();
        // As on a board: in place for good.
        let place = Box::leak(Box::new(Place::new()));
        let ram = self.memories[at].clone();
        let provisioned = Provisioned::read(place, ram, &self.people[at].device, b"jitter")?;
        let mut card = Cable {
            to_me: Rc::clone(&self.frames[at]),
            to_other: Rc::clone(&self.frames[1 - at]),
        };
        let memory = Box::leak(Box::new(Memory::new()));
        let log = self.logs[at].clone();
        let appliance = Appliance::start(memory, provisioned, &mut card, self.now, log);
        self.nodes[at] = Some(Node { appliance, card });
        Ok(())
    }

    /// Whether the memory of a device that is on has failed.
    pub fn has_failed(&self, at: usize) -> bool {
        self.nodes[at]
            .as_ref()
            .is_none_or(|node| node.appliance.has_failed())
    }

    /// Runs until `done`, for five minutes of their time at most.
    pub fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now.after(Duration::from_secs(300));
        while !done(self) {
            let now = self.now;
            let polled = self.nodes.iter_mut().flatten();
            let next = polled
                .filter_map(|node| node.appliance.poll(now, &mut node.card))
                .min()
                .unwrap_or(end);
            self.now = next
                .max(now.after(Duration::from_micros(100)))
                .min(now.after(Duration::from_millis(5)));
            assert!(
                now < end,
                "nothing came of it:\n{:#?}\n{:#?}",
                self.logs[0].0.borrow(),
                self.logs[1].0.borrow()
            );
        }
    }
}

/// Runs two devices until `done`. Returns their logs.
pub fn run(people: [&Person; 2], memories: [Ram; 2], done: impl Fn(&[Lines; 2]) -> bool) -> [Lines; 2] {
    let mut bed = Bed::new(people, memories);
    for at in [0, 1] {
        bed.start(at).unwrap();
    }
    bed.run(|bed| done(&bed.logs));
    bed.logs.clone()
}
