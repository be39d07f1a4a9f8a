//! Pairing (`docs/pairing.md`): the window that a statement holds open, the attempt that one makes, and the catalog's part:
//! may this peer be taken in, and what is stored of it. Both are done by the code that the statements run, in one
//! transaction.

use std::time::{Duration, Instant};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::crypto::Hash as _;
use dbmirror_core::pairing::Code;
use dbmirror_core::pairing::code::CODE_TEXT_LEN;
use rusqlite::Connection;
use zeroize::Zeroize as _;

use super::certificates::{Parsed, parse};
use super::procedures::bind;
use super::{Done, Out, SqlSession, Stop, passwords};
use crate::catalog::certificates::{self, Certificate};
use crate::catalog::endpoints::{self, CLASS_ENDPOINT, Endpoint};
use crate::catalog::keys::Sha256;
use crate::catalog::principals::{self, Login, NewLogin, NewUser};
use crate::catalog::{MASTER_ID, SA_ID, views};
use crate::engine::{Connect, Pairing, PairingNews, PairingSecret, ProvedPeer};
use crate::instance::random;
use crate::messages::{
    M201, M214, M15023, M15025, M15151, M15232, M15508, M28034, M28080, M50140, M50142, M50145, M50147,
    M50148, M50149, Raised,
};
use crate::tsql::ast::{Execute, Literal};
use crate::tsql::{Column, SqlType, Value};

/// The longest, and the usual, time of a window in minutes.
const MINUTES_MAX: i64 = 10;
/// How long an attempt waits for its next step.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether the client is still there.
const LOOK: Duration = Duration::from_millis(200);

/// What a peer is to be called here, and what of it is there already.
pub(super) struct Plan {
    endpoint: Endpoint,
    login: String,
    user: String,
    certificate: String,
    existing_login: Option<Login>,
    existing_user: Option<i32>,
    existing_certificate: bool,
    /// CONNECT was granted to the login before.
    granted: bool,
}

impl SqlSession {
    /// `sp_dbmirror_pair_open [@fingerprint] [, @minutes] [, @name]`: holds the window open until somebody has paired, the time is
    /// over or the client goes. One row per step, as it happens; the first has the code.
    pub(super) fn pair_open(&mut self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, &["fingerprint", "minutes", "name"])?;
        let minutes = match arguments.get(1).copied().flatten() {
            None | Some(Literal::Null | Literal::Default) => MINUTES_MAX,
            Some(Literal::Int(minutes)) if (1..=MINUTES_MAX).contains(minutes) => *minutes,
            Some(_) => {
                return Err(M214
                    .refuse(&[&execute.name(), &"@minutes is a number from 1 to 10"])
                    .into());
            }
        };
        let fingerprint = optional(execute, &arguments, 0, "@fingerprint")?;
        let name = optional(execute, &arguments, 2, "@name")?;
        let own = self.own_fingerprint()?;
        let (secret, code) = match fingerprint {
            Some(text) => (PairingSecret::Fingerprint(parse_fingerprint(&text)?), None),
            None => {
                let code = Code::generate(&mut OsEntropy).map_err(|error| M15508.refuse(&[&error]))?;
                let mut text = [0; CODE_TEXT_LEN];
                let shown = code.text::<Sha256>(&mut text).to_owned();
                text.zeroize();
                (PairingSecret::Code(code), Some(shown))
            }
        };
        let span = Duration::from_secs(u64::try_from(minutes).unwrap_or(1) * 60);
        let window = self.instance.engine().open_pairing(secret, span)?;
        let deadline = Instant::now() + span;
        note(&M50148.inform(&[&self.who(), &minutes]));
        out.sink.columns(&columns())?;
        if let Some(code) = code {
            step(out, "code", code)?;
        }
        step(out, "fingerprint", own)?;
        step(out, "waiting", format!("for {minutes} minutes"))?;
        let mut stored = None;
        loop {
            out.sink.check()?;
            match window.next(LOOK)? {
                None if Instant::now() >= deadline => return Err(M50140.refuse(&[]).into()),
                None | Some(PairingNews::Connected(_)) => {}
                Some(PairingNews::Check(id, peer)) => {
                    let judged = self.judge(&peer, name.as_deref());
                    window.answer(id, judged.as_ref().map(drop).map_err(|raised| raised.number));
                    match judged {
                        Ok(_) => step(out, "proved", known_as(&peer))?,
                        Err(raised) => {
                            declined(&peer, &raised);
                            step(out, "declined", raised.to_string())?;
                        }
                    }
                }
                Some(PairingNews::Store(id, peer)) => {
                    let kept = self.take_in(&peer, name.as_deref(), out);
                    window.answer(id, kept.as_ref().map(drop).map_err(number));
                    stored = Some(kept?);
                }
                Some(PairingNews::Done) => return finish(out, stored),
                Some(PairingNews::Failed(error)) => step(out, "refused", error.to_string())?,
            }
        }
    }

    /// `sp_dbmirror_pair_with @address, @code | @fingerprint [, @name]`: pairs with who holds a window open there.
    pub(super) fn pair_with(&mut self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, &["address", "code", "fingerprint", "name"])?;
        let address = optional(execute, &arguments, 0, "@address")?
            .ok_or_else(|| M201.refuse(&[&execute.name(), &"@address"]))?;
        let code = optional(execute, &arguments, 1, "@code")?;
        let fingerprint = optional(execute, &arguments, 2, "@fingerprint")?;
        let name = optional(execute, &arguments, 3, "@name")?;
        let secret = match (code, fingerprint) {
            (Some(code), None) => {
                PairingSecret::Code(Code::parse::<Sha256>(&code).map_err(|error| M50142.refuse(&[&error]))?)
            }
            (None, Some(text)) => PairingSecret::Fingerprint(parse_fingerprint(&text)?),
            _ => {
                return Err(M201
                    .refuse(&[&execute.name(), &"@code or @fingerprint, one of them"])
                    .into());
            }
        };
        let own = self.own_fingerprint()?;
        let attempt = self.instance.engine().pair_with(&address, secret)?;
        out.sink.columns(&columns())?;
        step(out, "fingerprint", own)?;
        let mut deadline = Instant::now() + PATIENCE;
        let mut stored = None;
        loop {
            out.sink.check()?;
            let Some(news) = attempt.next(LOOK)? else {
                if Instant::now() >= deadline {
                    return Err(M50145.refuse(&[&address]).into());
                }
                continue;
            };
            deadline = Instant::now() + PATIENCE;
            match news {
                PairingNews::Connected(to) => step(out, "connect", format!("connected to {to}"))?,
                // Only who holds the window is asked that.
                PairingNews::Check(id, _) => attempt.answer(id, Ok(())),
                PairingNews::Store(id, peer) => {
                    step(out, "proved", known_as(&peer))?;
                    let kept = self
                        .judge(&peer, name.as_deref())
                        .inspect_err(|raised| declined(&peer, raised))
                        .map_err(Stop::from)
                        .and_then(|_| self.take_in(&peer, name.as_deref(), out));
                    attempt.answer(id, kept.as_ref().map(drop).map_err(number));
                    match kept {
                        Ok(kept) => stored = Some(kept),
                        Err(stop) => {
                            until_told(&attempt);
                            return Err(stop);
                        }
                    }
                }
                PairingNews::Done => return finish(out, stored),
                PairingNews::Failed(error) => return Err(error.into()),
            }
        }
    }

    /// `sp_dbmirror_fingerprint`: what the other side's operator is told where a fingerprint is used instead of a code.
    pub(super) fn fingerprint(&mut self, execute: &Execute, out: &mut Out<'_>) -> Done {
        bind(execute, &[])?;
        let (name, digest) = self.own_certificate()?;
        let columns = [
            Column::new("certificate", SqlType::NVarChar(Some(128))),
            Column::new("sha256", SqlType::Char(64)),
        ];
        Ok(out.result(&columns, &[vec![Value::Text(name), Value::Text(digest)]])?)
    }

    fn own_fingerprint(&self) -> Result<String, Stop> {
        self.own_certificate()
            .map(|(name, digest)| format!("{digest} ({name})"))
    }

    /// Name and SHA-256 of the endpoint's certificate.
    fn own_certificate(&self) -> Result<(String, String), Stop> {
        let master = self.instance.master();
        let endpoint = endpoints::mirroring(&master)?.ok_or_else(|| {
            M28080.refuse(&[]).and(
                "CREATE MASTER KEY, CREATE CERTIFICATE and CREATE ENDPOINT … STATE = STARTED come first.",
            )
        })?;
        let certificate = certificates::by_id(&master, endpoint.certificate_id)?
            .ok_or_else(|| M15151.refuse(&[&"find", &"certificate of endpoint", &endpoint.name]))?;
        Ok((certificate.name, hex(&Sha256::digest(&certificate.der))))
    }

    /// Whether the catalog takes the peer, as of now.
    pub(super) fn judge(&self, peer: &ProvedPeer, name: Option<&str>) -> Result<Plan, Raised> {
        let parsed = parse(&peer.certificate).map_err(|error| M50142.refuse(&[&error]))?;
        plan(&self.instance.master(), peer, &parsed, name)
    }

    /// Stores what is missing of login, user, certificate and CONNECT, in one transaction. Returns the equivalent Transact-SQL.
    pub(super) fn take_in(
        &self,
        peer: &ProvedPeer,
        name: Option<&str>,
        out: &mut Out<'_>,
    ) -> Result<Vec<String>, Stop> {
        let parsed = parse(&peer.certificate).map_err(|error| M50142.refuse(&[&error]))?;
        // Nobody ever uses it: the login only stands for the other instance.
        let mut password = format!("Aa1!{}", hex(&random::<32>()?));
        let hashed = passwords::hash(&password)?;
        password.zeroize();
        let sid = random::<16>()?;
        let plan = self.change(|catalog| {
            let plan = plan(catalog, peer, &parsed, name)?;
            let (login_id, login_sid) = match &plan.existing_login {
                Some(login) => (login.id, login.sid.clone()),
                None => {
                    let new = NewLogin {
                        name: &plan.login,
                        sid: &sid,
                        kind: "S",
                        default_database: "master",
                        default_language: "us_english",
                        check_policy: true,
                        check_expiration: false,
                        must_change: false,
                        password: Some((hashed.salt, hashed.iterations, hashed.hash)),
                    };
                    (principals::insert_login(catalog, &new)?, sid.to_vec())
                }
            };
            let user_id = match plan.existing_user {
                Some(id) => id,
                None => principals::insert_user(
                    catalog,
                    &NewUser {
                        database_id: MASTER_ID,
                        name: &plan.user,
                        kind: "S",
                        sid: &login_sid,
                        authentication: 1,
                        default_schema: "dbo",
                        certificate_id: None,
                    },
                )?,
            };
            if !plan.existing_certificate {
                certificates::insert(
                    catalog,
                    &certificates::New {
                        database_id: MASTER_ID,
                        name: &plan.certificate,
                        principal_id: user_id,
                        der: &peer.certificate,
                        point: &parsed.point,
                        serial: &parsed.serial,
                        issuer: &parsed.issuer,
                        subject: &parsed.subject,
                        not_before: parsed.not_before,
                        not_after: parsed.not_after,
                        private_key: None,
                        active: true,
                    },
                )?;
            }
            if !plan.granted {
                principals::put_permission(
                    catalog,
                    CLASS_ENDPOINT,
                    plan.endpoint.id,
                    login_id,
                    "CO",
                    SA_ID,
                    "G",
                )?;
            }
            Ok(plan)
        })?;
        self.refresh_pins()?;
        note(&M50147.inform(&[
            &peer.name,
            &views::guid_text(&peer.instance_id),
            &peer.address,
            &plan.login,
            &plan.certificate,
            &hex(&Sha256::digest(&peer.certificate)),
        ]));
        let already = plan.existing_certificate && plan.existing_login.is_some();
        step(
            out,
            "stored",
            format!(
                "{}login {}, user {}, certificate {}, CONNECT on {}{}",
                if plan.existing_login.is_some() {
                    "existing "
                } else {
                    ""
                },
                plan.login,
                plan.user,
                plan.certificate,
                plan.endpoint.name,
                if already { " (they were there)" } else { "" }
            ),
        )?;
        Ok(equivalent(&plan, &peer.certificate))
    }

    /// Who runs this, for the log.
    fn who(&self) -> String {
        format!("session {}", self.id)
    }
}

/// Names what the peer becomes here, and refuses what must not be.
fn plan(
    catalog: &Connection,
    peer: &ProvedPeer,
    parsed: &Parsed,
    name: Option<&str>,
) -> Result<Plan, Raised> {
    let base = name.unwrap_or(&peer.name);
    if base.is_empty() || base.chars().count() > 100 || base.contains(['\\', '\0']) {
        return Err(M50142
            .refuse(&[&"the peer's name cannot be part of a login's"])
            .and("Give a name of your own (@name)."));
    }
    let endpoint = endpoints::mirroring(catalog)?.ok_or_else(|| M28080.refuse(&[]))?;
    let (login, mut user, mut certificate) = (
        format!("{base}_login"),
        format!("{base}_user"),
        format!("{base}_cert"),
    );
    let existing_login = principals::principal(catalog, &login)?;
    if let Some(found) = &existing_login
        && (found.kind != "S" || found.id == SA_ID)
    {
        return Err(M15025.refuse(&[&login]).and("Give another name (@name)."));
    }
    let existing_user = match &existing_login {
        None => None,
        Some(login) => principals::user_of_sid(catalog, MASTER_ID, &login.sid)?,
    };
    let (mut existing_certificate, mut another, mut taken) = (false, None, false);
    for known in certificates::every(catalog, MASTER_ID)? {
        let same = known.der == peer.certificate;
        let ours = existing_user
            .as_ref()
            .is_some_and(|user| user.id == known.principal_id);
        if same || known.point == parsed.point {
            refuse_known(catalog, &known, ours)?;
        }
        if same {
            existing_certificate = true;
            certificate.clone_from(&known.name);
        } else if ours {
            another = Some(known.name);
        } else if known.name.eq_ignore_ascii_case(&certificate) {
            taken = true;
        }
    }
    // The peer chose that name: it must not thereby become a login that was made, and given rights, for something else.
    if existing_login.is_some() && !existing_certificate && another.is_none() && name.is_none() {
        return Err(M15025.refuse(&[&login]).and(&format!(
            "It was not made for this peer: it has no certificate. Give @name = '{base}' to let the peer be that login, with all that \
             is granted to it; or another name (@name); or DROP LOGIN first.",
        )));
    }
    // After a rotation a login stands for several certificates: who comes with one of them is known.
    if let (Some(another), false) = (another, existing_certificate) {
        return Err(M15025.refuse(&[&login]).and(&format!(
            "It stands for the certificate '{another}'. A peer's next certificate comes by rotation, or by CREATE CERTIFICATE; another \
             instance needs another name (@name).",
        )));
    }
    if taken && !existing_certificate {
        return Err(M15232
            .refuse(&[&certificate, &"the name is taken"])
            .and("Give another name (@name)."));
    }
    match &existing_user {
        Some(found) => user.clone_from(&found.name),
        None => {
            if principals::user(catalog, MASTER_ID, &user)?.is_some() {
                return Err(M15023.refuse(&[&user]).and("Give another name (@name)."));
            }
        }
    }
    let connect = match &existing_login {
        Some(login) => endpoints::connect_of(catalog, endpoint.id, login.id)?,
        None => Connect::None,
    };
    if connect == Connect::Denied {
        return Err(M28034
            .refuse(&[&login])
            .and("CONNECT was denied to it by an operator; REVOKE that first."));
    }
    Ok(Plan {
        endpoint,
        login,
        user,
        certificate,
        existing_login,
        existing_user: existing_user.map(|user| user.id),
        existing_certificate,
        granted: connect == Connect::Granted,
    })
}

/// A certificate or key that is stored here already may only be that of the same login.
fn refuse_known(catalog: &Connection, known: &Certificate, ours: bool) -> Result<(), Raised> {
    if known.private_key.is_some() {
        return Err(M15232.refuse(&[&known.name, &"its private key is on this instance"]));
    }
    if ours {
        return Ok(());
    }
    let sid: Option<Vec<u8>> = crate::catalog::first(
        catalog,
        "SELECT sid FROM database_principal WHERE database_id = ?1 AND principal_id = ?2",
        [MASTER_ID, known.principal_id],
        |row| row.get(0),
    )?
    .flatten();
    let login = match sid {
        Some(sid) => principals::login_of_sid(catalog, &sid)?,
        None => None,
    };
    let of = login.map_or_else(
        || "no login".to_owned(),
        |login| format!("login '{}'", login.name),
    );
    Err(M15232
        .refuse(&[
            &known.name,
            &format!("this certificate or its key is stored for {of}"),
        ])
        .and("DROP CERTIFICATE, or pair under that login's name (@name)."))
}

/// The Transact-SQL that makes the same: of what was there already, nothing.
fn equivalent(plan: &Plan, der: &[u8]) -> Vec<String> {
    let q = |name: &str| format!("[{}]", name.replace(']', "]]"));
    let (login, user) = (q(&plan.login), q(&plan.user));
    let mut statements = Vec::new();
    if plan.existing_login.is_none() {
        statements.push(format!(
            "CREATE LOGIN {login} WITH PASSWORD = '<a strong password that nobody needs>';"
        ));
    }
    if plan.existing_user.is_none() {
        statements.push(format!("CREATE USER {user} FOR LOGIN {login};"));
    }
    if !plan.existing_certificate {
        statements.push(format!(
            "CREATE CERTIFICATE {} AUTHORIZATION {user} FROM BINARY = 0x{};",
            q(&plan.certificate),
            hex(der)
        ));
    }
    if !plan.granted {
        statements.push(format!(
            "GRANT CONNECT ON ENDPOINT::{} TO {login};",
            q(&plan.endpoint.name)
        ));
    }
    if !statements.is_empty() {
        statements.insert(0, "USE master;".to_owned());
    }
    statements
}

/// The last rows: what an operator would have typed.
fn finish(out: &mut Out<'_>, stored: Option<Vec<String>>) -> Done {
    let mut rows = 0;
    for line in stored.unwrap_or_default() {
        step(out, "sql", line)?;
        rows += 1;
    }
    step(out, "done", "both sides have stored each other".to_owned())?;
    Ok(out.sink.rows_affected(rows + 1)?)
}

/// Gives the refusal time to be said before the attempt is dropped.
fn until_told(attempt: &Pairing) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match attempt.next(LOOK) {
            Ok(Some(PairingNews::Failed(_) | PairingNews::Done)) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn columns() -> [Column; 2] {
    [
        Column::new("step", SqlType::NVarChar(Some(60))),
        Column::new("detail", SqlType::NVarChar(None)),
    ]
}

fn step(out: &mut Out<'_>, name: &str, detail: String) -> Result<(), Stop> {
    Ok(out.sink.row(&[Value::from(name), Value::Text(detail)])?)
}

fn known_as(peer: &ProvedPeer) -> String {
    format!(
        "instance {} ({}) at {}, certificate SHA-256 {}",
        peer.name,
        views::guid_text(&peer.instance_id),
        peer.address,
        hex(&Sha256::digest(&peer.certificate))
    )
}

fn note(message: &Raised) {
    let (msg, level, state) = (message.number, message.severity, message.state);
    tracing::info!(msg, level, state, "{}", message.text);
}

fn declined(peer: &ProvedPeer, why: &Raised) {
    let message = M50149.refuse(&[
        &peer.name,
        &views::guid_text(&peer.instance_id),
        &peer.address,
        &why,
    ]);
    let (msg, level, state) = (message.number, message.severity, message.state);
    tracing::error!(msg, level, state, "{}", message.text);
}

/// What the peer is told of a refusal.
fn number(stop: &Stop) -> u32 {
    match stop {
        Stop::Refused(messages) => messages.last().map_or(50145, |message| message.number),
        Stop::Cancelled => 50145,
    }
}

/// An argument that is a string or is left out.
fn optional(
    execute: &Execute,
    bound: &[Option<&Literal>],
    at: usize,
    name: &str,
) -> Result<Option<String>, Raised> {
    match bound.get(at).copied().flatten() {
        None | Some(Literal::Null | Literal::Default) => Ok(None),
        Some(Literal::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(M214.refuse(&[&execute.name(), &format!("{name} is a string")])),
    }
}

/// 64 hexadecimal digits; colons and blanks between them are skipped.
fn parse_fingerprint(text: &str) -> Result<[u8; 32], Raised> {
    let wrong = || M50142.refuse(&[&"a fingerprint has 64 hexadecimal digits, all of SHA-256"]);
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b':' | b' ' | b'-'))
        .map(|b| {
            char::from(b)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let mut out = [0; 32];
    if digits.len() != 64 {
        return Err(wrong());
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Ok(out)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let text = "00:01:02:03 04050607-08090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f";
        let parsed = parse_fingerprint(text).unwrap();
        assert_eq!(parsed[..3], [0, 1, 2]);
        assert_eq!(hex(&parsed).len(), 64);
        assert_eq!(parse_fingerprint(&hex(&parsed)).unwrap(), parsed);
        // All 256 bits: not half of them, and none more.
        for wrong in ["", "00", &"ab".repeat(31), &"ab".repeat(33), &"xy".repeat(32)] {
            assert_eq!(parse_fingerprint(wrong).unwrap_err().number, 50142, "{wrong}");
        }
    }
}
