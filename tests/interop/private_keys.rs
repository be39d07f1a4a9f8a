//! Private key files both ways with the `openssl` command (3.0 or later).

use std::path::Path;
use std::process::{Command, Output};

use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey};
use dbmirror_core::keys::{Iterations, KeyError, PKCS8_LEN_MAX, PrivateKey};
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
