//! Record protection (RFC 8446 §5.2, §5.3): sequence numbers, nonces, header and padding around a provider's key.
//!
//! A record is sealed and opened where it lies:
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 5 | header: 23, 3, 3, length of the rest |
//! | 5 | n | content |
//! | 5 + n | 1 | content type |
//! | 6 + n | p | padding, zero; received, never sent |
//! | 6 + n + p | 16 | tag |

use super::error::{ChannelError, UseError};
use super::key_schedule::TrafficSecret;
use super::record::{self, APPLICATION_DATA, INNER_LEN_MAX};
use super::{HEAD_ROOM, PAYLOAD_LEN_MAX};
use crate::crypto::{CryptoError, Provider, RecordKey};
use crate::secret::Secret;
use crate::wire;

/// Most bytes of a record key or IV of any suite.
const KEY_LEN_MAX: usize = 32;
/// Own records under one key at which an update is due: well below the limit, so that it is sent in time.
pub(crate) const UPDATE_DUE_RECORDS: u64 = 1 << 23;
/// Own records under one key, of full size, after which AES-GCM must not go on (RFC 8446 §5.5: 2^24.5), rounded down.
pub(crate) const RECORDS_MAX: u64 = 1 << 24;

/// Key and IV of one direction, with the number of the next record. Further cipher suites become further keys here.
struct Keyed<P: Provider> {
    secret: TrafficSecret<P::Sha256>,
    key: P::Aes128Gcm,
    iv: Secret<KEY_LEN_MAX>,
    record_seq: u64,
}

impl<P: Provider> Keyed<P> {
    const NONCE_LEN: usize = <P::Aes128Gcm as RecordKey>::NONCE_LEN;
    const TAG_LEN: usize = <P::Aes128Gcm as RecordKey>::TAG_LEN;

    fn new(secret: TrafficSecret<P::Sha256>) -> Result<Self, CryptoError> {
        let mut bytes = Secret::<KEY_LEN_MAX>::zero();
        let key_bytes = bytes
            .expose_mut()
            .get_mut(..<P::Aes128Gcm as RecordKey>::KEY_LEN)
            .ok_or(CryptoError::BadLength)?;
        secret.key(key_bytes)?;
        let key = P::Aes128Gcm::new(key_bytes)?;
        let mut iv = Secret::zero();
        secret.iv(iv
            .expose_mut()
            .get_mut(..Self::NONCE_LEN)
            .ok_or(CryptoError::BadLength)?)?;
        Ok(Self {
            secret,
            key,
            iv,
            record_seq: 0,
        })
    }

    /// The IV with the sequence number, padded on the left, mixed in (§5.3).
    fn nonce(&self) -> [u8; KEY_LEN_MAX] {
        let mut nonce = *self.iv.expose();
        let place = nonce.get_mut(..Self::NONCE_LEN).unwrap_or(&mut []);
        for (byte, seq) in place.iter_mut().rev().zip(self.record_seq.to_le_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    fn update(&mut self) -> Result<(), CryptoError> {
        *self = Self::new(self.secret.updated()?)?;
        Ok(())
    }
}

/// Protects the records that we send.
pub struct Sealer<P: Provider>(Keyed<P>);

impl<P: Provider> Sealer<P> {
    /// Bytes that protection adds behind the content: content type and tag.
    pub const TAIL_ROOM: usize = 1 + Keyed::<P>::TAG_LEN;

    /// Under the keys that belong to `secret`, from record 0.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn new(secret: TrafficSecret<P::Sha256>) -> Result<Self, CryptoError> {
        Keyed::new(secret).map(Self)
    }

    /// Seals `content_len` bytes that lie at offset [`HEAD_ROOM`] of `buf`; returns the record's length.
    ///
    /// # Errors
    /// [`UseError::TooLong`], [`UseError::NoRoom`] or [`UseError::KeyExhausted`].
    pub fn seal(&mut self, content_type: u8, buf: &mut [u8], content_len: usize) -> Result<usize, UseError> {
        if content_len > PAYLOAD_LEN_MAX {
            return Err(UseError::TooLong);
        }
        let type_at = HEAD_ROOM.saturating_add(content_len);
        if buf.len() < type_at.saturating_add(Self::TAIL_ROOM) {
            return Err(UseError::NoRoom);
        }
        *buf.get_mut(type_at).ok_or(UseError::NoRoom)? = content_type;
        self.seal_inner(buf, content_len.saturating_add(1))
    }

    /// Seals a TLSInnerPlaintext of `inner_len` bytes, content type and padding included, at offset [`HEAD_ROOM`].
    pub(crate) fn seal_inner(&mut self, buf: &mut [u8], inner_len: usize) -> Result<usize, UseError> {
        let keyed = &mut self.0;
        if keyed.record_seq >= RECORDS_MAX {
            return Err(UseError::KeyExhausted);
        }
        let body_len = inner_len.saturating_add(Keyed::<P>::TAG_LEN);
        let header = record::header(APPLICATION_DATA, record::VERSION, body_len).ok_or(UseError::TooLong)?;
        let (head, body) = buf.split_first_chunk_mut::<HEAD_ROOM>().ok_or(UseError::NoRoom)?;
        let (inner, rest) = body.split_at_mut_checked(inner_len).ok_or(UseError::NoRoom)?;
        let tag = rest.get_mut(..Keyed::<P>::TAG_LEN).ok_or(UseError::NoRoom)?;
        let nonce = keyed.nonce();
        let nonce = nonce.get(..Keyed::<P>::NONCE_LEN).ok_or(UseError::Provider)?;
        keyed
            .key
            .seal_in_place(nonce, &header, inner, tag)
            .map_err(|_| UseError::Provider)?;
        *head = header;
        keyed.record_seq = keyed.record_seq.checked_add(1).ok_or(UseError::KeyExhausted)?;
        Ok(HEAD_ROOM.saturating_add(body_len))
    }

    /// Goes on with the next keys, from record 0 (§7.2).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn update(&mut self) -> Result<(), CryptoError> {
        self.0.update()
    }

    /// Records sealed under the present key.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.0.record_seq
    }

    pub(crate) const fn secret(&self) -> &TrafficSecret<P::Sha256> {
        &self.0.secret
    }

    #[cfg(test)]
    pub(crate) fn force_records(&mut self, records: u64) {
        self.0.record_seq = records;
    }
}

/// What was inside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The inner content type.
    pub content_type: u8,
    /// Bytes of content, at offset [`HEAD_ROOM`] of the record.
    pub content_len: usize,
}

/// Opens the records that the peer sends.
pub struct Opener<P: Provider>(Keyed<P>);

impl<P: Provider> Opener<P> {
    /// Under the keys that belong to `secret`, from record 0.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn new(secret: TrafficSecret<P::Sha256>) -> Result<Self, CryptoError> {
        Keyed::new(secret).map(Self)
    }

    /// Opens one whole record, header included. The padding is looked at only once the tag was right (§5.4).
    ///
    /// # Errors
    /// [`ChannelError::BadRecordMac`] when it does not open, and then nothing of it is left;
    /// [`ChannelError::RecordOverflow`] or [`ChannelError::EmptyRecord`] for what is inside.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, ChannelError> {
        let keyed = &mut self.0;
        let (header, body) = record
            .split_first_chunk_mut::<HEAD_ROOM>()
            .ok_or(ChannelError::BadRecordMac)?;
        let inner_len = body
            .len()
            .checked_sub(Keyed::<P>::TAG_LEN)
            .ok_or(ChannelError::BadRecordMac)?;
        let (inner, tag) = body
            .split_at_mut_checked(inner_len)
            .ok_or(ChannelError::BadRecordMac)?;
        let nonce = keyed.nonce();
        let nonce = nonce.get(..Keyed::<P>::NONCE_LEN).ok_or(ChannelError::Provider)?;
        if keyed.key.open_in_place(nonce, header, inner, tag).is_err() {
            inner.fill(0);
            return Err(ChannelError::BadRecordMac);
        }
        keyed.record_seq = keyed
            .record_seq
            .checked_add(1)
            .ok_or(ChannelError::KeyExhausted)?;
        if inner.len() > INNER_LEN_MAX {
            inner.fill(0);
            return Err(ChannelError::RecordOverflow);
        }
        let (content_len, content_type) = inner
            .iter()
            .enumerate()
            .rev()
            .find(|(_, byte)| **byte != 0)
            .map(|(at, byte)| (at, *byte))
            .ok_or(ChannelError::EmptyRecord)?;
        Ok(Opened {
            content_type,
            content_len,
        })
    }

    /// Goes on with the next keys, from record 0 (§7.2).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    pub fn update(&mut self) -> Result<(), CryptoError> {
        self.0.update()
    }

    pub(crate) const fn secret(&self) -> &TrafficSecret<P::Sha256> {
        &self.0.secret
    }

    #[cfg(test)]
    pub(crate) fn force_records(&mut self, records: u64) {
        self.0.record_seq = records;
    }
}

/// Builds a small record of ours at the front of `tx`, protected if there is a `sealer`; `None` when it does not fit.
pub(crate) fn small_record<P: Provider>(
    sealer: Option<&mut Sealer<P>>,
    content_type: u8,
    content: &[u8],
    tx: &mut [u8],
) -> Option<Result<usize, UseError>> {
    let tail_room = if sealer.is_some() {
        Sealer::<P>::TAIL_ROOM
    } else {
        0
    };
    let plain_len = HEAD_ROOM.saturating_add(content.len());
    if tx.len() < plain_len.saturating_add(tail_room) {
        return None;
    }
    wire::copy(tx.get_mut(HEAD_ROOM..)?, content)?;
    match sealer {
        Some(sealer) => Some(sealer.seal(content_type, tx, content.len())),
        None => {
            wire::copy(tx, &record::header(content_type, record::VERSION, content.len())?)?;
            Some(Ok(plain_len))
        }
    }
}
