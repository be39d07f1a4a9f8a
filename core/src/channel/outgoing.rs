//! Handshake messages into records: staged one at a time, fragmented to what the caller's buffer holds.

use super::error::{ChannelError, UseError};
use super::messages::auth::CERTIFICATE_SUFFIX;
use super::protect::Sealer;
use super::record::{self, CHANGE_CIPHER_SPEC, HANDSHAKE};
use super::transcript::Transcript;
use super::{CERTIFICATE_LEN_MAX, HEAD_ROOM};
use crate::crypto::{ENCAPSULATION_KEY_LEN, Provider};
use crate::wire::{self, Full, Writer};

/// Most bytes of a staged message: a ClientHello with the longest cookie and eight of the longest protocol names.
pub(crate) const STAGED_LEN_MAX: usize = if cfg!(feature = "hybrid") {
    768 + ENCAPSULATION_KEY_LEN
} else {
    768
};
/// Most bytes of a message in one record before records are protected, where no limit of the peer's is known. A ClientHello
/// with a hybrid share is longer than a small device's receive buffer; one without fits.
const CLEAR_FRAGMENT_LEN_MAX: usize = 512;
/// A fragment smaller than this is not worth a record while there is something in the buffer already.
const FRAGMENT_LEN_MIN: usize = 64;

/// The outgoing side of a handshake: at most one message, or one change_cipher_spec, at a time.
pub(crate) struct Outgoing {
    staged: [u8; STAGED_LEN_MAX],
    staged_len: usize,
    /// A certificate follows what is staged: its length, without being copied.
    certificate_len: usize,
    /// Bytes of the message that are in records already.
    sent: usize,
    content_type: u8,
    version: [u8; 2],
    #[cfg(test)]
    pub(crate) tamper: super::tests::Tamper,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self {
            staged: [0; STAGED_LEN_MAX],
            staged_len: 0,
            certificate_len: 0,
            sent: 0,
            content_type: HANDSHAKE,
            version: record::VERSION,
            #[cfg(test)]
            tamper: super::tests::Tamper::default(),
        }
    }

    /// Whether everything staged is in records.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent >= self.message_len()
    }

    /// Stages a message and takes it into the transcript.
    pub(crate) fn stage<P: Provider>(
        &mut self,
        transcript: &mut Transcript<P>,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<(), ChannelError> {
        self.stage_certificate(transcript, &[], fill)
    }

    /// Stages a message that ends with `certificate` and the empty extensions behind it.
    pub(crate) fn stage_certificate<P: Provider>(
        &mut self,
        transcript: &mut Transcript<P>,
        certificate: &[u8],
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<(), ChannelError> {
        let mut w = Writer::new(&mut self.staged);
        // Only what the caller lent varies in length.
        fill(&mut w).map_err(|Full| ChannelError::Lent)?;
        self.staged_len = w.len();
        self.certificate_len = certificate.len();
        self.sent = 0;
        self.content_type = HANDSHAKE;
        self.version = record::VERSION;
        #[cfg(test)]
        if self.tamper_staged(transcript, certificate) {
            return Ok(());
        }
        transcript.add(self.staged.get(..self.staged_len).ok_or(ChannelError::State)?);
        if !certificate.is_empty() {
            if certificate.len() > CERTIFICATE_LEN_MAX {
                return Err(ChannelError::Lent);
            }
            transcript.add(certificate);
            transcript.add(&CERTIFICATE_SUFFIX);
        }
        Ok(())
    }

    /// Gives the staged message the record version of a first ClientHello.
    pub(crate) fn as_first(&mut self) {
        self.version = record::VERSION_FIRST;
    }

    /// Stages the change_cipher_spec that means nothing (appendix D.4). It is never protected.
    pub(crate) fn stage_change_cipher_spec(&mut self) {
        self.staged = [1; STAGED_LEN_MAX];
        self.staged_len = 1;
        self.certificate_len = 0;
        self.sent = 0;
        self.content_type = CHANGE_CIPHER_SPEC;
        self.version = record::VERSION;
    }

    /// Puts as much as `tx` holds into records and returns how many bytes those are. `certificate` is the one that was
    /// lent when the message was staged.
    pub(crate) fn flush<P: Provider>(
        &mut self,
        sealer: Option<&mut Sealer<P>>,
        certificate: &[u8],
        tx: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let mut sealer = if self.content_type == HANDSHAKE {
            sealer
        } else {
            None
        };
        // The peer's limit holds for the handshake too, from the first protected record on (RFC 8449 §4).
        let (tail_room, fragment_len_max) = sealer.as_deref().map_or((0, CLEAR_FRAGMENT_LEN_MAX), |sealer| {
            (sealer.tail_room(), sealer.payload_len_max())
        });
        let overhead = HEAD_ROOM.saturating_add(tail_room);
        let mut written: usize = 0;
        while !self.is_empty() {
            let left = self.message_len().saturating_sub(self.sent);
            let place = tx.get_mut(written..).ok_or(ChannelError::State)?;
            let len = left
                .min(fragment_len_max)
                .min(place.len().saturating_sub(overhead));
            if len == 0 || (len < left.min(FRAGMENT_LEN_MIN).min(fragment_len_max) && written > 0) {
                break;
            }
            let content = place.get_mut(HEAD_ROOM..).and_then(|rest| rest.get_mut(..len));
            self.copy_out(certificate, content.ok_or(ChannelError::State)?)?;
            let record_len = match sealer.as_deref_mut() {
                Some(sealer) => sealer.seal(self.content_type, place, len).map_err(broken_seal)?,
                None => {
                    let header = record::header(self.content_type, self.version, len);
                    wire::copy(place, &header.ok_or(ChannelError::State)?).ok_or(ChannelError::State)?;
                    HEAD_ROOM.saturating_add(len)
                }
            };
            self.sent = self.sent.saturating_add(len);
            written = written.saturating_add(record_len);
        }
        Ok(written)
    }

    fn message_len(&self) -> usize {
        #[cfg(test)]
        if let Some(replaced) = &self.tamper.replaced {
            return replaced.len();
        }
        if self.certificate_len == 0 {
            self.staged_len
        } else {
            self.staged_len
                .saturating_add(self.certificate_len)
                .saturating_add(CERTIFICATE_SUFFIX.len())
        }
    }

    /// Fills `out` with the message from `sent` on.
    fn copy_out(&self, certificate: &[u8], out: &mut [u8]) -> Result<(), ChannelError> {
        #[cfg(test)]
        if let Some(replaced) = &self.tamper.replaced {
            out.copy_from_slice(&replaced[self.sent..self.sent + out.len()]);
            return Ok(());
        }
        let staged = self.staged.get(..self.staged_len).ok_or(ChannelError::State)?;
        let (certificate, suffix): (&[u8], &[u8]) = if self.certificate_len == 0 {
            (&[], &[])
        } else {
            (certificate, &CERTIFICATE_SUFFIX)
        };
        if certificate.len() != self.certificate_len {
            // The caller lent another identity in the middle of the message.
            return Err(ChannelError::Lent);
        }
        let (mut to, mut skip) = (out, self.sent);
        for part in [staged, certificate, suffix] {
            let (_, from) = part.split_at_checked(skip).unwrap_or((part, &[]));
            skip = skip.saturating_sub(part.len());
            let len = from.len().min(to.len());
            let (Some(from), Some((place, rest))) = (from.get(..len), to.split_at_mut_checked(len)) else {
                return Err(ChannelError::State);
            };
            wire::copy(place, from).ok_or(ChannelError::State)?;
            to = rest;
        }
        Ok(())
    }

    /// Lets a test change the message; says whether the transcript has been fed.
    #[cfg(test)]
    fn tamper_staged<P: Provider>(&mut self, transcript: &mut Transcript<P>, certificate: &[u8]) -> bool {
        let mut message = self.staged[..self.staged_len].to_vec();
        if !certificate.is_empty() {
            message.extend_from_slice(certificate);
            message.extend_from_slice(&CERTIFICATE_SUFFIX);
        }
        self.tamper.replaced = self.tamper.apply(&transcript.hash(), message);
        self.tamper
            .replaced
            .as_ref()
            .inspect(|replaced| transcript.add(replaced))
            .is_some()
    }
}

/// Sealing cannot fail here: the room was measured and a handshake has few records.
pub(crate) const fn broken_seal(error: UseError) -> ChannelError {
    match error {
        UseError::KeyExhausted => ChannelError::KeyExhausted,
        _ => ChannelError::State,
    }
}
