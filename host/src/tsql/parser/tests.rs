use super::parse;
use crate::tsql::ast::*;
use crate::tsql::lexer;

fn one(text: &str) -> StatementKind {
    let mut batch = parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(batch.statements.len(), 1, "{text}");
    batch.statements.remove(0).kind
}

/// Number, severity and line of the refusal.
fn refused(text: &str) -> (u32, u8, u32) {
    match parse(text) {
        Err(error) => (error.number, error.severity, error.line),
        Ok(batch) => panic!("{text}\n{batch:?}"),
    }
}

fn text_of(error_in: &str) -> String {
    parse(error_in).unwrap_err().text
}

#[test]
fn master_keys() {
    let StatementKind::CreateMasterKey {
        password: Some(password),
    } = one("create master key encryption by password = '<1_Strong_Password!>';")
    else {
        panic!()
    };
    assert_eq!(password.expose(), "<1_Strong_Password!>");
    assert!(!format!("{password:?}").contains("Strong"));
    assert!(matches!(
        one("CREATE MASTER KEY"),
        StatementKind::CreateMasterKey { password: None }
    ));
    assert!(matches!(
        one("OPEN MASTER KEY DECRYPTION BY PASSWORD = N'x'"),
        StatementKind::OpenMasterKey { .. }
    ));
    assert!(matches!(one("CLOSE MASTER KEY"), StatementKind::CloseMasterKey));
    assert!(matches!(one("DROP MASTER KEY"), StatementKind::DropMasterKey));
    let alter = |text: &str| match one(&format!("ALTER MASTER KEY {text}")) {
        StatementKind::AlterMasterKey(alter) => alter,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        alter("FORCE REGENERATE WITH ENCRYPTION BY PASSWORD = 'a'"),
        AlterMasterKey::Regenerate { force: true, .. }
    ));
    assert!(matches!(
        alter("ADD ENCRYPTION BY SERVICE MASTER KEY"),
        AlterMasterKey::AddEncryption(KeyProtector::ServiceMasterKey)
    ));
    assert!(matches!(
        alter("DROP ENCRYPTION BY PASSWORD = 'a'"),
        AlterMasterKey::DropEncryption(KeyProtector::Password(_))
    ));
}

#[test]
fn certificates() {
    let StatementKind::CreateCertificate(create) = one(
        "CREATE CERTIFICATE [a cert] AUTHORIZATION u ENCRYPTION BY PASSWORD = 'p' WITH SUBJECT = 's''s', EXPIRY_DATE \
         = '2036-01-01', START_DATE='20260101' ACTIVE FOR BEGIN_DIALOG = OFF",
    ) else {
        panic!()
    };
    assert_eq!(
        (
            create.name.value.as_str(),
            create.authorization.unwrap().value.as_str()
        ),
        ("a cert", "u")
    );
    assert_eq!(create.active_for_begin_dialog, Some(false));
    let CertificateSource::Generate {
        password: Some(_),
        subject,
        start_date: Some(start),
        expiry_date: Some(end),
    } = create.source
    else {
        panic!()
    };
    assert_eq!(
        (subject.value.as_str(), start.value.as_str(), end.value.as_str()),
        ("s's", "20260101", "2036-01-01")
    );

    let import = |text: &str| match one(&format!("CREATE CERTIFICATE c {text}")) {
        StatementKind::CreateCertificate(CreateCertificate { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let CertificateSource::Import {
        certificate: Blob::Binary(binary),
        pfx: false,
        private_key: None,
    } = import("FROM BINARY = 0x30a")
    else {
        panic!()
    };
    assert_eq!(binary.value, [3, 0x0a]);
    let with_key =
        "FROM FILE = 'f' WITH FORMAT = 'PFX', PRIVATE KEY (DECRYPTION BY PASSWORD = 'd', BINARY = 0x01)";
    let CertificateSource::Import {
        certificate: Blob::File(_),
        pfx: true,
        private_key: Some(key),
    } = import(with_key)
    else {
        panic!()
    };
    assert!(
        matches!(key.source, Some(Blob::Binary(_))) && key.decryption.is_some() && key.encryption.is_none()
    );

    let alter = |text: &str| match one(&format!("ALTER CERTIFICATE c {text}")) {
        StatementKind::AlterCertificate { change, .. } => change,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        alter("REMOVE PRIVATE KEY"),
        CertificateChange::RemovePrivateKey
    ));
    assert!(matches!(
        alter("WITH PRIVATE KEY (DECRYPTION BY PASSWORD = 'x')"),
        CertificateChange::PrivateKey(PrivateKeyOptions {
            decryption: Some(_),
            ..
        })
    ));
    assert!(matches!(
        alter("WITH ACTIVE FOR BEGIN_DIALOG = ON"),
        CertificateChange::ActiveForBeginDialog(true)
    ));

    let StatementKind::BackupCertificate(backup) =
        one("BACKUP CERTIFICATE c TO FILE = 'C:\\c.cer' WITH PRIVATE KEY \
         (FILE = 'k', ENCRYPTION BY PASSWORD = 'e', DECRYPTION BY PASSWORD = 'd')")
    else {
        panic!()
    };
    assert_eq!(backup.file.value, "C:\\c.cer");
    assert!(backup.private_key.unwrap().encryption.is_some());
    assert_eq!(
        refused("CREATE CERTIFICATE c WITH EXPIRY_DATE = 'x'"),
        (7801, 15, 1)
    );
    assert_eq!(
        refused("CREATE CERTIFICATE c WITH SUBJECT = 'x', SUBJECT = 'y'"),
        (7816, 15, 1)
    );
    assert_eq!(
        refused("BACKUP CERTIFICATE c TO FILE='f' WITH PRIVATE KEY ()"),
        (102, 15, 1)
    );
}

#[test]
fn endpoints() {
    let create = |options: &str| match one(&format!("CREATE ENDPOINT e {options}")) {
        StatementKind::CreateEndpoint(create) => create,
        other => panic!("{other:?}"),
    };
    let seed = create(
        "STATE = STARTED AS TCP ( LISTENER_PORT=7024 , LISTENER_IP = ALL ) FOR DATABASE_MIRRORING ( \
         AUTHENTICATION = CERTIFICATE HOST_A_cert , ENCRYPTION = REQUIRED ALGORITHM AES , ROLE = ALL );",
    );
    assert_eq!(seed.state, Some(EndpointState::Started));
    assert_eq!(
        seed.tcp,
        TcpOptions {
            listener_port: Some(7024),
            listener_ip: Some(ListenerIp::All)
        }
    );
    assert_eq!(
        seed.mirroring.encryption,
        Some(Encryption::Required(Some(Algorithm::Aes)))
    );
    assert_eq!(seed.mirroring.role, Some(EndpointRole::All));
    assert!(
        matches!(seed.mirroring.authentication, Some(Authentication::Certificate(name)) if name.value == "HOST_A_cert")
    );

    let plain = create("AS TCP (LISTENER_PORT = 1024) FOR data_mirroring (ROLE = PARTNER)");
    assert_eq!((plain.state, plain.mirroring.authentication), (None, None));
    // Commas may be left out, the order is free.
    let loose = create(
        "AUTHORIZATION sa AS TCP (LISTENER_IP = (10.0.75.1) LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = \
         WITNESS ENCRYPTION = SUPPORTED ALGORITHM RC4 AES AUTHENTICATION = WINDOWS KERBEROS CERTIFICATE c)",
    );
    assert_eq!(
        loose.tcp.listener_ip,
        Some(ListenerIp::Address("10.0.75.1".parse().unwrap()))
    );
    assert_eq!(
        loose.mirroring.encryption,
        Some(Encryption::Supported(Some(Algorithm::Rc4Aes)))
    );
    assert!(matches!(
        loose.mirroring.authentication,
        Some(Authentication::WindowsThenCertificate(WindowsMethod::Kerberos, _))
    ));
    let v6 = create(
        "AS TCP (LISTENER_PORT = 5022, LISTENER_IP = ('::1')) FOR DATABASE_MIRRORING (ROLE = ALL, \
         ENCRYPTION = DISABLED, AUTHENTICATION = CERTIFICATE c WINDOWS)",
    );
    assert_eq!(
        v6.tcp.listener_ip,
        Some(ListenerIp::Address("::1".parse().unwrap()))
    );

    let StatementKind::AlterEndpoint(alter) =
        one("ALTER ENDPOINT e FOR DATABASE_MIRRORING ( AUTHENTICATION = CERTIFICATE A_cert_2 )")
    else {
        panic!()
    };
    assert_eq!((alter.state, alter.tcp), (None, TcpOptions::default()));
    let StatementKind::AlterEndpoint(nothing) = one("ALTER ENDPOINT e") else {
        panic!()
    };
    assert!(nothing.mirroring.role.is_none());
    assert!(matches!(
        one("DROP ENDPOINT e"),
        StatementKind::DropEndpoint { .. }
    ));
}

#[test]
fn endpoint_refusals() {
    let with = |tcp: &str, mirroring: &str| {
        refused(&format!(
            "CREATE ENDPOINT e\nAS TCP ({tcp})\nFOR DATABASE_MIRRORING ({mirroring})"
        ))
    };
    assert_eq!(with("LISTENER_IP = ALL", "ROLE = ALL"), (7801, 15, 1));
    assert_eq!(
        with("LISTENER_PORT = 7024", "ENCRYPTION = DISABLED"),
        (7801, 15, 1)
    );
    assert_eq!(with("LISTENER_PORT = 1023", "ROLE = ALL"), (7810, 15, 2));
    assert_eq!(
        with("LISTENER_PORT = 99999999999999999999", "ROLE = ALL"),
        (7810, 15, 2)
    );
    assert_eq!(
        with("LISTENER_PORT = 7024, LISTENER_PORT = 7025", "ROLE = ALL"),
        (7816, 15, 2)
    );
    assert_eq!(
        with("LISTENER_PORT = 7024", "ROLE = ALL, ROLE = ALL"),
        (7816, 15, 3)
    );
    assert_eq!(
        with("LISTENER_PORT = 7024, LISTENER_IP = (1.2.3)", "ROLE = ALL"),
        (7888, 20, 2)
    );
    assert_eq!(
        with("LISTENER_PORT = 7024, LISTENER_IP = ('x')", "ROLE = ALL"),
        (7888, 20, 2)
    );
    assert_eq!(with("LISTENER_PORT = -1", "ROLE = ALL"), (102, 15, 2));
    assert_eq!(with("LISTENER_PORT = 7024", "ROLE = BOTH"), (102, 15, 3));
    assert_eq!(with("LISTENER_PORT = 7024", "COLOUR = RED"), (102, 15, 3));
    assert_eq!(
        with(
            "LISTENER_PORT = 7024",
            "ENCRYPTION = REQUIRED ALGORITHM DES, ROLE = ALL"
        ),
        (102, 15, 3)
    );
    assert_eq!(
        refused("CREATE ENDPOINT e AS TCP (LISTENER_PORT = 7024) FOR TSQL ()"),
        (40510, 16, 1)
    );
    assert_eq!(refused("ALTER ENDPOINT e AUTHORIZATION sa"), (7803, 15, 1));
    assert_eq!(refused("CREATE ENDPOINT e STATE = STARTED"), (102, 15, 1));
}

#[test]
fn principals() {
    let StatementKind::CreateLogin {
        name,
        source: LoginSource::Password(login),
    } = one(
        "CREATE LOGIN [HOST_B_login] WITH PASSWORD = '1Sample!' MUST_CHANGE, CHECK_POLICY = ON, SID = 0x01",
    )
    else {
        panic!()
    };
    assert_eq!(name.value, "HOST_B_login");
    assert!(login.must_change && login.check_policy == Some(true) && login.sid.is_some());
    let StatementKind::CreateLogin {
        source: LoginSource::Windows { default_database, .. },
        ..
    } = one("CREATE LOGIN [DOMAIN\\host$] FROM WINDOWS WITH DEFAULT_DATABASE = [master]")
    else {
        panic!()
    };
    assert_eq!(default_database.unwrap().value, "master");
    let source = |text: &str| match one(&format!("CREATE USER u {text}")) {
        StatementKind::CreateUser(user) => user.source,
        other => panic!("{other:?}"),
    };
    assert_eq!(source(""), UserSource::SameLogin);
    assert!(matches!(source("FOR LOGIN l"), UserSource::Login(name) if name.value == "l"));
    assert!(matches!(
        source("FROM LOGIN l WITH DEFAULT_SCHEMA = dbo"),
        UserSource::Login(_)
    ));
    assert_eq!(source("WITHOUT LOGIN"), UserSource::WithoutLogin);
    assert!(matches!(
        one("DROP USER IF EXISTS u"),
        StatementKind::DropUser { if_exists: true, .. }
    ));
    assert!(matches!(one("DROP LOGIN l"), StatementKind::DropLogin { .. }));
}

#[test]
fn permissions() {
    let permission = |text: &str| match one(text) {
        StatementKind::EndpointPermission(permission) => permission,
        other => panic!("{other:?}"),
    };
    let grant =
        permission("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [HOST_B_login], w WITH GRANT OPTION");
    assert_eq!(
        grant.action,
        PermissionAction::Grant {
            with_grant_option: true
        }
    );
    assert_eq!(grant.permissions, [Permission::Connect]);
    assert_eq!(grant.logins.len(), 2);
    let deny = permission("DENY TAKE OWNERSHIP, VIEW DEFINITION ON ENDPOINT :: e TO l CASCADE AS sa");
    assert_eq!(deny.action, PermissionAction::Deny { cascade: true });
    assert_eq!(
        deny.permissions,
        [Permission::TakeOwnership, Permission::ViewDefinition]
    );
    assert!(deny.grantor.is_some());
    for text in [
        "REVOKE GRANT OPTION FOR CONNECT ON ENDPOINT::e FROM l",
        "REVOKE GRANT OPTION FOR CONNECT ON ENDPOINT::e TO l",
    ] {
        let expected = PermissionAction::Revoke {
            grant_option_for: true,
            cascade: false,
        };
        assert_eq!(permission(text).action, expected);
    }
    assert_eq!(
        permission("REVOKE CONNECT ON ENDPOINT::e FROM public").logins[0].value,
        "public"
    );
    assert_eq!(refused("GRANT CONNECT ON ENDPOINT:e TO l"), (102, 15, 1));
    assert_eq!(refused("GRANT CONNECT ON ENDPOINT::e FROM l"), (156, 15, 1));
    for elsewhere in [
        "GRANT VIEW SERVER STATE TO l",
        "GRANT SELECT ON t TO l",
        "GRANT CONNECT SQL TO l",
        "DENY CONTROL ON CERTIFICATE::c TO u",
    ] {
        assert_eq!(refused(elsewhere), (40510, 16, 1), "{elsewhere}");
    }
}

#[test]
fn databases() {
    let create = |text: &str| match one(&format!("CREATE DATABASE {text}")) {
        StatementKind::CreateDatabase(create) => create,
        other => panic!("{other:?}"),
    };
    assert!(create("Sales").files.is_empty());
    let attach = create("[Sales db] ON (FILENAME = '/srv/sales.db') FOR ATTACH");
    assert!(attach.attach && attach.files[0].filename.value == "/srv/sales.db");
    let full = create(
        "s ON PRIMARY (NAME = s_data, FILENAME = 'a'), (NAME = 'b', FILENAME = 'b') LOG ON (FILENAME = 'l')",
    );
    assert_eq!(
        (full.files.len(), full.log_files.len(), full.attach),
        (2, 1, false)
    );
    assert_eq!(refused("CREATE DATABASE s FOR ATTACH"), (7801, 15, 1));
    assert_eq!(refused("CREATE DATABASE s ON (NAME = n)"), (7801, 15, 1));
    assert_eq!(
        refused("CREATE DATABASE s ON (FILENAME = 'f', SIZE = 10)"),
        (40510, 16, 1)
    );

    let option = |text: &str| match one(&format!("ALTER DATABASE s SET {text}")) {
        StatementKind::AlterDatabase {
            database: Some(_),
            option,
        } => option,
        other => panic!("{other:?}"),
    };
    let partner = |text: &str| match option(&format!("PARTNER {text}")) {
        DatabaseOption::Partner(partner) => partner,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        option("RECOVERY BULK_LOGGED"),
        DatabaseOption::Recovery(RecoveryModel::BulkLogged)
    );
    let PartnerOption::Address {
        address,
        seeding_mode,
    } = partner("= 'TCP://b:7024' WITH (SEEDING_MODE = AUTOMATIC)")
    else {
        panic!()
    };
    assert_eq!(
        (address.value.as_str(), seeding_mode),
        ("TCP://b:7024", Some(SeedingMode::Automatic))
    );
    for (text, expected) in [
        ("OFF", PartnerOption::Off),
        ("FAILOVER", PartnerOption::Failover),
        (
            "FORCE_SERVICE_ALLOW_DATA_LOSS",
            PartnerOption::ForceServiceAllowDataLoss,
        ),
        ("SUSPEND", PartnerOption::Suspend),
        ("RESUME", PartnerOption::Resume),
        ("SAFETY FULL", PartnerOption::Safety(SafetyLevel::Full)),
        ("SAFETY OFF", PartnerOption::Safety(SafetyLevel::Off)),
        ("TIMEOUT 20", PartnerOption::Timeout(20)),
        ("TIMEOUT 99999999999", PartnerOption::Timeout(u32::MAX)),
        (
            "REDO_QUEUE UNLIMITED",
            PartnerOption::RedoQueue(RedoQueue::Unlimited),
        ),
        (
            "REDO_QUEUE 2 GB",
            PartnerOption::RedoQueue(RedoQueue::KiB(2 << 20)),
        ),
        ("REDO_QUEUE 3", PartnerOption::RedoQueue(RedoQueue::KiB(3 << 10))),
    ] {
        assert_eq!(partner(text), expected, "{text}");
    }
    assert!(matches!(
        option("WITNESS = 'TCP://w:1'"),
        DatabaseOption::Witness(WitnessOption::Address(_))
    ));
    assert_eq!(option("WITNESS OFF"), DatabaseOption::Witness(WitnessOption::Off));
    assert!(matches!(
        one("ALTER DATABASE CURRENT SET PARTNER OFF"),
        StatementKind::AlterDatabase { database: None, .. }
    ));
    assert_eq!(refused("ALTER DATABASE s SET READ_ONLY"), (40510, 16, 1));
    assert_eq!(
        refused("ALTER DATABASE s SET PARTNER OFF, RECOVERY FULL"),
        (40510, 16, 1)
    );
    assert_eq!(refused("ALTER DATABASE s SET PARTNER"), (102, 15, 1));
    assert_eq!(refused("ALTER DATABASE s SET PARTNER MAYBE"), (102, 15, 1));
    let StatementKind::DropDatabase {
        databases,
        if_exists: true,
    } = one("DROP DATABASE IF EXISTS a, [b c]")
    else {
        panic!()
    };
    assert_eq!(databases.len(), 2);
    assert!(matches!(one("USE master"), StatementKind::Use { database } if database.value == "master"));
}

#[test]
fn backup_and_restore() {
    let StatementKind::Backup(backup) =
        one("BACKUP DATABASE Sales TO DISK = 'Sales.bak' WITH FORMAT, STATS, NAME = 'n'")
    else {
        panic!()
    };
    assert_eq!(
        (backup.kind, backup.options.format, backup.options.stats),
        (BackupKind::Database, Some(true), Some(10))
    );
    let StatementKind::Backup(log) = one("BACKUP LOG Sales TO DISK = 'Sales.bak' WITH NORECOVERY, NOINIT")
    else {
        panic!()
    };
    assert!(log.options.norecovery && log.options.init == Some(false));
    let StatementKind::Restore(restore) = one(
        "RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY, MOVE \
         'a' TO 'b'",
    ) else {
        panic!()
    };
    assert_eq!(
        (restore.options.file, &restore.options.recovery),
        (Some(2), &RestoreRecovery::Norecovery)
    );
    assert_eq!(restore.options.moves.len(), 1);
    let StatementKind::Restore(recover) = one("RESTORE DATABASE Sales WITH RECOVERY") else {
        panic!()
    };
    assert!(recover.disk.is_none() && recover.options.recovery == RestoreRecovery::Recovery);
    assert_eq!(
        refused("RESTORE DATABASE s WITH RECOVERY, NORECOVERY"),
        (7816, 15, 1)
    );
    assert_eq!(
        refused("RESTORE DATABASE s FROM DISK = 'f' WITH FILE = 0"),
        (7810, 15, 1)
    );
    assert_eq!(
        refused("BACKUP DATABASE s TO DISK = 'f' WITH NO_TRUNCATE"),
        (7803, 15, 1)
    );
    assert_eq!(refused("BACKUP DATABASE s TO URL = 'f'"), (40510, 16, 1));
    assert_eq!(refused("RESTORE HEADERONLY FROM DISK = 'f'"), (40510, 16, 1));
}

#[test]
fn procedures() {
    let execute = |text: &str| match one(text) {
        StatementKind::Execute(execute) => execute,
        other => panic!("{other:?}"),
    };
    assert_eq!(execute("EXEC sp_readerrorlog").name(), "sp_readerrorlog");
    assert_eq!(execute("sp_readerrorlog 0, 1, N'x'").arguments.len(), 3);
    let call = execute("EXECUTE master..sp_x 'it''s', -5, 1.5, 0xFF, NULL, word, @a = DEFAULT, @b = [c d]");
    assert_eq!(call.procedure.len(), 2);
    let values: Vec<&Literal> = call.arguments.iter().map(|argument| &argument.value).collect();
    let text = |text: &str| Literal::Text(text.to_owned());
    assert_eq!(
        values,
        [
            &text("it's"),
            &Literal::Int(-5),
            &Literal::Decimal("1.5".to_owned()),
            &Literal::Binary(vec![255]),
            &Literal::Null,
            &text("word"),
            &Literal::Default,
            &text("c d"),
        ]
    );
    assert_eq!(call.arguments[7].name.as_ref().unwrap().value, "b");
    assert_eq!(refused("EXEC p @a = 1, 2"), (119, 15, 1));
    assert_eq!(refused("EXEC p @a"), (137, 15, 1));
    assert_eq!(refused("EXEC ('text')"), (40510, 16, 1));
    assert_eq!(refused("EXECUTE AS LOGIN = 'x'"), (40510, 16, 1));
    assert_eq!(
        refused("PRINT 'a' sp_who"),
        (102, 15, 1),
        "a bare procedure only begins a batch"
    );
}

#[test]
fn several_statements() {
    let batch = parse(
        "USE master;\nCREATE CERTIFICATE HOST_A_cert \n   WITH SUBJECT = 'HOST_A'\nPRINT 'x';;\n-- end\nSELECT 1 SELECT 2",
    )
    .unwrap();
    let lines: Vec<u32> = batch
        .statements
        .iter()
        .map(|statement| statement.span.line)
        .collect();
    assert_eq!(lines, [1, 2, 4, 6, 6]);
    assert!(parse("").unwrap().statements.is_empty());
    assert!(parse(" ;; /* nothing */ ").unwrap().statements.is_empty());
}

#[test]
fn errors_name_number_and_line() {
    assert_eq!(refused("FROBNICATE THE MIRROR"), (102, 15, 1));
    assert_eq!(refused("USE master;\n\nFROBNICATE x"), (102, 15, 3));
    assert_eq!(refused("USE master\nFROM x"), (156, 15, 2));
    assert_eq!(refused("USE"), (102, 15, 1));
    assert_eq!(refused("PRINT 'x"), (105, 15, 1));
    assert_eq!(refused("/* a\n\n"), (113, 15, 1));
    assert_eq!(refused("DECLARE @x int = 1"), (40510, 16, 1));
    assert_eq!(refused("IF 1 = 1 PRINT 'x'"), (40510, 16, 1));
    assert_eq!(refused("SET NOCOUNT ON"), (40510, 16, 1));
    assert_eq!(refused("CREATE TABLE t (a int)"), (40510, 16, 1));
    assert_eq!(refused("CREATE WIDGET w"), (102, 15, 1));
    assert_eq!(refused("SELECT @x"), (137, 15, 1));
    assert_eq!(refused("PRINT 1 WITH x AS (SELECT 1) SELECT 1"), (319, 15, 1));
    assert_eq!(refused("USE [select] from"), (156, 15, 1));
    assert_eq!(refused("USE select"), (156, 15, 1));
    assert_eq!(
        refused(&"x".repeat(crate::tsql::BATCH_LENGTH_MAX + 1)),
        (50001, 16, 1)
    );
    // The first error of the batch is the one that is told, even if the lexer stops later.
    assert_eq!(refused("USE FROM 'mirror"), (156, 15, 1));
}

#[test]
fn errors_do_not_repeat_strings() {
    for text in [
        "CREATE MASTER KEY ENCRYPTION BY 'hunter2'",
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'x' 'hunter2'",
        "CREATE LOGIN l WITH PASSWORD = N'x' 'hunter2",
        "CREATE LOGIN l WITH PASSWORD 'hunter2'",
        "PRINT 'x', 'hunter2'",
        "USE 'hunter2'",
    ] {
        assert!(!text_of(text).contains("hunter2"), "{}", text_of(text));
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |open: &str, close: &str| {
        let n = 5_000;
        refused(&format!("SELECT {}1{}", open.repeat(n), close.repeat(n))).0
    };
    assert_eq!(deep("(", ")"), 191);
    assert_eq!(deep("(SELECT ", ")"), 191);
    assert_eq!(deep("CASE WHEN 1 = ", " THEN 1 END"), 191);
    assert_eq!(deep("- ", ""), 191);
    assert_eq!(deep("1 + ", ""), 191);
    assert_eq!(deep("ISNULL(", ", 1)"), 191);
    assert!(parse(&format!("SELECT {}1", "NOT ".repeat(5_000))).is_ok());
}

/// Words, symbols and constants thrown together, and mutilations of good statements: parsing ends, and spans lie
/// inside the text. (A seeded generator of our own, so that a failure can be repeated.)
#[test]
fn never_panics() {
    const PIECES: &[&str] = &[
        "CREATE",
        "ALTER",
        "DROP",
        "BACKUP",
        "RESTORE",
        "MASTER",
        "KEY",
        "CERTIFICATE",
        "ENDPOINT",
        "LOGIN",
        "USER",
        "DATABASE",
        "SET",
        "PARTNER",
        "WITNESS",
        "FROM",
        "FOR",
        "WITH",
        "AS",
        "TCP",
        "(",
        ")",
        ",",
        ";",
        "=",
        "::",
        ".",
        "*",
        "+",
        "-",
        "'a'",
        "N'ü'",
        "'",
        "[b]",
        "[",
        "\"c\"",
        "\"",
        "0x1F",
        "0x",
        "7024",
        "1.5",
        "1e",
        "@x",
        "@@SPID",
        "@",
        "--",
        "/*",
        "*/",
        "\n",
        "SELECT",
        "TOP",
        "CASE",
        "WHEN",
        "END",
        "IN",
        "LIKE",
        "NOT",
        "NULL",
        "EXEC",
        "PRINT",
        "x",
        "é",
        "\u{0}",
        "\u{feff}",
        "🦀",
        "$",
        "GRANT",
        "CONNECT",
        "ON",
        "TO",
        "CAST",
        "CONVERT",
        "ORDER",
        "BY",
        "JOIN",
        "LISTENER_PORT",
        "LISTENER_IP",
        "DATABASE_MIRRORING",
        "ROLE",
        "ALL",
        "AUTHENTICATION",
        "PASSWORD",
        "BY",
        "ENCRYPTION",
        "DISK",
        "OFFSET",
        "ROWS",
        "UNION",
        "sys",
        "USE",
        "WHERE",
        "EXISTS",
        "DISTINCT",
        "count",
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let goods = [
        include_str!("../../../../tests/e2e/scripts/host_a_outbound.sql"),
        include_str!("../../../../tests/e2e/scripts/host_b_inbound.sql"),
        include_str!("../../../../tests/e2e/scripts/observe.sql"),
    ];
    for _ in 0..20_000 {
        let mut text = String::new();
        if random(3) == 0 {
            let good = goods[random(goods.len())];
            text.extend(good.chars().skip(random(good.len())).take(random(400)));
            let at = text
                .char_indices()
                .nth(random(text.len() + 1))
                .map_or(0, |(at, _)| at);
            text.insert_str(at, PIECES[random(PIECES.len())]);
        } else {
            for _ in 0..random(30) {
                text.push_str(PIECES[random(PIECES.len())]);
                text.push_str(if random(4) == 0 { "" } else { " " });
            }
        }
        let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
        for token in lexer::tokens(&text).0 {
            assert!(
                text.get(token.span.start as usize..token.span.end as usize)
                    .is_some(),
                "{text:?}"
            );
            assert!(
                token.span.start <= token.span.end && (1..=lines).contains(&token.span.line),
                "{text:?}"
            );
        }
        match parse(&text) {
            Err(error) => assert!((1..=lines).contains(&error.line), "{text:?}: {error}"),
            Ok(batch) => {
                let mut end = 0;
                for statement in batch.statements {
                    let span = statement.span;
                    assert!(
                        span.start >= end && span.start < span.end && span.end as usize <= text.len(),
                        "{text:?}"
                    );
                    assert!(!span.of(&text).is_empty(), "{text:?}");
                    end = span.end;
                }
            }
        }
    }
}
