//! The two forms of a date in a certificate (RFC 5280 §4.1.2.5).

use super::NotDer;
use super::elements::{Element, tag};
use crate::time::UnixSeconds;

const SECONDS_OF_DAY: u64 = 86_400;
/// The last year that two digits stand for.
const SHORT_LAST: u16 = 2049;
const FIRST: u16 = 1970;
const LAST: u16 = 9999;
/// `YYYYMMDDHHMMSSZ`.
pub(crate) const DATE_LEN_MAX: usize = 15;

/// Days of a year.
const fn days_of_year(year: u16) -> u16 {
    if is_leap(year) { 366 } else { 365 }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days of each month of a year.
const fn days_of_months(year: u16) -> [u16; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Reads a UTCTime or a GeneralizedTime in the form that certificates have: to the second, in UTC, of the years 1970 to 9999.
#[inline(never)]
pub(crate) fn read(element: &Element<'_>) -> Result<UnixSeconds, NotDer> {
    let (short, digits) = match (element.tag, element.content) {
        (tag::UTC_TIME, [digits @ .., b'Z']) if digits.len() == 12 => (true, digits),
        (tag::GENERALIZED_TIME, [digits @ .., b'Z']) if digits.len() == 14 => (false, digits),
        _ => return Err(NotDer),
    };
    let (pairs, _) = digits.as_chunks::<2>();
    let mut pairs = pairs.iter().map(|pair| match pair {
        [tens @ b'0'..=b'9', units @ b'0'..=b'9'] => {
            let (tens, units) = (tens & 0x0f, units & 0x0f);
            Some(u16::from(tens).saturating_mul(10).saturating_add(units.into()))
        }
        _ => None,
    });
    let mut next = || pairs.next().flatten().ok_or(NotDer);
    let century = match short {
        true => None,
        false => Some(next()?),
    };
    let year = next()?;
    let century = century.unwrap_or(if year < 50 { 20 } else { 19 });
    let year = century.saturating_mul(100).saturating_add(year);
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let months = days_of_months(year);
    let before = usize::from(month).checked_sub(1).ok_or(NotDer)?;
    let of_month = *months.get(before).ok_or(NotDer)?;
    if year < FIRST || day == 0 || day > of_month || hour > 23 || minute > 59 || second > 59 {
        return Err(NotDer);
    }
    let days = (FIRST..year)
        .map(days_of_year)
        .chain(months.into_iter().take(before))
        .fold(u32::from(day).saturating_sub(1), |sum, days| {
            sum.saturating_add(days.into())
        });
    let minutes = u64::from(hour).saturating_mul(60).saturating_add(minute.into());
    let seconds = u64::from(days)
        .saturating_mul(SECONDS_OF_DAY)
        .saturating_add(minutes.saturating_mul(60))
        .saturating_add(second.into());
    i64::try_from(seconds).map(UnixSeconds).map_err(|_| NotDer)
}

/// The date in the form that it must have, UTCTime through 2049 and GeneralizedTime after that: identifier and content. `None` outside 1970
/// to 9999.
#[inline(never)]
pub(crate) fn write(at: UnixSeconds, out: &mut [u8; DATE_LEN_MAX]) -> Option<(u8, &[u8])> {
    let seconds = u64::try_from(at.0).ok()?;
    let mut days = u32::try_from(seconds / SECONDS_OF_DAY).ok()?;
    let second = u32::try_from(seconds % SECONDS_OF_DAY).ok()?;
    let mut year = FIRST;
    while let Some(rest) = days.checked_sub(days_of_year(year).into()) {
        days = rest;
        year = year.saturating_add(1);
        if year > LAST {
            return None;
        }
    }
    let mut month = 1_u16;
    for of_month in days_of_months(year) {
        let Some(rest) = days.checked_sub(of_month.into()) else {
            break;
        };
        days = rest;
        month = month.saturating_add(1);
    }
    let day = u16::try_from(days).ok()?.saturating_add(1);
    let of_second = |value: u32| u16::try_from(value).ok();
    let values = [
        year / 100,
        year % 100,
        month,
        day,
        of_second(second / 3_600)?,
        of_second(second / 60 % 60)?,
        of_second(second % 60)?,
    ];
    let digit = |value: u16| b'0' | u8::try_from(value % 10).unwrap_or_default();
    let (pairs, zone) = out.as_chunks_mut::<2>();
    for (pair, value) in pairs.iter_mut().zip(values) {
        *pair = [digit(value / 10), digit(value)];
    }
    zone.fill(b'Z');
    if year <= SHORT_LAST {
        out.get(2..).map(|short| (tag::UTC_TIME, short))
    } else {
        Some((tag::GENERALIZED_TIME, out))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use der::asn1::{GeneralizedTime, UtcTime};
    use der::{DateTime, Decode as _, Encode as _};
    use std::vec::Vec;

    use super::super::elements::Elements;
    use super::*;

    fn read_der(bytes: &[u8]) -> Result<UnixSeconds, NotDer> {
        read(&Elements::new(bytes).element()?)
    }

    /// The first and the last second of every day until 2110, and of some of every year after that, against the `der` crate.
    #[test]
    fn days_are_written_and_read_as_the_der_crate_does() {
        let mut buf = [0; DATE_LEN_MAX];
        let mut seconds = 0_u64;
        let mut evening = false;
        while let Ok(at) = DateTime::from_unix_duration(Duration::from_secs(seconds)) {
            let theirs: Vec<u8> = if at.year() < 2050 {
                let time = UtcTime::from_date_time(at).unwrap();
                let mut out = [0; 17];
                time.encode_to_slice(&mut out).unwrap().to_vec()
            } else {
                let time = GeneralizedTime::from_date_time(at);
                let mut out = [0; 17];
                time.encode_to_slice(&mut out).unwrap().to_vec()
            };
            let unix = UnixSeconds(i64::try_from(seconds).unwrap());
            let (tag, content) = write(unix, &mut buf).unwrap();
            assert_eq!((tag, content), (theirs[0], &theirs[2..]), "{seconds}");
            assert_eq!(read_der(&theirs), Ok(unix));
            seconds += match (evening, at.year()) {
                (false, _) => 86_399,
                (true, ..2110) => 1,
                (true, _) => 1 + 86_400 * 230,
            };
            evening = !evening;
        }
        assert!(seconds >= 253_402_300_800);
        let last = (tag::GENERALIZED_TIME, &b"99991231235959Z"[..]);
        assert_eq!(write(UnixSeconds(253_402_300_799), &mut buf), Some(last));
        assert_eq!(write(UnixSeconds(253_402_300_800), &mut buf), None);
        assert_eq!(write(UnixSeconds(-1), &mut buf), None);
        assert_eq!(write(UnixSeconds(i64::MAX), &mut buf), None);
    }

    /// Every byte of both forms changed in every way: taken or refused as the `der` crate does.
    #[test]
    fn what_is_no_date_is_refused_as_by_the_der_crate() {
        for good in [
            &b"\x17\x0d700229235959Z"[..],
            b"\x18\x0f20991231235959Z",
            b"\x17\x0d000229000000Z",
        ] {
            for at in 0..good.len() {
                for byte in 0..=255 {
                    let mut bytes = good.to_vec();
                    bytes[at] = byte;
                    let theirs = UtcTime::from_der(&bytes).map(|time| time.to_unix_duration());
                    let theirs = theirs
                        .or_else(|_| GeneralizedTime::from_der(&bytes).map(|time| time.to_unix_duration()));
                    let theirs = theirs
                        .ok()
                        .and_then(|at| i64::try_from(at.as_secs()).ok())
                        .map(UnixSeconds);
                    assert_eq!(read_der(&bytes).ok(), theirs, "{bytes:02x?}");
                }
            }
        }
    }
}
