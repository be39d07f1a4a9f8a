//! The four messages of `dbm-pair/1` (`docs/pairing.md`): a header of eight bytes as in `dbm/1` (length of the body, kind, zero),
//! then the body. Each record carries whole messages.

use super::proof::PROOF_LEN;
use crate::cert::CERTIFICATE_LEN_MAX;
use crate::message::{Field, InstanceId, InstanceName};
use crate::wire::{Full, Malformed, Reader, Writer};

/// The version, the only one so far.
pub const VERSION: u16 = 1;
/// Bytes of a message's header.
pub const HEADER_LEN: usize = 8;
/// Most bytes of a message with its header: a PROOF around the longest certificate.
pub const MESSAGE_LEN_MAX: usize = HEADER_LEN + PROOF_LEN + CERTIFICATE_LEN_MAX;

const HELLO: u16 = 1;
const PROOF: u16 = 2;
const STORED: u16 = 3;
const REFUSED: u16 = 4;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// 1: who speaks, and how it was told to know the other. First from both sides.
    Hello {
        /// The lowest version that the sender speaks.
        version_min: u16,
        /// The highest version that the sender speaks.
        version_max: u16,
        /// [`super::Method`] as sent.
        method: u8,
        /// The sender's instance id.
        instance: InstanceId,
        /// The sender's name, which its login here will be called after.
        name: InstanceName,
    },
    /// 2: the sender knows the code. The initiator's comes first; who answered sends its own only when that fits.
    Proof {
        /// The MAC.
        mac: [u8; PROOF_LEN],
        /// The sender's certificate, the same one that the channel was made with.
        certificate: &'a [u8],
    },
    /// 3: the sender has verified the other's proof and stored its certificate, durably.
    Stored,
    /// 4: it comes to nothing. The sender closes.
    Refused {
        /// The message number.
        number: u32,
    },
}

impl<'a> Message<'a> {
    /// Appends the message to `to`.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; nothing is appended then.
    pub fn encode(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        let start = to.len();
        let done = self.write(to, start);
        if done.is_err() {
            to.truncate(start);
        }
        done
    }

    fn write(&self, to: &mut Writer<'_>, start: usize) -> Result<(), Full> {
        to.u32_le(0)?;
        to.u16_le(match self {
            Self::Hello { .. } => HELLO,
            Self::Proof { .. } => PROOF,
            Self::Stored => STORED,
            Self::Refused { .. } => REFUSED,
        })?;
        to.u16_le(0)?;
        let body = to.len();
        match self {
            Self::Hello {
                version_min,
                version_max,
                method,
                instance,
                name,
            } => {
                to.u16_le(*version_min)?;
                to.u16_le(*version_max)?;
                to.u8(*method)?;
                instance.write(to)?;
                name.write(to)?;
            }
            Self::Proof { mac, certificate } => {
                to.bytes(mac)?;
                to.bytes(certificate)?;
            }
            Self::Stored => {}
            Self::Refused { number } => to.u32_le(*number)?,
        }
        let length = u32::try_from(to.len().saturating_sub(body)).map_err(|_| Full)?;
        to.patch(start, &length.to_le_bytes())
    }

    /// Takes the next message from the front of `from`.
    ///
    /// # Errors
    /// [`Malformed`]; what follows is worthless then.
    pub fn decode(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let length = from.u32_le()?;
        let wrong = from.malformed();
        let kind = from.u16_le()?;
        if from.u16_le()? != 0 {
            return Err(wrong);
        }
        let mut body = from.sub(usize::try_from(length).map_err(|_| wrong)?)?;
        let message = match kind {
            HELLO => Self::Hello {
                version_min: body.u16_le()?,
                version_max: body.u16_le()?,
                method: body.u8()?,
                instance: Field::read(&mut body)?,
                name: Field::read(&mut body)?,
            },
            PROOF => {
                let mac = body.array()?;
                let certificate = body.take_rest();
                if certificate.is_empty() || certificate.len() > CERTIFICATE_LEN_MAX {
                    return Err(wrong);
                }
                Self::Proof { mac, certificate }
            }
            STORED => Self::Stored,
            REFUSED => Self::Refused {
                number: body.u32_le()?,
            },
            _ => return Err(wrong),
        };
        body.finish()?;
        Ok(message)
    }
}
