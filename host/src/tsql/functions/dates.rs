//! DATEDIFF, DATEADD and the text of a moment. All dates are UTC, `YYYY-MM-DD hh:mm:ss.mmm`.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, Unit, tz::TimeZone};
use rusqlite::Result;
use rusqlite::functions::Context as Call;

use super::{refuse, text};

/// Now, as `datetime` shows it.
pub(super) fn now() -> String {
    show(Timestamp::now().to_zoned(TimeZone::UTC).datetime())
}

/// A moment as `datetime` shows it.
pub(super) fn show(moment: DateTime) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

/// Reads the forms in which moments are written here, and the compact `YYYYMMDD`.
pub(super) fn read(written: &str) -> Option<DateTime> {
    let written = written.trim();
    let written = written.strip_suffix(['Z', 'z']).unwrap_or(written);
    if written.len() == 8 && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return Date::strptime("%Y%m%d", written)
            .ok()
            .map(|date| date.to_datetime(Time::midnight()));
    }
    if let Ok(moment) = written.parse::<DateTime>() {
        return Some(moment);
    }
    written
        .parse::<Date>()
        .ok()
        .map(|date| date.to_datetime(Time::midnight()))
}

fn moment(written: &str) -> Result<DateTime> {
    read(written).ok_or_else(|| {
        refuse(
            241,
            "This text is not a date and time: write YYYY-MM-DD hh:mm:ss.",
        )
    })
}

/// Length of the parts that have one, in milliseconds.
fn milliseconds(part: &str) -> Option<i64> {
    Some(match part {
        "day" => 86_400_000,
        "hour" => 3_600_000,
        "minute" => 60_000,
        "second" => 1_000,
        "millisecond" => 1,
        _ => return None,
    })
}

/// Milliseconds since 1970.
fn since_epoch(moment: DateTime) -> Result<i64> {
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let span = moment
        .since((Unit::Millisecond, epoch))
        .map_err(|_| out_of_range())?;
    Ok(span.get_milliseconds())
}

fn out_of_range() -> rusqlite::Error {
    refuse(517, "The date lies outside the calendar.")
}

/// `tsql_datediff(part, from, to)`: how many boundaries of `part` lie between.
pub(super) fn difference(call: &Call<'_>) -> Result<Option<i64>> {
    let part: String = call.get(0)?;
    let (Some(from), Some(to)) = (text(call.get_raw(1)), text(call.get_raw(2))) else {
        return Ok(None);
    };
    let (from, to) = (moment(&from)?, moment(&to)?);
    let years = i64::from(to.year()) - i64::from(from.year());
    let difference = match (part.as_str(), milliseconds(&part)) {
        ("year", _) => years,
        (_, None) => years * 12 + i64::from(to.month()) - i64::from(from.month()),
        (_, Some(length)) => since_epoch(to)?.div_euclid(length) - since_epoch(from)?.div_euclid(length),
    };
    Ok(Some(difference))
}

/// `tsql_dateadd(part, number, moment)`
pub(super) fn add(call: &Call<'_>) -> Result<Option<String>> {
    let part: String = call.get(0)?;
    let (Some(number), Some(from)) = (call.get::<Option<i64>>(1)?, text(call.get_raw(2))) else {
        return Ok(None);
    };
    let span = jiff::Span::new();
    let span = match (part.as_str(), milliseconds(&part)) {
        ("year", _) => span.try_years(number),
        (_, None) => span.try_months(number),
        (_, Some(length)) => span.try_milliseconds(number.checked_mul(length).ok_or_else(out_of_range)?),
    };
    let to = span.and_then(|span| moment(&from).map_or(Ok(None), |from| from.checked_add(span).map(Some)));
    match to {
        Ok(Some(to)) => Ok(Some(show(to))),
        Ok(None) => moment(&from).map(|_| None),
        Err(_) => Err(out_of_range()),
    }
}
