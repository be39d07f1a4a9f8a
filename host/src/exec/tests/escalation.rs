//! Ways from a right that was granted to one that was not: each is refused, and nothing is changed by the attempt.

use super::{Collected, Fixture};
use crate::catalog::{MASTER_ID, certificates};
use crate::engine::ProvedPeer;
use crate::exec::Out;

const PASSWORD: &str = "PASSWORD = '<2_Sound_Secret!>'";

/// An endpoint and a database of `sa`'s, and logins: `bob` with CONTROL SERVER, `alice`, `carol`, `dave` with nothing.
fn fixture() -> Fixture {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE ENDPOINT e STATE = STOPPED AS TCP (LISTENER_PORT = 7024) \
          FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL); CREATE DATABASE shop");
    for login in ["alice", "bob", "carol", "dave"] {
        f.ok(&format!("CREATE LOGIN {login} WITH {PASSWORD}"));
    }
    f.ok("GRANT CONTROL SERVER TO bob");
    f
}

fn permissions(f: &mut Fixture) -> Vec<String> {
    f.rows(
        "SELECT class, major_id, SUSER_NAME(grantee_principal_id), type, state, SUSER_NAME(grantor_principal_id) \
         FROM sys.server_permissions ORDER BY class, major_id, grantee_principal_id, type",
    )
}

#[test]
fn control_server_does_not_become_sa_through_a_user() {
    let mut f = fixture();
    f.ok("CREATE USER alice FOR LOGIN alice; EXECUTE AS LOGIN = 'bob' WITH NO REVERT");
    for user in ["dbo", "DBO", "[dbo]"] {
        f.refused(&format!("EXECUTE AS USER = '{user}'"));
    }
    assert_eq!(f.refused("EXECUTE AS USER = 'dbo'"), [15517]);
    f.ok("USE shop");
    assert_eq!(f.refused("EXECUTE AS USER = 'dbo'"), [15517]);
    assert_eq!(f.refused("EXECUTE AS LOGIN = 'sa'"), [15406]);
    // Other users he may be.
    f.ok("USE master; EXECUTE AS USER = 'alice'; REVERT");
    assert_eq!(f.rows("SELECT IS_SRVROLEMEMBER('sysadmin')"), ["0"]);
}

#[test]
fn a_user_does_not_escape_to_the_login_behind_it() {
    // As `dbo`, whose login is `sa`, of master and of another database.
    for database in ["master", "shop"] {
        let mut f = fixture();
        f.ok(&format!(
            "USE {database}; EXECUTE AS USER = 'dbo' WITH NO REVERT; USE master"
        ));
        for login in ["sa", "bob", "alice"] {
            assert_eq!(
                f.refused(&format!("EXECUTE AS LOGIN = '{login}'")),
                [15406],
                "{login}"
            );
        }
        for (statement, number) in [
            ("ALTER ENDPOINT e STATE = STOPPED", 15151),
            ("DROP ENDPOINT e", 15151),
            ("GRANT CONNECT ON ENDPOINT::e TO alice", 15151),
            ("GRANT CONTROL SERVER TO alice", 4613),
            ("GRANT IMPERSONATE ON LOGIN::sa TO alice", 4613),
        ] {
            assert_eq!(f.refused(statement), [number], "{database}: {statement}");
        }
        assert_eq!(
            f.rows("SELECT IS_SRVROLEMEMBER('sysadmin'), (SELECT count(*) FROM sys.endpoints)"),
            ["0|0"]
        );
        let here = if database == "master" { "dbo" } else { "guest" };
        assert_eq!(f.rows("SELECT USER_NAME()"), [here]);
    }
    // As a user of a login with rights of its own.
    let mut f = fixture();
    f.ok("GRANT CONTROL ON ENDPOINT::e TO alice; GRANT IMPERSONATE ON LOGIN::carol TO alice; CREATE USER alice FOR LOGIN alice; \
          EXECUTE AS USER = 'alice' WITH NO REVERT");
    for login in ["alice", "carol"] {
        assert_eq!(
            f.refused(&format!("EXECUTE AS LOGIN = '{login}'")),
            [15406],
            "{login}"
        );
    }
    assert_eq!(f.refused("DROP ENDPOINT e"), [15151]);
}

#[test]
fn the_owner_of_a_database_may_be_its_dbo() {
    let mut f = fixture();
    f.ok("ALTER AUTHORIZATION ON DATABASE::shop TO alice; EXECUTE AS LOGIN = 'alice'; USE shop; EXECUTE AS USER = 'dbo'");
    assert_eq!(f.refused("EXECUTE AS LOGIN = 'sa'"), [15406]);
    f.ok("REVERT; USE master");
    assert_eq!(f.refused("EXECUTE AS USER = 'dbo'"), [15517]);
}

#[test]
fn who_creates_a_database_owns_it_and_owns_nothing_else() {
    let mut f = fixture();
    let owner = "SELECT name, SUSER_SNAME(owner_sid) FROM sys.databases ORDER BY name";
    f.ok(
        "GRANT CREATE ANY DATABASE TO alice; EXECUTE AS LOGIN = 'alice'; CREATE DATABASE hers; USE hers; \
          CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'; USE master",
    );
    assert_eq!(f.refused("USE shop"), [916]);
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::shop TO alice"),
        [15151]
    );
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::hers TO carol"),
        [15151]
    );
    f.ok("REVERT");
    assert_eq!(f.rows(owner), ["hers|alice", "master|sa", "shop|sa"]);
    assert_eq!(f.refused("DROP LOGIN alice"), [15174]);
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::nowhere TO bob"),
        [15151]
    );
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::hers TO nobody"),
        [15151]
    );
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::hers TO [public]"),
        [15151]
    );
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::master TO bob"),
        [15109]
    );
    f.ok("USE hers; CREATE USER carol FOR LOGIN carol; USE master");
    assert_eq!(
        f.refused("ALTER AUTHORIZATION ON DATABASE::hers TO carol"),
        [15110]
    );
    // The owner keeps passwords for it, and for nothing else; not without end.
    f.ok(
        "EXECUTE AS LOGIN = 'alice'; EXEC sp_control_dbmasterkey_password 'hers', 'kept 0', 'add'; \
          EXEC sp_control_dbmasterkey_password @action = 'drop', @password = 'kept 0', @db_name = 'hers'",
    );
    for of in [
        "'shop'",
        "'nowhere'",
        "@password = 'hers', @db_name = 'shop'",
        "0x01",
        "@action = 'add'",
    ] {
        assert_eq!(
            f.refused(&format!("EXEC sp_control_dbmasterkey_password {of}")),
            [229],
            "{of}"
        );
    }
    f.ok("REVERT");
    for n in 0..16 {
        f.ok(&format!(
            "EXEC sp_control_dbmasterkey_password 'shop', 'kept {n}', 'add'"
        ));
    }
    assert_eq!(
        f.refused("EXEC sp_control_dbmasterkey_password 'shop', 'one more', 'add'"),
        [15233]
    );
    // A restore over it changes neither owner nor keys' place; a new database is the restorer's.
    f.ok("BACKUP DATABASE hers TO DISK = 'hers.bak'; RESTORE DATABASE hers FROM DISK = 'hers.bak' WITH REPLACE; \
          GRANT CREATE ANY DATABASE TO dave; EXECUTE AS LOGIN = 'dave'; RESTORE DATABASE copy FROM DISK = 'hers.bak'; REVERT");
    assert_eq!(f.rows(owner), ["copy|dave", "hers|alice", "master|sa", "shop|sa"]);
    // Whoever restored a copy has the family in common with the original, and not its kept passwords.
    f.ok("EXEC sp_control_dbmasterkey_password 'hers', 'the kept one', 'add'; EXECUTE AS LOGIN = 'dave'");
    for (password, action) in [("the kept one", "drop"), ("a guess", "drop"), ("one more", "add")] {
        assert_eq!(
            f.refused(&format!(
                "EXEC sp_control_dbmasterkey_password 'copy', '{password}', '{action}'"
            )),
            [229],
            "{password} {action}"
        );
    }
    f.ok("REVERT; EXEC sp_control_dbmasterkey_password 'hers', 'the kept one', 'drop'");
    f.ok("ALTER AUTHORIZATION ON DATABASE::hers TO sa; DROP LOGIN alice");
    assert_eq!(f.rows(owner), ["copy|dave", "hers|sa", "master|sa", "shop|sa"]);
}

#[test]
fn permissions_on_sa_are_only_given_by_sa() {
    let mut f = fixture();
    // Not even who was given one with the grant option passes it on.
    f.ok("GRANT IMPERSONATE ON LOGIN::sa TO carol WITH GRANT OPTION");
    let before = permissions(&mut f);
    for login in ["bob", "carol"] {
        f.ok(&format!("EXECUTE AS LOGIN = '{login}'"));
        for statement in [
            "GRANT IMPERSONATE ON LOGIN::sa TO bob AS alice",
            "GRANT IMPERSONATE ON LOGIN::[SA] TO bob AS bob",
            "GRANT IMPERSONATE ON LOGIN::sa TO dave",
            "GRANT CONTROL ON LOGIN::sa TO bob WITH GRANT OPTION AS carol",
            "DENY IMPERSONATE ON LOGIN::sa TO carol AS alice",
            "REVOKE IMPERSONATE ON LOGIN::sa FROM carol AS alice",
        ] {
            assert_eq!(f.refused(statement), [4613], "{login}: {statement}");
        }
        f.ok("REVERT");
    }
    assert_eq!(permissions(&mut f), before);
    // On others AS stays with CONTROL SERVER.
    f.ok(
        "EXECUTE AS LOGIN = 'bob'; GRANT IMPERSONATE ON LOGIN::carol TO dave AS alice; \
          REVOKE IMPERSONATE ON LOGIN::carol FROM dave; REVERT",
    );
}

/// What is granted, on what, and the number of a refusal.
const SECURABLES: [(&str, u32); 3] = [
    ("CONNECT ON ENDPOINT::e", 15151),
    ("VIEW SERVER STATE", 4613),
    ("IMPERSONATE ON LOGIN::dave", 4613),
];

#[test]
fn the_grant_option_does_not_lift_a_deny() {
    for (what, number) in SECURABLES {
        let mut f = fixture();
        f.ok(&format!(
            "GRANT {what} TO alice WITH GRANT OPTION; DENY {what} TO carol; GRANT {what} TO bob"
        ));
        let before = permissions(&mut f);
        f.ok("EXECUTE AS LOGIN = 'alice'");
        for statement in [
            format!("GRANT {what} TO carol"),
            format!("GRANT {what} TO dave, carol"),
            format!("REVOKE {what} FROM carol"),
            format!("REVOKE {what} FROM carol CASCADE"),
            // Nor is what somebody else granted taken away or changed, be it her own.
            format!("REVOKE {what} FROM bob"),
            format!("REVOKE GRANT OPTION FOR {what} FROM bob"),
            format!("GRANT {what} TO bob WITH GRANT OPTION"),
            format!("GRANT {what} TO alice"),
            // DENY is not passed on.
            format!("DENY {what} TO dave"),
            format!("DENY {what} TO bob CASCADE"),
        ] {
            assert_eq!(f.refused(&statement), [number], "{statement}");
        }
        f.ok("REVERT");
        assert_eq!(permissions(&mut f), before, "{what}");
        // What she grants she may take back, and grant differently.
        f.ok(&format!(
            "EXECUTE AS LOGIN = 'alice'; GRANT {what} TO dave; GRANT {what} TO dave WITH GRANT OPTION; \
             REVOKE {what} FROM dave; REVOKE {what} FROM dave; REVERT"
        ));
        assert_eq!(permissions(&mut f), before, "{what}");
        // An operator changes everything.
        f.ok(&format!(
            "EXECUTE AS LOGIN = 'bob'; REVOKE {what} FROM carol; GRANT {what} TO carol; REVERT"
        ));
    }
}

#[test]
fn the_grant_option_does_not_cascade_over_what_others_granted() {
    for (what, number) in SECURABLES {
        let mut f = fixture();
        f.ok(&format!(
            "GRANT {what} TO alice WITH GRANT OPTION; EXECUTE AS LOGIN = 'bob'; GRANT {what} TO carol; REVERT"
        ));
        // The operator bob holds nothing that could be taken from him; or only what alice herself gave him.
        for first in ["", "GRANT"] {
            f.ok("EXECUTE AS LOGIN = 'alice'");
            if !first.is_empty() {
                f.ok(&format!("GRANT {what} TO bob"));
            }
            assert_eq!(
                f.refused(&format!("REVOKE {what} FROM bob CASCADE")),
                [number],
                "{what}"
            );
            f.ok("REVERT");
        }
        assert!(
            permissions(&mut f)
                .iter()
                .any(|row| row.contains("|carol|") && row.ends_with("|G|bob")),
            "{what}"
        );
    }
}

#[test]
fn a_deny_takes_back_what_was_passed_on() {
    for (what, _) in SECURABLES {
        let mut f = fixture();
        let before = permissions(&mut f);
        f.ok(&format!(
            "GRANT {what} TO alice WITH GRANT OPTION; \
             EXECUTE AS LOGIN = 'alice'; GRANT {what} TO carol WITH GRANT OPTION; REVERT; \
             EXECUTE AS LOGIN = 'carol'; GRANT {what} TO dave; REVERT"
        ));
        let granted = permissions(&mut f);
        // Who may pass it on may have done so: not without CASCADE, and then nothing changes.
        for login in ["alice", "carol", "dave, alice"] {
            assert_eq!(f.refused(&format!("DENY {what} TO {login}")), [4611], "{what}");
            assert_eq!(permissions(&mut f), granted);
        }
        f.ok(&format!("DENY {what} TO alice CASCADE"));
        let mut now = permissions(&mut f);
        now.retain(|row| !before.contains(row));
        assert_eq!(now.len(), 1, "{what}: {now:?}");
        assert!(now[0].contains("|alice|") && now[0].contains("|D|"), "{now:?}");
        f.ok(&format!("REVOKE {what} FROM alice"));
        assert_eq!(permissions(&mut f), before);
    }
}

#[test]
fn cascade_goes_down_the_whole_chain_and_leaves_denies() {
    for (what, _) in SECURABLES {
        let mut f = fixture();
        f.ok(&format!("GRANT {what} TO alice WITH GRANT OPTION"));
        let before = permissions(&mut f);
        f.ok(&format!(
            "EXECUTE AS LOGIN = 'alice'; GRANT {what} TO carol WITH GRANT OPTION; REVERT; \
             EXECUTE AS LOGIN = 'carol'; GRANT {what} TO dave; REVERT; DENY {what} TO bob AS carol"
        ));
        f.ok(&format!("REVOKE GRANT OPTION FOR {what} FROM alice CASCADE"));
        let now = permissions(&mut f);
        assert!(
            now.iter()
                .any(|row| row.contains("|alice|") && row.contains("|G|")),
            "{now:?}"
        );
        assert!(
            now.iter()
                .any(|row| row.contains("|bob|") && row.ends_with("|D|carol")),
            "{now:?}"
        );
        assert_eq!(now.len(), before.len() + 1, "{what}: {now:?}");
        // A second GRANT does not take the grant option away.
        f.ok(&format!(
            "GRANT {what} TO alice WITH GRANT OPTION; GRANT {what} TO alice"
        ));
        assert!(
            permissions(&mut f)
                .iter()
                .any(|row| row.contains("|alice|") && row.contains("|W|"))
        );
    }
}

#[test]
fn a_deny_is_not_something_passed_on() {
    for (what, _) in SECURABLES {
        let mut f = fixture();
        f.ok(&format!(
            "EXECUTE AS LOGIN = 'bob'; DENY {what} TO alice; DENY {what} TO bob; REVERT; REVOKE {what} FROM bob"
        ));
        let rows = permissions(&mut f);
        assert!(
            rows.iter()
                .any(|row| row.contains("|alice|") && row.ends_with("|D|bob")),
            "{rows:?}"
        );
        // What was granted is, and CASCADE takes it; the DENY stays.
        f.ok(&format!(
            "EXECUTE AS LOGIN = 'bob'; GRANT {what} TO carol; REVERT"
        ));
        assert_eq!(f.refused(&format!("REVOKE {what} FROM bob")), [4611]);
        f.ok(&format!("REVOKE {what} FROM bob CASCADE"));
        assert_eq!(permissions(&mut f), rows, "{what}");
    }
}

#[test]
fn a_peer_does_not_choose_the_login_that_it_becomes() {
    let mut other = Fixture::new();
    other.keys();
    let certificate = certificates::by_name(&other.instance.master(), MASTER_ID, "A_cert")
        .unwrap()
        .unwrap()
        .der;
    let peer = ProvedPeer {
        certificate,
        instance_id: [7; 16],
        name: "HOST_B".to_owned(),
        address: "127.0.0.1:7024".to_owned(),
    };
    let mut f = fixture();
    f.ok(&format!(
        "CREATE LOGIN HOST_B_login WITH {PASSWORD}; GRANT CONTROL SERVER TO HOST_B_login"
    ));
    let before = permissions(&mut f);
    let take_in = |f: &Fixture, name: Option<&str>| {
        let mut said = Collected::default();
        let mut out = Out {
            sink: &mut said,
            line: 1,
        };
        let sql = f.session.take_in(&peer, name, &mut out);
        (
            sql.is_ok(),
            format!("{:?} {:?}", said.rows, sql.unwrap_or_default()),
        )
    };
    // With a user of its own in master or without.
    for user in ["", "CREATE USER somebody FOR LOGIN HOST_B_login"] {
        f.ok(user);
        let refused = f.session.judge(&peer, None).map(drop).unwrap_err();
        assert_eq!(refused.number, 15025);
        let advice = refused.to_string();
        assert!(advice.contains("@name = 'HOST_B'"), "{advice}");
        assert!(!take_in(&f, None).0);
    }
    assert_eq!(permissions(&mut f), before);
    assert_eq!(
        f.rows("SELECT count(*) FROM sys.certificates WHERE name = 'HOST_B_cert'"),
        ["0"]
    );
    // The operator may: and is told that the login was there.
    let (taken, said) = take_in(&f, Some("HOST_B"));
    assert!(taken && said.contains("existing login HOST_B_login"), "{said}");
    // Only what was made is printed: the login and its user were there.
    assert!(
        !said.contains("CREATE LOGIN") && !said.contains("CREATE USER"),
        "{said}"
    );
    assert!(
        said.contains("CREATE CERTIFICATE [HOST_B_cert]") && said.contains("GRANT CONNECT"),
        "{said}"
    );
    // From then on it is this certificate's login, without being named.
    let (taken, said) = take_in(&f, None);
    assert!(taken && said.contains("existing login HOST_B_login"), "{said}");
    assert!(!said.contains("USE master") && !said.contains("GRANT"), "{said}");
    // A new login is not called an existing one.
    f.ok("DROP CERTIFICATE HOST_B_cert");
    let (taken, said) = take_in(&f, Some("new"));
    assert!(
        taken && said.contains("login new_login") && !said.contains("existing"),
        "{said}"
    );
}
