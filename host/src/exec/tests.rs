//! Statements against a real instance in a temporary directory.

mod keys;

use super::*;
use crate::instance::Options;

mod authority;
mod catalogue;
mod escalation;

/// What a batch reported.
#[derive(Default)]
struct Collected {
    messages: Vec<Message>,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

impl Sink for Collected {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns = columns.to_vec();
        Ok(())
    }
    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        self.rows.push(values.to_vec());
        Ok(())
    }
    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.messages.push(message.clone());
        Ok(())
    }
    fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
        Ok(())
    }
    fn check(&mut self) -> Result<(), Cancelled> {
        Ok(())
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    instance: Arc<Instance>,
    session: SqlSession,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            dir: dir.path().join("A"),
            name: "HOST_A".to_owned(),
            bind: Some("127.81.0.1".parse().unwrap()),
            ..Options::default()
        };
        let instance = Instance::start(&options, true).unwrap();
        let session = SqlSession::new(Arc::clone(&instance));
        Self {
            _dir: dir,
            instance,
            session,
        }
    }

    fn run(&mut self, sql: &str) -> Collected {
        let mut collected = Collected::default();
        self.session.batch(sql, &mut collected);
        collected
    }

    /// Runs what must succeed; returns the informational messages' numbers.
    fn ok(&mut self, sql: &str) -> Vec<u32> {
        let collected = self.run(sql);
        assert!(
            collected.messages.iter().all(|message| !message.is_error()),
            "{sql}: {:?}",
            collected.messages
        );
        collected.messages.iter().map(|message| message.number).collect()
    }

    /// Runs what must be refused; returns the errors' numbers.
    fn refused(&mut self, sql: &str) -> Vec<u32> {
        let collected = self.run(sql);
        let errors: Vec<u32> = collected
            .messages
            .iter()
            .filter(|message| message.is_error())
            .map(|message| message.number)
            .collect();
        assert!(!errors.is_empty(), "{sql} was not refused");
        errors
    }

    /// The rows of a query as text, columns separated by `|`.
    fn rows(&mut self, sql: &str) -> Vec<String> {
        let collected = self.run(sql);
        assert_eq!(collected.messages, [], "{sql}");
        collected
            .rows
            .iter()
            .map(|row| row.iter().map(show).collect::<Vec<_>>().join("|"))
            .collect()
    }

    fn keys(&mut self) {
        self.ok(
            "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>';
                 CREATE CERTIFICATE A_cert WITH SUBJECT = 'node A', EXPIRY_DATE = '2036-01-01'",
        );
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Binary(bytes) => format!(
            "0x{}",
            bytes.iter().map(|b| format!("{b:02X}")).collect::<String>()
        ),
    }
}

#[test]
fn master_keys() {
    let mut f = Fixture::new();
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    assert_eq!(f.refused("CREATE MASTER KEY"), [7801]);
    assert_eq!(
        f.refused("CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'short'"),
        [15116]
    );
    assert_eq!(
        f.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = 'none yet 1A'"),
        [15581]
    );
    f.keys();
    assert_eq!(
        f.rows("SELECT name, principal_id, symmetric_key_id, key_length, key_algorithm, algorithm_desc FROM sys.symmetric_keys"),
        [
            "##MS_DatabaseMasterKey##|1|101|256|A3|AES_256",
            "##MS_ServiceMasterKey##|1|102|256|A3|AES_256"
        ]
    );
    assert_eq!(
        f.rows("SELECT is_master_key_encrypted_by_server FROM sys.databases WHERE name = 'master'"),
        ["1"]
    );
    assert_eq!(
        f.refused("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        [15578]
    );
    assert_eq!(
        f.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Password?>'"),
        [15313]
    );
    assert_eq!(f.refused("CLOSE MASTER KEY"), [15315]);
    f.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Password!>'; CLOSE MASTER KEY");
    assert_eq!(f.refused("DROP MASTER KEY"), [15580]);
    f.ok("DROP CERTIFICATE A_cert; DROP MASTER KEY");
    assert_eq!(f.refused("DROP MASTER KEY"), [15151]);
}

#[test]
fn certificates() {
    let mut f = Fixture::new();
    f.keys();
    // The one-year default is said.
    assert_eq!(f.ok("CREATE CERTIFICATE year WITH SUBJECT = 'one year'"), [50101]);
    assert_eq!(
        f.ok(
            "CREATE CERTIFICATE old WITH SUBJECT = 'x', START_DATE = '2001-01-01', EXPIRY_DATE = '2002-01-01'"
        ),
        [15214]
    );
    assert_eq!(
        f.ok(
            "CREATE CERTIFICATE new WITH SUBJECT = 'x', START_DATE = '2101-01-01', EXPIRY_DATE = '2102-01-01'"
        ),
        [15215]
    );
    assert_eq!(
        f.ok(
            "CREATE CERTIFICATE bad WITH SUBJECT = 'x', START_DATE = '2002-01-01', EXPIRY_DATE = '2001-01-01'"
        ),
        [15213, 15214]
    );
    assert_eq!(
        f.rows("SELECT name, pvt_key_encryption_type, pvt_key_encryption_type_desc, issuer_name, subject, expiry_date
                  FROM sys.certificates WHERE name = 'A_CERT'"),
        ["A_cert|MK|ENCRYPTED_BY_MASTER_KEY|node A|node A|2036-01-01 00:00:00.000"]
    );
    assert_eq!(
        f.refused("CREATE CERTIFICATE A_cert WITH SUBJECT = 'again'"),
        [15232]
    );
    assert_eq!(f.refused("CREATE CERTIFICATE e WITH SUBJECT = ''"), [15212]);
    assert_eq!(
        f.refused("CREATE CERTIFICATE e WITH SUBJECT = 'x', EXPIRY_DATE = 'soon'"),
        [241]
    );
    assert_eq!(
        f.refused("CREATE CERTIFICATE e AUTHORIZATION nobody WITH SUBJECT = 'x'"),
        [15151]
    );
    assert_eq!(
        f.refused("CREATE CERTIFICATE e AUTHORIZATION db_owner WITH SUBJECT = 'x'"),
        [15345]
    );

    f.ok(r"BACKUP CERTIFICATE A_cert TO FILE = 'C:\A_cert.cer'");
    assert_eq!(
        f.refused(r"BACKUP CERTIFICATE A_cert TO FILE = 'C:\A_cert.cer'"),
        [15240]
    );
    assert_eq!(
        f.refused("BACKUP CERTIFICATE A_cert TO FILE = '../x.cer'"),
        [15240]
    );
    assert_eq!(f.refused("BACKUP CERTIFICATE none TO FILE = 'x.cer'"), [15151]);
    assert_eq!(
        f.refused("CREATE CERTIFICATE copy FROM FILE = 'missing.cer'"),
        [15208]
    );
    assert_eq!(
        f.refused("CREATE CERTIFICATE copy FROM FILE = 'A_cert.cer'"),
        [15232]
    );
    let backup = f.instance.dir().root().join("backup");
    let der = std::fs::read(backup.join("A_cert.cer")).unwrap();
    std::fs::write(backup.join("cut.cer"), &der[..der.len() / 2]).unwrap();
    assert_eq!(
        f.refused("CREATE CERTIFICATE copy FROM FILE = 'cut.cer'"),
        [15208]
    );
    let hex: String = der.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        f.refused(&format!("CREATE CERTIFICATE copy FROM BINARY = 0x{hex}")),
        [15232]
    );
    assert_eq!(f.refused("CREATE CERTIFICATE copy FROM BINARY = 0x3082"), [15297]);

    // Into another instance: by file, as text, with a damaged signature.
    let mut b = Fixture::new();
    let there = b.instance.dir().root().join("backup");
    std::fs::copy(backup.join("A_cert.cer"), there.join("A_cert.cer")).unwrap();
    b.ok(
        "CREATE LOGIN A_login WITH PASSWORD = 'In#A-on-B-93'; CREATE USER A_user FOR LOGIN A_login;
          CREATE CERTIFICATE A_cert AUTHORIZATION A_user FROM FILE = 'A_cert.cer'",
    );
    assert_eq!(
        b.rows(
            "SELECT c.name, u.name, l.name, c.pvt_key_encryption_type_desc FROM sys.certificates c
                  JOIN sys.database_principals u ON u.principal_id = c.principal_id
                  JOIN sys.server_principals l ON l.sid = u.sid"
        ),
        ["A_cert|A_user|A_login|NO_PRIVATE_KEY"]
    );
    assert_eq!(b.refused("DROP USER A_user"), [15138]);
    b.ok("DROP CERTIFICATE A_cert");
    let mut flipped = der.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(there.join("flipped.cer"), &flipped).unwrap();
    assert_eq!(
        b.ok("CREATE CERTIFICATE flipped FROM FILE = 'flipped.cer'"),
        [15299]
    );
}

#[test]
fn endpoints_are_stored_and_shown_as_written() {
    let mut f = Fixture::new();
    f.keys();
    let create = |encryption: &str| {
        format!(
            "CREATE ENDPOINT Endpoint_Mirroring AS TCP (LISTENER_PORT = 7024, LISTENER_IP = ALL)
                 FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, {encryption} ROLE = ALL)"
        )
    };
    assert_eq!(f.refused(&create("").replace("A_cert", "none")), [15151]);
    f.ok("CREATE CERTIFICATE expired WITH SUBJECT = 'x', START_DATE = '2001-01-01', EXPIRY_DATE = '2002-01-01'");
    assert_eq!(f.refused(&create("").replace("A_cert", "expired")), [28055]);
    f.ok("CREATE CERTIFICATE typed ENCRYPTION BY PASSWORD = 'Typed-in-1x' WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    assert_eq!(f.refused(&create("").replace("A_cert", "typed")), [28055]);
    for (written, code, shown, enabled) in [
        ("", 2, "AES", 1),
        ("ENCRYPTION = SUPPORTED,", 4, "NONE, AES", 1),
        ("ENCRYPTION = DISABLED,", 0, "NONE", 0),
        ("ENCRYPTION = REQUIRED ALGORITHM RC4,", 1, "RC4", 1),
        (
            "ENCRYPTION = SUPPORTED ALGORITHM RC4 AES,",
            7,
            "NONE, RC4, AES",
            1,
        ),
    ] {
        f.ok(&create(written));
        assert_eq!(
            f.rows("SELECT name, endpoint_id > 65535, type_desc, state_desc, role_desc, connection_auth_desc, encryption_algorithm,
                           encryption_algorithm_desc, is_encryption_enabled FROM sys.database_mirroring_endpoints"),
            [format!("Endpoint_Mirroring|1|DATABASE_MIRRORING|STOPPED|ALL|CERTIFICATE|{code}|{shown}|{enabled}")]
        );
        f.ok("DROP ENDPOINT Endpoint_Mirroring");
    }
    f.ok(&create(""));
    assert_eq!(f.refused(&create("").replace("Endpoint_M", "Another_M")), [7862]);
    assert_eq!(f.refused("ALTER ENDPOINT Endpoint_Mirroring"), [7863]);
    assert_eq!(f.refused("ALTER ENDPOINT none STATE = STOPPED"), [15151]);
    f.ok("ALTER ENDPOINT Endpoint_Mirroring AS TCP (LISTENER_PORT = 7025, LISTENER_IP = (127.0.0.9))");
    assert_eq!(
        f.rows("SELECT type_desc, port, is_dynamic_port, ip_address FROM sys.tcp_endpoints"),
        ["DATABASE_MIRRORING|7025|0|127.0.0.9"]
    );
    // What cannot run yet is stored, STOPPED, and the reason is said.
    assert_eq!(
        f.ok(
            "ALTER ENDPOINT Endpoint_Mirroring STATE = STARTED FOR DATABASE_MIRRORING (ENCRYPTION = REQUIRED ALGORITHM RC4)"
        ),
        [50102]
    );
    assert_eq!(
        f.rows("SELECT state_desc, encryption_algorithm_desc FROM sys.database_mirroring_endpoints"),
        ["STOPPED|RC4"]
    );
    assert_eq!(f.refused("DROP CERTIFICATE A_cert"), [3716]);
    assert_eq!(f.refused("DROP ENDPOINT none"), [15151]);
}

#[test]
fn logins_users_and_permissions() {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE ENDPOINT e AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL)");
    assert_eq!(f.refused("CREATE LOGIN B_login WITH PASSWORD = 'weak'"), [15116]);
    f.ok("CREATE LOGIN B_login WITH PASSWORD = 'In#B-on-A-93'");
    assert_eq!(
        f.refused("CREATE LOGIN b_LOGIN WITH PASSWORD = 'In#B-on-A-93'"),
        [15025]
    );
    assert_eq!(f.refused("CREATE USER u FOR LOGIN nobody"), [15007]);
    f.ok("CREATE USER B_user FOR LOGIN B_login");
    assert_eq!(f.refused("CREATE USER B_user FOR LOGIN B_login"), [15023]);
    assert_eq!(f.refused("CREATE USER other FOR LOGIN B_login"), [15063]);
    let permissions = "SELECT class_desc, major_id - 65536, type, permission_name, state, state_desc FROM sys.server_permissions
                        WHERE class = 105";
    assert_eq!(f.refused("GRANT CONNECT ON ENDPOINT::none TO B_login"), [15151]);
    assert_eq!(
        f.refused("GRANT CONNECT ON ENDPOINT::e TO B_login, nobody"),
        [15151]
    );
    assert_eq!(f.rows(permissions), [""; 0]);
    f.ok("REVOKE CONNECT ON ENDPOINT::e FROM B_login");
    f.ok("GRANT CONNECT ON ENDPOINT::e TO [B_login]");
    assert_eq!(f.rows(permissions), ["ENDPOINT|0|CO|CONNECT|G|GRANT"]);
    f.ok("DENY CONNECT ON ENDPOINT::e TO B_login");
    assert_eq!(f.rows(permissions), ["ENDPOINT|0|CO|CONNECT|D|DENY"]);
    f.ok("REVOKE CONNECT ON ENDPOINT::e FROM B_login");
    assert_eq!(f.rows(permissions), [""; 0]);
    f.ok("DROP LOGIN B_login");
    assert_eq!(f.refused("DROP LOGIN B_login"), [15151]);
    assert_eq!(f.refused("DROP LOGIN sa"), [15150]);
    f.ok("DROP USER B_user; DROP USER IF EXISTS B_user");
    assert_eq!(f.refused("DROP USER dbo"), [15150]);
}

#[test]
fn queries_see_the_views_and_nothing_else() {
    let mut f = Fixture::new();
    assert_eq!(f.rows("SELECT name FROM sys.databases"), ["master"]);
    assert_eq!(f.refused("SELECT * FROM sys.nothing"), [208]);
    assert_eq!(f.refused("SELECT nothing FROM sys.databases"), [207]);
    for name in [
        "sqlite_master",
        "sys.sqlite_schema",
        "instance",
        "server_principal",
        "pragma_database_list",
    ] {
        assert!(!f.refused(&format!("SELECT * FROM {name}")).is_empty());
    }
    let types = f.run("SELECT * FROM sys.certificates").columns;
    assert_eq!(types[0].sql_type, SqlType::SysName);
    assert_eq!(types.len(), 17 + 2, "the documented columns, then ours");
    assert_eq!(types[16].name, "key_length");
    let printed = f.run("PRINT 'hello ' + 'world'");
    assert_eq!(
        (printed.messages[0].number, printed.messages[0].text.as_str()),
        (0, "hello world")
    );
    assert_eq!(f.refused("USE nowhere; SELECT 1"), [911]);
    assert_eq!(f.refused("EXEC nothing_here"), [2812]);
    for view in crate::catalog::columns::VIEWS {
        let found = f.run(&format!("SELECT * FROM sys.{}", view.name));
        assert_eq!(found.messages, [], "{}", view.name);
        let types: Vec<_> = found
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.sql_type))
            .collect();
        assert_eq!(types, view.columns, "{}", view.name);
    }
}

use crate::tsql::SqlType;

#[test]
fn private_keys_leave_and_enter_encrypted() {
    let mut f = Fixture::new();
    f.keys();
    let out = "BACKUP CERTIFICATE A_cert TO FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.key'";
    assert_eq!(
        f.refused(&format!(
            "{out}, DECRYPTION BY PASSWORD = 'x', ENCRYPTION BY PASSWORD = 'Out-of-here-1')"
        )),
        [15147]
    );
    assert_eq!(
        f.refused(&format!("{out}, ENCRYPTION BY PASSWORD = 'short')")),
        [15116]
    );
    f.ok(&format!("{out}, ENCRYPTION BY PASSWORD = 'Out-of-here-1')"));
    assert_eq!(
        f.refused(&format!("{out}, ENCRYPTION BY PASSWORD = 'Out-of-here-1')")),
        [15240]
    );
    assert_eq!(
        f.rows("SELECT name FROM sys.certificates WHERE pvt_key_last_backup_date IS NOT NULL"),
        ["A_cert"]
    );
    let mut b = Fixture::new();
    b.ok("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    let (from, to) = [&f, &b].map(|f| f.instance.dir().root().join("backup")).into();
    for file in ["a.cer", "a.key"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let into = |password: &str, more: &str| {
        format!(
            "CREATE CERTIFICATE A_cert FROM FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.key', DECRYPTION BY PASSWORD = '{password}'{more})"
        )
    };
    assert_eq!(b.refused(&into("Out-of-here-2", "")), [15465]);
    assert_eq!(
        b.refused("CREATE CERTIFICATE A_cert FROM FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.cer')"),
        [15208]
    );
    b.ok(&into(
        "Out-of-here-1",
        ", ENCRYPTION BY PASSWORD = 'In-here-only-1'",
    ));
    let protection = "SELECT pvt_key_encryption_type_desc FROM sys.certificates";
    assert_eq!(b.rows(protection), ["ENCRYPTED_BY_PASSWORD"]);
    let endpoint = "CREATE ENDPOINT e AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL)";
    assert_eq!(b.refused(endpoint), [28055]);
    assert_eq!(
        b.refused("ALTER CERTIFICATE A_cert WITH PRIVATE KEY (DECRYPTION BY PASSWORD = 'In-here-only-2')"),
        [15465]
    );
    b.ok("ALTER CERTIFICATE A_cert WITH PRIVATE KEY (DECRYPTION BY PASSWORD = 'In-here-only-1')");
    assert_eq!(b.rows(protection), ["ENCRYPTED_BY_MASTER_KEY"]);
    b.ok(endpoint);
    assert_eq!(b.refused("ALTER CERTIFICATE A_cert REMOVE PRIVATE KEY"), [3716]);

    // A new master key, and one that does not open by itself.
    b.ok("ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'");
    assert_eq!(
        b.refused("ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY"),
        [15579]
    );
    b.ok("ALTER MASTER KEY DROP ENCRYPTION BY SERVICE MASTER KEY");
    assert_eq!(
        b.rows("SELECT is_master_key_encrypted_by_server FROM sys.databases"),
        ["0"]
    );
    assert_eq!(b.refused("CREATE CERTIFICATE x WITH SUBJECT = 'x'"), [15581]);
    assert_eq!(
        b.refused("ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY"),
        [15581]
    );
    assert_eq!(
        b.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        [15313]
    );
    b.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<2_Strong_Password!>'; CREATE CERTIFICATE x WITH SUBJECT = 'x';
          ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY; CLOSE MASTER KEY; ALTER ENDPOINT e FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE x)");
}

#[test]
fn the_catalogue_of_messages_can_be_asked() {
    let mut f = Fixture::new();
    assert_eq!(
        f.rows(
            "SELECT language_id, severity, is_event_logged, text FROM sys.messages WHERE message_id = 916"
        ),
        ["1033|14|NULL|The login '{0}' cannot use database '{1}': it has no user there."]
    );
    let all = f.rows("SELECT message_id FROM sys.messages");
    assert_eq!(all.len(), crate::messages::ALL.len());
}

/// Two views in one query are of one moment, whatever other sessions change between them.
#[test]
fn a_query_sees_the_catalog_at_one_moment() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut f = Fixture::new();
    let (instance, over) = (Arc::clone(&f.instance), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&over);
    // A login with its permission comes and goes, each time at one stroke.
    let other = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for step in [
                "INSERT INTO server_principal (principal_id, name, sid, type, create_date, modify_date)
                     VALUES (9000, 'x', x'01ff', 'S', '2026-01-01', '2026-01-01');
                 INSERT INTO server_permission VALUES (100, 0, 9000, 1, 'COSQ', 'G')",
                "DELETE FROM server_permission WHERE grantee = 9000; DELETE FROM server_principal WHERE principal_id = 9000",
            ] {
                instance
                    .master()
                    .execute_batch(&format!("BEGIN; {step}; COMMIT"))
                    .unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.extend(f.rows(
            "SELECT (SELECT COUNT(*) FROM sys.server_permissions WHERE grantee_principal_id = 9000),
                    (SELECT COUNT(*) FROM sys.server_principals WHERE principal_id = 9000)",
        ));
    }
    over.store(true, Ordering::Relaxed);
    other.join().unwrap();
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert!(seen.iter().all(|row| ["0|0", "1|1"].contains(row)), "{seen:?}");
}
