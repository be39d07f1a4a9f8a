//! Certificates both ways with a peer that nobody here wrote: the `openssl` command (3.0 or later).

use std::path::Path;
use std::process::{Command, Output};

use dbmirror_core::cert::{CERTIFICATE_LEN_MAX, CertError, Certificate, KeyAlgorithm, Request, issue};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::keys::PrivateKey;
use dbmirror_core::time::UnixSeconds;
use dbmirror_tests::provider_kit::Repeatable;

type Source = Repeatable<<RustCrypto as Provider>::Sha256>;

/// 2020-01-01 to 2120-01-01: valid whenever this test runs.
const NOT_BEFORE: UnixSeconds = UnixSeconds(1_577_836_800);
const NOT_AFTER: UnixSeconds = UnixSeconds(4_733_510_400);

fn openssl(dir: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split(' ').map(|argument| argument.replace('~', " ")))
        .current_dir(dir)
        .output()
        .expect("the openssl command is installed")
}

fn openssl_ok(dir: &Path, arguments: &str) -> String {
    let output = openssl(dir, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn issued(subject: &str, not_before: UnixSeconds, not_after: UnixSeconds) -> Vec<u8> {
    let entropy = &mut Source::new(1);
    let key = PrivateKey::generate::<RustCrypto>(entropy)
        .expect("a key")
        .signing_key::<RustCrypto>()
        .expect("a signing key");
    let mut out = [0; CERTIFICATE_LEN_MAX];
    let request = Request {
        subject,
        not_before,
        not_after,
    };
    let len = issue::<RustCrypto>(&request, &key, entropy, &mut out).expect("a certificate");
    out[..len].to_vec()
}

const VERIFY: &str = "verify -x509_strict -check_ss_sig -purpose sslserver -CAfile a.pem a.pem";

#[test]
fn openssl_reads_and_verifies_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let der = issued("HOST_A certificate for database mirroring", NOT_BEFORE, NOT_AFTER);
    std::fs::write(dir.path().join("a.cer"), &der).expect("a file");
    openssl_ok(dir.path(), "x509 -inform DER -in a.cer -out a.pem");
    openssl_ok(dir.path(), VERIFY);
    openssl_ok(dir.path(), &VERIFY.replace("sslserver", "sslclient"));
    // The same bytes come back: nothing was mended on the way.
    openssl_ok(dir.path(), "x509 -in a.pem -outform DER -out b.cer");
    assert_eq!(std::fs::read(dir.path().join("b.cer")).expect("a file"), der);

    let text = openssl_ok(dir.path(), "x509 -in a.pem -noout -text -nameopt RFC2253");
    for line in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Issuer: CN=HOST_A certificate for database mirroring",
        "Subject: CN=HOST_A certificate for database mirroring",
        "Not Before: Jan  1 00:00:00 2020 GMT",
        "Not After : Jan  1 00:00:00 2120 GMT",
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert_eq!(
        text.matches("X509v3 ").count(),
        5,
        "four extensions and their heading\n{text}"
    );

    // RFC 7093 §2 method 1, computed by somebody else.
    let spki = openssl_ok(dir.path(), "x509 -in a.pem -noout -pubkey");
    std::fs::write(dir.path().join("key.pem"), spki).expect("a file");
    openssl_ok(dir.path(), "pkey -pubin -in key.pem -outform DER -out key.der");
    let spki = std::fs::read(dir.path().join("key.der")).expect("a file");
    std::fs::write(dir.path().join("point"), &spki[spki.len() - 65..]).expect("a file");
    let digest = openssl_ok(dir.path(), "dgst -sha256 -r point");
    let shown = openssl_ok(dir.path(), "x509 -in a.pem -noout -ext subjectKeyIdentifier");
    let shown: String = shown.chars().filter(char::is_ascii_hexdigit).collect();
    assert!(shown.to_lowercase().ends_with(&digest[..40]), "{shown} {digest}");

    // And the fingerprint.
    let fingerprint = openssl_ok(dir.path(), "x509 -in a.pem -noout -fingerprint -sha256");
    let ours = Certificate::parse::<RustCrypto>(&der)
        .expect("our own certificate")
        .fingerprint::<RustCrypto>();
    assert!(
        fingerprint
            .replace(':', "")
            .to_lowercase()
            .contains(&hex::encode(ours))
    );
}

/// Without `-check_ss_sig` OpenSSL does not look at the signature of a trusted certificate at all.
#[test]
fn one_flipped_bit_of_the_signature_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    let der = issued("HOST_A", NOT_BEFORE, NOT_AFTER);
    for from_end in [1, 33, 40] {
        let mut bad = der.clone();
        let at = bad.len() - from_end;
        bad[at] ^= 0x10;
        std::fs::write(dir.path().join("a.cer"), &bad).expect("a file");
        openssl_ok(dir.path(), "x509 -inform DER -in a.cer -out a.pem");
        let output = openssl(dir.path(), VERIFY);
        assert!(!output.status.success(), "{from_end}");
        let ours = Certificate::parse::<RustCrypto>(&bad)
            .and_then(|certificate| certificate.check_self_signature::<RustCrypto>());
        assert_eq!(ours, Err(CertError::BadSignature), "{from_end}");
    }
}

#[test]
fn openssl_reads_our_names_as_we_show_them() {
    let dir = tempfile::tempdir().expect("a directory");
    for (subject, shown) in [
        (
            "CN=HOST_A,O=Example GmbH,C=CH",
            "CN = HOST_A, O = Example GmbH, C = CH",
        ),
        (r"O=Smith\, John;CN=Zürich", r#"O = "Smith, John", CN = Zürich"#),
        ("DC=org,DC=example,CN=x", "DC = org, DC = example, CN = x"),
    ] {
        std::fs::write(dir.path().join("a.cer"), issued(subject, NOT_BEFORE, NOT_AFTER)).expect("a file");
        openssl_ok(dir.path(), "x509 -inform DER -in a.cer -out a.pem");
        openssl_ok(dir.path(), VERIFY);
        let text = openssl_ok(
            dir.path(),
            "x509 -in a.pem -noout -subject -nameopt oneline,utf8,-esc_msb",
        );
        assert_eq!(text.trim(), format!("subject={shown}"));
    }
}

/// What a DBA of another system may bring along.
#[test]
fn we_read_what_openssl_makes() {
    let dir = tempfile::tempdir().expect("a directory");
    let odd = "-addext subjectAltName=DNS:host.example,IP:127.0.0.2,email:a@b \
               -addext basicConstraints=critical,CA:TRUE,pathlen:3 \
               -addext nameConstraints=permitted;DNS:.example \
               -addext certificatePolicies=1.2.3.4 \
               -addext 1.2.3.4.5=critical,DER:30020500 \
               -addext nsComment=odd"
        .replace("               ", "");
    for (options, subject) in [
        (String::new(), "host"),
        (odd, "host"),
        (
            "-subj /C=CH/O=Example~GmbH/CN=host/emailAddress=a@b".into(),
            "C=CH, O=Example GmbH, CN=host, E=a@b",
        ),
        ("-utf8 -subj /CN=Zürich+OU=two".into(), "OU=two + CN=Zürich"),
        ("-set_serial 0".into(), "host"),
        (
            "-set_serial 0x00ffffffffffffffffffffffffffffffffffffff".into(),
            "host",
        ),
        ("-days 36500 -sha512".into(), "host"),
    ] {
        let arguments = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -outform DER \
             -out c.cer {}{options}",
            if options.contains("-subj") {
                ""
            } else {
                "-subj /CN=host "
            }
        );
        openssl_ok(dir.path(), arguments.trim_end());
        let der = std::fs::read(dir.path().join("c.cer")).expect("a file");
        let certificate = Certificate::parse::<RustCrypto>(&der).unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_eq!(certificate.subject().to_string(), subject, "{options}");
        let expected = if options.contains("sha512") {
            Err(CertError::UnsupportedSignature)
        } else {
            Ok(())
        };
        assert_eq!(
            certificate.check_self_signature::<RustCrypto>(),
            expected,
            "{options}"
        );
        let serial = openssl_ok(dir.path(), "x509 -inform DER -in c.cer -noout -serial");
        assert_eq!(
            serial.trim().to_lowercase(),
            format!("serial={}", hex::encode(certificate.serial()))
        );
        let end = openssl_ok(
            dir.path(),
            "x509 -inform DER -in c.cer -noout -enddate -dateopt iso_8601",
        );
        assert!(end.starts_with("notAfter="), "{end}");
        let until_expiry = format!(
            "x509 -inform DER -in c.cer -noout -checkend {}",
            certificate.not_after().0 - now() - 60
        );
        openssl_ok(dir.path(), &until_expiry);
        let past_expiry = until_expiry.rsplit_once(' ').map_or("", |(head, _)| head);
        let past_expiry = format!("{past_expiry} {}", certificate.not_after().0 - now() + 60);
        assert!(!openssl(dir.path(), &past_expiry).status.success());
    }
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs()
        .try_into()
        .expect("a clock before the end of time")
}

/// A P-256 key under an RSA authority: pinned like any other, though we cannot check its signature.
#[test]
fn a_certificate_of_an_authority_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    openssl_ok(
        dir.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority",
    );
    openssl_ok(
        dir.path(),
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.csr -subj /CN=host",
    );
    openssl_ok(
        dir.path(),
        "x509 -req -in c.csr -CA ca.pem -CAkey ca.key -CAcreateserial -outform DER -out c.cer",
    );
    let der = std::fs::read(dir.path().join("c.cer")).expect("a file");
    match Certificate::parse::<RustCrypto>(&der) {
        Ok(certificate) => {
            assert_eq!(certificate.issuer().to_string(), "authority");
            assert_eq!(
                certificate.check_self_signature::<RustCrypto>(),
                Err(CertError::NotSelfSigned)
            );
        }
        // `x509 -req` without extensions makes version 1 in OpenSSL before 3.2.
        Err(error) => assert_eq!(error, CertError::NotVersion3),
    }
    std::fs::write(dir.path().join("ext"), "keyUsage=digitalSignature\n").expect("a file");
    openssl_ok(
        dir.path(),
        "x509 -req -in c.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext -outform DER -out c.cer",
    );
    let der = std::fs::read(dir.path().join("c.cer")).expect("a file");
    let certificate = Certificate::parse::<RustCrypto>(&der).expect("version 3");
    assert_eq!(certificate.issuer().to_string(), "authority");
    assert_eq!(
        certificate.check_self_signature::<RustCrypto>(),
        Err(CertError::NotSelfSigned)
    );
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for (options, found) in [
        ("-newkey rsa:2048", KeyAlgorithm::Rsa),
        ("-newkey ec -pkeyopt ec_paramgen_curve:P-384", KeyAlgorithm::P384),
        ("-newkey ec -pkeyopt ec_paramgen_curve:P-521", KeyAlgorithm::P521),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:secp256k1",
            KeyAlgorithm::Secp256k1,
        ),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:brainpoolP256r1",
            KeyAlgorithm::OtherCurve,
        ),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            KeyAlgorithm::OtherCurve,
        ),
        ("-newkey ed25519", KeyAlgorithm::Ed25519),
        ("-newkey ed448", KeyAlgorithm::Ed448),
    ] {
        let arguments =
            format!("req -x509 {options} -nodes -keyout k.pem -outform DER -out c.cer -subj /CN=host");
        openssl_ok(dir.path(), &arguments);
        let der = std::fs::read(dir.path().join("c.cer")).expect("a file");
        let error = Certificate::parse::<RustCrypto>(&der).expect_err(options);
        assert_eq!(error, CertError::UnsupportedKey { found }, "{options}");
        assert!(error.to_string().contains(&found.to_string()));
    }
}

/// PEM is what people try first, so it has an error of its own.
#[test]
fn pem_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    openssl_ok(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=host",
    );
    let pem = std::fs::read(dir.path().join("c.pem")).expect("a file");
    assert_eq!(Certificate::parse::<RustCrypto>(&pem).err(), Some(CertError::Pem));
}
