//! A peer that nobody here wrote: the `openssl` command against the endpoint of an instance, and the other way round.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, wait_for};

/// Runs `openssl` and returns success, and what it printed.
fn openssl(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn self_signed(dir: &Path, name: &str) {
    let (ok, text) = openssl(
        dir,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-sha256",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ],
    );
    assert!(ok, "{text}");
}

fn instance(root: &Path, address: &str) -> Server {
    let server = Server::start(root, "HOST_A", address);
    server.ok(common::OUTBOUND_A);
    server
}

/// The number and reason of the last refused connection.
fn last_refusal(server: &Server) -> String {
    server
        .rows("SELECT number, reason FROM sys.dm_dbmirror_errors WHERE direction = 'inbound' ORDER BY time")
        .pop()
        .unwrap_or_default()
}

#[test]
fn s_client_is_let_in_when_the_catalog_says_so() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let server = instance(dir, "127.85.1.1");
    for name in ["peer", "stranger"] {
        self_signed(dir, name);
    }
    std::fs::copy(dir.join("peer.pem"), server.dir.join("backup/peer.pem")).unwrap();
    server.ok(
        "CREATE LOGIN peer_login WITH PASSWORD = 'In#P-on-A-93'; CREATE USER peer_user FOR LOGIN peer_login;
         CREATE CERTIFICATE peer AUTHORIZATION peer_user FROM FILE = 'peer.pem';
         GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO peer_login",
    );
    let dial = |more: &[&str]| {
        let mut args = vec!["s_client", "-connect", "127.85.1.1:7024", "-ign_eof"];
        args.extend_from_slice(more);
        let mut child = Command::new("openssl")
            .args(&args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A peer that says nothing is closed by the instance after ten seconds; nobody here waits for that.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(4);
        while child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    const OWN: [&str; 4] = ["-cert", "peer.pem", "-key", "peer.key"];
    let with = |more: &[&'static str]| [more, &OWN[..]].concat();
    let good = ["-tls1_3", "-alpn", "dbm/1"];

    std::thread::scope(|scope| {
        let dialled = scope.spawn(|| dial(&with(&good)));
        // Default key shares: the instance asks for P-256 by HelloRetryRequest. The silent peer is listed.
        wait_for("the connection is listed", || {
            server.rows(
                "SELECT principal_name, login_state_desc, is_accept FROM sys.dm_db_mirroring_connections",
            ) == ["peer_login|ONLINE|1"]
        });
        let text = dialled.join().unwrap();
        assert!(text.contains("ALPN protocol: dbm/1"), "{text}");
        assert!(text.contains("TLS_AES_128_GCM_SHA256"), "{text}");
    });

    let refused = |args: &[&str], alert: &str, number: &str| {
        let text = dial(args);
        assert!(text.contains(alert), "{args:?}: {text}");
        wait_for("the refusal is recorded", || {
            last_refusal(&server).starts_with(number)
        });
    };
    refused(
        &[
            "-tls1_3",
            "-alpn",
            "dbm/1",
            "-cert",
            "stranger.pem",
            "-key",
            "stranger.key",
        ],
        "alert",
        "28035|",
    );
    refused(&good, "alert certificate required", "28");
    refused(&with(&["-tls1_2"]), "alert protocol version", "28");
    refused(&with(&["-tls1_3"]), "alert", "28");
    server.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM peer_login");
    refused(&with(&good), "alert", "28034|");
    assert!(last_refusal(&server).contains("peer_login"));
    assert!(!server.rows("EXEC sp_readerrorlog 0, 1, 'peer_login'").is_empty());
    // Ownership is no grant: dbo may do everything, and its certificate lets nobody in.
    server.ok("DROP CERTIFICATE peer; CREATE CERTIFICATE peer FROM FILE = 'peer.pem'");
    refused(&with(&good), "alert", "28034|");
}

#[test]
fn s_server_is_dialled_and_must_speak_our_protocol() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let server = instance(dir, "127.85.2.1");
    self_signed(dir, "peer");
    std::fs::copy(dir.join("peer.pem"), server.dir.join("backup/peer.pem")).unwrap();
    server.ok(
        "CREATE LOGIN peer_login WITH PASSWORD = 'In#P-on-A-93'; CREATE USER peer_user FOR LOGIN peer_login;
         CREATE CERTIFICATE peer AUTHORIZATION peer_user FROM FILE = 'peer.pem';
         GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO peer_login",
    );
    let test = |more: &[&str]| {
        let mut args = vec![
            "s_server",
            "-accept",
            "127.85.2.2:7024",
            "-tls1_3",
            "-cert",
            "peer.pem",
            "-key",
            "peer.key",
            "-Verify",
            "1",
        ];
        args.extend_from_slice(more);
        let mut child = Command::new("openssl")
            .args(&args)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("s_server listens", || {
            std::io::BufRead::read_line(
                &mut std::io::BufReader::new(child.stdout.as_mut().unwrap()),
                &mut String::new(),
            )
            .is_ok()
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        let tested = server.command(&[
            "test-connection",
            "-S",
            server.dir.to_str().unwrap(),
            "TCP://127.85.2.2:7024",
        ]);
        child.kill().unwrap();
        child.wait().unwrap();
        tested
    };
    // It authenticates; then nobody there speaks the mirroring messages.
    let (_, out, error) = test(&["-alpn", "dbm/1"]);
    for step in ["resolve", "connect", "tls", "certificate", "login"] {
        assert!(out.contains(&format!("ok   {step}")), "{step}: {out}{error}");
    }
    let (code, out, error) = test(&[]);
    assert_eq!(code, 6, "{out}{error}");
    assert!(error.contains("ALPN") || error.contains("dbm/1"), "{out}{error}");
}

#[test]
fn backed_up_certificates_are_read_and_verified() {
    let root = tempfile::tempdir().unwrap();
    let server = instance(root.path(), "127.85.3.1");
    let backup = server.dir.join("backup");
    let (ok, text) = openssl(
        &backup,
        &[
            "x509",
            "-inform",
            "DER",
            "-in",
            "HOST_A_cert.cer",
            "-out",
            "a.pem",
        ],
    );
    assert!(ok, "{text}");
    let verify = [
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-purpose",
        "sslserver",
        "-CAfile",
        "a.pem",
        "a.pem",
    ];
    let (ok, text) = openssl(&backup, &verify);
    assert!(ok, "{text}");
    let (_, text) = openssl(&backup, &["x509", "-in", "a.pem", "-noout", "-text"]);
    for part in [
        "Version: 3",
        "CA:FALSE",
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "Subject Key Identifier",
        "ecdsa-with-SHA256",
        "CN = HOST_A certificate for database mirroring",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut der = std::fs::read(backup.join("HOST_A_cert.cer")).unwrap();
    *der.last_mut().unwrap() ^= 1;
    std::fs::write(backup.join("flipped.cer"), &der).unwrap();
    let (ok, text) = openssl(
        &backup,
        &["x509", "-inform", "DER", "-in", "flipped.cer", "-out", "a.pem"],
    );
    assert!(ok, "{text}");
    assert!(!openssl(&backup, &verify).0);
}
