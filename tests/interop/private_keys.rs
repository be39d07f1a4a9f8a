//! Private key files and PFX both ways with the `openssl` command (3.0 or later).

use std::path::Path;
use std::process::{Command, Output};

use dbmirror_core::cert::{
    CERTIFICATE_LEN_MAX, PFX_LEN_MAX, PfxError, Request, issue, pfx_iterations, read_pfx, write_pfx,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey};
use dbmirror_core::keys::{Iterations, KeyError, PKCS8_LEN_MAX, PrivateKey};
use dbmirror_core::time::UnixSeconds;
use dbmirror_tests::provider_kit::Repeatable;

type Source = Repeatable<<RustCrypto as Provider>::Sha256>;

const PASSWORD: &str = "<1_Strong_Password!>";

fn openssl(dir: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output()
        .expect("the openssl command is installed")
}

fn openssl_ok(dir: &Path, arguments: &str) {
    let output = openssl(dir, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn openssl_reads_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let entropy = &mut Source::new(7);
    let key = PrivateKey::generate::<RustCrypto>(entropy).expect("a key");
    let mut out = [0; PKCS8_LEN_MAX];
    let iterations = Iterations::new(2_048).expect("a count");
    let len = key
        .to_encrypted_pkcs8::<RustCrypto>(PASSWORD.as_bytes(), iterations, entropy, &mut out)
        .expect("a file");
    std::fs::write(dir.path().join("k.der"), &out[..len]).expect("a file");
    openssl_ok(
        dir.path(),
        &format!("pkey -inform DER -in k.der -passin pass:{PASSWORD} -check -pubout -outform DER -out p.der"),
    );
    let public = std::fs::read(dir.path().join("p.der")).expect("a file");
    let point = key
        .signing_key::<RustCrypto>()
        .expect("a signing key")
        .public_point();
    assert!(public.ends_with(&point));
    let wrong = openssl(dir.path(), "pkey -inform DER -in k.der -passin pass:guess -noout");
    assert!(!wrong.status.success());
}

#[test]
fn we_read_what_openssl_makes() {
    let dir = tempfile::tempdir().expect("a directory");
    openssl_ok(
        dir.path(),
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER -out plain.der",
    );
    openssl_ok(
        dir.path(),
        "pkcs8 -topk8 -nocrypt -inform DER -in plain.der -outform DER -out plain8.der",
    );
    let plain = std::fs::read(dir.path().join("plain8.der")).expect("a file");
    let key = PrivateKey::from_plain_pkcs8::<RustCrypto>(&plain).expect("a plain key");
    let encrypt = |options: &str| {
        openssl_ok(
            dir.path(),
            &format!(
                "pkcs8 -topk8 -inform DER -in plain.der {options} -outform DER -out k.der \
                 -passout pass:{PASSWORD}"
            ),
        );
        std::fs::read(dir.path().join("k.der")).expect("a file")
    };
    let open = |file: &[u8]| PrivateKey::from_encrypted_pkcs8::<RustCrypto>(file, PASSWORD.as_bytes());
    for options in [
        // The default of OpenSSL 3: AES-256-CBC, 2,048 iterations.
        "-v2 aes256",
        "-v2 aes-128-cbc",
        "-v2 aes-256-cbc -iter 100000",
        "-v2 aes256 -v2prf hmacWithSHA256",
    ] {
        let file = encrypt(options);
        let opened = open(&file).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(opened.scalar().ct_eq(key.scalar()), "{options}");
        assert_eq!(
            PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&file, b"guess").err(),
            Some(KeyError::Rejected)
        );
    }
    for options in [
        "-v2 aes-192-cbc",
        "-v2 des3",
        "-v2 aes256 -v2prf hmacWithSHA1",
        "-v2 aes256 -v2prf hmacWithSHA512",
        "-scrypt",
    ] {
        assert_eq!(
            open(&encrypt(options)).err(),
            Some(KeyError::UnknownScheme),
            "{options}"
        );
    }
    assert_eq!(
        open(&encrypt("-v2 aes256 -iter 10000001")).err(),
        Some(KeyError::IterationCount)
    );
}

#[test]
fn other_keys_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for options in [
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
        "-algorithm ed25519",
        "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "-algorithm RSA -pkeyopt rsa_keygen_bits:4096",
    ] {
        openssl_ok(
            dir.path(),
            &format!("genpkey {options} -aes-256-cbc -pass pass:{PASSWORD} -out k.pem"),
        );
        let pem = std::fs::read(dir.path().join("k.pem")).expect("a file");
        let open = |file: &[u8]| PrivateKey::from_encrypted_pkcs8::<RustCrypto>(file, PASSWORD.as_bytes());
        assert_eq!(open(&pem).err(), Some(KeyError::Pem));
        openssl_ok(
            dir.path(),
            &format!(
                "pkcs8 -topk8 -v2 aes256 -in k.pem -passin pass:{PASSWORD} -outform DER -out k.der \
                 -passout pass:{PASSWORD}"
            ),
        );
        let file = std::fs::read(dir.path().join("k.der")).expect("a file");
        assert_eq!(open(&file).err(), Some(KeyError::BadKey), "{options}");
    }
}

#[test]
fn openssl_writes_plain_keys_in_two_forms() {
    let dir = tempfile::tempdir().expect("a directory");
    openssl_ok(
        dir.path(),
        "ecparam -name prime256v1 -genkey -noout -outform DER -out sec1.der",
    );
    openssl_ok(
        dir.path(),
        "pkcs8 -topk8 -nocrypt -inform DER -in sec1.der -outform DER -out pkcs8.der",
    );
    let [sec1, pkcs8] = ["sec1.der", "pkcs8.der"].map(|name| {
        let file = std::fs::read(dir.path().join(name)).expect("a file");
        PrivateKey::from_plain::<RustCrypto>(&file).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    assert!(sec1.scalar().ct_eq(pkcs8.scalar()));
    // Explicit parameters instead of the name of the curve.
    openssl_ok(
        dir.path(),
        "ecparam -name prime256v1 -param_enc explicit -genkey -noout -outform DER -out explicit.der",
    );
    let explicit = std::fs::read(dir.path().join("explicit.der")).expect("a file");
    assert!(PrivateKey::from_plain::<RustCrypto>(&explicit).is_err());
}

fn pfx(file: &[u8], password: &str) -> Result<(PrivateKey, Vec<u8>), PfxError> {
    let mut scratch = vec![0; file.len()];
    let mut certificate = [0; CERTIFICATE_LEN_MAX];
    read_pfx::<RustCrypto>(file, password, &mut scratch, &mut certificate)
        .map(|(key, len)| (key, certificate[..len].to_vec()))
}

#[test]
fn openssl_reads_our_pfx() {
    let dir = tempfile::tempdir().expect("a directory");
    let entropy = &mut Source::new(8);
    let key = PrivateKey::generate::<RustCrypto>(entropy).expect("a key");
    let request = Request {
        subject: "HOST_A",
        not_before: UnixSeconds(1_795_000_000),
        not_after: UnixSeconds(2_000_000_000),
    };
    let mut der = [0; CERTIFICATE_LEN_MAX];
    let signing = key.signing_key::<RustCrypto>().expect("a signing key");
    let len = issue::<RustCrypto>(&request, &signing, entropy, &mut der).expect("a certificate");
    let der = &der[..len];
    let mut out = [0; PFX_LEN_MAX];
    let iterations = Iterations::new(2_048).expect("a count");
    for password in [PASSWORD, "Pässwörter-3\u{1d11e}"] {
        let len = write_pfx::<RustCrypto>(&key, der, password, iterations, entropy, &mut out).expect("a PFX");
        std::fs::write(dir.path().join("a.pfx"), &out[..len]).expect("a file");
        openssl_ok(
            dir.path(),
            &format!("pkcs12 -in a.pfx -passin pass:{password} -nodes -out a.pem"),
        );
        openssl_ok(dir.path(), "x509 -in a.pem -outform DER -out a.cer");
        assert_eq!(std::fs::read(dir.path().join("a.cer")).expect("a file"), der);
        openssl_ok(
            dir.path(),
            "pkcs8 -topk8 -nocrypt -in a.pem -outform DER -out a.key",
        );
        let back = std::fs::read(dir.path().join("a.key")).expect("a file");
        let back = PrivateKey::from_plain::<RustCrypto>(&back).expect("a key");
        assert!(back.scalar().ct_eq(key.scalar()));
    }
    let wrong = openssl(dir.path(), "pkcs12 -in a.pfx -passin pass:guess -noout");
    assert!(!wrong.status.success());
}

#[test]
fn we_read_the_pfx_that_openssl_makes() {
    let dir = tempfile::tempdir().expect("a directory");
    openssl_ok(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=HOST_B -days 30",
    );
    openssl_ok(dir.path(), "x509 -in c.pem -outform DER -out c.cer");
    openssl_ok(
        dir.path(),
        "pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out k.der",
    );
    let certificate = std::fs::read(dir.path().join("c.cer")).expect("a file");
    let key = std::fs::read(dir.path().join("k.der")).expect("a file");
    let key = PrivateKey::from_plain::<RustCrypto>(&key).expect("a key");
    // A chain beside it: the certificate of an RSA authority, and one of another key.
    openssl_ok(
        dir.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=CA -days 30",
    );
    openssl_ok(
        dir.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out other.pem -subj /CN=OTHER -days 30",
    );
    let chain = ["other.pem", "ca.pem"]
        .map(|name| std::fs::read_to_string(dir.path().join(name)).expect("a file"))
        .concat();
    std::fs::write(dir.path().join("chain.pem"), chain).expect("a file");
    let export = |options: &str| {
        openssl_ok(
            dir.path(),
            &format!("pkcs12 -export -inkey k.pem -in c.pem -out a.pfx -passout pass:{PASSWORD}{options}"),
        );
        std::fs::read(dir.path().join("a.pfx")).expect("a file")
    };
    for options in [
        "",
        " -name HOST_B",
        " -certfile chain.pem",
        " -certpbe NONE",
        " -keypbe NONE",
        " -certpbe aes-128-cbc -keypbe aes-128-cbc",
        " -iter 100000 -maciter",
    ] {
        let file = export(options);
        let (read, der) = pfx(&file, PASSWORD).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(read.scalar().ct_eq(key.scalar()), "{options}");
        assert_eq!(der, certificate, "{options}");
        assert_eq!(pfx(&file, "guess").err(), Some(PfxError::Rejected), "{options}");
    }
    assert!(pfx_iterations(&export("")).expect("counts") >= 4_096);
    for (options, refusal) in [
        (" -legacy", PfxError::UnknownScheme),
        (" -macalg SHA1", PfxError::UnknownScheme),
        (" -certpbe PBE-SHA1-3DES", PfxError::UnknownScheme),
        (" -keypbe PBE-SHA1-3DES", PfxError::UnknownScheme),
        (" -nomac", PfxError::NoMac),
        (" -nokeys", PfxError::NoKey),
    ] {
        assert_eq!(pfx(&export(options), PASSWORD).err(), Some(refusal), "{options}");
    }
    openssl_ok(
        dir.path(),
        &format!("pkcs12 -export -inkey ca.key -in ca.pem -out rsa.pfx -passout pass:{PASSWORD}"),
    );
    let rsa = std::fs::read(dir.path().join("rsa.pfx")).expect("a file");
    assert_eq!(pfx(&rsa, PASSWORD).err(), Some(PfxError::Key(KeyError::BadKey)));
}
