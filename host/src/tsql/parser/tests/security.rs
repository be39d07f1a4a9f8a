use super::{one, refused};
use crate::tsql::ast::*;

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
        "GRANT SELECT ON t TO l",
        "GRANT CONNECT TO l",
        "GRANT IMPERSONATE TO l",
        "GRANT VIEW SERVER STATE ON ENDPOINT::e TO l",
        "GRANT IMPERSONATE ON ENDPOINT::e TO l",
        "GRANT CONNECT ON LOGIN::x TO l",
        "GRANT VIEW SERVER STATE ON LOGIN::x TO l",
        "GRANT SHUTDOWN TO l",
        "DENY CONTROL ON CERTIFICATE::c TO u",
    ] {
        assert_eq!(refused(elsewhere), (40510, 16, 1), "{elsewhere}");
    }
}

#[test]
fn master_keys_in_files() {
    let StatementKind::BackupMasterKey(backup) =
        one("BACKUP MASTER KEY TO FILE = 'f' ENCRYPTION BY PASSWORD = 'p'")
    else {
        panic!()
    };
    assert_eq!(
        (backup.kind, backup.file.value.as_str()),
        (MasterKeyKind::Database, "f")
    );
    assert_eq!(backup.password.expose(), "p");
    let StatementKind::BackupMasterKey(backup) =
        one("BACKUP SERVICE MASTER KEY TO FILE = 'f' ENCRYPTION BY PASSWORD = 'p'")
    else {
        panic!()
    };
    assert_eq!(backup.kind, MasterKeyKind::Service);
    let StatementKind::RestoreMasterKey(restore) = one(
        "RESTORE MASTER KEY FROM FILE = 'f' DECRYPTION BY PASSWORD = 'p' ENCRYPTION BY PASSWORD = 'q' FORCE",
    ) else {
        panic!()
    };
    assert!(restore.force);
    assert_eq!(restore.decryption.expose(), "p");
    assert_eq!(
        restore.encryption.as_ref().map(|password| password.expose()),
        Some("q")
    );
    let StatementKind::RestoreMasterKey(restore) =
        one("RESTORE SERVICE MASTER KEY FROM FILE = 'f' DECRYPTION BY PASSWORD = 'p'")
    else {
        panic!()
    };
    assert!(restore.encryption.is_none() && !restore.force);
}

#[test]
fn the_service_master_key() {
    let alter = |text: &str| match one(&format!("ALTER SERVICE MASTER KEY {text}")) {
        StatementKind::AlterServiceMasterKey(alter) => alter,
        other => panic!("{other:?}"),
    };
    use AlterServiceMasterKey::{Account, MachineKey, Regenerate};
    assert!(matches!(alter("REGENERATE"), Regenerate { force: false }));
    assert!(matches!(alter("FORCE REGENERATE"), Regenerate { force: true }));
    assert!(matches!(
        alter("WITH NEW_ACCOUNT = 'a', NEW_PASSWORD = 'b'"),
        Account
    ));
    assert!(matches!(
        alter("ADD ENCRYPTION BY MACHINE KEY"),
        MachineKey { add: true }
    ));
    assert!(matches!(
        alter("DROP ENCRYPTION BY MACHINE KEY"),
        MachineKey { add: false }
    ));
}

#[test]
fn the_owner_of_a_certificate() {
    let StatementKind::CertificateAuthorization { name, owner } =
        one("ALTER AUTHORIZATION ON CERTIFICATE::[c 1] TO u")
    else {
        panic!()
    };
    assert_eq!((name.value.as_str(), owner.value.as_str()), ("c 1", "u"));
}

#[test]
fn permissions_on_the_server_and_on_logins() {
    let permission = |text: &str| match one(text) {
        StatementKind::ServerPermission(permission) => permission,
        other => panic!("{other:?}"),
    };
    let codes =
        |statement: &ServerPermission| statement.permissions.iter().map(|p| p.code).collect::<Vec<_>>();
    let grant = permission(
        "grant view server state, CONNECT SQL, ALTER ANY ENDPOINT TO l, public WITH GRANT OPTION AS sa",
    );
    assert_eq!(codes(&grant), ["VWSS", "COSQ", "ALHE"]);
    assert!(grant.on_login.is_none() && grant.grantor.is_some());
    assert_eq!(grant.logins.len(), 2);
    let revoke = permission("REVOKE GRANT OPTION FOR CONTROL SERVER FROM l CASCADE");
    assert_eq!(
        revoke.action,
        PermissionAction::Revoke {
            grant_option_for: true,
            cascade: true
        }
    );
    let deny = permission("DENY IMPERSONATE, CONTROL, ALTER, VIEW DEFINITION ON LOGIN::[x] TO l");
    assert_eq!(codes(&deny), ["IM", "CL", "AL", "VW"]);
    assert_eq!(deny.on_login.unwrap().value, "x");
    assert_eq!(refused("GRANT VIEW SERVER STATE FROM l"), (156, 15, 1));
    assert_eq!(refused("GRANT IMPERSONATE ON LOGIN:x TO l"), (102, 15, 1));
}

#[test]
fn execute_as_and_revert() {
    let execute = |text: &str| match one(text) {
        StatementKind::ExecuteAs(statement) => statement,
        other => panic!("{other:?}"),
    };
    let login = execute("EXECUTE AS LOGIN = N'it''s'");
    assert_eq!(
        (login.kind, login.name.value.as_str(), login.no_revert),
        (PrincipalKind::Login, "it's", false)
    );
    let user = execute("EXEC AS USER='u' WITH NO REVERT");
    assert_eq!((user.kind, user.no_revert), (PrincipalKind::User, true));
    assert!(matches!(one("REVERT"), StatementKind::Revert));
    assert_eq!(
        refused("EXECUTE AS LOGIN = 'l' WITH COOKIE INTO @c"),
        (40510, 16, 1)
    );
    assert_eq!(refused("EXECUTE AS LOGIN = l"), (102, 15, 1));
    assert_eq!(refused("EXECUTE AS CALLER"), (102, 15, 1));
}
