//! Pairing between real processes, and everybody who must get nothing out of it (`docs/pairing.md`).

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use dbmirror_core::crypto::Hash as _;
use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::{InstanceId, Text};
use dbmirror_core::pairing::message::Message;
use dbmirror_core::pairing::{Code, Exchange, Heard, Method, Own, PairingKey, Side};
use dbmirror_core::secret::Secret;
use dbmirror_core::wire::{Reader, Writer};
use dbmirror_tests::between::{PairingLink, man_in_the_middle};
use dbmirror_tests::processes::*;
use dbmirror_tests::stranger::Credentials;

/// `dbmirror pair --open`, running.
struct Window {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Window {
    fn open(host: &Host, more: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["pair", "--open", "-S"])
            .arg(&host.dir)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pair starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { child, lines }
    }

    /// The detail of the next step that is called `name`.
    fn step(&mut self, name: &str) -> String {
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            if let Some((step, detail)) = line.split_once(' ')
                && step == name
            {
                return detail.trim().to_owned();
            }
        }
        panic!("the window ended before {name}");
    }

    /// Opened, with the code that it shows.
    fn with_code(host: &Host) -> (Self, String) {
        let mut window = Self::open(host, &[]);
        let code = window.step("code");
        window.step("waiting");
        (window, code)
    }

    /// Waits for its end; the rest of what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let rest: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code(), rest.join("\n") + &text(&output.stderr))
    }

    /// Ends it as Ctrl-C does, by a signal that it does not handle. Not by SIGINT itself: who was started in the background by a shell
    /// ignores that one, and so does whom it starts.
    fn interrupt(mut self) {
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
        // The instance looks every now and then whether its client is still there.
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// `dbmirror pair --with`, to its end.
fn pair_with(host: &Host, url: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program())
        .args(["pair", "-S"])
        .arg(&host.dir)
        .args(["--with", url])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("pair runs");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Two instances with endpoints of their own that know nothing of each other.
fn apart(block: u8) -> Pair {
    let pair = strangers(block);
    pair.a.script(OUTBOUND_A);
    pair.b.script(OUTBOUND_B);
    pair
}

/// Everything that a pairing may change.
fn catalog(host: &Host) -> String {
    [
        "SELECT name, type FROM sys.server_principals ORDER BY name",
        "SELECT name, type FROM sys.database_principals ORDER BY name",
        "SELECT name, principal_id, thumbprint FROM sys.certificates ORDER BY name",
        "SELECT class, major_id, grantee_principal_id, type, state FROM sys.server_permissions ORDER BY class, grantee_principal_id, type",
    ]
    .map(|query| format!("{:?}", host.rows(query)))
    .join("\n")
}

fn assert_introduced(pair: &Pair) {
    for (host, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let tested = host.test_connection(&other.url());
        assert!(
            tested.status.success(),
            "{}{}",
            text(&tested.stdout),
            text(&tested.stderr)
        );
    }
}

#[test]
fn a_code_introduces_two_instances_and_a_database_is_mirrored() {
    let pair = apart(182);
    let (window, code) = Window::with_code(&pair.b);
    assert_eq!(code.len(), 35, "{code}");
    let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--code", &code]);
    assert_eq!(status, Some(0), "{said}");
    let (status, rest) = window.end();
    assert_eq!(status, Some(0), "{rest}");
    assert!(
        rest.contains("GRANT CONNECT ON ENDPOINT::[Endpoint_Mirroring] TO [HOST_A_login];"),
        "{rest}"
    );
    for (host, other) in [(&pair.a, "HOST_B"), (&pair.b, "HOST_A")] {
        assert_eq!(
            host.rows(&format!(
                "SELECT u.name FROM sys.certificates AS c JOIN sys.database_principals AS u ON u.principal_id = c.principal_id \
                 JOIN sys.server_principals AS l ON l.sid = u.sid WHERE c.name = '{other}_cert' AND l.name = '{other}_login'"
            )),
            [[format!("{other}_user")]]
        );
        assert!(host.log().contains("Msg 50147"), "{}", host.log());
        assert_eq!(
            find_bytes(&host.dir, code.as_bytes(), &[]),
            None,
            "the code is not kept"
        );
    }
    assert_introduced(&pair);

    // The printed Transact-SQL makes the same on a third instance.
    let third = Host::start(pair.root.path(), "HOST_C", "127.182.0.3");
    third.script(&OUTBOUND_A.replace("HOST_A", "HOST_C"));
    let script: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("sql"))
        .map(|line| {
            line.trim()
                .replace("<a strong password that nobody needs>", "=Sample#2_Strong")
        })
        .collect();
    assert_eq!(script.len(), 5, "{said}");
    third.script(&script.join("\n"));
    let of_b = "SELECT c.name, c.thumbprint, p.state FROM sys.certificates AS c, sys.server_permissions AS p \
                JOIN sys.server_principals AS l ON l.principal_id = p.grantee_principal_id \
                WHERE c.name = 'HOST_B_cert' AND l.name = 'HOST_B_login' AND p.class = 105 AND p.type = 'CO'";
    assert_eq!(third.rows(of_b), pair.a.rows(of_b));
    assert_eq!(third.rows(of_b).len(), 1);

    // The code has had its one success.
    let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--code", &code]);
    assert_eq!(status, Some(6));
    assert!(said.contains("Msg 50140"), "{said}");

    let file = pair.mirrored("shop");
    pair.assert_level_and_equal("shop", &file);
}

#[test]
fn pairing_again_changes_nothing_and_heals_what_is_missing() {
    let pair = apart(183);
    let mut before = None;
    for round in 0..3 {
        // A login without its certificate is only the peer's again when the operator says so.
        let mut window = Window::open(&pair.b, if round == 1 { &["--name", "HOST_A"] } else { &[] });
        let code = window.step("code");
        window.step("waiting");
        // Typed on standard input this time.
        let mut child = Command::new(program())
            .args(["pair", "-S"])
            .arg(&pair.a.dir)
            .args(["--with", &pair.b.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pair starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        std::io::Write::write_all(&mut stdin, format!("{}\n", code.to_lowercase()).as_bytes())
            .expect("a code");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{round}: {}", text(&output.stderr));
        assert_eq!(window.end().0, Some(0));
        assert_introduced(&pair);
        let now = catalog(&pair.a);
        assert_eq!(*before.get_or_insert_with(|| now.clone()), now, "round {round}");
        // As if B had died before it stored: certificate and user are gone, in the last round the login too.
        pair.b.ok("DROP CERTIFICATE HOST_A_cert; DROP USER HOST_A_user;");
        if round == 1 {
            pair.b.ok("DROP LOGIN HOST_A_login;");
        }
    }
}

#[test]
fn fingerprints_introduce_too_and_a_wrong_one_does_not() {
    let pair = apart(184);
    let fingerprint = |host: &Host| host.rows("EXEC sp_dbmirror_fingerprint")[0][1].clone();
    let (of_a, of_b) = (fingerprint(&pair.a), fingerprint(&pair.b));
    let untouched = (catalog(&pair.a), catalog(&pair.b));
    // B was told a fingerprint that is A's but for one digit.
    let mut wrong = of_a.clone().into_bytes();
    wrong[63] = if wrong[63] == b'0' { b'1' } else { b'0' };
    let wrong = String::from_utf8(wrong).expect("hexadecimal");
    let mut window = Window::open(&pair.b, &["--fingerprint", &wrong]);
    window.step("waiting");
    let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--fingerprint", &of_b]);
    assert_eq!(status, Some(6), "{said}");
    window.interrupt();
    assert_eq!((catalog(&pair.a), catalog(&pair.b)), untouched);

    // Half of a fingerprint is none.
    let (_, said) = pair_with(&pair.a, &pair.b.url(), &["--fingerprint", &of_b[..32]]);
    assert!(said.contains("Msg 50142"), "{said}");

    let window = Window::open(&pair.b, &["--fingerprint", &of_a]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The window before may not have closed yet, nor this one have opened.
        let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--fingerprint", &of_b]);
        if status == Some(0) {
            break;
        }
        assert!(Instant::now() < deadline, "{said}");
    }
    let (status, rest) = window.end();
    assert_eq!(status, Some(0), "{rest}");
    assert_introduced(&pair);
}

#[test]
fn a_man_in_the_middle_gets_nothing_from_either_side() {
    let pair = apart(185);
    let untouched = (catalog(&pair.a), catalog(&pair.b));
    let passed = man_in_the_middle("127.185.0.9", "127.185.0.2");
    let (mut window, code) = Window::with_code(&pair.b);
    let (status, said) = pair_with(&pair.a, "TCP://127.185.0.9:7024", &["--code", &code]);
    assert_eq!(status, Some(6), "{said}");
    let refused = window.step("refused");
    assert!(refused.contains("proof does not fit"), "{refused}");
    let records = passed
        .recv_timeout(PATIENCE)
        .expect("he has passed on what he could");
    assert!(
        records.iter().any(|record| record.get(4) == Some(&2)),
        "he had A's proof in his hands and passed it on"
    );
    assert_eq!((catalog(&pair.a), catalog(&pair.b)), untouched);
    for host in [&pair.a, &pair.b] {
        let rows = host.rows("SELECT step, number FROM sys.dm_dbmirror_errors");
        assert!(rows.contains(&vec!["pairing".into(), "50142".into()]), "{rows:?}");
        assert!(host.log().contains("Msg 50142"), "{}", host.log());
    }
    // The two still pair, when nobody is between.
    let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--code", &code]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(window.end().0, Some(0));
    assert_introduced(&pair);
}

#[test]
fn wrong_codes_are_counted_and_logged_and_closed_windows_answer_nobody() {
    let pair = apart(186);
    let untouched = (catalog(&pair.a), catalog(&pair.b));
    let closed = |what: &str| {
        let (status, said) = pair_with(
            &pair.a,
            &pair.b.url(),
            &["--code", "000G4-0R40M-30E20-9185G-R38E1-ZQMWZ"],
        );
        assert_eq!(status, Some(6), "{what}");
        assert!(said.contains("Msg 50140"), "{what}: {said}");
    };
    closed("never opened");
    // A mistyped code does not even dial.
    let (_, said) = pair_with(
        &pair.a,
        &pair.b.url(),
        &["--code", "000G4-0R40M-30E20-9185G-R38E1-ZQMW0"],
    );
    assert!(said.contains("mistyped"), "{said}");

    let (window, code) = Window::with_code(&pair.b);
    for n in 0..6 {
        let wrong = "000G4-0R40M-30E20-9185G-R38E1-ZQMWZ";
        let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--code", wrong]);
        assert_eq!(status, Some(6));
        let number = if n < 5 { "Msg 50142" } else { "Msg 50141" };
        assert!(said.contains(number), "try {n}: {said}");
    }
    let (_, said) = pair_with(&pair.a, &pair.b.url(), &["--code", &code]);
    assert!(
        said.contains("Msg 50141"),
        "even the right one, within the minute: {said}"
    );
    let listed = pair
        .b
        .rows("SELECT number FROM sys.dm_dbmirror_errors WHERE step = 'pairing' AND direction = 'inbound'");
    assert_eq!(
        listed.iter().filter(|row| row[0] == "50142").count(),
        5,
        "{listed:?}"
    );
    assert_eq!(
        listed.iter().filter(|row| row[0] == "50141").count(),
        2,
        "{listed:?}"
    );
    assert!(pair.a.log().contains("Msg 50142") && pair.a.log().contains("Msg 50141"));

    // The operator goes away, and the window with him.
    window.interrupt();
    closed("the operator has gone");
    assert_eq!((catalog(&pair.a), catalog(&pair.b)), untouched);
}

#[test]
fn what_is_known_under_another_login_is_not_taken_in() {
    let pair = apart(187);
    let other = std::fs::read(pair.a.dir.join("backup/HOST_A_cert.cer")).expect("its backup");
    std::fs::write(pair.b.dir.join("backup/other.cer"), other).expect("a file");
    pair.b.ok(
        "CREATE LOGIN other WITH PASSWORD = '=Sample#2_Strong_Password2'; CREATE USER other FOR LOGIN other; \
               CREATE CERTIFICATE other AUTHORIZATION other FROM FILE = 'C:\\other.cer';",
    );
    let untouched = (catalog(&pair.a), catalog(&pair.b));
    let (mut window, code) = Window::with_code(&pair.b);
    let (status, said) = pair_with(&pair.a, &pair.b.url(), &["--code", &code]);
    assert_eq!(status, Some(6), "{said}");
    assert!(said.contains("Msg 15232"), "{said}");
    let declined = window.step("declined");
    assert!(declined.contains("login 'other'"), "{declined}");
    assert_eq!((catalog(&pair.a), catalog(&pair.b)), untouched);
    assert!(pair.b.log().contains("Msg 50149"));
    // With itself.
    let (_, said) = pair_with(&pair.b, &pair.b.url(), &["--code", &code]);
    assert!(
        said.contains("Msg 28035") || said.contains("Msg 1452") || said.contains("its own"),
        "{said}"
    );
    assert_eq!(catalog(&pair.b), untouched.1);
    window.interrupt();
}

/// A responder of our own making that knows the code and dies at the worst moments.
#[test]
fn a_responder_that_dies_in_the_middle() {
    let pair = apart(188);
    let untouched = catalog(&pair.a);
    let credentials = Credentials::new("HOST_X");
    let listener = TcpListener::bind(("127.188.0.9", PORT)).expect("a free address");
    let code_text = "000G4-0R40M-30E20-9185G-R38E1-ZQMWZ";
    let mut counting = [0; 16];
    for (byte, n) in counting.iter_mut().zip(0u8..) {
        *byte = n;
    }
    // It dies before its proof; after A has stored; not at all.
    for (round, last) in ["proof", "stored", "never"].into_iter().enumerate() {
        let code = Code::from_bytes(Secret::new(counting));
        let key = PairingKey::from_code::<Sha256>(&code);
        let (status, said) = std::thread::scope(|scope| {
            let dialing =
                scope.spawn(|| pair_with(&pair.a, "TCP://127.188.0.9:7024", &["--code", code_text]));
            let (stream, _) = listener.accept().expect("A comes");
            let mut link = PairingLink::answer(stream, &credentials);
            respond(&mut link, &credentials, &key, last);
            drop(link);
            dialing.join().expect("no panic")
        });
        match round {
            0 => {
                assert_eq!(status, Some(6), "{said}");
                assert_eq!(
                    catalog(&pair.a),
                    untouched,
                    "nothing was proved, nothing is stored"
                );
            }
            1 => {
                assert_eq!(status, Some(6), "{said}");
                assert!(said.contains("Msg 50145"), "{said}");
                assert_eq!(
                    pair.a
                        .value("SELECT count(*) FROM sys.certificates WHERE name = 'HOST_X_cert'"),
                    "1"
                );
            }
            _ => {
                assert_eq!(status, Some(0), "{said}");
                assert!(said.contains("they were there"), "{said}");
            }
        }
    }
}

/// Plays the responder until `last`.
fn respond(link: &mut PairingLink<'_>, credentials: &Credentials, key: &PairingKey, last: &str) {
    let own = Own {
        certificate: &credentials.der,
        instance: InstanceId([0x99; 16]),
        name: Text::new("HOST_X").expect("a short name"),
    };
    let mut exchange: Option<Exchange> = None;
    let deadline = Instant::now() + PATIENCE;
    let mut early = Vec::new();
    while let Some(heard) = link.turn() {
        assert!(Instant::now() < deadline, "the exchange does not end");
        early.extend(heard);
        if !link.stands() {
            continue;
        }
        for record in std::mem::take(&mut early) {
            let mut from = Reader::new(&record);
            while !from.is_empty() {
                let message = Message::decode(&mut from).expect("a message");
                if exchange.is_none() {
                    exchange = Some(Exchange::new(
                        Side::Responder,
                        Method::Code,
                        link.exporter(),
                        Sha256::digest(&link.peer_certificate()),
                    ));
                }
                let part = exchange.as_mut().expect("it began");
                match part.hear::<Sha256>(&own, key, &message).expect("A is honest") {
                    Heard::Proved(_) if last == "proof" => return,
                    Heard::Stored if last == "stored" => return,
                    Heard::Proved(_) | Heard::Stored => assert!(part.allow()),
                    Heard::Nothing => {}
                    Heard::Refused(refusal) => panic!("refused: {refusal}"),
                }
            }
        }
        if let Some(part) = exchange.as_mut() {
            let mut out = [0; 4_096];
            let mut to = Writer::new(&mut out);
            part.say::<Sha256>(&own, Some(key), &mut to).expect("room");
            let len = to.len();
            if len > 0 {
                assert!(link.send(&out[..len]));
            }
        }
    }
}
