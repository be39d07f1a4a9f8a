//! Certificates that expire are told of in the error log, early and once a day.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::catalog::certificates::Certificate;
use crate::catalog::{MASTER_ID, certificates, dates};
use crate::errorlog;
use crate::instance::Instance;
use crate::messages::{M28025, M50101, M50131, Raised};

/// From so many days before its end on, a certificate is told of each day.
pub const NOTICE_DAYS: i64 = 60;
/// From so many days on, as an error.
pub const ALARM_DAYS: i64 = 14;
/// How often the dates are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// What was told, and when.
#[derive(Debug, Default)]
pub struct Told {
    looked: Option<Instant>,
    /// By certificate: the day it was last told of, days since 1970.
    days: HashMap<i32, i64>,
}

impl Told {
    /// Tells what is due. The start-up check has told of everything already: the first look only takes note of it.
    pub fn look(&mut self, instance: &Instance) {
        let first = self.looked.is_none();
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let found = {
            let master = instance.master();
            certificates::every(&master, MASTER_ID)
        };
        let due = self.due(&found.unwrap_or_default(), dates::now_unix());
        if !first {
            for line in &due {
                errorlog::raised(line);
            }
        }
    }

    /// What is to be told at `now`, in seconds since 1970: each certificate once a day.
    fn due(&mut self, certificates: &[Certificate], now: i64) -> Vec<Raised> {
        let today = now.div_euclid(86_400);
        self.days
            .retain(|id, _| certificates.iter().any(|known| known.id == *id));
        let mut lines = Vec::new();
        for certificate in certificates {
            if let Some(line) = warning(certificate, now)
                && self.days.insert(certificate.id, today) != Some(today)
            {
                lines.push(line);
            }
        }
        lines
    }
}

/// What there is to say of a certificate's end at `now`, if it is near or over.
#[must_use]
pub fn warning(certificate: &Certificate, now: i64) -> Option<Raised> {
    let name = &certificate.name;
    let at = dates::from_unix(certificate.not_after).unwrap_or_default();
    let days = (certificate.not_after - now).div_euclid(86_400);
    if certificate.not_after < now {
        Some(M28025.refuse(&[name, &at]))
    } else if days < ALARM_DAYS {
        Some(M50131.refuse(&[name, &at, &days]))
    } else if days < NOTICE_DAYS {
        Some(M50101.inform(&[name, &at, &days]))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(id: i32, not_after: i64) -> Certificate {
        Certificate {
            id,
            name: format!("c{id}"),
            principal_id: 1,
            der: vec![0x30],
            point: [4; 65],
            not_before: 0,
            not_after,
            private_key: None,
            protection: "NA".to_owned(),
        }
    }

    #[test]
    fn each_is_told_once_a_day_from_sixty_days_on_and_loudly_from_fourteen() {
        const DAY: i64 = 86_400;
        let end = 100 * DAY + 7;
        let certificates = [ends(1, end), ends(2, end + 400 * DAY)];
        let mut told = Told::default();
        let mut seen = Vec::new();
        for hour in (35 * 24)..(102 * 24) {
            let now = hour * 3_600;
            for line in told.due(&certificates, now) {
                seen.push((now / DAY, line.number, line.is_error()));
            }
        }
        let expected: Vec<(i64, u32, bool)> = (40..=101)
            .map(|day| match day {
                40..=86 => (day, 50101, false),
                87..=100 => (day, 50131, true),
                _ => (day, 28025, true),
            })
            .collect();
        // On the day of its end it is told before; the day after it has expired.
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_thresholds_are_exact() {
        const DAY: i64 = 86_400;
        let certificate = ends(1, 1_000 * DAY);
        let said = |now: i64| warning(&certificate, now).map(|line| line.number);
        assert_eq!(said(1_000 * DAY - 60 * DAY), None);
        assert_eq!(said(1_000 * DAY - 60 * DAY + 1), Some(50101));
        assert_eq!(said(1_000 * DAY - 14 * DAY), Some(50101));
        assert_eq!(said(1_000 * DAY - 14 * DAY + 1), Some(50131));
        assert_eq!(said(1_000 * DAY), Some(50131), "the last second belongs to it");
        assert_eq!(said(1_000 * DAY + 1), Some(28025));
    }
}
