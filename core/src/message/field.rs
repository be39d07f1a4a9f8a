//! How each kind of field stands in a message: little-endian, fixed width, strict. What a field may hold is checked here,
//! once, so that a decoded message holds only sensible values.

use super::ids::{
    Chain, DatabaseSum, FamilyGuid, ForkId, InstanceId, LogEnd, Position, SessionGuid, UseNumber,
};
use super::record::{Record, Sync};
use super::text::Text;
use super::timeline::{Timeline, Timelines};
use crate::wire::{Full, Malformed, Reader, Writer};

/// A value with one form on the wire.
pub(crate) trait Field<'a>: Sized {
    /// Takes it from the front of `from`.
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed>;
    /// Appends it to `to`.
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full>;
}

macro_rules! integers {
    ($($int:ty: $read:ident;)*) => {$(
        impl<'a> Field<'a> for $int {
            fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
                from.$read()
            }
            fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
                to.$read(*self)
            }
        }
    )*};
}
integers! { u8: u8; u16: u16_le; u32: u32_le; u64: u64_le; }

macro_rules! sixteen_bytes {
    ($($name:ident),*) => {$(
        impl<'a> Field<'a> for $name {
            fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
                Ok(Self(from.array()?))
            }
            fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
                to.bytes(&self.0)
            }
        }
    )*};
}
sixteen_bytes!(Chain, FamilyGuid, InstanceId, SessionGuid);

impl<'a, const N: usize> Field<'a> for [u8; N] {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        from.array()
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.bytes(self)
    }
}

/// 0 or 1, nothing else.
impl<'a> Field<'a> for bool {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let wrong = from.malformed();
        match from.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(wrong),
        }
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u8(u8::from(*self))
    }
}

/// The rest of the message; only as its last field.
impl<'a> Field<'a> for &'a [u8] {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(from.take_rest())
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.bytes(self)
    }
}

/// Two bytes of length, then UTF-8.
impl<'a, const N: usize> Field<'a> for Text<N> {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let wrong = from.malformed();
        let length = from.u16_le()?;
        Self::from_bytes(from.bytes(usize::from(length))?).map_err(|_| wrong)
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        let bytes = self.as_str().as_bytes();
        to.u16_le(u16::try_from(bytes.len()).map_err(|_| Full)?)?;
        to.bytes(bytes)
    }
}

impl<'a> Field<'a> for Sync {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let wrong = from.malformed();
        match from.u8()? {
            1 => Ok(Self::Sync),
            2 => Ok(Self::Unsync),
            _ => Err(wrong),
        }
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u8(match self {
            Self::Sync => 1,
            Self::Unsync => 2,
        })
    }
}

/// A count byte, then that many timelines.
impl<'a> Field<'a> for Timelines {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut out = Self::EMPTY;
        let wrong = from.malformed();
        let count = from.u8()?;
        if usize::from(count) > super::TIMELINES_MAX {
            return Err(wrong);
        }
        for _ in 0..count {
            let wrong = from.malformed();
            out.push(Timeline::read(from)?).map_err(|_| wrong)?;
        }
        Ok(out)
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u8(u8::try_from(self.as_slice().len()).map_err(|_| Full)?)?;
        for timeline in self.as_slice() {
            timeline.write(to)?;
        }
        Ok(())
    }
}

/// Structs that are their fields in order.
macro_rules! composed {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl<'a> Field<'a> for $name {
            fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
                Ok(Self { $($field: Field::read(from)?),* })
            }
            fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
                $(self.$field.write(to)?;)*
                Ok(())
            }
        }
    )*};
}
composed! {
    LogEnd { position, chain }
    UseNumber { boot, n }
    Timeline { number, fork, first, chain_before }
    Record { role_sequence, owner, sync_sequence, sync, forced }
}

/// Timeline 0 and sequence 0 come only together.
impl<'a> Field<'a> for Position {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let wrong = from.malformed();
        let position = Self {
            timeline: from.u32_le()?,
            sequence: from.u64_le()?,
        };
        if (position.timeline == 0) != (position.sequence == 0) {
            return Err(wrong);
        }
        Ok(position)
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u32_le(self.timeline)?;
        to.u64_le(self.sequence)
    }
}

impl<'a> Field<'a> for ForkId {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self(from.u64_le()?))
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u64_le(self.0)
    }
}

impl<'a> Field<'a> for DatabaseSum {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self(from.u64_le()?))
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u64_le(self.0)
    }
}
