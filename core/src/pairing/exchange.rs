//! One side's part of a pairing, from HELLO to STORED, over a channel that stands.
//!
//! ```text
//! initiator                                   responder (its window is open)
//! HELLO                          ──────▶
//!                                ◀──────      HELLO
//! PROOF(initiator)               ──────▶      verifies; the catalog says whether it would take the peer
//! verifies, stores durably       ◀──────      PROOF(responder)
//! STORED                         ──────▶      stores durably
//!                                ◀──────      STORED; the window closes
//! ```
//!
//! The responder proves nothing to somebody who has not proved the code first, and neither side stores before it has verified
//! the other's proof. Whatever goes wrong ends in REFUSED with a number.

use super::message::{Message, VERSION};
use super::proof::{PairingKey, Statement};
use super::{EXPORTER_LEN, Method, Refusal};
use crate::crypto::{HASH_LEN, Hash};
use crate::message::{InstanceId, InstanceName};
use crate::wire::{Full, Writer};

/// Which side of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 1: the side that dialed.
    Initiator,
    /// 2: the side whose operator holds the window open.
    Responder,
}

impl Side {
    /// As it stands in a proof.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Initiator => 1,
            Self::Responder => 2,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// Who we are. Lent at each call.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// The certificate that the channel was made with.
    pub certificate: &'a [u8],
    /// This instance.
    pub instance: InstanceId,
    /// Its name.
    pub name: InstanceName,
}

/// What a message brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'m> {
    /// Nothing to be done from outside.
    Nothing,
    /// The peer proved itself, with this certificate. The responder asks its catalog whether it would take the peer, the
    /// initiator stores it; then [`Exchange::allow`] or [`Exchange::refuse`].
    Proved(&'m [u8]),
    /// The peer has stored. The responder stores now, then [`Exchange::allow`]; for the initiator this is the end.
    Stored,
    /// The peer gave it up.
    Refused(Refusal),
}

/// What [`Exchange::say`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing is to be said now.
    Nothing,
    /// Messages, and it goes on.
    Messages,
    /// The last word: everything is stored on both sides, as far as this one knows.
    Last,
    /// That it comes to nothing: close.
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    NotYet,
    Due,
    Said,
}

/// What the exchange waits for from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    AboutProof,
    AboutStored,
}

/// One side's part.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    side: Side,
    method: Method,
    exporter: [u8; EXPORTER_LEN],
    peer_fingerprint: [u8; HASH_LEN],
    peer: Option<(InstanceId, InstanceName)>,
    hello: Word,
    proof: Word,
    stored: Word,
    refusal: Option<Refusal>,
    asked: Asked,
    proved: bool,
    peer_stored: bool,
}

impl Exchange {
    /// Over a channel with this exporter, whose peer showed the certificate with this fingerprint.
    #[must_use]
    pub const fn new(
        side: Side,
        method: Method,
        exporter: [u8; EXPORTER_LEN],
        peer_fingerprint: [u8; HASH_LEN],
    ) -> Self {
        Self {
            side,
            method,
            exporter,
            peer_fingerprint,
            peer: None,
            hello: Word::Due,
            proof: Word::NotYet,
            stored: Word::NotYet,
            refusal: None,
            asked: Asked::Nothing,
            proved: false,
            peer_stored: false,
        }
    }

    /// The peer's instance id and name, once it told.
    #[must_use]
    pub const fn peer(&self) -> Option<(InstanceId, InstanceName)> {
        self.peer
    }

    /// The fingerprint of the peer's certificate.
    #[must_use]
    pub const fn peer_fingerprint(&self) -> &[u8; HASH_LEN] {
        &self.peer_fingerprint
    }

    /// One message from the peer.
    ///
    /// # Errors
    /// [`Refusal`]: it comes to nothing, and the peer is told so by the next [`Exchange::say`].
    pub fn hear<'m, H: Hash>(
        &mut self,
        own: &Own<'_>,
        key: &PairingKey,
        message: &Message<'m>,
    ) -> Result<Heard<'m>, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let heard = self.take::<H>(own, key, message);
        if let Err(refusal) = heard {
            self.refuse(refusal);
        }
        heard
    }

    fn take<'m, H: Hash>(
        &mut self,
        own: &Own<'_>,
        key: &PairingKey,
        message: &Message<'m>,
    ) -> Result<Heard<'m>, Refusal> {
        match (*message, self.peer) {
            (Message::Refused { number }, _) => Ok(Heard::Refused(Refusal::from_number(number))),
            (
                Message::Hello {
                    version_min,
                    version_max,
                    method,
                    instance,
                    name,
                },
                None,
            ) => {
                if version_min > VERSION || version_max < VERSION {
                    return Err(Refusal::NoCommonVersion);
                }
                if method != self.method.code() {
                    return Err(Refusal::OtherMethod);
                }
                if instance == own.instance {
                    return Err(Refusal::OwnInstance);
                }
                if instance == InstanceId::default() || name.is_empty() {
                    return Err(Refusal::BadMessage);
                }
                self.peer = Some((instance, name));
                if self.side == Side::Initiator {
                    self.proof = Word::Due;
                }
                Ok(Heard::Nothing)
            }
            (Message::Proof { mac, certificate }, Some((instance, _)))
                if !self.proved && (self.side == Side::Responder || self.proof == Word::Said) =>
            {
                if H::digest(certificate) != self.peer_fingerprint {
                    return Err(Refusal::WrongProof);
                }
                let statement = Statement {
                    side: self.side.other(),
                    method: self.method,
                    exporter: &self.exporter,
                    fingerprint: &self.peer_fingerprint,
                    peer_fingerprint: &H::digest(own.certificate),
                    instance,
                    peer_instance: own.instance,
                };
                statement
                    .mac::<H>(key)
                    .verify(&mac)
                    .map_err(|_| Refusal::WrongProof)?;
                self.proved = true;
                self.asked = Asked::AboutProof;
                Ok(Heard::Proved(certificate))
            }
            (Message::Stored, Some(_)) if !self.peer_stored => {
                let in_turn = match self.side {
                    Side::Initiator => self.stored == Word::Said,
                    Side::Responder => self.proof == Word::Said,
                };
                if !in_turn {
                    return Err(Refusal::BadMessage);
                }
                self.peer_stored = true;
                if self.side == Side::Responder {
                    self.asked = Asked::AboutStored;
                }
                Ok(Heard::Stored)
            }
            _ => Err(Refusal::BadMessage),
        }
    }

    /// What was asked is done: the catalog takes the peer, or has stored it. False when nothing was asked.
    pub const fn allow(&mut self) -> bool {
        match (self.side, self.asked) {
            (_, Asked::Nothing) => return false,
            (Side::Responder, Asked::AboutProof) => self.proof = Word::Due,
            (Side::Initiator, Asked::AboutProof) | (_, Asked::AboutStored) => self.stored = Word::Due,
        }
        self.asked = Asked::Nothing;
        true
    }

    /// It comes to nothing. The first reason stands.
    pub const fn refuse(&mut self, refusal: Refusal) {
        if self.refusal.is_none() {
            self.refusal = Some(refusal);
        }
    }

    /// Writes what is to be said now.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; say it again with more room.
    pub fn say<H: Hash>(
        &mut self,
        own: &Own<'_>,
        key: Option<&PairingKey>,
        to: &mut Writer<'_>,
    ) -> Result<Said, Full> {
        if let Some(refusal) = self.refusal {
            let number = refusal.number();
            Message::Refused { number }.encode(to)?;
            return Ok(Said::Refused(refusal));
        }
        let mut said = Said::Nothing;
        if self.hello == Word::Due {
            let hello = Message::Hello {
                version_min: VERSION,
                version_max: VERSION,
                method: self.method.code(),
                instance: own.instance,
                name: own.name,
            };
            hello.encode(to)?;
            self.hello = Word::Said;
            said = Said::Messages;
        }
        if self.proof == Word::Due
            && let (Some(key), Some((instance, _))) = (key, self.peer)
        {
            let statement = Statement {
                side: self.side,
                method: self.method,
                exporter: &self.exporter,
                fingerprint: &H::digest(own.certificate),
                peer_fingerprint: &self.peer_fingerprint,
                instance: own.instance,
                peer_instance: instance,
            };
            let proof = Message::Proof {
                mac: statement.mac::<H>(key).finish(),
                certificate: own.certificate,
            };
            proof.encode(to)?;
            self.proof = Word::Said;
            said = Said::Messages;
        }
        if self.stored == Word::Due {
            Message::Stored.encode(to)?;
            self.stored = Word::Said;
            said = match self.side {
                Side::Initiator => Said::Messages,
                Side::Responder => Said::Last,
            };
        }
        Ok(said)
    }
}
