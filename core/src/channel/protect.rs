//! Record protection (RFC 8446 §5.2, §5.3; RFC 9150 §5): sequence numbers, nonces, header and padding around a key.
//!
//! A record is sealed and opened where it lies:
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 5 | header: 23, 3, 3, length of the rest |
//! | 5 | n | content |
//! | 5 + n | 1 | content type |
//! | 6 + n | p | padding, zero; received, never sent |
//! | 6 + n + p | 16 or 32 | tag |

use super::error::{ChannelError, UseError};
use super::key_schedule::TrafficSecret;
use super::record::{self, APPLICATION_DATA, CIPHERTEXT_LEN_MAX};
use super::suite::{CipherSuite, Protection, RecordSizeLimit};
use super::{HEAD_ROOM, PAYLOAD_LEN_MAX};
use crate::crypto::hmac::Hmac;
use crate::crypto::{CryptoError, HASH_LEN, Provider, RecordKey};
use crate::secret::Secret;
use crate::wire;

/// Most bytes of a record key or IV of any suite.
const KEY_LEN_MAX: usize = 32;
/// Most bytes of a tag of any suite.
pub(crate) const TAG_LEN_MAX: usize = 32;
/// Own records under one key at which an update is due: well below the limit, so that it is sent in time.
pub(crate) const UPDATE_DUE_RECORDS: u64 = 1 << 23;
/// Own records under one key, of full size, after which AES-GCM must not go on (RFC 8446 §5.5: 2^24.5), rounded down.
pub(crate) const RECORDS_MAX: u64 = 1 << 24;

/// The key of one direction, as its suite has it.
enum Cipher<P: Provider> {
    Aes128Gcm(P::Aes128Gcm),
    Aes256Gcm(P::Aes256Gcm),
    /// RFC 9150: an HMAC that is keyed once and forked for each record. The content stays as it is.
    Integrity(Hmac<P::Sha256>),
}

impl<P: Provider> Cipher<P> {
    fn new(suite: CipherSuite, secret: &TrafficSecret<P>) -> Result<Self, CryptoError> {
        let mut bytes = Secret::<KEY_LEN_MAX>::zero();
        if secret.algorithm() != suite.hash() {
            return Err(CryptoError::BadLength);
        }
        let len = match suite {
            CipherSuite::Aes128GcmSha256 => <P::Aes128Gcm as RecordKey>::KEY_LEN,
            CipherSuite::Aes256GcmSha384 => <P::Aes256Gcm as RecordKey>::KEY_LEN,
            CipherSuite::Sha256Sha256 => HASH_LEN,
        };
        let key = bytes.expose_mut().get_mut(..len).ok_or(CryptoError::BadLength)?;
        secret.key(key)?;
        Ok(match suite {
            CipherSuite::Aes128GcmSha256 => Self::Aes128Gcm(P::Aes128Gcm::new(key)?),
            CipherSuite::Aes256GcmSha384 => Self::Aes256Gcm(P::Aes256Gcm::new(key)?),
            CipherSuite::Sha256Sha256 => Self::Integrity(Hmac::new(key)),
        })
    }

    /// Bytes of nonce and IV: those of the hash where there is no cipher (RFC 9150 §4).
    const fn nonce_len(&self) -> usize {
        match self {
            Self::Aes128Gcm(_) => <P::Aes128Gcm as RecordKey>::NONCE_LEN,
            Self::Aes256Gcm(_) => <P::Aes256Gcm as RecordKey>::NONCE_LEN,
            Self::Integrity(_) => HASH_LEN,
        }
    }

    const fn tag_len(&self) -> usize {
        match self {
            Self::Aes128Gcm(_) => <P::Aes128Gcm as RecordKey>::TAG_LEN,
            Self::Aes256Gcm(_) => <P::Aes256Gcm as RecordKey>::TAG_LEN,
            Self::Integrity(_) => HASH_LEN,
        }
    }

    fn seal(&self, nonce: &[u8], header: &[u8], inner: &mut [u8], tag: &mut [u8]) -> Result<(), CryptoError> {
        match self {
            Self::Aes128Gcm(key) => key.seal_in_place(nonce, header, inner, tag),
            Self::Aes256Gcm(key) => key.seal_in_place(nonce, header, inner, tag),
            Self::Integrity(mac) => {
                let made = Self::mac(mac, nonce, header, inner).finish();
                wire::copy(tag, &made).map(|_| ()).ok_or(CryptoError::BadLength)
            }
        }
    }

    fn open(&self, nonce: &[u8], header: &[u8], inner: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        match self {
            Self::Aes128Gcm(key) => key.open_in_place(nonce, header, inner, tag),
            Self::Aes256Gcm(key) => key.open_in_place(nonce, header, inner, tag),
            Self::Integrity(mac) => Self::mac(mac, nonce, header, inner).verify(tag),
        }
    }

    /// `HMAC(key, nonce ‖ additional_data ‖ TLSInnerPlaintext)` (RFC 9150 §5).
    fn mac(keyed: &Hmac<P::Sha256>, nonce: &[u8], header: &[u8], inner: &[u8]) -> Hmac<P::Sha256> {
        let mut mac = keyed.clone();
        mac.update(nonce);
        mac.update(header);
        mac.update(inner);
        mac
    }
}

/// Key and IV of one direction, with the number of the next record.
struct Keyed<P: Provider> {
    suite: CipherSuite,
    secret: TrafficSecret<P>,
    cipher: Cipher<P>,
    iv: Secret<KEY_LEN_MAX>,
    record_seq: u64,
}

impl<P: Provider> Keyed<P> {
    fn new(suite: CipherSuite, secret: TrafficSecret<P>) -> Result<Self, CryptoError> {
        let cipher = Cipher::new(suite, &secret)?;
        let mut iv = Secret::zero();
        let place = iv.expose_mut().get_mut(..cipher.nonce_len());
        secret.iv(place.ok_or(CryptoError::BadLength)?)?;
        Ok(Self {
            suite,
            secret,
            cipher,
            iv,
            record_seq: 0,
        })
    }

    /// The IV with the sequence number, padded on the left, mixed in (§5.3).
    fn nonce(&self) -> [u8; KEY_LEN_MAX] {
        let mut nonce = *self.iv.expose();
        let place = nonce.get_mut(..self.cipher.nonce_len()).unwrap_or(&mut []);
        for (byte, seq) in place.iter_mut().rev().zip(self.record_seq.to_le_bytes()) {
            *byte ^= seq;
        }
        nonce
    }

    /// The assignment drops, and so wipes, the old keys where they lie.
    fn update(&mut self) -> Result<(), CryptoError> {
        *self = Self::new(self.suite, self.secret.updated()?)?;
        Ok(())
    }
}

/// Protects the records that we send.
pub struct Sealer<P: Provider> {
    keyed: Keyed<P>,
    /// Most bytes of content that the peer takes.
    payload_len_max: usize,
}

impl<P: Provider> Sealer<P> {
    /// Under the keys of `suite` that belong to `secret`, from record 0, for records of any size.
    ///
    /// # Errors
    /// [`CryptoError`] for a secret of another hash, or a provider that does not have the suite.
    pub fn new(suite: CipherSuite, secret: TrafficSecret<P>) -> Result<Self, CryptoError> {
        let protection = Protection {
            suite,
            ..Protection::new(RecordSizeLimit::MAX)
        };
        Self::with(protection, secret)
    }

    pub(crate) fn with(protection: Protection, secret: TrafficSecret<P>) -> Result<Self, CryptoError> {
        Ok(Self {
            keyed: Keyed::new(protection.suite, secret)?,
            payload_len_max: protection.peer_limit.payload_len_max(),
        })
    }

    /// Bytes that protection adds behind the content: content type and tag.
    #[must_use]
    pub const fn tail_room(&self) -> usize {
        self.keyed.cipher.tag_len().saturating_add(1)
    }

    /// Most bytes of content in one record.
    #[must_use]
    pub const fn payload_len_max(&self) -> usize {
        self.payload_len_max
    }

    /// Minds what the peer has asked for.
    pub(crate) fn limit(&mut self, peer_limit: RecordSizeLimit) {
        self.payload_len_max = peer_limit.payload_len_max();
    }

    /// Seals `content_len` bytes that lie at offset [`HEAD_ROOM`] of `buf`; returns the record's length.
    ///
    /// # Errors
    /// [`UseError::TooLong`], [`UseError::NoRoom`] or [`UseError::KeyExhausted`].
    pub fn seal(&mut self, content_type: u8, buf: &mut [u8], content_len: usize) -> Result<usize, UseError> {
        if content_len > self.payload_len_max {
            return Err(UseError::TooLong);
        }
        let type_at = HEAD_ROOM.saturating_add(content_len);
        if buf.len() < type_at.saturating_add(self.tail_room()) {
            return Err(UseError::NoRoom);
        }
        *buf.get_mut(type_at).ok_or(UseError::NoRoom)? = content_type;
        self.seal_inner(buf, content_len.saturating_add(1))
    }

    /// Seals a TLSInnerPlaintext of `inner_len` bytes, content type and padding included, at offset [`HEAD_ROOM`].
    pub(crate) fn seal_inner(&mut self, buf: &mut [u8], inner_len: usize) -> Result<usize, UseError> {
        let keyed = &mut self.keyed;
        if keyed.record_seq >= RECORDS_MAX {
            return Err(UseError::KeyExhausted);
        }
        let tag_len = keyed.cipher.tag_len();
        let body_len = inner_len.saturating_add(tag_len);
        let header = record::header(APPLICATION_DATA, record::VERSION, body_len).ok_or(UseError::TooLong)?;
        let (head, body) = buf.split_first_chunk_mut::<HEAD_ROOM>().ok_or(UseError::NoRoom)?;
        let (inner, rest) = body.split_at_mut_checked(inner_len).ok_or(UseError::NoRoom)?;
        let tag = rest.get_mut(..tag_len).ok_or(UseError::NoRoom)?;
        let nonce = keyed.nonce();
        let nonce = nonce.get(..keyed.cipher.nonce_len()).ok_or(UseError::Provider)?;
        keyed
            .cipher
            .seal(nonce, &header, inner, tag)
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
        self.keyed.update()
    }

    /// Records sealed under the present key.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.keyed.record_seq
    }

    pub(crate) const fn secret(&self) -> &TrafficSecret<P> {
        &self.keyed.secret
    }

    #[cfg(test)]
    pub(crate) fn force_records(&mut self, records: u64) {
        self.keyed.record_seq = records;
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
pub struct Opener<P: Provider> {
    keyed: Keyed<P>,
    /// Our limit.
    limit: RecordSizeLimit,
}

impl<P: Provider> Opener<P> {
    /// Under the keys of `suite` that belong to `secret`, from record 0, for records of any size.
    ///
    /// # Errors
    /// [`CryptoError`] for a secret of another hash, or a provider that does not have the suite.
    pub fn new(suite: CipherSuite, secret: TrafficSecret<P>) -> Result<Self, CryptoError> {
        let protection = Protection {
            suite,
            ..Protection::new(RecordSizeLimit::MAX)
        };
        Self::with(protection, secret)
    }

    pub(crate) fn with(protection: Protection, secret: TrafficSecret<P>) -> Result<Self, CryptoError> {
        Ok(Self {
            keyed: Keyed::new(protection.suite, secret)?,
            limit: protection.own_limit,
        })
    }

    /// Most bytes behind the header of a record that may come. A limit of ours below the largest is the size of somebody's
    /// buffer: what could not be within it is refused by its header.
    pub(crate) fn body_len_max(&self) -> usize {
        if self.limit == RecordSizeLimit::MAX {
            CIPHERTEXT_LEN_MAX
        } else {
            self.limit
                .inner_len_max()
                .saturating_add(self.keyed.cipher.tag_len())
        }
    }

    /// Most bytes of content that may come in one record.
    pub(crate) fn payload_len_max(&self) -> usize {
        self.limit.payload_len_max()
    }

    /// Opens one whole record, header included. The padding is looked at only once the tag was right (§5.4).
    ///
    /// # Errors
    /// [`ChannelError::BadRecordMac`] when it does not open, and then nothing of it is left;
    /// [`ChannelError::RecordOverflow`] or [`ChannelError::EmptyRecord`] for what is inside.
    pub fn open(&mut self, record: &mut [u8]) -> Result<Opened, ChannelError> {
        let keyed = &mut self.keyed;
        let (header, body) = record
            .split_first_chunk_mut::<HEAD_ROOM>()
            .ok_or(ChannelError::BadRecordMac)?;
        let inner_len = body
            .len()
            .checked_sub(keyed.cipher.tag_len())
            .ok_or(ChannelError::BadRecordMac)?;
        let (inner, tag) = body
            .split_at_mut_checked(inner_len)
            .ok_or(ChannelError::BadRecordMac)?;
        let nonce = keyed.nonce();
        let nonce = nonce
            .get(..keyed.cipher.nonce_len())
            .ok_or(ChannelError::Provider)?;
        if keyed.cipher.open(nonce, header, inner, tag).is_err() {
            inner.fill(0);
            tag.fill(0);
            return Err(ChannelError::BadRecordMac);
        }
        keyed.record_seq = keyed
            .record_seq
            .checked_add(1)
            .ok_or(ChannelError::KeyExhausted)?;
        if inner.len() > self.limit.inner_len_max() {
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
        self.keyed.update()
    }

    /// Records opened under the present key.
    pub(crate) const fn records(&self) -> u64 {
        self.keyed.record_seq
    }

    pub(crate) const fn secret(&self) -> &TrafficSecret<P> {
        &self.keyed.secret
    }

    #[cfg(test)]
    pub(crate) fn force_records(&mut self, records: u64) {
        self.keyed.record_seq = records;
    }
}

const _: () = assert!(
    super::TAIL_ROOM == 1 + TAG_LEN_MAX && TAG_LEN_MAX >= HASH_LEN && PAYLOAD_LEN_MAX == 16_384,
    "the room that callers leave fits every suite"
);

/// Builds a small record of ours at the front of `tx`, protected if there is a `sealer`; `None` when it does not fit.
pub(crate) fn small_record<P: Provider>(
    sealer: Option<&mut Sealer<P>>,
    content_type: u8,
    content: &[u8],
    tx: &mut [u8],
) -> Option<Result<usize, UseError>> {
    let tail_room = sealer.as_deref().map_or(0, Sealer::tail_room);
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
