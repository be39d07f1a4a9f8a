//! What is done about certificates that peers hand over or give up.
//!
//! A peer's word adds pins to its own login, one at a time, and takes away only what it added itself: pins that an operator
//! imported stay until an operator drops them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dbmirror_core::crypto::Hash as _;
use dbmirror_core::session::Reason;
use rusqlite::{Connection, TransactionBehavior};

use crate::catalog::certificates::{self, Certificate, New};
use crate::catalog::keys::{Crypto, Sha256};
use crate::catalog::{MASTER_ID, endpoints, first, principals, rotations};
use crate::engine::{Connect, PeerCertificate, PeerCertificateWhat, Refusal};
use crate::errorlog;
use crate::instance::Instance;
use crate::instance::endpoint::refresh_pins;
use crate::messages::{M50127, M50128, M50129, Raised};

/// Does what a peer has told about one of its certificates, durably.
///
/// # Errors
/// The refusal that the peer is answered; nothing has changed then.
pub fn told(instance: &Instance, told: &PeerCertificate, log: &mut Log) -> Result<(), Refusal> {
    told_on(instance, told, log, &|connection| {
        instance.engine().connection_stands(connection)
    })
}

/// [`told`], with `stands` saying whether a connection is still there.
pub(super) fn told_on(
    instance: &Instance,
    told: &PeerCertificate,
    log: &mut Log,
    stands: &dyn Fn(u64) -> bool,
) -> Result<(), Refusal> {
    let done = match &told.what {
        PeerCertificateWhat::Successor { der, point } => successor(instance, told, (der, point), stands),
        PeerCertificateWhat::Retired { digest } => retired(instance, told, digest),
    };
    match done {
        Ok(Some(line)) => log.line(told.peer.0, &line),
        Ok(None) => {}
        Err(No::Refused(refusal)) => {
            let who = super::own::name_of(&instance.master(), told.peer).unwrap_or_default();
            log.line(told.peer.0, &M50129.refuse(&[&who, &refusal]));
            return Err(refusal);
        }
        Err(No::Failed(error)) => {
            log.line(told.peer.0, &error);
            return Err(Refusal {
                number: 1454,
                reason: Reason::Storage,
            });
        }
    }
    Ok(())
}

/// Lines about what peers told: so many of one login within a minute, since a peer can cause them at will.
#[derive(Debug, Default)]
pub struct Log {
    since: Option<Instant>,
    lines: HashMap<i32, u32>,
    /// The last one of each: a peer says the same on each of its connections.
    last: HashMap<i32, String>,
}

impl Log {
    const LINES: u32 = 20;
    const SPAN: Duration = Duration::from_secs(60);

    /// Whether `text` about `login_id` is to be written at `now`.
    fn may(&mut self, login_id: i32, text: &str, now: Instant) -> bool {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Self::SPAN)
        {
            self.since = Some(now);
            self.lines.clear();
            self.last.clear();
        }
        if self.last.get(&login_id).is_some_and(|last| last == text) {
            return false;
        }
        self.last.insert(login_id, text.to_owned());
        let lines = self.lines.entry(login_id).or_default();
        *lines = lines.saturating_add(1);
        *lines <= Self::LINES
    }

    fn line(&mut self, login_id: i32, line: &Raised) {
        if self.may(login_id, &line.text, Instant::now()) {
            errorlog::raised(line);
        }
    }
}

/// So many certificates of one login that it handed over and never gave up; who rotates in order has one or two.
const HANDED_OVER_MAX: usize = 8;

enum No {
    Refused(Refusal),
    Failed(Raised),
}

impl From<rusqlite::Error> for No {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Raised> for No {
    fn from(error: Raised) -> Self {
        Self::Failed(error)
    }
}

const fn no(number: u32, reason: Reason) -> No {
    No::Refused(Refusal { number, reason })
}

/// Keeps a successor beside what the login has.
fn successor(
    instance: &Instance,
    told: &PeerCertificate,
    (der, point): (&[u8], &[u8; 65]),
    stands: &dyn Fn(u64) -> bool,
) -> Result<Option<Raised>, No> {
    let login_id = told.peer.0;
    let parsed = dbmirror_core::cert::Certificate::parse::<Crypto>(der)
        .map_err(|_| no(28035, Reason::BadCertificate))?;
    let mut master = instance.master();
    // It waited for its turn, and an operator may have dropped what the connection was made with: DROP CERTIFICATE closes
    // connections before it lets go of the catalog, so that nothing said on them is taken after it. Asked before the
    // transaction begins: it is the engine's loop that answers, in its own time, and a transaction should not wait for it.
    if !stands(told.connection) {
        return Err(no(28034, Reason::NoAuthority));
    }
    let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let granted = match endpoints::mirroring(&transaction)? {
        Some(endpoint) => endpoints::connect_of(&transaction, endpoint.id, login_id)?,
        None => Connect::None,
    };
    if granted != Connect::Granted {
        return Err(no(28034, Reason::NoAuthority));
    }
    for known in certificates::every(&transaction, MASTER_ID)? {
        let of_login = login_of(&transaction, &known)? == Some(login_id);
        let same = known.der == der || known.point == *point;
        if same && (known.private_key.is_some() || !of_login) {
            return Err(no(15232, Reason::CertificateOfAnother));
        }
        if known.der == der {
            return Ok(None); // It is here: told again, or imported.
        }
    }
    let origins = rotations::origins(&transaction, login_id)?;
    if origins.iter().any(|origin| !origin.used) {
        return Err(no(15232, Reason::SuccessorPending));
    }
    if origins.len() >= HANDED_OVER_MAX {
        return Err(no(1438, Reason::NoRoom));
    }
    let (owner, predecessor) =
        predecessor(&transaction, told)?.ok_or_else(|| no(28034, Reason::NoAuthority))?;
    let name = successor_name(&transaction, &predecessor)?;
    let id = certificates::insert(
        &transaction,
        &New {
            database_id: MASTER_ID,
            name: &name,
            principal_id: owner,
            der,
            point,
            serial: parsed.serial(),
            issuer: &parsed.issuer().to_string(),
            subject: &parsed.subject().to_string(),
            not_before: parsed.not_before().0,
            not_after: parsed.not_after().0,
            private_key: None,
            active: true,
        },
    )?;
    rotations::handed_over(&transaction, id, told.peer, &predecessor)?;
    transaction.commit()?;
    refresh_pins(instance, &master)?;
    let who = super::own::name_of(&master, told.peer)?;
    let at = crate::catalog::dates::from_unix(parsed.not_after().0).unwrap_or_default();
    Ok(Some(M50127.inform(&[&who, &name, &predecessor, &at])))
}

/// Drops a pin that its peer will not use again, if the peer brought it and has come with another one since.
fn retired(instance: &Instance, told: &PeerCertificate, digest: &[u8; 32]) -> Result<Option<Raised>, No> {
    let login_id = told.peer.0;
    let mut master = instance.master();
    let transaction = master.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut of_login = Vec::new();
    for known in certificates::every(&transaction, MASTER_ID)? {
        if known.private_key.is_none() && login_of(&transaction, &known)? == Some(login_id) {
            of_login.push(known);
        }
    }
    let Some(gone) = of_login
        .iter()
        .find(|known| Sha256::digest(&known.der) == *digest)
    else {
        return Ok(None);
    };
    let origins = rotations::origins(&transaction, login_id)?;
    let origin = |id: i32| origins.iter().find(|origin| origin.certificate_id == id);
    let who = super::own::name_of(&transaction, told.peer)?;
    let kept = |why: &str| {
        Ok(Some(M50128.inform(&[
            &gone.name,
            &who,
            &format!("it is kept: {why}"),
        ])))
    };
    let Some(own) = origin(gone.id) else {
        return kept("an operator imported it. DROP CERTIFICATE removes it");
    };
    let replaced = of_login
        .iter()
        .any(|other| other.id > gone.id && origin(other.id).is_none_or(|origin| origin.used));
    if own.used && !replaced {
        return kept("no other certificate of that login has been used yet");
    }
    let mapped: Option<i32> = first(
        &transaction,
        "SELECT 1 FROM database_principal WHERE certificate_id = ?1 LIMIT 1",
        [gone.id],
        |row| row.get(0),
    )?;
    if mapped.is_some() {
        return kept("a user is mapped to it");
    }
    // Connections that it authenticated go on: their holder is who says that it is not needed any more.
    transaction.execute("DELETE FROM certificate WHERE certificate_id = ?1", [gone.id])?;
    transaction.commit()?;
    refresh_pins(instance, &master)?;
    Ok(Some(M50128.inform(&[&gone.name, &who, &"it was dropped"])))
}

/// A peer has come with a certificate: a successor is not pending any more.
///
/// # Errors
/// `master.db` failed.
pub fn came_with(instance: &Instance, certificate_id: i32) -> Result<(), Raised> {
    let master = instance.master();
    rotations::used(&master, certificate_id)?;
    Ok(())
}

/// What a successor follows: the owner of the certificate of its connection (where that is gone, of another of the login), and
/// the name of the newest that the login has.
fn predecessor(catalog: &Connection, told: &PeerCertificate) -> rusqlite::Result<Option<(i32, String)>> {
    let mut owner = None;
    let mut newest = None;
    for known in certificates::every(catalog, MASTER_ID)? {
        if known.private_key.is_some() || login_of(catalog, &known)? != Some(told.peer.0) {
            continue;
        }
        if owner.is_none() || known.id == told.certificate_id {
            owner = Some(known.principal_id);
        }
        newest = Some(known.name);
    }
    Ok(owner.zip(newest))
}

/// The login that a certificate's owner stands for.
fn login_of(catalog: &Connection, certificate: &Certificate) -> rusqlite::Result<Option<i32>> {
    let sid: Option<Option<Vec<u8>>> = first(
        catalog,
        "SELECT sid FROM database_principal WHERE database_id = ?1 AND principal_id = ?2",
        [MASTER_ID, certificate.principal_id],
        |row| row.get(0),
    )?;
    match sid.flatten() {
        Some(sid) => Ok(principals::login_of_sid(catalog, &sid)?.map(|login| login.id)),
        None => Ok(None),
    }
}

/// The most characters of a name.
const NAME_MAX: usize = 128;

/// The name of the certificate that follows `name`: `x`, `x_2`, `x_3` …, the first that is free.
///
/// # Errors
/// SQLite's.
pub fn successor_name(catalog: &Connection, name: &str) -> rusqlite::Result<String> {
    let (base, number) = match name.rsplit_once('_') {
        Some((base, digits))
            if !base.is_empty()
                && (1..=6).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (base, digits.parse::<u32>().unwrap_or(1).max(1))
        }
        _ => (name, 1),
    };
    let mut next = number;
    loop {
        next = next.saturating_add(1);
        let suffix = format!("_{next}");
        let room = NAME_MAX.saturating_sub(suffix.len());
        let successor: String = base.chars().take(room).chain(suffix.chars()).collect();
        if certificates::by_name(catalog, MASTER_ID, &successor)?.is_none() {
            return Ok(successor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_writes_twenty_lines_a_minute_and_keeps_nobody_elses_out() {
        let (mut log, start) = (Log::default(), Instant::now());
        let lines = |log: &mut Log, login: i32, at: Instant| {
            (0..100)
                .filter(|n| log.may(login, &format!("line {}", n / 2), at))
                .count()
        };
        assert_eq!(lines(&mut log, 7, start), 20);
        assert_eq!(lines(&mut log, 8, start + Duration::from_secs(59)), 20);
        assert_eq!(lines(&mut log, 7, start + Duration::from_secs(59)), 0);
        assert_eq!(lines(&mut log, 7, start + Duration::from_secs(60)), 20);
    }
}
