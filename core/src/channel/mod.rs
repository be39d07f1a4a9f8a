//! The secure channel: a strict profile of TLS 1.3 (`docs/channel.md`).
//!
//! A [`Channel`] turns bytes of a reliable stream into bytes of authenticated peers and back. It does no I/O, reads no
//! clock and owns no buffer but a small one for handshake messages. Both sides prove who they are, always; see
//! [`verify`] for how a peer is judged. The rule book is RFC 8446; where RFC 9846, which obsoletes it, is tighter, the
//! tighter rule holds.
//!
//! # The contract
//!
//! - *Before anything else, and after every call, drain [`Channel::write`]* for as long as [`Channel::wants_write`]
//!   says so. Then read, seal or close.
//! - *Reading* is in place: lend what has come from the transport, from the first byte not yet consumed. The answer
//!   says how many bytes to drop from the front, how many more are needed before anything can happen, and what was in
//!   it; plaintext lies inside the lent slice. Drop only after using it, and lend the bytes behind unchanged: a record
//!   may be taken in several steps.
//! - *Sealing* is in place: the payload lies [`HEAD_ROOM`] bytes into the buffer and [`TAIL_ROOM`] bytes are free
//!   behind it.
//! - After an error, [`Channel::write`] has one alert to give, if there is one to send. Then close the transport.
//! - No call computes more than one public-key operation; the two halves of a hybrid key exchange count as one, of which
//!   ML-KEM is the smaller.
//!
//! ```
//! use dbmirror_core::channel::{Channel, ChannelError, Env, Event};
//! use dbmirror_core::crypto::Provider;
//!
//! /// Moves `channel` on; returns how many bytes of `rx` are used up and how many of `tx` are to be sent.
//! fn turn<P: Provider>(
//!     channel: &mut Channel<P>,
//!     env: &mut Env<'_, P>,
//!     rx: &mut [u8],
//!     tx: &mut [u8],
//!     deliver: &mut dyn FnMut(&[u8]),
//! ) -> Result<(usize, usize), ChannelError> {
//!     let sent = channel.write(env, tx)?;
//!     if sent > 0 || channel.wants_write() {
//!         return Ok((0, sent)); // send these first, then come back
//!     }
//!     let step = channel.read(env, rx)?;
//!     if let Event::Data(plaintext) = step.event {
//!         deliver(plaintext);
//!     }
//!     Ok((step.consumed, sent))
//! }
//! ```

pub mod alert;
mod assembly;
mod auth;
mod client;
pub mod digest;
pub mod error;
mod group;
mod handshake;
pub mod key_schedule;
mod keys;
mod messages;
mod outgoing;
mod post_handshake;
pub mod protect;
mod record;
mod server;
mod suite;
#[cfg(test)]
mod tests;
pub mod traffic;
pub mod transcript;
pub mod verify;

pub use alert::Alert;
pub use error::{Blame, ChannelError, PeerRefusal, UseError};
pub use group::NamedGroup;
pub use suite::{CipherSuite, Encryption, RecordSizeLimit};
pub use traffic::{Halves, Read, ReadEvent, Reader, Session, Writer};
pub use verify::{Alpn, Identity, PeerVerifier, Protocol, VerifiedPeer};

use self::client::Client;
use self::handshake::{Handshake, State};
use self::keys::Keys;
use self::protect::small_record;
use self::server::Server;
use self::traffic::Traffic;

use crate::crypto::Provider;
use crate::entropy::Entropy;
use crate::time::UnixSeconds;
use crate::wire;

/// Bytes of a record before its payload: type, version, length.
pub const HEAD_ROOM: usize = 5;
/// Bytes of room that a record takes behind its payload: content type and the longest tag of any suite.
pub const TAIL_ROOM: usize = 33;
/// Most bytes of payload in one record (RFC 8446 §5.1).
pub const PAYLOAD_LEN_MAX: usize = 1 << 14;
/// Most bytes of one record on the wire (RFC 8446 §5.2): a receive buffer of this size is always enough.
pub const RECORD_LEN_MAX: usize = HEAD_ROOM + PAYLOAD_LEN_MAX + 256;
/// Most bytes of a certificate in DER.
pub const CERTIFICATE_LEN_MAX: usize = 2048;
/// Most bytes of a handshake message with its header: a certificate message around the longest certificate, rounded up.
pub const MESSAGE_LEN_MAX: usize = CERTIFICATE_LEN_MAX + 16;
/// The fewest bytes with which [`Channel::write`] always gets on.
pub const WRITE_ROOM_MIN: usize = HEAD_ROOM + TAIL_ROOM + 64;
/// The exporter label of the channel binding `tls-exporter` (RFC 9266 §2), 32 bytes with an empty context.
pub const CHANNEL_BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

#[cfg(all(feature = "key-log", not(debug_assertions)))]
compile_error!("the feature `key-log` gives secrets away: it is for debugging builds only");

/// What the caller lends to each call. None of it is kept.
pub struct Env<'e, P: Provider> {
    /// Calendar time, for the validity dates that are stored with pins.
    pub now: UnixSeconds,
    /// Randomness.
    pub entropy: &'e mut dyn Entropy,
    /// Who we are.
    pub identity: Identity<'e, P>,
    /// The application protocols that are spoken, the preferred one first. A client offers all of them.
    pub protocols: &'e [Protocol<'e>],
}

/// How a client greets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// Which cipher suites it offers.
    pub encryption: Encryption,
    /// The longest record that it takes.
    pub record_size_limit: RecordSizeLimit,
    /// Looks like TLS 1.2 to boxes on the way (RFC 8446 appendix D.4): a session id and change_cipher_spec records that
    /// mean nothing. Off unless asked for: inside a data centre they cost and serve nobody.
    pub middlebox_compatible: bool,
    /// Whether TLS_AES_256_GCM_SHA384 is offered too, by a provider that has it.
    pub aes_256: bool,
    /// Whether SecP256r1MLKEM768 is offered too, and preferred, by a provider that has it. A server that does not know it costs
    /// one round trip more.
    pub hybrid: bool,
}

impl ClientOptions {
    const fn suites(&self) -> suite::Suites {
        suite::Suites {
            encryption: self.encryption,
            aes_256: self.aes_256,
        }
    }

    const fn groups(&self) -> group::Groups {
        group::Groups { hybrid: self.hybrid }
    }
}

/// What a server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// Which cipher suites it takes.
    pub encryption: Encryption,
    /// The longest record that it takes.
    pub record_size_limit: RecordSizeLimit,
    /// Whether TLS_AES_256_GCM_SHA384 is taken too, by a provider that has it.
    pub aes_256: bool,
    /// Whether SecP256r1MLKEM768 is taken too, and preferred, by a provider that has it.
    pub hybrid: bool,
}

impl From<ServerOptions> for ClientOptions {
    /// What an endpoint takes as a server it offers as a client.
    fn from(options: ServerOptions) -> Self {
        let ServerOptions {
            encryption,
            record_size_limit,
            aes_256,
            hybrid,
        } = options;
        Self {
            encryption,
            record_size_limit,
            aes_256,
            hybrid,
            middlebox_compatible: false,
        }
    }
}

impl ServerOptions {
    const fn suites(&self) -> suite::Suites {
        suite::Suites {
            encryption: self.encryption,
            aes_256: self.aes_256,
        }
    }

    const fn groups(&self) -> group::Groups {
        group::Groups { hybrid: self.hybrid }
    }
}

/// Which side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that dialled.
    Client,
    /// The side that listened.
    Server,
}

/// What one [`Channel::read`] did.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Step<'b> {
    /// Bytes at the front of what was lent that are used up. Drop them once `event` is dealt with.
    pub consumed: usize,
    /// With nothing consumed: how many bytes more than were lent must come before anything can happen; exact. Else 0.
    pub need: usize,
    /// What was in it.
    pub event: Event<'b>,
}

/// What a record brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// Nothing for the caller: part of the handshake, or nothing yet. Ask [`Channel::established`], go on.
    Progress,
    /// [`Channel::write`] has to be drained before reading can go on; nothing was consumed.
    WriteFirst,
    /// Application data, decrypted in place; never empty.
    Data(&'b [u8]),
    /// The peer has closed in good order and sends no more. Our side may still send, and closes by [`Channel::close`].
    Closed,
}

/// What a finished handshake established. Holding one means that every check passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    /// Our side.
    pub role: Role,
    /// The application protocol.
    pub alpn: Alpn,
    /// The cipher suite.
    pub suite: CipherSuite,
    /// The key exchange.
    pub group: NamedGroup,
    /// The peer, which has proved that it owns the certificate.
    pub peer: VerifiedPeer,
}

/// One TLS 1.3 connection, client or server, from the first byte to the last.
pub struct Channel<P: Provider> {
    keys: Keys<P>,
    stage: Stage<P>,
}

/// How far it has come.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to box on; a channel costs what a handshake costs, and a test holds its size"
)]
enum Stage<P: Provider> {
    Handshake(Handshake<P>),
    Traffic(Traffic),
    Dead(Dead),
}

/// What is left to say of a channel that has died.
struct Dead {
    error: Option<ChannelError>,
    /// The error has not been returned yet: bytes that were good came with it.
    untold: bool,
    /// A change_cipher_spec goes before the alert.
    change_cipher_spec: bool,
    alert: Option<Alert>,
}

impl<P: Provider> Channel<P> {
    /// The side that dialled. [`Channel::write`] has a ClientHello to give at once.
    #[must_use]
    pub fn client(options: ClientOptions) -> Self {
        Self {
            keys: Keys::new(options.record_size_limit),
            stage: Stage::Handshake(Handshake::new(State::Client(Client::new(options)))),
        }
    }

    /// The side that listened, which requires encryption and takes records of any size.
    #[must_use]
    pub fn server() -> Self {
        Self::server_with(ServerOptions::default())
    }

    /// The side that listened.
    #[must_use]
    pub fn server_with(options: ServerOptions) -> Self {
        Self {
            keys: Keys::new(options.record_size_limit),
            stage: Stage::Handshake(Handshake::new(State::Server(Server::new(options)))),
        }
    }

    /// Takes at most one record, or one handshake message, from the front of `rx`.
    ///
    /// # Errors
    /// [`ChannelError`] when the peer cannot be talked to; the same one at every later call. Drain [`Channel::write`]
    /// once more for the alert, then close the transport.
    pub fn read<'b>(&mut self, env: &mut Env<'_, P>, rx: &'b mut [u8]) -> Result<Step<'b>, ChannelError> {
        let read = match &mut self.stage {
            Stage::Handshake(handshake) if handshake.wants_write() => {
                return Ok(Step {
                    consumed: 0,
                    need: 0,
                    event: Event::WriteFirst,
                });
            }
            Stage::Handshake(handshake) => {
                handshake
                    .read(&mut self.keys, env, rx)
                    .map(|(consumed, need)| Step {
                        consumed,
                        need,
                        event: Event::Progress,
                    })
            }
            Stage::Traffic(traffic) => {
                traffic.sending.note_time(env.now);
                let opener = self.keys.opener.as_mut().ok_or(ChannelError::State);
                opener.and_then(|opener| traffic.receiving.read(opener, rx)).map(
                    |Read {
                         consumed,
                         need,
                         event,
                     }| {
                        let event = match event {
                            ReadEvent::Nothing => Event::Progress,
                            ReadEvent::Data(plaintext) => Event::Data(plaintext),
                            ReadEvent::Closed => Event::Closed,
                            ReadEvent::KeyUpdateRequested => {
                                traffic.sending.update_keys();
                                Event::Progress
                            }
                        };
                        Step {
                            consumed,
                            need,
                            event,
                        }
                    },
                )
            }
            Stage::Dead(dead) => return Err(dead.error.unwrap_or(ChannelError::ClosedInHandshake)),
        };
        match read {
            Ok(step) => {
                self.settle();
                Ok(step)
            }
            Err(error) => {
                self.die(error);
                Err(error)
            }
        }
    }

    /// Fills `tx` with what the channel itself has to send: handshake messages, alerts, key updates. Returns the number
    /// of bytes; less than [`WRITE_ROOM_MIN`] bytes of room may give 0. Call again while [`Channel::wants_write`].
    ///
    /// # Errors
    /// [`ChannelError`] when our own side fails; the call after it gives the alert. Bytes that were good until then are
    /// given first, and the error by the next call. A channel that has died and said so gives its alert, then 0.
    pub fn write(&mut self, env: &mut Env<'_, P>, tx: &mut [u8]) -> Result<usize, ChannelError> {
        let (written, outcome) = match &mut self.stage {
            Stage::Handshake(handshake) => handshake.write(&mut self.keys, env, tx),
            Stage::Traffic(traffic) => {
                traffic.sending.note_time(env.now);
                let sealer = self.keys.sealer.as_mut().ok_or(ChannelError::State);
                match sealer.and_then(|sealer| traffic.sending.write(sealer, tx)) {
                    Ok(written) => return Ok(written),
                    Err(error) => (0, Err(error)),
                }
            }
            Stage::Dead(dead) => return dead.write(&mut self.keys, tx),
        };
        match outcome {
            Ok(()) => {
                self.settle();
                Ok(written)
            }
            Err(error) => {
                self.die(error);
                match &mut self.stage {
                    Stage::Dead(dead) if written > 0 => {
                        dead.untold = true;
                        Ok(written)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Whether [`Channel::write`] has something to give.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match &self.stage {
            Stage::Handshake(handshake) => handshake.wants_write(),
            Stage::Traffic(traffic) => {
                let sealer = self.keys.sealer.as_ref();
                sealer.is_some_and(|sealer| traffic.sending.wants_write(sealer))
            }
            Stage::Dead(dead) => dead.untold || dead.alert.is_some(),
        }
    }

    /// Protects `payload_len` bytes that lie at offset [`HEAD_ROOM`] of `buf`, with [`TAIL_ROOM`] bytes behind them, and
    /// returns the length of the record, which starts at offset 0.
    ///
    /// # Errors
    /// [`UseError`]; nothing is sealed then.
    pub fn seal(&mut self, buf: &mut [u8], payload_len: usize) -> Result<usize, UseError> {
        match &mut self.stage {
            Stage::Handshake(_) => Err(UseError::NotEstablished),
            Stage::Traffic(traffic) => {
                let sealer = self.keys.sealer.as_mut().ok_or(UseError::Closed)?;
                traffic.sending.seal(sealer, buf, payload_len)
            }
            Stage::Dead(_) => Err(UseError::Closed),
        }
    }

    /// Most bytes of payload that the peer takes in one record: [`PAYLOAD_LEN_MAX`], or less if it has asked for that.
    #[must_use]
    pub fn payload_len_max(&self) -> usize {
        self.keys
            .sealer
            .as_ref()
            .map_or(PAYLOAD_LEN_MAX, protect::Sealer::payload_len_max)
    }

    /// Most bytes of payload that we take in one record: what our own record_size_limit leaves.
    #[must_use]
    pub fn own_payload_len_max(&self) -> usize {
        self.keys
            .opener
            .as_ref()
            .map_or(PAYLOAD_LEN_MAX, protect::Opener::payload_len_max)
    }

    /// Changes our keys without being asked or needing to; [`Channel::write`] gives the message. Nothing before the
    /// handshake is done.
    pub fn update_keys(&mut self) {
        if let Stage::Traffic(traffic) = &mut self.stage {
            traffic.sending.update_keys();
        }
    }

    /// Says that we send no more. [`Channel::write`] gives the close_notify; reading goes on until the peer closes too.
    /// Before the handshake is done it ends the channel, with `user_canceled` implied and not sent (RFC 9846 §6.1).
    pub fn close(&mut self) {
        match &mut self.stage {
            Stage::Handshake(handshake) => {
                let alert = handshake.hellos.seen.then_some(Alert::CloseNotify);
                let change_cipher_spec = handshake.owes_change_cipher_spec();
                self.keys.wipe_but_sealer();
                self.stage = Stage::Dead(Dead {
                    alert,
                    change_cipher_spec,
                    ..Dead::silent(None)
                });
            }
            Stage::Traffic(traffic) => traffic.sending.close(),
            Stage::Dead(_) => {}
        }
    }

    /// Tells the channel that the transport has ended. Call it when all bytes have been consumed that could be.
    ///
    /// # Errors
    /// [`ChannelError::Truncated`] or [`ChannelError::ClosedInHandshake`] when the peer did not say goodbye.
    pub fn end_of_input(&mut self) -> Result<(), ChannelError> {
        let ended = match &mut self.stage {
            Stage::Handshake(_) => Err(ChannelError::ClosedInHandshake),
            Stage::Traffic(traffic) => traffic.receiving.end_of_input(),
            Stage::Dead(dead) => return dead.error.map_or(Ok(()), Err),
        };
        if let Err(error) = ended {
            self.die(error);
        }
        ended
    }

    /// What the handshake established; `None` before its end, and for a channel that has died.
    #[must_use]
    pub fn established(&self) -> Option<&Established> {
        match &self.stage {
            Stage::Traffic(traffic) => Some(&traffic.established),
            Stage::Handshake(_) | Stage::Dead(_) => None,
        }
    }

    /// Why the channel died.
    #[must_use]
    pub fn error(&self) -> Option<ChannelError> {
        match &self.stage {
            Stage::Dead(dead) => dead.error,
            Stage::Handshake(_) | Stage::Traffic(_) => None,
        }
    }

    /// Keying material that both sides can compute and nobody else (RFC 8446 §7.5). See [`CHANNEL_BINDING_LABEL`].
    ///
    /// # Errors
    /// [`UseError::NotEstablished`] before the handshake is done, [`UseError::BadExport`] for a label above 249 bytes or
    /// more than 8,160 bytes of output.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), UseError> {
        match &self.stage {
            Stage::Traffic(_) => {
                let exporter = self.keys.exporter.as_ref().ok_or(UseError::NotEstablished)?;
                exporter
                    .export(label, context, out)
                    .map_err(|_| UseError::BadExport)
            }
            Stage::Handshake(_) | Stage::Dead(_) => Err(UseError::NotEstablished),
        }
    }

    /// Parts an established channel into a half that reads and a half that writes, which may live in two places.
    ///
    /// # Errors
    /// [`UseError::NotEstablished`] before the handshake is done, [`UseError::Closed`] for a channel that has died.
    pub fn split(self) -> Result<Halves<P>, UseError> {
        let Self { keys, stage } = self;
        match stage {
            Stage::Traffic(traffic) => {
                let (Some(opener), Some(sealer), Some(exporter)) = (keys.opener, keys.sealer, keys.exporter)
                else {
                    return Err(UseError::NotEstablished);
                };
                let Traffic {
                    receiving,
                    sending,
                    established,
                } = traffic;
                Ok(Halves {
                    reader: Reader { opener, receiving },
                    writer: Writer { sealer, sending },
                    session: Session {
                        established,
                        exporter,
                    },
                })
            }
            Stage::Handshake(_) => Err(UseError::NotEstablished),
            Stage::Dead(_) => Err(UseError::Closed),
        }
    }

    /// Goes over to traffic once the handshake is done.
    fn settle(&mut self) {
        if let Stage::Handshake(handshake) = &mut self.stage
            && let State::Done(_) = &handshake.state
            && let State::Done(outcome) = core::mem::replace(&mut handshake.state, State::Taken)
        {
            self.stage = Stage::Traffic(outcome.into_traffic());
        }
    }

    /// Drops everything but what the last alert needs.
    fn die(&mut self, error: ChannelError) {
        self.keys.wipe_but_sealer();
        let (alert, change_cipher_spec) = match &mut self.stage {
            Stage::Handshake(handshake) => (error.alert(), handshake.owes_change_cipher_spec()),
            Stage::Traffic(traffic) => (traffic.sending.last_alert(error), false),
            Stage::Dead(_) => return,
        };
        if alert.is_none() {
            self.keys.sealer = None;
        }
        self.stage = Stage::Dead(Dead {
            alert,
            change_cipher_spec,
            ..Dead::silent(Some(error))
        });
    }
}

/// State of a connection on a device, without the two buffers for handshake messages, which a split channel does not have.
#[cfg(target_pointer_width = "32")]
const _: () = {
    use crate::crypto::rustcrypto::RustCrypto;
    assert!(
        size_of::<Halves<RustCrypto>>() <= 2_048,
        "an established connection takes less than 2 KiB"
    );
    assert!(
        size_of::<Channel<RustCrypto>>() <= 2_560 + MESSAGE_LEN_MAX + outgoing::STAGED_LEN_MAX,
        "one in its handshake takes what its keys take, and two messages"
    );
};

impl Dead {
    const fn silent(error: Option<ChannelError>) -> Self {
        Self {
            error,
            untold: false,
            change_cipher_spec: false,
            alert: None,
        }
    }

    fn write<P: Provider>(&mut self, keys: &mut Keys<P>, tx: &mut [u8]) -> Result<usize, ChannelError> {
        if let (true, Some(error)) = (self.untold, self.error) {
            self.untold = false;
            return Err(error);
        }
        let Some(alert) = self.alert else { return Ok(0) };
        // An alert in clear is what it was in TLS 1.2: nothing is missing before it.
        let before: &[u8] = if self.change_cipher_spec && keys.sealer.is_some() {
            &record::CHANGE_CIPHER_SPEC_RECORD
        } else {
            &[]
        };
        let Some((place, rest)) = tx.split_at_mut_checked(before.len()) else {
            return Ok(0);
        };
        match small_record(keys.sealer.as_mut(), record::ALERT, &alert.to_bytes(), rest) {
            None => Ok(0),
            Some(sealed) => {
                self.alert = None;
                keys.sealer = None;
                let Some(len) = sealed.ok().filter(|_| wire::copy(place, before).is_some()) else {
                    return Ok(0);
                };
                Ok(len.saturating_add(before.len()))
            }
        }
    }
}
