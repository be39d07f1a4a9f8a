//! The key hierarchy and the rights on it in running instances: whatever is killed, lost, restored or asked for by who may
//! not, costs no key and gives none away.

use std::process::{Command, Stdio};
use std::time::Duration;

use dbmirror_core::message::InstanceId;
use dbmirror_core::message::codec::{Message, Successor};
use dbmirror_tests::processes::*;
use dbmirror_tests::stranger::{Credentials, Stranger};

const MASTER_OPENS: &str =
    "SELECT is_master_key_encrypted_by_server FROM sys.databases WHERE name = 'master'";

fn own_certificate(host: &Host) -> Vec<u8> {
    std::fs::read(host.dir.join(format!("backup/{}_cert.cer", host.name))).expect("its backup")
}

/// Writes the private key of HOST_A_cert to a new file, which only works when it opens.
fn exports(host: &Host, file: &str) {
    host.ok(&format!(
        "BACKUP CERTIFICATE HOST_A_cert TO FILE = '{file}.cer' \
           WITH PRIVATE KEY (FILE = '{file}.pk8', ENCRYPTION BY PASSWORD = '<3_Strong_Password!>')"
    ));
}

/// A master key that is put back over itself finds the keys that are under it, also when nothing opens it any more.
#[test]
fn a_restored_master_key_gives_up_none_of_its_own_keys() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut a = Host::start(root.path(), "HOST_A", "127.61.0.1");
    a.script(OUTBOUND_A);
    a.ok("BACKUP MASTER KEY TO FILE = 'dmk.key' ENCRYPTION BY PASSWORD = '<4_Strong_Password!>'");
    a.stop();
    std::fs::remove_file(a.dir.join("smk.key")).expect("the key is lost");
    a.options = vec!["--new-service-key".to_owned()];
    a.up();
    assert!(a.ready.contains("endpoint=none"), "{}", a.ready);
    assert_eq!(a.value(MASTER_OPENS), "0");
    a.refused(
        "ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<5_Strong_Password!>'",
        15329,
    );
    let restore = "RESTORE MASTER KEY FROM FILE = 'dmk.key' DECRYPTION BY PASSWORD = '<4_Strong_Password!>' \
                   ENCRYPTION BY PASSWORD = '<5_Strong_Password!>'";
    let said = a.ok(restore);
    assert!(!said.contains("15585") && !said.contains("given up"), "{said}");
    assert_eq!(a.value(MASTER_OPENS), "1");
    exports(&a, "restored");
    a.ok("ALTER ENDPOINT Endpoint_Mirroring STATE = STARTED");
    a.options.clear();
    a.kill();
    a.up();
    assert!(a.ready.contains("endpoint=127.61.0.1:7024"), "{}", a.ready);
}

/// SIGKILL while the service master key changes, again and again: every start finds the key that the catalog was left with.
#[test]
fn kills_during_changes_of_the_service_master_key_lose_no_key() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut a = Host::start(root.path(), "HOST_A", "127.61.1.1");
    a.script(OUTBOUND_A);
    let kept = |action: &str| format!("EXEC sp_control_dbmasterkey_password 'd', 'kept pw 1', '{action}'");
    a.ok(&format!("CREATE DATABASE d; {}", kept("add")));
    let seed = u64::from(std::process::id());
    let mut keys = std::collections::BTreeSet::new();
    for round in 0..8_u64 {
        let mut changing = Command::new(program())
            .args(["sql", "-b", "-S"])
            .arg(&a.dir)
            .args(["-Q", &"ALTER SERVICE MASTER KEY REGENERATE; ".repeat(400)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the sql client starts");
        std::thread::sleep(Duration::from_millis(30 + (round * 53 + seed * 29) % 300));
        a.kill();
        let _ = changing.wait();
        a.up();
        assert!(
            a.ready.contains("endpoint=127.61.1.1:7024"),
            "round {round}: {}",
            a.ready
        );
        assert_eq!(a.value(MASTER_OPENS), "1", "round {round}");
        exports(&a, &format!("round_{round}"));
        a.ok(&format!("{}; {}", kept("drop"), kept("add")));
        keys.insert(a.value("SELECT key_guid FROM sys.symmetric_keys WHERE symmetric_key_id = 102"));
    }
    assert!(keys.len() > 4, "the changes were under way: {keys:?}");
}

/// The ways to a right that was not granted, through the admin connection.
#[test]
fn nobody_gets_more_than_was_granted() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", "127.61.2.1");
    a.script(OUTBOUND_A);
    a.ok("CREATE DATABASE shop");
    for login in ["alice", "bob", "carol", "dave"] {
        a.ok(&format!(
            "CREATE LOGIN {login} WITH PASSWORD = '<2_Sound_Secret!>'"
        ));
    }
    let connect = "CONNECT ON ENDPOINT::Endpoint_Mirroring";
    a.ok(&format!(
        "CREATE USER alice FOR LOGIN alice; GRANT CONTROL SERVER TO bob; GRANT {connect} TO alice WITH GRANT OPTION; DENY {connect} TO carol"
    ));
    let permissions = "SELECT class, major_id, grantee_principal_id, grantor_principal_id, type, state FROM sys.server_permissions \
                       ORDER BY class, major_id, grantee_principal_id, type";
    let before = a.lines(permissions);
    for (who, statement, number) in [
        // CONTROL SERVER is not sa.
        ("LOGIN = 'bob'", "EXECUTE AS LOGIN = 'sa'", 15406),
        ("LOGIN = 'bob'", "EXECUTE AS USER = 'dbo'", 15517),
        ("LOGIN = 'bob'", "USE shop; EXECUTE AS USER = 'dbo'", 15517),
        ("LOGIN = 'bob'", "GRANT IMPERSONATE ON LOGIN::sa TO bob", 4613),
        (
            "LOGIN = 'bob'",
            "GRANT IMPERSONATE ON LOGIN::sa TO bob AS alice",
            4613,
        ),
        // A user is not the login behind it.
        ("USER = 'dbo'", "EXECUTE AS LOGIN = 'sa'", 15406),
        ("USER = 'alice'", "EXECUTE AS LOGIN = 'alice'", 15406),
        (
            "USER = 'alice'",
            "GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO dave",
            15151,
        ),
        // The grant option lifts no DENY, and makes none.
        (
            "LOGIN = 'alice'",
            "GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO carol",
            15151,
        ),
        (
            "LOGIN = 'alice'",
            "REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM carol CASCADE",
            15151,
        ),
        (
            "LOGIN = 'alice'",
            "DENY CONNECT ON ENDPOINT::Endpoint_Mirroring TO dave",
            15151,
        ),
    ] {
        a.refused(&format!("EXECUTE AS {who}; {statement}"), number);
        assert_eq!(a.lines(permissions), before, "{who}: {statement}");
    }
}

/// DENY … CASCADE takes a partner's CONNECT from who passed it on and from who got it: the next handshake is refused.
#[test]
fn a_connect_that_was_passed_on_goes_with_who_passed_it_on() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", "127.61.3.1");
    a.script(OUTBOUND_A);
    let credentials = Credentials::new("PEER");
    credentials.bind(&a, "PEER");
    let connect = "CONNECT ON ENDPOINT::Endpoint_Mirroring";
    a.ok(&format!(
        "REVOKE {connect} FROM PEER_login; CREATE LOGIN alice WITH PASSWORD = '<2_Sound_Secret!>'; \
         GRANT {connect} TO alice WITH GRANT OPTION; EXECUTE AS LOGIN = 'alice'; GRANT {connect} TO PEER_login"
    ));
    let mut peer = Stranger::dial(&a, own_certificate(&a), &credentials);
    peer.hello(InstanceId([0x77; 16]));
    peer.listen("its hello", |message| {
        matches!(message, Message::Hello(_)).then_some(())
    });
    a.refused(&format!("DENY {connect} TO alice"), 4611);
    let said = a.ok(&format!("DENY {connect} TO alice CASCADE"));
    assert!(said.contains("PEER_login"), "what lives on is listed: {said}");
    assert!(!peer.is_closed_within(Duration::from_secs(1)));
    let mut again = Stranger::dial(&a, own_certificate(&a), &credentials);
    assert!(
        again.is_closed_within(Duration::from_secs(10)),
        "the next handshake"
    );
}

/// A successor that is on its way when its certificate is dropped is stored before that or never: what DROP CERTIFICATE leaves
/// behind is all there is.
#[test]
fn a_successor_does_not_slip_in_behind_drop_certificate() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", "127.61.4.1");
    a.script(OUTBOUND_A);
    let shown = own_certificate(&a);
    let claimed = InstanceId([0x66; 16]);
    let pins = || {
        a.lines(
            "SELECT name FROM sys.certificates WHERE pvt_key_encryption_type = 'NA' ORDER BY certificate_id",
        )
    };
    for round in 0..6_u64 {
        let name = format!("PEER{round}");
        let [first, second, next] = ["one", "another", "the next"].map(Credentials::new);
        first.bind(&a, &name);
        // The login has another certificate: it could go on with that.
        std::fs::write(a.dir.join(format!("backup/{name}_b.cer")), &second.der).expect("a file");
        a.ok(&format!(
            "CREATE CERTIFICATE {name}_spare AUTHORIZATION {name}_user FROM FILE = '{name}_b.cer'"
        ));
        let mut peer = Stranger::dial(&a, shown.clone(), &first);
        peer.hello(claimed);
        let to = peer.listen("the instance's hello", |message| match message {
            Message::Hello(hello) => Some(hello.instance),
            _ => None,
        });
        let signature = peer.proof(1, (claimed, to), &next.der, &next);
        let left = std::thread::scope(|scope| {
            let dropping = scope.spawn(|| {
                a.ok(&format!("DROP CERTIFICATE {name}_cert"));
                pins()
            });
            std::thread::sleep(Duration::from_millis(round * 9));
            peer.try_say(
                &Successor {
                    number: 1,
                    signature,
                    certificate: &next.der,
                }
                .into(),
            );
            dropping.join().expect("it is dropped")
        });
        assert!(peer.is_closed_within(Duration::from_secs(10)));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(pins(), left, "round {round}");
    }
}
