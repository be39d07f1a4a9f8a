//! The rows of the views in schema `sys`: most are queries on `master.db`, the others ask the engine.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::dates;
use crate::engine::{
    ConnectionView, Engine, ErrorRow, MirroringRole, PartnerSync, SafetyLevel, SessionView, WitnessRow,
};
use crate::messages;
use crate::tsql::Value;

/// Whose rows a query sees.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The session's current database: certificates, keys and users are those of it.
    pub database_id: i32,
}

/// One view's rows, its columns in the order of [`super::columns`].
pub type Rows = Vec<Vec<Value>>;

/// Every row of the view `name` at this moment; none for an unknown view.
///
/// # Errors
/// `master.db` failed.
pub fn rows(master: &Connection, engine: &Engine, scope: Scope, name: &str) -> rusqlite::Result<Rows> {
    Ok(match name {
        "dm_db_mirroring_connections" => engine.connections().into_iter().map(connection).collect(),
        "dm_dbmirror_errors" => engine.errors().into_iter().map(error).collect(),
        "dm_dbmirror_sessions" => sessions(master, engine)?,
        "database_mirroring" => mirroring(master, engine)?,
        "database_mirroring_witnesses" => engine.witnesses().iter().map(witnessed).collect(),
        "endpoints" => endpoint_rows(master, engine, "")?,
        "tcp_endpoints" => endpoint_rows(master, engine, TCP)?,
        "database_mirroring_endpoints" => endpoint_rows(master, engine, MIRRORING)?,
        "messages" => messages::ALL.iter().map(|entry| message(entry)).collect(),
        _ => match SQL.iter().find(|(view, _)| *view == name) {
            Some((_, sql)) if sql.contains(":database") => {
                query(master, sql, &[(":database", &scope.database_id)])?
            }
            Some((_, sql)) => query(master, sql, &[])?,
            None => Vec::new(),
        },
    })
}

/// The views that are one query on the catalog. `:database` is the current database.
const SQL: &[(&str, &str)] = &[
    (
        "symmetric_keys",
        "SELECT * FROM (
           SELECT '##MS_DatabaseMasterKey##', 1, 101 AS id, 256, 'A3', 'AES_256', create_date, modify_date, dbm_guid(key_guid),
                  NULL, NULL, NULL, NULL FROM master_key WHERE database_id = :database
           UNION ALL
           SELECT '##MS_ServiceMasterKey##', 1, 102, 256, 'A3', 'AES_256', create_date, create_date,
                  dbm_guid(service_master_key_guid), NULL, NULL, NULL, NULL FROM instance WHERE :database = 1
         ) ORDER BY id",
    ),
    (
        "key_encryptions",
        "SELECT 101, service_master_key_guid, 'ESKM', 'ENCRYPTION BY MASTER KEY', by_service_master_key
           FROM master_key WHERE database_id = :database AND by_service_master_key IS NOT NULL
         UNION ALL
         SELECT 101, NULL, 'ESP3', 'ENCRYPTION BY PASSWORD V3', NULL FROM master_key_password WHERE database_id = :database",
    ),
    (
        "master_key_passwords",
        "SELECT credential_id, dbm_guid(family_guid) FROM master_key_credential ORDER BY credential_id",
    ),
    (
        "certificates",
        "SELECT name, certificate_id, principal_id, private_key_protection,
                CASE private_key_protection WHEN 'MK' THEN 'ENCRYPTED_BY_MASTER_KEY' WHEN 'PW' THEN 'ENCRYPTED_BY_PASSWORD'
                     ELSE 'NO_PRIVATE_KEY' END,
                is_active_for_begin_dialog, substr(issuer, 1, 442), dbm_spaced_hex(substr(serial, 1, 16)),
                unhex('010600000000000901000000' || hex(dbm_sha1(der))), dbm_string_sid(dbm_sha1(der)),
                substr(subject, 1, 4000), dbm_date(not_after), dbm_date(not_before), dbm_sha1(der), NULL,
                private_key_last_backup, 256, dbm_days_until(not_after),
                CASE WHEN r.new_certificate_id = c.certificate_id THEN CASE r.state WHEN 1 THEN 'SUCCESSOR' ELSE 'IN USE' END
                     WHEN r.old_certificate_id = c.certificate_id THEN CASE r.state WHEN 1 THEN 'IN USE' ELSE 'PREDECESSOR' END
                     WHEN o.certificate_id IS NULL THEN NULL WHEN o.used_date IS NULL THEN 'PENDING' ELSE 'HANDED OVER' END
           FROM certificate c LEFT JOIN certificate_origin o USING (certificate_id)
           LEFT JOIN rotation r ON r.state IN (1, 2) AND c.certificate_id IN (r.new_certificate_id, r.old_certificate_id)
          WHERE database_id = :database ORDER BY certificate_id",
    ),
    (
        "dm_dbmirror_rotations",
        "SELECT rotation_id, state, CASE state WHEN 1 THEN 'DISTRIBUTING' WHEN 2 THEN 'SWITCHED' WHEN 3 THEN 'RETIRING'
                     WHEN 4 THEN 'DONE' WHEN 5 THEN 'CANCELLING' ELSE 'CANCELLED' END,
                old_certificate, new_certificate, start_date, switch_date, end_date,
                (SELECT name FROM server_principal WHERE principal_id = p.login_id), dbm_guid(p.instance_id), p.confirmed_date,
                p.completed_date, p.told_date, p.refusal
           FROM rotation LEFT JOIN rotation_peer p USING (rotation_id) ORDER BY rotation_id, p.login_id, p.instance_id",
    ),
    (
        "databases",
        "SELECT name, d.database_id, NULL, owner_sid, d.create_date, 160,
                CASE WHEN state = 0 THEN 'SQL_Latin1_General_CP1_CI_AS' END, 0, 'MULTI_USER', 0, 0, state,
                CASE state WHEN 0 THEN 'ONLINE' WHEN 1 THEN 'RESTORING' WHEN 3 THEN 'RECOVERY_PENDING' WHEN 4 THEN 'SUSPECT'
                     ELSE 'OFFLINE' END,
                0, recovery_model, CASE recovery_model WHEN 1 THEN 'FULL' WHEN 2 THEN 'BULK_LOGGED' ELSE 'SIMPLE' END,
                2, 'CHECKSUM', 0, EXISTS (SELECT 1 FROM master_key k, instance i WHERE k.database_id = d.database_id
                  AND k.by_service_master_key IS NOT NULL AND k.service_master_key_guid = i.service_master_key_guid), dbm_guid(database_guid), 0, 0, 'NOTHING', 0, NULL, NULL,
                path
           FROM database d ORDER BY d.database_id",
    ),
    (
        "database_recovery_status",
        "SELECT database_id, dbm_guid(database_guid), dbm_guid(family_guid), last_log_backup_lsn, NULL, NULL, NULL
           FROM database ORDER BY database_id",
    ),
    (
        "server_principals",
        "SELECT name, principal_id, sid, type,
                CASE type WHEN 'S' THEN 'SQL_LOGIN' WHEN 'U' THEN 'WINDOWS_LOGIN' WHEN 'C' THEN 'CERTIFICATE_MAPPED_LOGIN'
                     ELSE 'SERVER_ROLE' END,
                is_disabled, create_date, modify_date, default_database, default_language, NULL,
                CASE type WHEN 'R' THEN 1 END, type = 'R' AND name <> 'public'
           FROM server_principal ORDER BY principal_id",
    ),
    (
        "database_principals",
        "SELECT name, principal_id, type,
                CASE type WHEN 'S' THEN 'SQL_USER' WHEN 'U' THEN 'WINDOWS_USER' WHEN 'C' THEN 'CERTIFICATE_MAPPED_USER'
                     ELSE 'DATABASE_ROLE' END,
                default_schema, create_date, modify_date, CASE type WHEN 'R' THEN 1 END, sid, is_fixed_role,
                authentication_type, CASE authentication_type WHEN 1 THEN 'INSTANCE' WHEN 3 THEN 'WINDOWS' ELSE 'NONE' END,
                NULL, NULL, 0
           FROM database_principal WHERE database_id = :database ORDER BY principal_id",
    ),
    (
        "sysusers",
        "SELECT principal_id, iif(type = 'R', 0, 12), name, sid, NULL, create_date, modify_date, 0, NULL,
                iif(type = 'R', principal_id, 0), NULL, type <> 'R' AND principal_id NOT IN (2, 3, 4), type <> 'R', 0, 0, 0,
                type = 'S', 0, type = 'R', 0
           FROM database_principal WHERE database_id = :database ORDER BY principal_id",
    ),
    (
        "server_permissions",
        "SELECT class, CASE class WHEN 105 THEN 'ENDPOINT' WHEN 101 THEN 'SERVER_PRINCIPAL' ELSE 'SERVER' END, major_id, 0,
                grantee, grantor, type,
                CASE type WHEN 'CO' THEN 'CONNECT' WHEN 'AL' THEN 'ALTER' WHEN 'CL' THEN iif(class = 100, 'CONTROL SERVER', 'CONTROL')
                     WHEN 'TO' THEN 'TAKE OWNERSHIP' WHEN 'VW' THEN 'VIEW DEFINITION' WHEN 'IM' THEN 'IMPERSONATE'
                     WHEN 'COSQ' THEN 'CONNECT SQL' WHEN 'CRHE' THEN 'CREATE ENDPOINT' WHEN 'CRDB' THEN 'CREATE ANY DATABASE'
                     WHEN 'ALHE' THEN 'ALTER ANY ENDPOINT' WHEN 'ALLG' THEN 'ALTER ANY LOGIN' WHEN 'ALDB' THEN 'ALTER ANY DATABASE'
                     WHEN 'ALSS' THEN 'ALTER SERVER STATE' WHEN 'VWSS' THEN 'VIEW SERVER STATE'
                     WHEN 'VWAD' THEN 'VIEW ANY DEFINITION' WHEN 'VWDB' THEN 'VIEW ANY DATABASE' ELSE type END,
                state, CASE state WHEN 'D' THEN 'DENY' WHEN 'W' THEN 'GRANT_WITH_GRANT_OPTION' ELSE 'GRANT' END
           FROM server_permission ORDER BY class, major_id, grantee, type",
    ),
];

/// What `sys.tcp_endpoints` adds.
const TCP: &str = ", port, 0, ip_address";
/// What `sys.database_mirroring_endpoints` adds.
const MIRRORING: &str = ", role, CASE role WHEN 1 THEN 'PARTNER' WHEN 2 THEN 'WITNESS' WHEN 3 THEN 'ALL' ELSE 'NONE' END,
    encryption_algorithm <> 0, connection_auth,
    CASE connection_auth WHEN 1 THEN 'NTLM' WHEN 2 THEN 'KERBEROS' WHEN 3 THEN 'NEGOTIATE' WHEN 4 THEN 'CERTIFICATE'
      WHEN 5 THEN 'NTLM, CERTIFICATE' WHEN 6 THEN 'KERBEROS, CERTIFICATE' WHEN 7 THEN 'NEGOTIATE, CERTIFICATE'
      WHEN 8 THEN 'CERTIFICATE, NTLM' WHEN 9 THEN 'CERTIFICATE, KERBEROS' WHEN 10 THEN 'CERTIFICATE, NEGOTIATE' END,
    certificate_id, encryption_algorithm,
    CASE encryption_algorithm WHEN 0 THEN 'NONE' WHEN 1 THEN 'RC4' WHEN 2 THEN 'AES' WHEN 3 THEN 'NONE, RC4'
      WHEN 4 THEN 'NONE, AES' WHEN 5 THEN 'RC4, AES' WHEN 6 THEN 'AES, RC4' WHEN 7 THEN 'NONE, RC4, AES'
      WHEN 8 THEN 'NONE, AES, RC4' END";

/// Rows of the endpoint views. The state is the true one: an endpoint that was to be STARTED and does not listen (its
/// port was taken when the instance started) is shown STOPPED.
fn endpoint_rows(master: &Connection, engine: &Engine, more: &str) -> rusqlite::Result<Rows> {
    let listens = i32::from(engine.endpoint_address().is_some());
    let sql = format!(
        "SELECT name, endpoint_id, principal_id, 2, 'TCP', 4, 'DATABASE_MIRRORING', shown,
                CASE shown WHEN 0 THEN 'STARTED' WHEN 2 THEN 'DISABLED' ELSE 'STOPPED' END, 0{more}
           FROM (SELECT *, CASE WHEN state = 0 AND NOT :listens THEN 1 ELSE state END AS shown FROM endpoint)
          ORDER BY endpoint_id"
    );
    query(master, &sql, &[(":listens", &listens)])
}

/// One row per database; NULLs where it is not mirrored.
fn mirroring(master: &Connection, engine: &Engine) -> rusqlite::Result<Rows> {
    let sessions = engine.sessions();
    let ids = query(
        master,
        "SELECT database_id FROM database ORDER BY database_id",
        &[],
    )?;
    Ok(ids
        .into_iter()
        .map(|mut row| {
            let found = sessions
                .iter()
                .find(|session| row.first() == Some(&Value::Int(session.database_id.into())));
            match found {
                Some(session) => row.extend(mirrored(session)),
                None => row.resize(21, Value::Null),
            }
            row
        })
        .collect())
}

fn mirrored(session: &SessionView) -> Vec<Value> {
    let lsn = |lsn: Option<crate::engine::Lsn>| match lsn {
        Some(lsn) => i64::try_from(lsn.0).map_or_else(|_| Value::Text(lsn.to_string()), Value::Int),
        None => Value::Null,
    };
    let (role, role_desc) = role(session.role);
    let (safety, safety_desc) = match session.safety {
        SafetyLevel::Off => (1, "OFF"),
        SafetyLevel::Full => (2, "FULL"),
    };
    vec![
        Value::from(session.mirroring_guid.map(|guid| guid_text(&guid))),
        Value::from(session.state.map(|state| state.code())),
        Value::from(session.state.map(|state| state.desc())),
        Value::Int(role),
        Value::from(role_desc),
        Value::Int(session.role_sequence.into()),
        Value::Int(safety),
        Value::from(safety_desc),
        Value::Int(session.safety_sequence.into()),
        Value::from(session.partner_name.as_str()),
        Value::from(session.partner_instance.clone()),
        Value::from(session.witness_name.clone()),
        Value::from(session.witness_state.map(i64::from)),
        Value::from(session.witness_state.map(|state| match state {
            1 => "CONNECTED",
            2 => "DISCONNECTED",
            _ => "UNKNOWN",
        })),
        lsn(session.failover_lsn),
        Value::Int(session.connection_timeout.into()),
        Value::Null,
        Value::from("UNLIMITED"),
        lsn(session.end_of_log_lsn),
        lsn(session.end_of_log_lsn),
    ]
}

/// One session that this instance is the witness of.
/// English, as SQL Server numbers languages.
const ENGLISH: i64 = 1033;

fn message(entry: &messages::Entry) -> Vec<Value> {
    vec![
        Value::from(i64::from(entry.number)),
        Value::from(ENGLISH),
        Value::from(i64::from(entry.severity)),
        // The place that raises a message decides whether it is logged.
        Value::Null,
        Value::from(entry.text.to_owned()),
    ]
}

fn witnessed(row: &WitnessRow) -> Vec<Value> {
    let (safety, safety_desc) = match row.safety {
        None => (0, "UNKNOWN"),
        Some(SafetyLevel::Off) => (1, "OFF"),
        Some(SafetyLevel::Full) => (2, "FULL"),
    };
    let number = |number: Option<u32>| Value::from(number.map(i64::from));
    let sync = row.sync.map(|sync| match sync {
        PartnerSync::Synchronized => (5, "SYNCHRONIZED"),
        PartnerSync::Unsynchronized => (6, "UNSYNCHRONIZED"),
    });
    vec![
        Value::from(row.database_name.clone()),
        Value::from(row.principal.as_str()),
        Value::from(row.mirror.as_str()),
        Value::Int(safety),
        Value::from(safety_desc),
        number(row.safety_sequence),
        number(row.role_sequence),
        Value::from(guid_text(&row.guid)),
        Value::from(row.family_guid.map(|guid| guid_text(&guid))),
        Value::from(row.is_suspended.map(i64::from)),
        number(row.suspended_sequence),
        Value::from(sync.map(|(code, _)| code)),
        Value::from(sync.map(|(_, desc)| desc)),
        Value::Int(row.principal_connected.into()),
        Value::Int(row.mirror_connected.into()),
    ]
}

fn role(role: MirroringRole) -> (i64, &'static str) {
    match role {
        MirroringRole::Principal => (1, "PRINCIPAL"),
        MirroringRole::Mirror => (2, "MIRROR"),
    }
}

/// The sessions with what the documented view has no place for.
fn sessions(master: &Connection, engine: &Engine) -> rusqlite::Result<Rows> {
    let mut rows = Vec::new();
    for session in engine.sessions() {
        let name = query(
            master,
            "SELECT name FROM database WHERE database_id = :id",
            &[(":id", &session.database_id)],
        )?;
        let lsn =
            |lsn: Option<crate::engine::Lsn>| Value::from(lsn.and_then(|lsn| i64::try_from(lsn.0).ok()));
        rows.push(vec![
            Value::Int(session.database_id.into()),
            name.into_iter().flatten().next().unwrap_or(Value::Null),
            Value::from(role(session.role).1),
            Value::from(session.state.map(|state| state.desc())),
            lsn(session.end_of_log_lsn),
            lsn(session.redone_lsn),
            Value::from(session.seeding_percent.map(i64::from)),
            Value::Int(saturated(session.ungated_blocks)),
            Value::from(session.reason),
        ]);
    }
    Ok(rows)
}

fn connection(row: ConnectionView) -> Vec<Value> {
    let algorithm = row.encryption_algorithm;
    vec![
        Value::Text(guid_text(&row.connection_id)),
        Value::Text(guid_text(&row.transport_stream_id)),
        Value::Int(row.state.code()),
        Value::from(row.state.desc()),
        Value::from(dates::from_system(row.connect_time)),
        Value::from(row.login_time.and_then(dates::from_system)),
        Value::from("CERTIFICATE"),
        Value::from(row.principal_name),
        Value::Null,
        Value::from(dates::from_system(row.last_activity_time)),
        Value::Int(row.is_accept.into()),
        Value::Int(row.login_state.code()),
        Value::from(row.login_state.desc()),
        Value::from(row.peer_certificate_id.map(i64::from)),
        Value::from(algorithm),
        Value::from(algorithm.map(|code| if code == 2 { "AES" } else { "NONE" })),
        Value::Int(1),
        Value::Int(row.is_receive_flow_controlled.into()),
        Value::Int(0),
        Value::Int(row.is_send_flow_controlled.into()),
        Value::Int(saturated(row.total_bytes_sent)),
        Value::Int(saturated(row.total_bytes_received)),
        Value::Int(saturated(row.total_sends)),
        Value::Int(saturated(row.total_receives)),
        Value::Int(saturated(row.total_sends)),
        Value::Int(saturated(row.total_receives)),
        Value::from(row.peer_arbitration_id.map(|guid| guid_text(&guid))),
        Value::Text(row.peer_address.to_string()),
    ]
}

fn error(row: ErrorRow) -> Vec<Value> {
    vec![
        Value::from(dates::from_system(row.time)),
        Value::Text(row.peer),
        Value::from(row.direction),
        Value::Text(row.step),
        Value::Int(row.number.into()),
        Value::Text(row.reason),
    ]
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A guid as operators read it. The 16 bytes are shown in the order in which they are stored.
#[must_use]
pub fn guid_text(guid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in guid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02X}"));
    }
    text
}

/// What [`guid_text`] shows, in either case of letters; `None` for anything else.
#[must_use]
pub fn guid_of(text: &str) -> Option<[u8; 16]> {
    let mut parts = text.trim().split('-');
    let mut digits = String::with_capacity(32);
    for len in [8, 4, 4, 4, 12] {
        let part = parts.next().filter(|part| part.len() == len)?;
        digits.push_str(part);
    }
    if parts.next().is_some() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// Runs `sql` on the catalog and takes over every row.
fn query(
    master: &Connection,
    sql: &str,
    parameters: &[(&str, &dyn rusqlite::ToSql)],
) -> rusqlite::Result<Rows> {
    let mut statement = master.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query(parameters)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(
            (0..columns)
                .map(|at| row.get_ref(at).map(value))
                .collect::<rusqlite::Result<_>>()?,
        );
    }
    Ok(rows)
}

/// A value of SQLite as ours.
#[must_use]
pub fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Binary(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::{guid_of, guid_text};

    #[test]
    fn a_guid_is_read_as_it_is_shown() {
        let guid: [u8; 16] = core::array::from_fn(|n| n as u8 * 17);
        let text = guid_text(&guid);
        assert_eq!(text, "00112233-4455-6677-8899-AABBCCDDEEFF");
        assert_eq!(guid_of(&text), Some(guid));
        assert_eq!(guid_of(&text.to_lowercase()), Some(guid));
        for wrong in [
            "",
            "00112233445566778899AABBCCDDEEFF",
            "00112233-4455-6677-8899-AABBCCDDEEFF-00",
            "00112233-4455-6677-8899-AABBCCDDEEF",
            "+0112233-4455-6677-8899-AABBCCDDEEFF",
            "0011223é-4455-6677-8899-AABBCCDDEEF",
        ] {
            assert_eq!(guid_of(wrong), None, "{wrong}");
        }
    }
}
