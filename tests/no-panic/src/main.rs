//! An image of core that cannot be linked if anything in it can panic: its panic handler calls a symbol that does not exist.
//!
//! Each function below stands for one way in which bytes of a peer, or of a disk, enter core. What it is called with is
//! conjured out of memory that the compiler knows nothing about, so that no branch can be left out; the image is linked, and never
//! run. The provider is one whose operations are opaque: the proof is about our own code, and the crates of the field's
//! cryptography vouch for themselves.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::mem::MaybeUninit;

use dbmirror_core::channel::{self, Channel, ClientOptions, Reader, ServerOptions, Writer};
use dbmirror_core::crypto::{
    Absent, CryptoError, Hash, KeyExchange, POINT_LEN, Provider, RecordKey, SIGNATURE_LEN_MAX, SigningKey,
    VerifyingKey,
};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::message::codec::Message;
use dbmirror_core::secret::Secret;
use dbmirror_core::wire;

unsafe extern "C" {
    /// Does not exist anywhere.
    safe fn dbmirror_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    dbmirror_core_can_panic()
}

/// Memory that the compiler knows nothing about.
static mut POOL: MaybeUninit<[u128; 1 << 16]> = MaybeUninit::zeroed();

/// Any value of `T`. Only the linker ever sees it.
fn conjure<T>() -> T {
    const { assert!(size_of::<T>() <= 1 << 20) };
    let pool = black_box(&raw const POOL);
    // SAFETY: none is claimed: this image is linked and never run.
    unsafe { core::ptr::read_volatile(pool.cast::<T>()) }
}

/// An error, or none.
fn perhaps<T>(value: T) -> Result<T, CryptoError> {
    match conjure::<u8>() {
        0 => Err(CryptoError::Entropy),
        1 => Err(CryptoError::BadPoint),
        2 => Err(CryptoError::Rejected),
        3 => Err(CryptoError::BadLength),
        _ => Ok(value),
    }
}

struct Opaque;

#[derive(Clone)]
struct OpaqueHash([u64; 8]);

struct OpaqueKey([u64; 4]);

impl Provider for Opaque {
    type Sha256 = OpaqueHash;
    type Aes128Gcm = OpaqueKey;
    type Sha384 = Absent;
    type Aes256Gcm = Absent;
    type P256 = OpaqueKey;
    type MlKem768 = Absent;
    type SigningKey = OpaqueKey;
    type VerifyingKey = OpaqueKey;
}

impl<const LEN: usize> Hash<LEN> for OpaqueHash {
    fn new() -> Self {
        conjure()
    }

    fn update(&mut self, bytes: &[u8]) {
        black_box(bytes);
        self.0 = conjure();
    }

    fn finish(self) -> [u8; LEN] {
        black_box(self.0);
        conjure()
    }
}

impl RecordKey for OpaqueKey {
    const KEY_LEN: usize = 16;
    const NONCE_LEN: usize = 12;
    const TAG_LEN: usize = 16;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        black_box(key);
        perhaps(conjure())
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        black_box((self.0, nonce, aad, buf, tag));
        perhaps(())
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        black_box((self.0, nonce, aad, buf, tag));
        perhaps(())
    }
}

impl KeyExchange for OpaqueKey {
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        entropy.fill_secret(&mut [0; 32])?;
        perhaps(conjure())
    }

    fn share(&self) -> [u8; POINT_LEN] {
        conjure()
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        black_box(peer_share);
        perhaps(Secret::new(conjure()))
    }
}

impl SigningKey for OpaqueKey {
    fn from_scalar(_: &Secret<32>) -> Result<Self, CryptoError> {
        perhaps(conjure())
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        conjure()
    }

    fn sign(
        &self,
        message: &[u8],
        _: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        black_box((message, out));
        perhaps(conjure())
    }
}

impl VerifyingKey for OpaqueKey {
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError> {
        black_box(point);
        perhaps(conjure())
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        black_box((message, signature));
        perhaps(())
    }
}

/// The secure channel in both roles and at every stage, and its halves.
fn channel() {
    let mut env: channel::Env<'static, Opaque> = conjure();
    black_box(Channel::<Opaque>::client(conjure::<ClientOptions>()));
    black_box(Channel::<Opaque>::server_with(conjure::<ServerOptions>()));
    let channel: &'static mut Channel<Opaque> = conjure();
    let (rx, tx): (&'static mut [u8], &'static mut [u8]) = conjure();
    black_box(channel.read(&mut env, rx).is_ok());
    black_box(channel.write(&mut env, tx).is_ok());
    black_box(channel.seal(tx, conjure()).is_ok());
    black_box(channel.export(conjure(), conjure(), tx).is_ok());
    black_box(channel.end_of_input().is_ok());
    black_box((channel.wants_write(), channel.payload_len_max(), channel.error()));
    channel.update_keys();
    channel.close();
    black_box(conjure::<Channel<Opaque>>().split().is_ok());
    let reader: &'static mut Reader<Opaque> = conjure();
    black_box(reader.read(rx).is_ok());
    black_box(reader.end_of_input().is_ok());
    let writer: &'static mut Writer<Opaque> = conjure();
    black_box(writer.seal(tx, conjure()).is_ok());
    black_box(writer.write(tx).is_ok());
    writer.note_time(conjure());
    writer.fail(conjure());
}

/// Messages of `dbm/1`, with their way back.
fn messages() {
    let mut from = wire::Reader::new(conjure());
    let mut to = wire::Writer::new(conjure());
    while let Ok(Some(message)) = Message::decode(&mut from) {
        black_box(message.encode(&mut to).is_ok());
    }
}

/// Log blocks, and session records as they are stored.
fn blocks() {
    use dbmirror_core::message::block::BlockCheck;
    use dbmirror_core::session::Stored;
    if let Ok(stored) = Stored::decode(conjure()) {
        black_box(stored.encode(conjure()).is_ok());
    }
    let mut check: BlockCheck<OpaqueHash> = conjure();
    black_box(check.push(conjure()).is_ok());
    black_box(check.missing());
    black_box(check.finish().is_ok());
}

/// Certificates of strangers.
fn certificates() {
    use dbmirror_core::cert::Certificate;
    if let Ok(certificate) = Certificate::parse::<Opaque>(conjure()) {
        black_box(certificate.pin::<Opaque>());
        black_box(&certificate);
    }
}

/// The endpoint: everything that a driver calls because of what a peer does.
fn endpoint() {
    use dbmirror_core::endpoint::{self, Endpoint};
    let endpoint: &'static mut Endpoint<'static, Opaque> = conjure();
    let mut env: endpoint::Env<'static, Opaque> = conjure();
    black_box(endpoint.accept(&mut env, conjure()).is_ok());
    endpoint.connected(&mut env, conjure());
    endpoint.dial_failed(&mut env, conjure(), conjure());
    endpoint.set_room(conjure(), conjure());
    black_box(endpoint.handle_input(&mut env, conjure(), conjure()));
    endpoint.handle_eof(&mut env, conjure(), conjure());
    endpoint.handle_timeout(&mut env);
    endpoint.handle_persisted(&mut env, conjure());
    black_box(endpoint.set_channels(&mut env, conjure()));
    black_box(&endpoint.poll_output(&mut env, conjure()));
}

/// The image.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let entries: [fn(); 5] = [channel, messages, blocks, certificates, endpoint];
    for entry in black_box(entries) {
        entry();
    }
    #[cfg(feature = "broken")]
    {
        let bytes: &'static [u8] = conjure();
        black_box(bytes[conjure::<usize>()]);
    }
    loop {}
}
