//! Certificates are replaced while a session runs: nothing is dropped, nothing fails, and whatever dies goes on where it was.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dbmirror_core::message::codec::{Message, Retired, Successor};
use dbmirror_core::message::{InstanceId, Signature};
use dbmirror_tests::processes::*;
use dbmirror_tests::stranger::{Credentials, Stranger};

/// `dbmirror rotate`.
fn rotate(host: &Host, arguments: &[&str]) -> Output {
    Command::new(program())
        .arg("rotate")
        .arg("-S")
        .arg(&host.dir)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("rotate runs")
}

fn rotated(host: &Host, arguments: &[&str]) -> String {
    let output = rotate(host, arguments);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {said}\n{}", host.name, host.log());
    said
}

/// An application that writes until it is told to stop, and counts what it was refused.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Writer {
    fn start(file: &Path) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (file, until, count) = (file.to_owned(), Arc::clone(&stop), Arc::clone(&written));
        let thread = std::thread::spawn(move || {
            let db = open(&file);
            let mut errors = Vec::new();
            while !until.load(Ordering::Relaxed) {
                match db.execute("INSERT INTO t (v) VALUES (hex(randomblob(200)))", []) {
                    Ok(_) => {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => errors.push(error.to_string()),
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            errors
        });
        Self {
            stop,
            written,
            thread,
        }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How much was written; every write must have succeeded.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let errors = self.thread.join().expect("the application did not die");
        assert_eq!(errors, Vec::<String>::new(), "the application noticed");
        self.written.load(Ordering::Relaxed)
    }
}

const CONNECTIONS: &str = "SELECT connection_id, connect_time, login_time FROM sys.dm_db_mirroring_connections \
     WHERE state_desc = 'LOGGED_IN' ORDER BY connection_id";

/// The one connection that is left when duplicates and looks at certificates have gone.
fn the_connection(host: &Host) -> Vec<String> {
    host.wait("one connection", || {
        let rows = host.rows(CONNECTIONS);
        match rows.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(format!("{rows:?}")),
        }
    })
}

fn errors(host: &Host) -> Vec<Vec<String>> {
    host.rows("SELECT time, peer, step, number, reason FROM sys.dm_dbmirror_errors")
}

/// The endpoint's certificate.
fn in_use(host: &Host) -> String {
    host.value(
        "SELECT c.name FROM sys.certificates c JOIN sys.database_mirroring_endpoints e ON e.certificate_id = c.certificate_id",
    )
}

/// Partners' certificates, and how they came.
fn pins(host: &Host) -> Vec<String> {
    host.rows("SELECT name, succession_desc FROM sys.certificates WHERE pvt_key_encryption_type = 'NA' ORDER BY certificate_id")
        .into_iter()
        .map(|row| row.join("|"))
        .collect()
}

/// Own certificates.
fn own(host: &Host) -> Vec<String> {
    host.rows(
        "SELECT name FROM sys.certificates WHERE pvt_key_encryption_type = 'MK' ORDER BY certificate_id",
    )
    .concat()
}

fn await_rotation(host: &Host, state: &str) {
    host.wait(&format!("the rotation to be {state}"), || {
        let rows =
            host.rows("SELECT TOP 1 state_desc FROM sys.dm_dbmirror_rotations ORDER BY rotation_id DESC");
        match rows.as_slice() {
            [row] if row[0] == state => Ok(()),
            _ => Err(format!("{rows:?}")),
        }
    });
}

#[test]
fn three_rotations_of_both_certificates_under_load_drop_nothing() {
    let pair = pair(170);
    let file = pair.mirrored("sales");
    let hosts = [&pair.a, &pair.b];
    let before = hosts.map(the_connection);
    let failures = hosts.map(errors);
    let writer = Writer::start(&file);
    let mut seen = 0;
    for round in 2..=4 {
        for (host, name) in [(&pair.a, "HOST_A_cert"), (&pair.b, "HOST_B_cert")] {
            rotated(host, &["--timeout", "60"]);
            await_rotation(host, "DONE");
            let successor = format!("{name}_{round}");
            assert_eq!(in_use(host), successor);
            assert_eq!(own(host), [successor], "the key before is gone");
            let now = writer.written();
            assert!(now > seen, "the application writes");
            seen = now;
        }
    }
    // What an operator imported stays; what was handed over stays while it is in use.
    assert_eq!(pins(&pair.a), ["HOST_B_cert|NULL", "HOST_B_cert_4|HANDED OVER"]);
    assert_eq!(pins(&pair.b), ["HOST_A_cert|NULL", "HOST_A_cert_4|HANDED OVER"]);
    assert_eq!(
        hosts.map(the_connection),
        before,
        "the same connection all the time"
    );
    assert_eq!(hosts.map(errors), failures, "no new failure on either side");
    let written = writer.end();
    assert!(written > 100, "{written}");
    pair.assert_level_and_equal("sales", &file);
    assert_eq!(u64::try_from(count(&file)).unwrap(), written);

    // The certificates that the connection was made with have been replaced three times: new ones carry it after a cut.
    let mut pair = pair;
    pair.b.kill();
    pair.b.up();
    pair.assert_level_and_equal("sales", &file);
    for (host, name) in [(&pair.a, "HOST_B_cert_4"), (&pair.b, "HOST_A_cert_4")] {
        let shown = host.rows(
            "SELECT DISTINCT c.name FROM sys.dm_db_mirroring_connections m \
             JOIN sys.certificates c ON c.certificate_id = m.peer_certificate_id WHERE m.state_desc = 'LOGGED_IN'",
        );
        assert_eq!(shown, [[name]]);
    }
}

#[test]
fn alter_endpoint_keeps_connections_and_the_next_handshake_has_the_new_certificate() {
    let pair = pair(171);
    let file = pair.mirrored("sales");
    let hosts = [&pair.a, &pair.b];
    let before = hosts.map(the_connection);
    let failures = hosts.map(errors);
    let writer = Writer::start(&file);
    pair.a.ok(
        "CREATE CERTIFICATE A_2 WITH SUBJECT = 'HOST_A again', EXPIRY_DATE = '2046-01-01'; \
               BACKUP CERTIFICATE A_2 TO FILE = 'A_2.cer'",
    );
    copy_certificate(&pair.a, &pair.b, "A_2.cer");
    pair.b
        .ok("CREATE CERTIFICATE A_2 AUTHORIZATION HOST_A_user FROM FILE = 'A_2.cer'");
    pair.a
        .ok("ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_2)");
    pair.a.ok(
        "ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING (ENCRYPTION = SUPPORTED ALGORITHM AES)",
    );
    let at = writer.written();
    pair.a.wait("more writes", || {
        if writer.written() > at + 50 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    assert_eq!(hosts.map(the_connection), before);
    assert_eq!(hosts.map(errors), failures);
    // A test connection is a new handshake: B sees the new certificate, and knows the login by both.
    let tested = pair.a.test_connection(&pair.b.url());
    assert!(tested.status.success(), "{}", text(&tested.stdout));
    // Dropping the old pin closes what it authenticated; the new one brings it back.
    pair.b.ok("DROP CERTIFICATE HOST_A_cert");
    let shown = pair.b.wait("the new certificate", || {
        let rows = pair.b.rows(
            "SELECT DISTINCT c.name FROM sys.dm_db_mirroring_connections m \
             JOIN sys.certificates c ON c.certificate_id = m.peer_certificate_id WHERE m.state_desc = 'LOGGED_IN'",
        );
        if rows.is_empty() { Err(String::new()) } else { Ok(rows) }
    });
    assert_eq!(shown, [["A_2"]]);
    writer.end();
    pair.assert_level_and_equal("sales", &file);
}

#[test]
fn a_partner_that_is_away_is_waited_for() {
    let mut pair = pair(172);
    let file = pair.mirrored("sales");
    the_connection(&pair.a);
    pair.b.stop();
    let output = rotate(&pair.a, &["--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(said.contains("Msg 50125, "), "{said}");
    assert!(
        said.contains("NOT CONFIRMED") && said.contains("HOST_B_login"),
        "{said}"
    );
    assert_eq!(in_use(&pair.a), "HOST_A_cert");
    // A second one cannot be begun; this one can be waited for.
    pair.a
        .refused("EXEC sp_dbmirror_rotate_certificate @name = 'another'", 50132);
    pair.b.up();
    rotated(&pair.a, &[]);
    await_rotation(&pair.a, "DONE");
    assert_eq!(own(&pair.a), ["HOST_A_cert_2"]);
    assert_eq!(pins(&pair.b), ["HOST_A_cert|NULL", "HOST_A_cert_2|HANDED OVER"]);
    pair.assert_level_and_equal("sales", &file);
}

#[test]
fn a_partner_that_was_cut_off_by_an_override_is_dialled_with_the_old_certificate() {
    let mut pair = pair(173);
    let file = pair.mirrored("sales");
    the_connection(&pair.a);
    pair.b.stop();
    let said = rotated(&pair.a, &["--timeout", "0", "--override"]);
    assert!(said.contains("HOST_B_login"), "who is cut off: {said}");
    assert_eq!(in_use(&pair.a), "HOST_A_cert_2");
    assert_eq!(
        own(&pair.a),
        ["HOST_A_cert", "HOST_A_cert_2"],
        "the old key is kept"
    );
    // A restart forgets nothing of it.
    pair.a.kill();
    pair.a.up();
    assert_eq!(in_use(&pair.a), "HOST_A_cert_2");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('meanwhile')", [])
        .expect("the application goes on");
    pair.b.up();
    await_rotation(&pair.a, "DONE");
    assert_eq!(own(&pair.a), ["HOST_A_cert_2"]);
    assert_eq!(pins(&pair.b), ["HOST_A_cert|NULL", "HOST_A_cert_2|HANDED OVER"]);
    pair.assert_level_and_equal("sales", &file);
    assert!(pair.a.test_connection(&pair.b.url()).status.success());
    assert!(pair.b.test_connection(&pair.a.url()).status.success());
}

#[test]
fn a_rotation_is_given_up_while_it_has_not_switched() {
    let mut pair = pair(174);
    let file = pair.mirrored("sales");
    the_connection(&pair.a);
    pair.b.stop();
    assert_eq!(rotate(&pair.a, &["--timeout", "0"]).status.code(), Some(1));
    rotated(&pair.a, &["--cancel"]);
    assert_eq!(own(&pair.a), ["HOST_A_cert"]);
    // The partner may have stored it just before it went: it is told when it is back.
    await_rotation(&pair.a, "CANCELLING");
    pair.b.up();
    pair.assert_level_and_equal("sales", &file);
    await_rotation(&pair.a, "CANCELLED");
    assert_eq!(pins(&pair.b), ["HOST_A_cert|NULL"]);
    rotated(&pair.a, &["--name", "A_next"]);
    await_rotation(&pair.a, "DONE");
    assert_eq!(own(&pair.a), ["A_next"]);
}

/// The partner may store the successor in the moment in which its operator gives it up here.
#[test]
fn what_is_given_up_at_once_does_not_wait_at_the_partner_for_ever() {
    let pair = pair(179);
    pair.mirrored("sales");
    the_connection(&pair.a);
    for _ in 0..8 {
        // Either may come too late for the other.
        let _ = rotate(&pair.a, &["--timeout", "0"]);
        let _ = rotate(&pair.a, &["--cancel"]);
    }
    pair.a.wait("every rotation to be over", || {
        let open = pair.a.lines(
            "SELECT state_desc FROM sys.dm_dbmirror_rotations WHERE state_desc NOT IN ('DONE', 'CANCELLED')",
        );
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    });
    let pending: Vec<String> = pins(&pair.b)
        .into_iter()
        .filter(|pin| pin.ends_with("PENDING"))
        .collect();
    assert_eq!(pending, Vec::<String>::new());
    rotated(&pair.a, &["--name", "A_last"]);
    await_rotation(&pair.a, "DONE");
}

#[test]
fn kills_at_any_step_lose_neither_rotation_nor_session() {
    let mut pair = pair(175);
    let file = pair.mirrored("sales");
    the_connection(&pair.a);
    let seed = std::process::id() as u64;
    let rounds: u64 = std::env::var("DBMIRROR_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(8);
    for round in 0..rounds {
        let writer = Writer::start(&file);
        // Either side is killed, from before the successor is made to after the predecessor is gone.
        let wait = Duration::from_millis((round * 37 + seed * 13) % 300);
        let mut rotating = Command::new(program())
            .arg("rotate")
            .arg("-S")
            .arg(&pair.a.dir)
            .args(["--timeout", "5"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rotate starts");
        std::thread::sleep(wait);
        let victim = if round % 2 == 0 { &mut pair.a } else { &mut pair.b };
        victim.kill();
        victim.up();
        let _ = rotating.wait();
        // Whatever was begun goes on by itself; what was not is begun now.
        let begun = pair
            .a
            .value("SELECT count(*) FROM sys.dm_dbmirror_rotations WHERE state IN (1, 2)");
        let total: u64 = pair
            .a
            .value("SELECT count(DISTINCT rotation_id) FROM sys.dm_dbmirror_rotations")
            .parse()
            .expect("a count");
        eprintln!("round {round}: killed after {wait:?}; under way: {begun}, in all {total}");
        if total > 0 {
            await_rotation(&pair.a, "DONE");
        }
        let used = in_use(&pair.a);
        assert_eq!(own(&pair.a), std::slice::from_ref(&used), "one key is left");
        pair.b.wait("the pins to follow", || {
            let found = pins(&pair.b);
            let handed: Vec<&String> = found.iter().filter(|pin| pin.contains("HANDED OVER")).collect();
            let waits = found.iter().any(|pin| pin.contains("PENDING"));
            let fits = total == 0 || handed.len() == 1 && handed[0].starts_with(&format!("{used}|"));
            if fits && !waits {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        });
        writer.end();
        pair.level("sales");
        assert!(pair.a.test_connection(&pair.b.url()).status.success());
    }
    pair.assert_level_and_equal("sales", &file);
}

#[test]
fn a_partner_whose_database_could_not_be_taken_in_is_waited_for_all_the_same() {
    let mut pair = pair(176);
    let file = pair.mirrored("sales");
    the_connection(&pair.a);
    // The file is away when the principal starts: the session is there, and nobody speaks for it.
    pair.a.stop();
    pair.b.stop();
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).expect("the file is put aside");
    pair.a.up();
    let output = rotate(&pair.a, &["--timeout", "3"]);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(
        said.contains("Msg 50125, ") && said.contains("HOST_B_login"),
        "{said}"
    );
    assert_eq!(in_use(&pair.a), "HOST_A_cert");
    pair.a.stop();
    std::fs::rename(&aside, &file).expect("the file is put back");
    pair.a.up();
    pair.b.up();
    await_rotation(&pair.a, "DONE");
    pair.assert_level_and_equal("sales", &file);
}

#[test]
fn both_sides_rotate_at_once() {
    let pair = pair(177);
    let file = pair.mirrored("sales");
    let hosts = [&pair.a, &pair.b];
    let before = hosts.map(the_connection);
    let writer = Writer::start(&file);
    for round in 2..=3 {
        let said = std::thread::scope(|scope| {
            hosts
                .map(|host| scope.spawn(move || rotated(host, &["--timeout", "60"])))
                .map(|thread| thread.join().expect("it rotates"))
        });
        for ((host, name), said) in hosts.into_iter().zip(["HOST_A_cert", "HOST_B_cert"]).zip(&said) {
            assert!(said.contains("DONE"), "{said}");
            assert_eq!(own(host), [format!("{name}_{round}")]);
        }
    }
    assert_eq!(hosts.map(the_connection), before);
    writer.end();
    pair.assert_level_and_equal("sales", &file);
}

/// Offers a successor, and gives the message number and the reason of the answer.
fn offered(peer: &mut Stranger<'_>, number: u64, signature: Signature, certificate: &[u8]) -> (u32, u16) {
    peer.say(
        &Successor {
            number,
            signature,
            certificate,
        }
        .into(),
    );
    peer.listen("the answer", |message| match message {
        Message::CertificateAnswer(answer) => {
            assert_eq!(answer.number, number);
            Some((answer.message, answer.reason))
        }
        _ => None,
    })
}

#[test]
fn what_must_not_become_a_successor_is_refused_on_the_wire() {
    let pair = pair(178);
    let host = &pair.a;
    let shown = std::fs::read(host.dir.join("backup/HOST_A_cert.cer")).expect("its backup");
    let of_b = std::fs::read(pair.b.dir.join("backup/HOST_B_cert.cer")).expect("its backup");
    // Two logins, both in the hands of one enemy.
    let (mallory, eve) = (Credentials::new("MALLORY"), Credentials::new("EVE"));
    mallory.bind(host, "MALLORY");
    eve.bind(host, "EVE");
    let (next, other) = (
        Credentials::new("MALLORY again"),
        Credentials::new("MALLORY once more"),
    );
    let before = pins(host);
    let claimed = InstanceId([0x66; 16]);
    let connect = |credentials| {
        let mut peer = Stranger::dial(host, shown.clone(), credentials);
        peer.hello(claimed);
        let to = peer.listen("the instance's hello", |message| match message {
            Message::Hello(hello) => Some(hello.instance),
            _ => None,
        });
        (peer, (claimed, to))
    };
    let (mut peer, ends) = connect(&mallory);
    const BAD_PROOF: (u32, u16) = (28038, 32);

    let by_the_old_key = peer.proof(1, ends, &next.der, &mallory);
    assert_eq!(offered(&mut peer, 1, by_the_old_key, &next.der), BAD_PROOF);
    let partner = peer.proof(2, ends, &of_b, &mallory);
    assert_eq!(
        offered(&mut peer, 2, partner, &of_b),
        BAD_PROOF,
        "the partner's certificate"
    );
    let own = peer.proof(3, ends, &shown, &mallory);
    assert_eq!(
        offered(&mut peer, 3, own, &shown),
        BAD_PROOF,
        "the instance's own certificate"
    );
    let elsewhere = peer.proof(4, ends, &next.der, &next);
    let (mut peer, ends) = connect(&mallory);
    assert_eq!(
        offered(&mut peer, 4, elsewhere, &next.der),
        BAD_PROOF,
        "from another connection"
    );
    let as_another = peer.proof(5, (InstanceId([0x67; 16]), ends.1), &next.der, &next);
    assert_eq!(offered(&mut peer, 5, as_another, &next.der), BAD_PROOF);
    // The key is right, and the certificate is known under another login.
    let of_eve = peer.proof(6, ends, &eve.der, &eve);
    assert_eq!(offered(&mut peer, 6, of_eve, &eve.der), (15232, 34));
    assert_eq!(pins(host), before, "nothing has changed");

    let right = peer.proof(7, ends, &next.der, &next);
    assert_eq!(offered(&mut peer, 7, right, &next.der), (0, 0));
    let second = peer.proof(8, ends, &other.der, &other);
    assert_eq!(
        offered(&mut peer, 8, second, &other.der),
        (15232, 35),
        "one is pending"
    );
    let mut now = before.clone();
    now.push("MALLORY_cert_2|PENDING".to_owned());
    assert_eq!(pins(host), now);
    // Giving up what is not its own, or what an operator imported, changes nothing.
    for (number, der) in [(9, &of_b), (10, &eve.der), (11, &mallory.der)] {
        let digest = sha256(der);
        peer.say(&Retired { number, digest }.into());
        peer.listen("the answer", |message| match message {
            Message::CertificateAnswer(answer) if answer.number == number => Some(()),
            _ => None,
        });
    }
    assert_eq!(pins(host), now);
    // With the successor the same login comes in.
    let (_come, _) = connect(&next);
    host.wait("the successor to be used", || {
        let found = pins(host);
        if found
            .last()
            .is_some_and(|pin| pin == "MALLORY_cert_2|HANDED OVER")
        {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    assert_eq!(
        host.value("SELECT count(DISTINCT principal_id) FROM sys.certificates WHERE name LIKE 'MALLORY[_]%'"),
        "1"
    );
    for number in ["28038", "15232"] {
        assert!(
            host.log().contains(&format!("Msg {number}, ")) || host.log().contains(number),
            "{number} is logged"
        );
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use dbmirror_core::crypto::Hash as _;
    dbmirror_core::crypto::rustcrypto::Sha256::digest(bytes)
}
