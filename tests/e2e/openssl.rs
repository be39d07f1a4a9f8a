//! The endpoint against a TLS implementation that nobody here wrote: Debian's OpenSSL, as client and as server.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dbmirror_tests::processes::*;

/// A P-256 key and a self-signed certificate that OpenSSL made.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    der: Vec<u8>,
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    assert!(
        output.status.success(),
        "openssl {args:?}: {}",
        text(&output.stderr)
    );
    output.stdout
}

fn identity(dir: &Path, name: &str) -> Identity {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let (c, k) = (certificate.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
        "-subj",
        &format!("/CN={name}"),
        "-keyout",
        k,
        "-out",
        c,
    ]);
    let der = openssl(&["x509", "-in", c, "-outform", "DER"]);
    Identity {
        certificate,
        key,
        der,
    }
}

/// Binds the certificate to a login with CONNECT.
fn bind(host: &Host, name: &str, der: &[u8], grant: bool) {
    std::fs::write(host.dir.join(format!("backup/{name}.cer")), der).expect("a file");
    host.ok(&format!(
        "CREATE LOGIN {name}_login WITH PASSWORD = '=Sample#2_Strong_Password2';\n\
         CREATE USER {name}_user FOR LOGIN {name}_login;\n\
         CREATE CERTIFICATE {name}_cert AUTHORIZATION {name}_user FROM FILE = 'C:\\{name}.cer';"
    ));
    if grant {
        host.ok(&format!(
            "GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [{name}_login];"
        ));
    }
}

/// What `s_client` says when it talks to `host` for as long as a refusal needs to arrive.
fn s_client(host: &Host, extra: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("{}:{PORT}", host.address)])
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("s_client starts");
    // Open standard input keeps the client in the connection until the alert is there.
    let stdin = child.stdin.take();
    std::thread::sleep(Duration::from_millis(1_500));
    drop(stdin);
    let output = child.wait_with_output().expect("s_client ends");
    text(&output.stdout) + &text(&output.stderr)
}

fn last_error(host: &Host) -> Vec<String> {
    host.rows("SELECT TOP 1 direction, step, number, reason FROM sys.dm_dbmirror_errors ORDER BY time DESC")
        .pop()
        .unwrap_or_default()
}

#[test]
fn s_client_is_accepted_with_a_bound_certificate_and_refused_otherwise() {
    let pair = strangers(81);
    let host = &pair.a;
    host.script(OUTBOUND_A);
    let dir = pair.root.path();
    let good = identity(dir, "probe");
    bind(host, "probe", &good.der, true);
    let (c, k) = (
        good.certificate.to_str().expect("UTF-8"),
        good.key.to_str().expect("UTF-8"),
    );
    let ours = ["-tls1_3", "-alpn", "dbm/1", "-cert", c, "-key", k];

    // Debian's OpenSSL sends an X25519 share first: a HelloRetryRequest asks for P-256.
    let said = s_client(host, &[&ours[..], &["-msg"]].concat());
    assert_eq!(said.matches("ClientHello").count(), 2, "{said}");
    assert!(said.contains("ALPN protocol: dbm/1"), "{said}");
    assert!(said.contains("TLS_AES_128_GCM_SHA256"), "{said}");
    assert!(!said.contains("alert number"), "{said}");
    assert!(host.log().contains("probe_login") || !last_error(host).is_empty() || !said.is_empty());

    let stranger = identity(dir, "stranger");
    let (sc, sk) = (
        stranger.certificate.to_str().expect("UTF-8"),
        stranger.key.to_str().expect("UTF-8"),
    );
    let no_grant = identity(dir, "visitor");
    bind(host, "visitor", &no_grant.der, false);
    let (vc, vk) = (
        no_grant.certificate.to_str().expect("UTF-8"),
        no_grant.key.to_str().expect("UTF-8"),
    );

    for (case, args, alerts, numbers) in [
        (
            "an unbound certificate",
            vec!["-tls1_3", "-alpn", "dbm/1", "-cert", sc, "-key", sk],
            vec![42, 46, 48],
            vec![28035],
        ),
        (
            "no certificate",
            vec!["-tls1_3", "-alpn", "dbm/1"],
            vec![116],
            vec![],
        ),
        (
            "TLS 1.2 only",
            vec!["-tls1_2", "-alpn", "dbm/1", "-cert", c, "-key", k],
            vec![70],
            vec![],
        ),
        (
            "no ALPN",
            vec!["-tls1_3", "-cert", c, "-key", k],
            vec![120],
            vec![],
        ),
        (
            "a login without CONNECT",
            vec!["-tls1_3", "-alpn", "dbm/1", "-cert", vc, "-key", vk],
            vec![49],
            vec![28034, 28048],
        ),
    ] {
        let said = s_client(host, &args);
        let seen = alerts.iter().any(|n| said.contains(&format!("alert number {n}")));
        assert!(seen, "{case}: none of the alerts {alerts:?} in\n{said}");
        let row = host.wait("the refusal in sys.dm_dbmirror_errors", || {
            let row = last_error(host);
            if row.len() == 4 && !row[3].is_empty() {
                Ok(row)
            } else {
                Err(format!("{row:?}"))
            }
        });
        if !numbers.is_empty() {
            assert!(
                numbers.iter().any(|n: &u32| row[2] == n.to_string()),
                "{case}: {row:?}"
            );
        }
        let log = host.ok("EXEC sp_readerrorlog");
        assert!(log.contains(&row[2]), "{case}: {row:?} is not in the error log");
    }

    host.ok("REVOKE CONNECT ON ENDPOINT::Endpoint_Mirroring FROM [probe_login];");
    let said = s_client(host, &ours);
    assert!(said.contains("alert number 49"), "after REVOKE CONNECT:\n{said}");

    // A certificate that dbo owns is nobody's login, whatever dbo may do.
    let owned = identity(dir, "owned");
    std::fs::write(host.dir.join("backup/owned.cer"), &owned.der).expect("a file");
    host.ok("CREATE CERTIFICATE owned_cert FROM FILE = 'C:\\owned.cer';");
    let (oc, ok) = (
        owned.certificate.to_str().expect("UTF-8"),
        owned.key.to_str().expect("UTF-8"),
    );
    let said = s_client(host, &["-tls1_3", "-alpn", "dbm/1", "-cert", oc, "-key", ok]);
    assert!(
        said.contains("alert number 49") || said.contains("alert number 46"),
        "owned by dbo:\n{said}"
    );

    // After all that the instance still serves.
    host.ok("GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [probe_login];");
    let said = s_client(host, &ours);
    assert!(
        said.contains("ALPN protocol: dbm/1") && !said.contains("alert number"),
        "{said}"
    );
}

/// An `s_server`; killed when dropped.
struct Server(Child, String);

impl Server {
    fn start(address: &str, identity: &Identity, extra: &[&str]) -> Self {
        let port = TcpListener::bind((address, 0))
            .expect("an address")
            .local_addr()
            .expect("bound")
            .port();
        let at = format!("{address}:{port}");
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", &at, "-tls1_3", "-Verify", "1"])
            .arg("-cert")
            .arg(&identity.certificate)
            .arg("-key")
            .arg(&identity.key)
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("s_server starts");
        // It prints ACCEPT once it listens.
        let mut first = [0u8; 64];
        let stdout = child.stdout.as_mut().expect("piped");
        let mut seen = String::new();
        while !seen.contains("ACCEPT") {
            let n = stdout.read(&mut first).expect("s_server speaks");
            assert!(n > 0, "s_server ended: {seen}");
            seen.push_str(&text(&first[..n]));
        }
        Self(child, format!("TCP://{at}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn s_server_is_accepted_and_without_alpn_refused_for_that_reason() {
    let pair = strangers(82);
    let host = &pair.a;
    host.script(OUTBOUND_A);
    let peer = identity(pair.root.path(), "peer");
    bind(host, "peer", &peer.der, true);

    let server = Server::start("127.82.0.9", &peer, &["-alpn", "dbm/1"]);
    let tested = host.test_connection(&server.1);
    let said = text(&tested.stdout) + &text(&tested.stderr);
    assert!(
        said.contains("peer_login"),
        "the channel names whom it authenticated:\n{said}"
    );
    drop(server);

    let server = Server::start("127.82.0.9", &peer, &[]);
    let tested = host.test_connection(&server.1);
    let said = text(&tested.stdout) + &text(&tested.stderr);
    assert_eq!(tested.status.code(), Some(6), "{said}");
    assert!(said.to_uppercase().contains("ALPN"), "{said}");
    drop(server);

    let unknown = identity(pair.root.path(), "unknown");
    let server = Server::start("127.82.0.9", &unknown, &["-alpn", "dbm/1"]);
    let tested = host.test_connection(&server.1);
    let said = text(&tested.stdout) + &text(&tested.stderr);
    assert_eq!(tested.status.code(), Some(6), "{said}");
    assert!(said.contains("not stored here"), "{said}");
    assert_eq!(last_error(host)[2], "28035");
}

#[test]
fn openssl_reads_and_verifies_the_backed_up_certificate() {
    let pair = strangers(83);
    pair.a.script(OUTBOUND_A);
    let der = pair.a.dir.join("backup/HOST_A_cert.cer");
    let pem = pair.root.path().join("a.pem");
    let p = pem.to_str().expect("UTF-8");
    openssl(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        der.to_str().expect("UTF-8"),
        "-out",
        p,
    ]);
    let verify = |file: &str| {
        Command::new("openssl")
            .args([
                "verify",
                "-x509_strict",
                "-check_ss_sig",
                "-purpose",
                "sslserver",
                "-CAfile",
                file,
                file,
            ])
            .output()
            .expect("openssl runs")
    };
    let verdict = verify(p);
    assert!(
        verdict.status.success(),
        "{}{}",
        text(&verdict.stdout),
        text(&verdict.stderr)
    );

    let mut broken = std::fs::read(&der).expect("the certificate");
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let (bad_der, bad_pem) = (pair.root.path().join("bad.cer"), pair.root.path().join("bad.pem"));
    std::fs::write(&bad_der, broken).expect("a file");
    let b = bad_pem.to_str().expect("UTF-8");
    openssl(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        bad_der.to_str().expect("UTF-8"),
        "-out",
        b,
    ]);
    assert!(
        !verify(b).status.success(),
        "one flipped bit of the signature must be noticed"
    );

    let shown = text(&openssl(&["x509", "-in", p, "-noout", "-text"]));
    for needle in [
        "X509v3 Basic Constraints: critical",
        "CA:FALSE",
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Subject Key Identifier",
        "ecdsa-with-SHA256",
        "CN = HOST_A certificate for database mirroring",
    ] {
        assert!(shown.contains(needle), "no {needle:?} in\n{shown}");
    }
}
