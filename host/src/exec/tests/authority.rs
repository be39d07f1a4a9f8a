//! EXECUTE AS, REVERT, and what a login that was granted nothing can do.

use super::Fixture;

/// An endpoint, a database, and logins: `plain` with a user in master, `other`, `strong` with CONTROL SERVER.
fn fixture() -> Fixture {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE ENDPOINT e STATE = STOPPED AS TCP (LISTENER_PORT = 7024) \
          FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL);
          CREATE LOGIN plain WITH PASSWORD = '<2_Sound_Secret!>'; CREATE USER plain FOR LOGIN plain;
          CREATE LOGIN other WITH PASSWORD = '<2_Sound_Secret!>';
          CREATE LOGIN strong WITH PASSWORD = '<2_Sound_Secret!>'; GRANT CONTROL SERVER TO strong;
          CREATE DATABASE shop");
    f
}

const WHO: &str = "SELECT SUSER_SNAME() + '|' + SUSER_NAME() + '|' + ORIGINAL_LOGIN() + '|' + USER_NAME() + '|' + CURRENT_USER + \
                   '|' + SYSTEM_USER";

#[test]
fn who_a_session_is() {
    let mut f = fixture();
    assert_eq!(f.rows(WHO), ["sa|sa|sa|dbo|dbo|sa"]);
    f.ok("EXECUTE AS LOGIN = 'PLAIN'");
    assert_eq!(f.rows(WHO), ["plain|plain|sa|plain|plain|plain"]);
    assert_eq!(
        f.rows("SELECT IS_SRVROLEMEMBER('sysadmin'), IS_SRVROLEMEMBER('public'), IS_SRVROLEMEMBER('sysadmin', 'sa'), \
                IS_SRVROLEMEMBER('nothing'), IS_SRVROLEMEMBER('sysadmin', 'nobody')"),
        ["0|1|1|NULL|NULL"]
    );
    f.ok("REVERT");
    assert_eq!(f.rows(WHO), ["sa|sa|sa|dbo|dbo|sa"]);
    assert_eq!(
        f.rows(
            "SELECT IS_SRVROLEMEMBER('sysadmin'), SUSER_NAME(1), USER_NAME(1), SUSER_ID('sa'), SUSER_NAME(99)"
        ),
        ["1|sa|dbo|1|NULL"]
    );
    // Without EXECUTE AS there is nothing to revert, and nothing is said.
    f.ok("REVERT");
    f.ok("EXECUTE AS LOGIN = 'other'");
    assert_eq!(f.rows("SELECT USER_NAME()"), ["guest"]);
    f.ok("REVERT; EXECUTE AS USER = 'plain'");
    assert_eq!(f.rows("SELECT USER_NAME(), SUSER_SNAME()"), ["plain|plain"]);
    f.ok("REVERT");
}

#[test]
fn nesting_and_reverting() {
    let mut f = fixture();
    f.ok("EXECUTE AS LOGIN = 'strong'; EXECUTE AS LOGIN = 'plain'");
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["plain"]);
    // A plain login may be nobody else, and not sa.
    for name in ["other", "strong", "sa", "nobody", "public", "sysadmin"] {
        assert_eq!(
            f.refused(&format!("EXECUTE AS LOGIN = '{name}'")),
            [15406],
            "{name}"
        );
    }
    assert_eq!(f.refused("EXECUTE AS USER = 'dbo'"), [15517]);
    f.ok("REVERT");
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["strong"]);
    // CONTROL SERVER is not sa, and does not become it.
    assert_eq!(f.refused("EXECUTE AS LOGIN = 'sa'"), [15406]);
    f.ok("REVERT; REVERT");
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["sa"]);
    assert_eq!(f.refused("EXECUTE AS LOGIN = 'nobody'"), [15406]);
    for user in ["nobody", "guest", "sys", "public", "INFORMATION_SCHEMA"] {
        assert_eq!(
            f.refused(&format!("EXECUTE AS USER = '{user}'")),
            [15517],
            "{user}"
        );
    }
    // In another database than where it was said.
    f.ok("EXECUTE AS LOGIN = 'strong'; USE shop");
    assert_eq!(f.refused("REVERT"), [15199]);
    f.ok("USE master; REVERT");
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["sa"]);
    // For good.
    f.ok("EXECUTE AS LOGIN = 'plain' WITH NO REVERT");
    assert_eq!(f.refused("REVERT"), [15196]);
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["plain"]);
}

#[test]
fn impersonate_is_granted_and_denied() {
    let mut f = fixture();
    f.ok(
        "GRANT IMPERSONATE ON LOGIN::other TO plain; EXECUTE AS LOGIN = 'plain'; EXECUTE AS LOGIN = 'other'",
    );
    assert_eq!(f.rows("SELECT SUSER_SNAME()"), ["other"]);
    f.ok("REVERT; REVERT; DENY IMPERSONATE ON LOGIN::other TO plain; DENY IMPERSONATE ON LOGIN::other TO strong");
    for login in ["plain", "strong"] {
        f.ok(&format!("EXECUTE AS LOGIN = '{login}'"));
        assert_eq!(f.refused("EXECUTE AS LOGIN = 'other'"), [15406]);
        f.ok("REVERT");
    }
    assert_eq!(
        f.rows(
            "SELECT class_desc, permission_name, state_desc FROM sys.server_permissions WHERE class = 101"
        ),
        [
            "SERVER_PRINCIPAL|IMPERSONATE|DENY",
            "SERVER_PRINCIPAL|IMPERSONATE|DENY"
        ]
    );
}

/// Every statement that changes or reveals anything, with the number that a login which was granted nothing gets.
const REFUSALS: &[(&str, &[u32])] = &[
    (
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'",
        &[15247],
    ),
    (
        "OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Password!>'",
        &[15151],
    ),
    ("DROP MASTER KEY", &[15151]),
    (
        "BACKUP MASTER KEY TO FILE = 'k' ENCRYPTION BY PASSWORD = '<3_Sound_Secret!>'",
        &[15151],
    ),
    (
        "RESTORE MASTER KEY FROM FILE = 'k' DECRYPTION BY PASSWORD = 'p' ENCRYPTION BY PASSWORD = '<3_Sound_Secret!>'",
        &[15151],
    ),
    (
        "BACKUP SERVICE MASTER KEY TO FILE = 'k' ENCRYPTION BY PASSWORD = '<3_Sound_Secret!>'",
        &[15247],
    ),
    ("ALTER SERVICE MASTER KEY REGENERATE", &[15247]),
    ("ALTER AUTHORIZATION ON CERTIFICATE::A_cert TO plain", &[15151]),
    (
        "EXEC sp_control_dbmasterkey_password @db_name = 'shop', @password = 'x', @action = 'add'",
        &[229],
    ),
    ("CREATE CERTIFICATE c WITH SUBJECT = 'c'", &[15247]),
    ("BACKUP CERTIFICATE A_cert TO FILE = 'C:\\a.cer'", &[15151]),
    ("DROP CERTIFICATE A_cert", &[15151]),
    (
        "CREATE ENDPOINT f AS TCP (LISTENER_PORT = 7025) FOR DATABASE_MIRRORING (ROLE = ALL)",
        &[15247],
    ),
    ("ALTER ENDPOINT e STATE = STOPPED", &[15151]),
    ("DROP ENDPOINT e", &[15151]),
    ("CREATE LOGIN l WITH PASSWORD = '<4_Strong_Password!>'", &[15247]),
    ("DROP LOGIN other", &[15151]),
    ("CREATE USER u FOR LOGIN other", &[15247]),
    ("DROP USER plain", &[15151]),
    ("GRANT CONNECT ON ENDPOINT::e TO plain", &[15151]),
    ("DENY CONNECT ON ENDPOINT::e TO other", &[15151]),
    ("REVOKE CONNECT ON ENDPOINT::e FROM other", &[15151]),
    ("GRANT CONTROL SERVER TO plain", &[4613]),
    ("GRANT IMPERSONATE ON LOGIN::sa TO plain", &[4613]),
    ("USE shop", &[916]),
    ("CREATE DATABASE d", &[262]),
    (
        "CREATE DATABASE d ON (FILENAME = '/etc/passwd') FOR ATTACH",
        &[262],
    ),
    ("DROP DATABASE shop", &[3701]),
    ("ALTER DATABASE shop SET PARTNER = 'TCP://h:7024'", &[5011, 5069]),
    ("BACKUP DATABASE shop TO DISK = 'shop.bak'", &[262, 3013]),
    ("BACKUP LOG shop TO DISK = 'shop.bak'", &[262, 3013]),
    (
        "RESTORE DATABASE shop FROM DISK = 'shop.bak' WITH NORECOVERY",
        &[3110, 3013],
    ),
    (
        "RESTORE DATABASE fresh FROM DISK = 'shop.bak' WITH NORECOVERY",
        &[3110, 3013],
    ),
    ("EXEC sp_readerrorlog", &[229]),
    ("EXEC sp_dbmirror_accept_file 'shop'", &[229]),
    ("EXEC sp_dbmirror_checkpoint 'shop'", &[229]),
    ("EXEC sp_dbmirror_test_connection 'TCP://h:7024'", &[229]),
    ("EXEC sp_dbmirror_pair_open", &[229]),
    ("EXEC sp_dbmirror_pair_with 'TCP://h:7024', 'x'", &[229]),
    ("EXEC sp_dbmirror_fingerprint", &[229]),
    ("EXEC whatever_comes_next", &[229]),
    ("SELECT * FROM sys.dm_db_mirroring_connections", &[300]),
    ("SELECT * FROM sys.dm_dbmirror_errors", &[300]),
];

#[test]
fn a_plain_login_can_do_nothing() {
    let mut f = fixture();
    let state = |f: &mut Fixture| {
        [
            "SELECT name FROM sys.server_principals",
            "SELECT name FROM sys.database_principals",
            "SELECT name FROM sys.certificates",
            "SELECT name, state_desc FROM sys.endpoints",
            "SELECT name FROM sys.databases",
            "SELECT grantee_principal_id, type, state FROM sys.server_permissions",
        ]
        .map(|query| f.rows(query))
    };
    let before = state(&mut f);
    f.ok("EXECUTE AS LOGIN = 'plain'");
    for (statement, numbers) in REFUSALS {
        assert_eq!(f.refused(statement), *numbers, "{statement}");
    }
    // No certificate, no key, by any function.
    assert_eq!(
        f.rows("SELECT CERT_ID('A_cert'), CERTENCODED(256), CERTPRIVATEKEY(256, '<5_Sound_Secret!>')"),
        ["NULL|NULL|NULL"]
    );
    // What it sees: itself, sa and the roles; no endpoint, no certificate, no key.
    assert_eq!(
        f.rows("SELECT name FROM sys.server_principals ORDER BY name"),
        ["plain", "public", "sa", "sysadmin"]
    );
    for view in [
        "certificates",
        "symmetric_keys",
        "endpoints",
        "tcp_endpoints",
        "database_mirroring_endpoints",
    ] {
        assert_eq!(
            f.rows(&format!("SELECT count(*) FROM sys.{view}")),
            ["0"],
            "{view}"
        );
    }
    assert_eq!(
        f.rows("SELECT DISTINCT permission_name FROM sys.server_permissions"),
        ["CONNECT SQL"]
    );
    assert_eq!(f.rows("SELECT count(*) FROM sys.databases"), ["2"]);
    f.ok("PRINT 'still here'; REVERT");
    assert_eq!(state(&mut f), before);
}

#[test]
fn acting_as_a_user_gives_nothing_of_the_server() {
    let mut f = fixture();
    f.ok("CREATE USER strong FOR LOGIN strong; EXECUTE AS USER = 'strong'");
    assert_eq!(
        f.refused("CREATE LOGIN l WITH PASSWORD = '<4_Strong_Password!>'"),
        [15247]
    );
    assert_eq!(f.refused("USE shop"), [916]);
    f.ok("REVERT; EXECUTE AS USER = 'dbo'");
    f.ok("CREATE CERTIFICATE of_dbo WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    assert_eq!(
        f.refused("CREATE LOGIN l WITH PASSWORD = '<4_Strong_Password!>'"),
        [15247]
    );
    f.ok("REVERT");
}

#[test]
fn what_is_granted_may_be_done_and_nothing_more() {
    let mut f = fixture();
    let allowed: &[(&str, &str, &str)] = &[
        (
            "ALTER ANY LOGIN",
            "CREATE LOGIN made WITH PASSWORD = '<4_Strong_Password!>'; DROP LOGIN made",
            "CREATE USER u FOR LOGIN other",
        ),
        (
            "ALTER ANY ENDPOINT",
            "ALTER ENDPOINT e STATE = STOPPED; GRANT CONNECT ON ENDPOINT::e TO other; REVOKE CONNECT ON ENDPOINT::e FROM other",
            "DROP ENDPOINT e",
        ),
        (
            "VIEW SERVER STATE",
            "SELECT * FROM sys.dm_db_mirroring_connections",
            "EXEC sp_readerrorlog",
        ),
        (
            "ALTER SERVER STATE",
            "SELECT * FROM sys.dm_dbmirror_errors",
            "EXEC sp_readerrorlog",
        ),
        (
            "CREATE ANY DATABASE",
            "CREATE DATABASE made",
            "DROP DATABASE shop",
        ),
        (
            "ALTER ANY DATABASE",
            "DROP DATABASE made",
            "BACKUP DATABASE shop TO DISK = 's.bak'",
        ),
        (
            "VIEW ANY DEFINITION",
            "EXEC sp_dbmirror_fingerprint",
            "DROP CERTIFICATE A_cert",
        ),
    ];
    for (permission, may, may_not) in allowed {
        f.ok(&format!(
            "GRANT {permission} TO plain; EXECUTE AS LOGIN = 'plain'"
        ));
        f.ok(may);
        f.refused(may_not);
        f.ok(&format!(
            "REVERT; DENY {permission} TO plain; EXECUTE AS LOGIN = 'plain'"
        ));
        f.refused(may);
        f.ok(&format!("REVERT; REVOKE {permission} FROM plain"));
    }
    // DENY to everybody beats CONTROL SERVER's grant of the same; CONTROL SERVER itself does everything.
    f.ok(
        "EXECUTE AS LOGIN = 'strong'; CREATE LOGIN made WITH PASSWORD = '<4_Strong_Password!>'; \
          CREATE DATABASE made2; DROP DATABASE made2; GRANT VIEW SERVER STATE TO plain; DROP LOGIN made",
    );
    assert_eq!(f.refused("GRANT IMPERSONATE ON LOGIN::sa TO plain"), [4613]);
    f.ok("REVERT; DENY ALTER ANY LOGIN TO public; EXECUTE AS LOGIN = 'strong'");
    assert_eq!(
        f.refused("CREATE LOGIN made WITH PASSWORD = '<4_Strong_Password!>'"),
        [15247]
    );
    f.ok("REVERT; REVOKE ALTER ANY LOGIN FROM public");
    // Who drops a login that holds CONTROL SERVER must hold it.
    f.ok("GRANT ALTER ANY LOGIN TO plain; EXECUTE AS LOGIN = 'plain'");
    assert_eq!(f.refused("DROP LOGIN strong"), [15151]);
    assert_eq!(f.refused("DROP LOGIN sa"), [15151]);
    f.ok("REVERT");
}

#[test]
fn endpoint_permissions() {
    let mut f = fixture();
    f.ok("GRANT ALTER ON ENDPOINT::e TO plain; EXECUTE AS LOGIN = 'plain'; ALTER ENDPOINT e STATE = STOPPED");
    assert_eq!(
        f.rows("SELECT name FROM sys.endpoints"),
        ["e"],
        "any permission shows it"
    );
    assert_eq!(f.refused("DROP ENDPOINT e"), [15151]);
    assert_eq!(f.refused("GRANT CONNECT ON ENDPOINT::e TO other"), [15151]);
    f.ok("REVERT; GRANT CONNECT ON ENDPOINT::e TO plain WITH GRANT OPTION; EXECUTE AS LOGIN = 'plain'");
    f.ok("GRANT CONNECT ON ENDPOINT::e TO other");
    assert_eq!(f.refused("GRANT ALTER ON ENDPOINT::e TO other"), [15151]);
    assert_eq!(
        f.refused("GRANT CONNECT ON ENDPOINT::e TO other AS strong"),
        [15151]
    );
    f.ok("REVERT");
    assert_eq!(
        f.rows("SELECT SUSER_NAME(grantor_principal_id) FROM sys.server_permissions AS p \
                JOIN sys.server_principals AS l ON l.principal_id = p.grantee_principal_id WHERE l.name = 'other' AND p.class = 105"),
        ["plain"]
    );
    // DENY beats GRANT, also of ALTER ANY ENDPOINT.
    f.ok("GRANT ALTER ANY ENDPOINT TO plain; DENY ALTER ON ENDPOINT::e TO plain; EXECUTE AS LOGIN = 'plain'");
    assert_eq!(f.refused("ALTER ENDPOINT e STATE = STOPPED"), [15151]);
    f.ok("REVERT; REVOKE ALTER ON ENDPOINT::e FROM plain; GRANT CONTROL ON ENDPOINT::e TO plain; EXECUTE AS LOGIN = 'plain'");
    f.ok("DROP ENDPOINT e; REVERT");
}

/// The columns and texts of the documented views of principals.
#[test]
fn views_of_principals() {
    let mut f = fixture();
    f.ok("GRANT VIEW SERVER STATE TO plain WITH GRANT OPTION; DENY ALTER ANY LOGIN TO public");
    assert_eq!(
        f.rows(
            "SELECT name, principal_id, sid, type, type_desc, is_disabled, default_database_name, default_language_name, credential_id, \
                    owning_principal_id, is_fixed_role FROM sys.server_principals \
             WHERE create_date IS NOT NULL AND modify_date IS NOT NULL AND principal_id < 4 ORDER BY principal_id"
        ),
        [
            "sa|1|0x01|S|SQL_LOGIN|0|master|us_english|NULL|NULL|0",
            "public|2|0x02|R|SERVER_ROLE|0|NULL|NULL|NULL|1|0",
            "sysadmin|3|0x03|R|SERVER_ROLE|0|NULL|NULL|NULL|1|1",
        ]
    );
    assert_eq!(
        f.rows(
            "SELECT class, class_desc, major_id, minor_id, SUSER_NAME(grantor_principal_id), type, permission_name, state, state_desc \
             FROM sys.server_permissions WHERE type IN ('VWSS', 'ALLG', 'CL') ORDER BY type"
        ),
        [
            "100|SERVER|0|0|sa|ALLG|ALTER ANY LOGIN|D|DENY",
            "100|SERVER|0|0|sa|CL|CONTROL SERVER|G|GRANT",
            "100|SERVER|0|0|sa|VWSS|VIEW SERVER STATE|W|GRANT_WITH_GRANT_OPTION",
        ]
    );
    assert_eq!(
        f.rows(
            "SELECT name, principal_id, type, type_desc, default_schema_name, owning_principal_id, is_fixed_role, authentication_type, \
                    authentication_type_desc, default_language_name, default_language_lcid, allow_encrypted_value_modifications \
             FROM sys.database_principals WHERE create_date IS NOT NULL AND modify_date IS NOT NULL \
             AND (sid IS NOT NULL OR type = 'R' OR principal_id IN (3, 4)) ORDER BY principal_id"
        ),
        [
            "public|0|R|DATABASE_ROLE|NULL|1|0|0|NONE|NULL|NULL|0",
            "dbo|1|S|SQL_USER|dbo|NULL|0|1|INSTANCE|NULL|NULL|0",
            "guest|2|S|SQL_USER|guest|NULL|0|0|NONE|NULL|NULL|0",
            "INFORMATION_SCHEMA|3|S|SQL_USER|NULL|NULL|0|0|NONE|NULL|NULL|0",
            "sys|4|S|SQL_USER|NULL|NULL|0|0|NONE|NULL|NULL|0",
            "plain|5|S|SQL_USER|dbo|NULL|0|1|INSTANCE|NULL|NULL|0",
            "db_owner|16384|R|DATABASE_ROLE|NULL|1|1|0|NONE|NULL|NULL|0",
        ]
    );
    assert_eq!(
        f.rows("SELECT uid, name, hasdbaccess, islogin, issqluser, issqlrole, isapprole FROM sys.sysusers WHERE uid IN (0, 1, 5)"),
        ["0|public|0|0|0|1|0", "1|dbo|1|1|1|0|0", "5|plain|1|1|1|0|0"]
    );
}
