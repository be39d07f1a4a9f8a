//! Dates as the catalog stores and statements write them. All UTC.

use std::time::SystemTime;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Now, `YYYY-MM-DD hh:mm:ss.mmm`.
#[must_use]
pub fn now() -> String {
    text(Timestamp::now())
}

/// Seconds since 1970.
#[must_use]
pub fn now_unix() -> i64 {
    Timestamp::now().as_second()
}

/// The text of a moment in seconds since 1970, or nothing when it lies outside the calendar.
#[must_use]
pub fn from_unix(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(text)
}

/// The text of a system time, or nothing when it lies outside the calendar.
#[must_use]
pub fn from_system(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(text)
}

/// The moment one year later by the calendar (29 February becomes 28 February).
#[must_use]
pub fn one_year_after(seconds: i64) -> Option<i64> {
    years_after(seconds, 1)
}

/// The moment so many years later by the calendar, 1 to 100.
#[must_use]
pub fn years_after(seconds: i64, years: i64) -> Option<i64> {
    let from = Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC);
    let to: Zoned = from
        .checked_add(jiff::Span::new().years(years.clamp(1, 100)))
        .ok()?;
    Some(to.timestamp().as_second())
}

fn text(moment: Timestamp) -> String {
    let at = moment.to_zoned(TimeZone::UTC).datetime();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// The date formats that a statement may use, beside those of ISO 8601. `docs/tsql.md` lists them.
const FORMATS: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y%m%d %H:%M:%S%.f",
    "%Y%m%d",
    "%m/%d/%Y %H:%M:%S%.f",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%b %d %Y %H:%M:%S%.f",
    "%b %d %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%B %d %Y",
    "%B %d, %Y",
    "%d %B %Y",
];

/// The moment that `text` names, in seconds since 1970, UTC unless it carries an offset.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    if text.contains(['T', 't']) {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment.as_second());
        }
        if let Ok(at) = text.parse::<DateTime>() {
            return unix(at);
        }
    }
    FORMATS.iter().find_map(|format| {
        let found = jiff::fmt::strtime::parse(format, text).ok()?;
        let at = found
            .to_datetime()
            .or_else(|_| found.to_date().map(Date::into))
            .ok()?;
        unix(at)
    })
}

fn unix(at: DateTime) -> Option<i64> {
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_statements() {
        let day = 2_082_758_400; // 2036-01-01T00:00:00Z
        for text in [
            "2036-01-01",
            "20360101",
            "01/01/2036",
            "2036-01-01T00:00:00",
            "2036-01-01T00:00:00Z",
            "2036-01-01T01:00:00+01:00",
            "2036-01-01 00:00",
            "2036-01-01 00:00:00.000",
            "Jan 1 2036",
            "January 1, 2036",
            "1 Jan 2036",
        ] {
            assert_eq!(parse(text), Some(day), "{text}");
        }
        assert_eq!(parse("2036-01-01 12:30:05"), Some(day + 45_005));
        for text in [
            "",
            "soon",
            "2036-13-01",
            "31/12/2036",
            "2036-02-30",
            "99999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn texts_and_years() {
        assert_eq!(from_unix(0).as_deref(), Some("1970-01-01 00:00:00.000"));
        assert_eq!(from_unix(i64::MAX), None);
        let leap = parse("2028-02-29").unwrap();
        assert_eq!(one_year_after(leap), parse("2029-02-28"));
        assert_eq!(now().len(), 23);
        let shown = from_system(SystemTime::UNIX_EPOCH);
        assert_eq!(shown.as_deref(), Some("1970-01-01 00:00:00.000"));
    }
}
