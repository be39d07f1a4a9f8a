//! Certificates and private keys in every form, from an instance to the `openssl` command and back, by the statements that an
//! operator types.

use std::path::Path;
use std::process::{Command, Output};

use dbmirror_tests::processes::*;

const PASSWORD: &str = "<2_Strong_Password!>";

fn openssl(dir: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("the openssl command is installed")
}

fn openssl_ok(dir: &Path, arguments: &str) -> String {
    let output = openssl(dir, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}\n{}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// An instance with a master key, and the directory of its files.
fn host(root: &Path, address: &str) -> (Host, std::path::PathBuf) {
    let host = Host::start(root, "HOST_A", address);
    host.ok("CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    let files = host.dir.join("backup");
    (host, files)
}

/// The public key inside what `openssl` reads with these arguments.
fn public_key(dir: &Path, arguments: &str) -> String {
    openssl_ok(dir, arguments)
}

#[test]
fn openssl_reads_what_an_instance_writes() {
    let root = tempfile::tempdir().expect("a directory");
    let (host, files) = host(root.path(), "127.160.0.1");
    host.ok(&format!(
        "CREATE CERTIFICATE c WITH SUBJECT = 'CN=HOST_A,O=Example', START_DATE = '2026-01-01', EXPIRY_DATE = '2046-01-01';
         BACKUP CERTIFICATE c TO FILE = 'c.cer' WITH PRIVATE KEY (FILE = 'c.pk8', ENCRYPTION BY PASSWORD = '{PASSWORD}');
         BACKUP CERTIFICATE c TO FILE = 'c.pfx' WITH FORMAT = 'PFX', PRIVATE KEY (ENCRYPTION BY PASSWORD = '{PASSWORD}')"
    ));
    let shown = openssl_ok(&files, "x509 -inform DER -in c.cer -noout -subject -enddate");
    assert!(shown.contains("HOST_A") && shown.contains("2046"), "{shown}");
    let wanted = public_key(&files, "x509 -inform DER -in c.cer -noout -pubkey");
    let pass = format!("-passin pass:{PASSWORD}");
    assert_eq!(
        public_key(&files, &format!("pkey -inform DER -in c.pk8 {pass} -pubout")),
        wanted
    );
    openssl_ok(&files, &format!("pkcs12 -in c.pfx {pass} -nodes -out c.pem"));
    assert_eq!(public_key(&files, "x509 -in c.pem -noout -pubkey"), wanted);
    assert_eq!(public_key(&files, "pkey -in c.pem -pubout"), wanted);
    // Without files.
    for (column, name) in [
        ("CERTENCODED(CERT_ID('c'))", "hex.cer"),
        (
            &format!("CERTPRIVATEKEY(CERT_ID('c'), '{PASSWORD}')") as &str,
            "hex.pk8",
        ),
    ] {
        let shown = host.value(&format!("SELECT {column}"));
        let digits = shown.strip_prefix("0x").expect("a binary value");
        std::fs::write(files.join(name), hex::decode(digits).expect("hexadecimal")).expect("a file");
    }
    assert_eq!(
        public_key(&files, "x509 -inform DER -in hex.cer -noout -pubkey"),
        wanted
    );
    assert_eq!(
        public_key(&files, &format!("pkey -inform DER -in hex.pk8 {pass} -pubout")),
        wanted
    );
}

#[test]
fn an_instance_reads_what_openssl_writes() {
    let root = tempfile::tempdir().expect("a directory");
    let (host, files) = host(root.path(), "127.160.0.2");
    openssl_ok(
        &files,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=HOST_B -days 3650",
    );
    let pass = format!("pass:{PASSWORD}");
    for command in [
        "x509 -in c.pem -outform DER -out c.cer",
        "ec -in k.pem -out sec1.pem",
        "ec -in k.pem -outform DER -out sec1.der",
        "ecparam -name prime256v1 -out curve.pem",
        "pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out plain.der",
        &format!("pkcs8 -topk8 -in k.pem -out enc.pem -passout {pass}"),
        &format!("pkcs8 -topk8 -in k.pem -outform DER -out enc.der -passout {pass}"),
        &format!("pkcs8 -topk8 -v2 aes-128-cbc -in k.pem -outform DER -out enc128.der -passout {pass}"),
        &format!("pkcs12 -export -inkey k.pem -in c.pem -out c.pfx -passout {pass}"),
    ] {
        openssl_ok(&files, command);
    }
    // As `openssl ecparam -genkey` writes: the curve, then the key.
    let both = ["curve.pem", "sec1.pem"].map(|name| std::fs::read(files.join(name)).expect("a file"));
    std::fs::write(files.join("both.pem"), both.concat()).expect("a file");
    let decryption = format!(", DECRYPTION BY PASSWORD = '{PASSWORD}'");
    for certificate in ["c.cer", "c.pem"] {
        for (key, options) in [
            ("k.pem", ""),
            ("plain.der", ""),
            ("sec1.pem", ""),
            ("sec1.der", ""),
            ("both.pem", ""),
            ("enc.pem", decryption.as_str()),
            ("enc.der", &decryption),
            ("enc128.der", &decryption),
        ] {
            host.ok(&format!(
                "CREATE CERTIFICATE c FROM FILE = '{certificate}' WITH PRIVATE KEY (FILE = '{key}'{options})"
            ));
            assert_eq!(
                host.value("SELECT pvt_key_encryption_type FROM sys.certificates"),
                "MK",
                "{certificate} {key}"
            );
            host.ok("DROP CERTIFICATE c");
        }
    }
    host.ok(&format!(
        "CREATE CERTIFICATE c FROM FILE = 'c.pfx' WITH FORMAT = 'PFX', PRIVATE KEY (DECRYPTION BY PASSWORD = '{PASSWORD}')"
    ));
    // What came in goes out again, and is the same.
    host.ok(&format!(
        "BACKUP CERTIFICATE c TO FILE = 'out.cer' WITH PRIVATE KEY (FILE = 'out.pk8', ENCRYPTION BY PASSWORD = '{PASSWORD}')"
    ));
    assert_eq!(
        std::fs::read(files.join("out.cer")).expect("a file"),
        std::fs::read(files.join("c.cer")).expect("a file")
    );
    assert_eq!(
        openssl_ok(&files, &format!("pkey -inform DER -in out.pk8 -passin {pass}")),
        openssl_ok(&files, "pkey -in k.pem")
    );
}

#[test]
fn what_is_not_supported_is_named_with_a_way_out() {
    let root = tempfile::tempdir().expect("a directory");
    let (host, files) = host(root.path(), "127.160.0.3");
    let pass = format!("pass:{PASSWORD}");
    for command in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -subj /CN=HOST_B -days 3650",
        "req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -subj /CN=RSA -days 30",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout p384.key -out p384.pem -subj /CN=P384 -days 30",
        "req -x509 -newkey ed25519 -nodes -keyout ed.key -out ed.pem -subj /CN=ED -days 30",
        &format!("ec -in k.pem -out old.pem -aes256 -passout {pass}"),
        &format!("pkcs8 -topk8 -in k.pem -out scrypt.pem -scrypt -passout {pass}"),
        &format!("pkcs8 -topk8 -in k.pem -out des.pem -v2 des3 -passout {pass}"),
        &format!("pkcs12 -export -legacy -inkey k.pem -in c.pem -out legacy.pfx -passout {pass}"),
        &format!("pkcs12 -export -inkey rsa.key -in rsa.pem -out rsa.pfx -passout {pass}"),
        "rsa -in rsa.key -traditional -out rsa1.key",
    ] {
        openssl_ok(&files, command);
    }
    // openssl itself needs RC4 for an encrypted PVK; the plain form tells as well what it is.
    std::fs::write(
        files.join("k.pvk"),
        [&[0x1e, 0xf1, 0xb5, 0xb0][..], &[0; 200]].concat(),
    )
    .expect("a file");
    for (certificate, number, says) in [
        ("rsa.pem", 15464, "RSA"),
        ("p384.pem", 15464, "P-384"),
        ("ed.pem", 15464, "Ed25519"),
        ("k.pem", 15208, "no certificate"),
    ] {
        let said = host.refused(
            &format!("CREATE CERTIFICATE c FROM FILE = '{certificate}'"),
            number,
        );
        assert!(said.contains(says), "{certificate}: {said}");
        assert!(number != 15464 || said.contains("P-256"), "{certificate}: {said}");
    }
    let decryption = format!("DECRYPTION BY PASSWORD = '{PASSWORD}'");
    let d = decryption.as_str();
    for (key, options, number, says) in [
        ("rsa.key", "", 15464, "P-256"),
        ("rsa1.key", "", 15208, "openssl genpkey"),
        ("p384.key", "", 15464, "P-256"),
        ("ed.key", "", 15464, "P-256"),
        ("old.pem", d, 15208, "openssl pkcs8 -topk8"),
        ("scrypt.pem", d, 15464, "openssl pkcs8 -topk8 -v2 aes256"),
        ("des.pem", d, 15464, "openssl pkcs8 -topk8 -v2 aes256"),
        ("k.pvk", "", 15464, "openssl rsa -inform PVK"),
        ("k.pem", d, 15208, "leave DECRYPTION BY PASSWORD out"),
        ("c.pem", "", 15208, "no private key"),
    ] {
        let options = if options.is_empty() {
            String::new()
        } else {
            format!(", {options}")
        };
        let said = host.refused(
            &format!("CREATE CERTIFICATE c FROM FILE = 'c.pem' WITH PRIVATE KEY (FILE = '{key}'{options})"),
            number,
        );
        assert!(said.contains(says), "{key}: {said}");
    }
    for (file, says) in [("legacy.pfx", "openssl pkcs12 -legacy"), ("rsa.pfx", "P-256")] {
        let said = host.refused(
            &format!(
                "CREATE CERTIFICATE c FROM FILE = '{file}' WITH FORMAT = 'PFX', PRIVATE KEY ({decryption})"
            ),
            15464,
        );
        assert!(said.contains(says), "{file}: {said}");
    }
    let said = host.refused("CREATE CERTIFICATE c FROM FILE = 'rsa.pfx'", 15208);
    assert!(said.contains("FORMAT = 'PFX'"), "{said}");
    assert_eq!(host.value("SELECT count(*) FROM sys.certificates"), "0");
    // The way out that is named works.
    openssl_ok(
        &files,
        &format!("pkcs8 -topk8 -v2 aes256 -in old.pem -passin {pass} -out new.pem -passout {pass}"),
    );
    host.ok(&format!(
        "CREATE CERTIFICATE c FROM FILE = 'c.pem' WITH PRIVATE KEY (FILE = 'new.pem', {decryption})"
    ));
}
