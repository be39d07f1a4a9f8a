//! The key hierarchy: every statement, and every error that it can raise.

use super::*;
use crate::catalog::keys as catalog_keys;
use crate::instance::ServiceKeySource;

const PASSWORD: &str = "<1_Strong_Password!>";

impl Fixture {
    /// Ends the instance and starts another one on its directory.
    fn restart(self, change: impl FnOnce(&mut Options)) -> Result<Self, String> {
        let Self {
            _dir,
            instance,
            session,
        } = self;
        drop(session);
        instance.stop();
        drop(instance);
        let mut options = Options {
            dir: _dir.path().join("A"),
            name: "HOST_A".to_owned(),
            bind: Some("127.81.0.1".parse().unwrap()),
            ..Options::default()
        };
        change(&mut options);
        let instance = Instance::start(&options, true).map_err(|error| error.to_string())?;
        let session = SqlSession::new(Arc::clone(&instance));
        Ok(Self {
            _dir,
            instance,
            session,
        })
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.instance.dir().root().join(name)
    }

    fn one(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.into_iter().next().unwrap()
    }

    fn opens_by_itself(&mut self, database: &str) -> String {
        self.one(&format!(
            "SELECT is_master_key_encrypted_by_server FROM sys.databases WHERE name = '{database}'"
        ))
    }

    fn encryptions(&mut self) -> Vec<String> {
        self.rows("SELECT key_id, crypt_type, crypt_type_desc FROM sys.key_encryptions")
    }

    /// What the check at a start says that holds `text`.
    fn found(&self, text: &str) -> usize {
        let findings = self.instance.health();
        findings
            .iter()
            .filter(|finding| finding.text.contains(text))
            .count()
    }

    fn tamper(&self, sql: &str) {
        assert!(self.instance.master().execute(sql, []).unwrap() > 0, "{sql}");
    }
}

const BY_SERVICE: &str = "101|ESKM|ENCRYPTION BY MASTER KEY";
const BY_PASSWORD: &str = "101|ESP3|ENCRYPTION BY PASSWORD V3";

#[test]
fn a_master_key_has_passwords_and_the_service_master_key() {
    let mut f = Fixture::new();
    f.keys();
    assert_eq!(f.encryptions(), [BY_SERVICE, BY_PASSWORD]);
    assert_eq!(
        f.one("SELECT DATALENGTH(thumbprint) FROM sys.key_encryptions WHERE crypt_type = 'ESKM'"),
        "16"
    );
    f.ok("ALTER MASTER KEY ADD ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'");
    assert_eq!(f.encryptions(), [BY_SERVICE, BY_PASSWORD, BY_PASSWORD]);
    f.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<2_Strong_Password!>'; CLOSE MASTER KEY");
    f.ok("ALTER MASTER KEY DROP ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    assert_eq!(
        f.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        [15313]
    );
    f.ok("ALTER MASTER KEY DROP ENCRYPTION BY SERVICE MASTER KEY");
    assert_eq!(f.opens_by_itself("master"), "0");
    assert_eq!(f.encryptions(), [BY_PASSWORD]);
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    f.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<2_Strong_Password!>';
          CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01';
          ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY; CLOSE MASTER KEY;
          CREATE CERTIFICATE d WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    assert_eq!(f.opens_by_itself("master"), "1");
}

#[test]
fn a_master_key_is_saved_and_comes_back() {
    let mut f = Fixture::new();
    f.keys();
    f.ok("BACKUP MASTER KEY TO FILE = 'dmk.key' ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'");
    // Regenerated and restored: what lies under it goes along each time.
    f.ok("ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'");
    f.ok("BACKUP CERTIFICATE A_cert TO FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.pk8', ENCRYPTION BY PASSWORD = '<4_Strong_Password!>')");
    let restore = "RESTORE MASTER KEY FROM FILE = 'dmk.key' DECRYPTION BY PASSWORD = '<3_Strong_Password!>' ENCRYPTION BY PASSWORD = '<5_Strong_Password!>'";
    assert!(f.ok(restore).is_empty());
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("BACKUP CERTIFICATE A_cert TO FILE = 'b.cer' WITH PRIVATE KEY (FILE = 'b.pk8', ENCRYPTION BY PASSWORD = '<4_Strong_Password!>')");
    f.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<5_Strong_Password!>'; CLOSE MASTER KEY");
    // Into a database without one it comes, and does not open by itself; that is said.
    f.ok("CREATE DATABASE d; USE d");
    assert_eq!(f.ok(restore), [50112]);
    assert_eq!(f.opens_by_itself("d"), "0");
    f.ok("OPEN MASTER KEY DECRYPTION BY PASSWORD = '<5_Strong_Password!>';
          ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY; CLOSE MASTER KEY");
    assert_eq!(f.opens_by_itself("d"), "1");
    // Force gives up what does not open.
    f.ok("USE master");
    f.tamper("UPDATE certificate SET private_key = zeroblob(60) WHERE name = 'A_cert'");
    assert_eq!(f.refused(restore), [15320]);
    assert_eq!(f.ok(&format!("{restore} FORCE")), [15585]);
    assert_eq!(
        f.one("SELECT pvt_key_encryption_type FROM sys.certificates WHERE name = 'A_cert'"),
        "NA"
    );
}

#[test]
fn a_restored_master_key_opens_what_is_under_it_already() {
    let mut f = Fixture::new();
    f.keys();
    f.ok(
        "CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01';
          BACKUP MASTER KEY TO FILE = 'dmk.key' ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'",
    );
    let restore = "RESTORE MASTER KEY FROM FILE = 'dmk.key' DECRYPTION BY PASSWORD = '<3_Strong_Password!>' ENCRYPTION BY PASSWORD = '<5_Strong_Password!>'";
    let lose = |f: Fixture| {
        std::fs::remove_file(f.file("smk.key")).unwrap();
        f.restart(|options| options.new_service_key = true).unwrap()
    };
    let mut f = lose(f);
    assert_eq!(f.opens_by_itself("master"), "0");
    // A closed key is not regenerated, and nothing is given up to put the same one back.
    assert_eq!(
        f.refused("ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'"),
        [15329]
    );
    assert!(f.ok(restore).is_empty());
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("BACKUP CERTIFICATE c TO FILE = 'c.cer' WITH PRIVATE KEY (FILE = 'c.pk8', ENCRYPTION BY PASSWORD = '<4_Strong_Password!>')");
    // FORCE gives up what opens by neither key, and nothing else.
    let mut f = lose(f);
    f.tamper("UPDATE certificate SET private_key = zeroblob(60) WHERE name = 'c'");
    assert_eq!(f.refused(restore), [15329]);
    assert_eq!(f.ok(&format!("{restore} FORCE")), [15585]);
    assert_eq!(
        f.one("SELECT pvt_key_encryption_type FROM sys.certificates WHERE name = 'c'"),
        "NA"
    );
    f.ok("BACKUP CERTIFICATE A_cert TO FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.pk8', ENCRYPTION BY PASSWORD = '<4_Strong_Password!>')");
}

#[test]
fn the_service_master_key_is_saved_changed_and_comes_back() {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE DATABASE d; EXEC sp_control_dbmasterkey_password @db_name = N'd', @password = N'kept pw 1', @action = N'add'");
    f.ok("BACKUP SERVICE MASTER KEY TO FILE = 'smk.bak' ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'");
    let guid =
        |f: &mut Fixture| f.one("SELECT key_guid FROM sys.symmetric_keys WHERE symmetric_key_id = 102");
    let first = guid(&mut f);
    let file = std::fs::read(f.file("smk.key")).unwrap();
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    assert_ne!(guid(&mut f), first);
    assert_ne!(std::fs::read(f.file("smk.key")).unwrap(), file);
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    // The new key is what the next start finds.
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("CREATE CERTIFICATE d WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    let restore =
        "RESTORE SERVICE MASTER KEY FROM FILE = 'smk.bak' DECRYPTION BY PASSWORD = '<3_Strong_Password!>'";
    f.ok(restore);
    assert_eq!(guid(&mut f), first);
    assert_eq!(std::fs::read(f.file("smk.key")).unwrap(), file);
    assert_eq!(f.ok(restore), [50113]);
    // The kept password came along.
    f.ok("EXEC sp_control_dbmasterkey_password 'd', 'kept pw 1', 'drop'");
    // What does not open stops it; FORCE gives it up.
    f.tamper("UPDATE master_key SET by_service_master_key = zeroblob(58)");
    assert_eq!(f.refused("ALTER SERVICE MASTER KEY REGENERATE"), [15329]);
    assert_eq!(guid(&mut f), first);
    assert!(!f.file("smk.key.new").exists());
    assert_eq!(f.ok("ALTER SERVICE MASTER KEY FORCE REGENERATE"), [15584]);
    assert_eq!(f.opens_by_itself("master"), "0");
}

#[test]
fn a_change_of_the_service_master_key_that_stopped_half_way_is_settled() {
    let mut f = Fixture::new();
    f.keys();
    // Staged and never used.
    std::fs::write(f.file("smk.key.new"), [1; 20]).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(f.opens_by_itself("master"), "1");
    // Used, and not yet in its place.
    let old = std::fs::read(f.file("smk.key")).unwrap();
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    let new = std::fs::read(f.file("smk.key")).unwrap();
    std::fs::write(f.file("smk.key"), old).unwrap();
    std::fs::write(f.file("smk.key.new"), &new).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(std::fs::read(f.file("smk.key")).unwrap(), new);
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
}

#[test]
fn a_passphrase_given_after_a_change_that_stopped_costs_no_key() {
    let mut f = Fixture::new();
    f.keys();
    let old = std::fs::read(f.file("smk.key")).unwrap();
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    std::fs::rename(f.file("smk.key"), f.file("smk.key.new")).unwrap();
    std::fs::write(f.file("smk.key"), old).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let passphrase = secrets.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let mut f = f
        .restart(|options| options.service_key = ServiceKeySource::PassphraseFile(passphrase.clone()))
        .unwrap();
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
}

#[test]
fn a_commit_that_failed_keeps_the_staged_key_for_the_next_start() {
    let mut f = Fixture::new();
    f.keys();
    f.instance
        .master()
        .execute_batch(
            "PRAGMA foreign_keys = ON; CREATE TEMP TABLE p(x INTEGER PRIMARY KEY);
             CREATE TEMP TABLE q(x REFERENCES p(x) DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
    let key = dbmirror_core::keys::ServiceMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy);
    // The violation is found at the COMMIT.
    let changed: Result<(), crate::exec::Stop> =
        f.instance
            .change_service_master_key(key.unwrap(), |catalog, _, _| {
                catalog.execute("INSERT INTO q VALUES (7)", [])?;
                Ok(())
            });
    assert!(changed.is_err());
    let staged = std::fs::read(f.file("smk.key.new")).unwrap();
    assert_eq!(f.refused("ALTER SERVICE MASTER KEY REGENERATE"), [15508]);
    assert_eq!(std::fs::read(f.file("smk.key.new")).unwrap(), staged);
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    assert!(!f.file("smk.key.new").exists());
}

/// The disk has the COMMIT, and what is reported is a failure: only the next start can tell.
#[test]
fn a_commit_that_failed_and_is_durable_finds_its_key_at_the_next_start() {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE DATABASE d; EXEC sp_control_dbmasterkey_password 'd', 'kept pw 1', 'add'");
    let new =
        dbmirror_core::keys::ServiceMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy).unwrap();
    let old = std::fs::read(f.file("smk.key")).unwrap();
    let changed: Result<(), crate::exec::Stop> =
        f.instance.change_service_master_key(new, |catalog, old, new| {
            crate::exec::service_master_key::rewrap(catalog, old, new, false)?;
            catalog_keys::set_service_master_key(catalog, new)?;
            // The instance's own COMMIT finds nothing to commit and fails.
            Ok(catalog.execute_batch("COMMIT")?)
        });
    assert!(changed.is_err());
    assert_eq!(std::fs::read(f.file("smk.key")).unwrap(), old);
    assert!(f.file("smk.key.new").exists());
    // Until then what is under the new key stays closed, and nothing is wrapped by the old one over it.
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    assert_eq!(f.refused("ALTER SERVICE MASTER KEY REGENERATE"), [15508]);
    let mut f = f.restart(|_| ()).unwrap();
    assert!(!f.file("smk.key.new").exists());
    assert_ne!(std::fs::read(f.file("smk.key")).unwrap(), old);
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok(
        "CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01';
          EXEC sp_control_dbmasterkey_password 'd', 'kept pw 1', 'drop'",
    );
}

#[test]
fn a_key_that_could_not_take_its_place_is_promoted_by_the_next_start() {
    let mut f = Fixture::new();
    f.keys();
    let old = std::fs::read(f.file("smk.key")).unwrap();
    // No file is renamed over a directory.
    std::fs::remove_file(f.file("smk.key")).unwrap();
    std::fs::create_dir(f.file("smk.key")).unwrap();
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    let staged = std::fs::read(f.file("smk.key.new")).unwrap();
    // The new key is in use, and the only place where it lies is not overwritten.
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    assert_eq!(f.refused("ALTER SERVICE MASTER KEY REGENERATE"), [15508]);
    assert_eq!(std::fs::read(f.file("smk.key.new")).unwrap(), staged);
    std::fs::remove_dir(f.file("smk.key")).unwrap();
    std::fs::write(f.file("smk.key"), old).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(std::fs::read(f.file("smk.key")).unwrap(), staged);
    assert!(!f.file("smk.key.new").exists());
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok(
        "CREATE CERTIFICATE d WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01';
          ALTER SERVICE MASTER KEY REGENERATE",
    );
}

/// What the catalog says of its key is all that tells which of two files belongs to it: a start with the wrong one does not
/// write its own guid over it.
#[test]
fn a_start_with_the_wrong_key_does_not_forget_which_is_the_right_one() {
    let mut f = Fixture::new();
    f.keys();
    let old = std::fs::read(f.file("smk.key")).unwrap();
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    let new = std::fs::read(f.file("smk.key")).unwrap();
    // The change stopped before its end, and the staged file came back cut off.
    std::fs::write(f.file("smk.key"), &old).unwrap();
    std::fs::write(f.file("smk.key.new"), &new[..20]).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    // An operator finds the whole file.
    std::fs::write(f.file("smk.key.new"), &new).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(std::fs::read(f.file("smk.key")).unwrap(), new);
    assert_eq!(f.opens_by_itself("master"), "1");
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
}

#[test]
fn a_new_service_master_key_is_not_made_for_want_of_a_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let (root, secret) = (dir.path().join("A"), dir.path().join("passphrase"));
    std::fs::write(&secret, "correct horse battery\n").unwrap();
    let options = Options {
        dir: root.clone(),
        name: "HOST_A".to_owned(),
        service_key: ServiceKeySource::PassphraseFile(secret.clone()),
        new_service_key: true,
        ..Options::default()
    };
    let instance = Instance::start(&options, true).unwrap();
    instance.stop();
    drop(instance);
    let key = std::fs::read(root.join("smk.key")).unwrap();
    std::fs::write(&secret, "short\n").unwrap();
    let error = Instance::start(&options, true).err().unwrap().to_string();
    assert!(error.contains("at least 8 characters"), "{error}");
    std::fs::remove_file(&secret).unwrap();
    let error = Instance::start(&options, true).err().unwrap().to_string();
    assert!(error.contains("the passphrase file"), "{error}");
    assert_eq!(std::fs::read(root.join("smk.key")).unwrap(), key);
    assert!(!root.join("smk.key.lost").exists());
}

#[test]
fn another_service_master_key_opens_nothing_until_a_password_has() {
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE ENDPOINT e STATE = STOPPED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL)");
    assert_eq!(f.found("the key of the endpoint can be opened"), 1);
    // Lost, and nobody has asked for a new one.
    std::fs::remove_file(f.file("smk.key")).unwrap();
    let error = match f.restart(|_| ()) {
        Err(error) => error,
        Ok(_) => panic!("it started without its key"),
    };
    assert!(error.contains("the service master key is missing"), "{error}");
    assert!(error.contains("--new-service-key"), "{error}");
    // The fixture's directory went with it: the same once more, with the new key asked for.
    let mut f = Fixture::new();
    f.keys();
    f.ok("CREATE ENDPOINT e STATE = STOPPED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL)");
    let key = std::fs::read(f.file("smk.key")).unwrap();
    std::fs::write(f.file("smk.key"), [9; 48]).unwrap();
    let mut f = f.restart(|options| options.new_service_key = true).unwrap();
    assert_eq!(std::fs::read(f.file("smk.key.lost")).unwrap(), [9; 48]);
    assert_eq!(f.opens_by_itself("master"), "0");
    assert!(f.found("the key of the endpoint cannot be opened. The certificate 'A_cert' cannot be used for endpoint authentication: the master key of master does not open by itself: it is encrypted by another service master key") > 0);
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    // The right password mends it; the copy of the old key is replaced.
    assert_eq!(
        f.refused("OPEN MASTER KEY DECRYPTION BY PASSWORD = 'not it at all'"),
        [15313]
    );
    f.ok(&format!(
        "OPEN MASTER KEY DECRYPTION BY PASSWORD = '{PASSWORD}'; ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY; CLOSE MASTER KEY"
    ));
    assert_eq!(f.opens_by_itself("master"), "1");
    let f = f.restart(|_| ()).unwrap();
    assert!(f.found("the key of the endpoint can be opened") > 0);
    // And the other way round: the old key file is put back.
    std::fs::write(f.file("smk.key"), key).unwrap();
    let mut f = f.restart(|_| ()).unwrap();
    assert_eq!(f.opens_by_itself("master"), "0");
}

#[test]
fn a_passphrase_stands_above_everything() {
    let mut f = Fixture::new();
    f.keys();
    let secrets = tempfile::tempdir().unwrap();
    let passphrase = secrets.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let source = ServiceKeySource::PassphraseFile(passphrase.clone());
    let clear = std::fs::read(f.file("smk.key")).unwrap();
    let protect = |options: &mut Options| options.service_key = source.clone();
    let mut f = f.restart(protect).unwrap();
    assert_eq!(f.opens_by_itself("master"), "1");
    assert_ne!(std::fs::read(f.file("smk.key")).unwrap(), clear);
    f.ok("ALTER SERVICE MASTER KEY REGENERATE");
    let mut f = f.restart(protect).unwrap();
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    // Without a place to put a new key nothing changes.
    std::fs::remove_file(&passphrase).unwrap();
    assert_eq!(f.refused("ALTER SERVICE MASTER KEY REGENERATE"), [15508]);
    f.ok("CREATE CERTIFICATE e WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    std::fs::write(&passphrase, "another horse battery\n").unwrap();
    let error = f.restart(protect).err().unwrap();
    assert!(
        error.contains("smk.key: the service master key cannot be opened"),
        "{error}"
    );
}

#[test]
fn a_kept_password_opens_the_master_key_of_a_family() {
    let mut f = Fixture::new();
    f.ok(
        "CREATE DATABASE d; USE d; CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>';
          ALTER MASTER KEY DROP ENCRYPTION BY SERVICE MASTER KEY",
    );
    assert_eq!(f.refused("CREATE CERTIFICATE c WITH SUBJECT = 'x'"), [15581]);
    f.ok("EXEC sp_control_dbmasterkey_password 'd', 'a wrong one', 'add';
          EXEC sp_control_dbmasterkey_password 'd', '<1_Strong_Password!>', 'add'");
    assert_eq!(
        f.rows("SELECT credential_id FROM sys.master_key_passwords"),
        ["1", "2"]
    );
    assert_eq!(
        f.one("SELECT count(DISTINCT p.family_guid) FROM sys.master_key_passwords p JOIN sys.database_recovery_status r ON r.family_guid = p.family_guid"),
        "1"
    );
    f.ok("CREATE CERTIFICATE c WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'");
    // From now on by itself.
    assert_eq!(f.opens_by_itself("d"), "1");
    f.ok(
        "EXEC sp_control_dbmasterkey_password 'd', '<1_Strong_Password!>', 'drop';
          CREATE CERTIFICATE e WITH SUBJECT = 'x', EXPIRY_DATE = '2036-01-01'",
    );
}

#[test]
fn one_file_holds_certificate_and_key() {
    let mut f = Fixture::new();
    f.keys();
    let backup = "BACKUP CERTIFICATE A_cert TO FILE = 'a.pfx' WITH FORMAT = 'PFX', PRIVATE KEY (ENCRYPTION BY PASSWORD = '<2_Strong_Password!>', ALGORITHM = 'AES_256')";
    f.ok(backup);
    assert_eq!(f.refused(backup), [15240]);
    assert_ne!(
        f.one("SELECT pvt_key_last_backup_date FROM sys.certificates WHERE name = 'A_cert'"),
        "NULL"
    );
    f.ok("CREATE DATABASE d; USE d; CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    let create = |with: &str| format!("CREATE CERTIFICATE copy FROM FILE = 'a.pfx' {with}");
    assert_eq!(f.refused(&create("")), [15208]);
    let pfx = |options: &str| create(&format!("WITH FORMAT = 'PFX', PRIVATE KEY ({options})"));
    for (options, number) in [
        ("DECRYPTION BY PASSWORD = 'guess'", 15465),
        ("ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'", 15465),
        ("FILE = 'x', DECRYPTION BY PASSWORD = 'guess'", 15233),
    ] {
        assert_eq!(f.refused(&pfx(options)), [number], "{options}");
    }
    f.ok(&pfx("DECRYPTION BY PASSWORD = '<2_Strong_Password!>'"));
    assert_eq!(
        f.one("SELECT name, pvt_key_encryption_type FROM sys.certificates"),
        "copy|MK"
    );
    f.ok("DROP CERTIFICATE copy");
    f.ok(&pfx(
        "DECRYPTION BY PASSWORD = '<2_Strong_Password!>', ENCRYPTION BY PASSWORD = '<3_Strong_Password!>'",
    ));
    assert_eq!(
        f.one("SELECT pvt_key_encryption_type FROM sys.certificates"),
        "PW"
    );
    for (options, number) in [
        (
            "ALGORITHM = 'TRIPLE_DES_SHA1', ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'",
            40510,
        ),
        (
            "ALGORITHM = 'ROT13', ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'",
            15233,
        ),
        (
            "FILE = 'x', ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'",
            15233,
        ),
        ("ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'", 15334),
    ] {
        let backup =
            format!("BACKUP CERTIFICATE copy TO FILE = 'b.pfx' WITH FORMAT = 'PFX', PRIVATE KEY ({options})");
        assert_eq!(f.refused(&backup), [number], "{options}");
    }
}

#[test]
fn certificates_go_from_host_to_host_without_files() {
    let mut f = Fixture::new();
    f.keys();
    let id = f.one("SELECT CERT_ID('a_cert')");
    assert_eq!(f.one("SELECT certificate_id FROM sys.certificates"), id);
    assert_eq!(f.one("SELECT CERT_ID('nobody')"), "NULL");
    let der = f.one("SELECT CERTENCODED(CERT_ID('A_cert'))");
    let key = f.one("SELECT CERTPRIVATEKEY(CERT_ID('A_cert'), '<2_Strong_Password!>')");
    assert!(der.starts_with("0x30") && key.starts_with("0x30"));
    for (property, shown) in [
        ("Subject", "node A"),
        ("Issuer_Name", "node A"),
        ("Expiry_Date", "2036-01-01 00:00:00.000"),
        ("Colour", "NULL"),
    ] {
        assert_eq!(
            f.one(&format!("SELECT CERTPROPERTY(CERT_ID('A_cert'), '{property}')")),
            shown
        );
    }
    for (property, column) in [
        ("Cert_Serial_Number", "cert_serial_number"),
        ("SID", "sid"),
        ("String_SID", "string_sid"),
        ("Start_Date", "start_date"),
    ] {
        let shown = f.one(&format!("SELECT {column} FROM sys.certificates"));
        assert_eq!(f.one(&format!("SELECT CERTPROPERTY({id}, '{property}')")), shown);
    }
    assert_eq!(
        f.refused("SELECT CERTPRIVATEKEY(CERT_ID('A_cert'), 'weak')"),
        [15116]
    );
    assert_eq!(
        f.refused("SELECT CERTPRIVATEKEY(CERT_ID('A_cert'), '<2_Strong_Password!>', 'not needed')"),
        [15147]
    );
    f.ok("CREATE DATABASE d; USE d; CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'");
    // Of the current database only.
    assert_eq!(f.one(&format!("SELECT CERTENCODED({id})")), "NULL");
    f.ok(&format!(
        "CREATE CERTIFICATE copy FROM BINARY = {der} WITH PRIVATE KEY (BINARY = {key}, DECRYPTION BY PASSWORD = '<2_Strong_Password!>')"
    ));
    assert_eq!(f.one("SELECT CERTENCODED(CERT_ID('copy'))"), der);
}

#[test]
fn a_certificate_gets_another_owner() {
    let mut f = Fixture::new();
    f.keys();
    f.ok(
        "CREATE LOGIN l WITH PASSWORD = '<1_Strong_Password!>'; CREATE USER u FOR LOGIN l;
          ALTER AUTHORIZATION ON CERTIFICATE::A_cert TO u",
    );
    let owner = "SELECT p.name FROM sys.certificates c JOIN sys.database_principals p ON p.principal_id = c.principal_id";
    assert_eq!(f.one(owner), "u");
    assert_eq!(f.refused("DROP USER u"), [15138]);
    f.ok("ALTER AUTHORIZATION ON CERTIFICATE::A_cert TO dbo; DROP USER u");
    assert_eq!(f.one(owner), "dbo");
}

/// Every number of the catalogue's part on keys, certificates and principals that this product can raise (`docs/tsql.md`
/// lists the others with the reason), each by the statement that an operator would type. What a line needs stands in
/// front of it.
#[test]
fn every_error_of_keys_certificates_and_principals() {
    let mut f = Fixture::new();
    f.keys();
    std::fs::write(f.file("backup/text.cer"), b"no certificate").unwrap();
    std::fs::write(f.file("backup/dmk.bad"), b"no key").unwrap();
    std::fs::write(f.file("backup/old.pvk"), [0x1e, 0xf1, 0xb5, 0xb0, 0, 0, 0, 0]).unwrap();
    f.ok("CREATE LOGIN l1 WITH PASSWORD = '<1_Strong_Password!>'; CREATE LOGIN l2 WITH PASSWORD = '<1_Strong_Password!>';
          CREATE USER u1 FOR LOGIN l1; CREATE LOGIN l3 WITH PASSWORD = '<1_Strong_Password!>';
          GRANT VIEW SERVER STATE TO l3 WITH GRANT OPTION;
          EXECUTE AS LOGIN = 'l3'; GRANT VIEW SERVER STATE TO l1; REVERT;
          CREATE CERTIFICATE pw_cert ENCRYPTION BY PASSWORD = '<2_Strong_Password!>' WITH SUBJECT = 'p', EXPIRY_DATE = '2036-01-01';
          BACKUP CERTIFICATE A_cert TO FILE = 'a.cer' WITH PRIVATE KEY (FILE = 'a.pk8', ENCRYPTION BY PASSWORD = '<2_Strong_Password!>');
          BACKUP CERTIFICATE pw_cert TO FILE = 'p.cer';
          CREATE DATABASE d; USE d; CREATE CERTIFICATE pub AUTHORIZATION dbo FROM FILE = 'a.cer';
          CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'; USE master");
    let der = f.one("SELECT CERTENCODED(CERT_ID('A_cert'))");
    let unsigned = format!(
        "{}{}",
        &der[..der.len() - 2],
        if der.ends_with("00") { "01" } else { "00" }
    );
    // (number, statement); an informational number is looked for among the messages of a statement that succeeds.
    let cases: Vec<(u32, String)> = [
        (15007, "CREATE USER x FOR LOGIN nobody"),
        (15023, "CREATE USER u1 FOR LOGIN l2"),
        (15025, "CREATE LOGIN l1 WITH PASSWORD = '<1_Strong_Password!>'"),
        (15063, "CREATE USER u2 FOR LOGIN l1"),
        (15099, "CREATE LOGIN x WITH PASSWORD = '<1_Strong_Password!>' MUST_CHANGE, CHECK_EXPIRATION = OFF"),
        (15116, "CREATE LOGIN x WITH PASSWORD = 'short'"),
        (15118, "CREATE LOGIN x WITH PASSWORD = 'longenough'"),
        (15122, "CREATE LOGIN x WITH PASSWORD = '<1_Strong_Password!>', CHECK_EXPIRATION = ON, CHECK_POLICY = OFF"),
        (33020, "CREATE LOGIN x WITH PASSWORD = 0x0200 HASHED, CHECK_POLICY = ON"),
        (15146, "BACKUP CERTIFICATE A_cert TO FILE = 'x.cer' WITH PRIVATE KEY (FILE = 'x.pk8')"),
        (15147, "BACKUP CERTIFICATE A_cert TO FILE = 'x.cer' WITH PRIVATE KEY (FILE = 'x.pk8', DECRYPTION BY PASSWORD = 'x', ENCRYPTION BY PASSWORD = '<2_Strong_Password!>')"),
        (15151, "DROP CERTIFICATE nobody"),
        (15173, "DROP LOGIN l3"),
        (15208, "CREATE CERTIFICATE x FROM FILE = 'absent.cer'"),
        (15464, "CREATE CERTIFICATE x FROM FILE = 'p.cer' WITH PRIVATE KEY (FILE = 'old.pvk', DECRYPTION BY PASSWORD = 'x')"),
        (15212, "CREATE CERTIFICATE x WITH SUBJECT = ''"),
        (15213, "CREATE CERTIFICATE w1 WITH SUBJECT = 'x', START_DATE = '2030-01-02', EXPIRY_DATE = '2030-01-01'"),
        (15214, "CREATE CERTIFICATE w2 WITH SUBJECT = 'x', START_DATE = '2001-01-02', EXPIRY_DATE = '2002-01-01'"),
        (15215, "CREATE CERTIFICATE w3 WITH SUBJECT = 'x', START_DATE = '2101-01-02', EXPIRY_DATE = '2102-01-01'"),
        (15232, "CREATE CERTIFICATE A_cert WITH SUBJECT = 'x'"),
        (15232, "CREATE CERTIFICATE again FROM FILE = 'a.cer'"),
        (15240, "BACKUP CERTIFICATE A_cert TO FILE = 'a.cer'"),
        (15240, "BACKUP MASTER KEY TO FILE = 'a.cer' ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'"),
        (15276, "EXEC sp_control_dbmasterkey_password 'master', 'x', 'add'"),
        (15297, "CREATE CERTIFICATE x FROM BINARY = 0x3000"),
        (15313, "OPEN MASTER KEY DECRYPTION BY PASSWORD = 'wrong'"),
        (15313, "ALTER MASTER KEY DROP ENCRYPTION BY PASSWORD = 'wrong'"),
        (15315, "CLOSE MASTER KEY"),
        (15317, "RESTORE MASTER KEY FROM FILE = 'dmk.bad' DECRYPTION BY PASSWORD = 'x' ENCRYPTION BY PASSWORD = '<2_Strong_Password!>'"),
        (15317, "RESTORE SERVICE MASTER KEY FROM FILE = 'absent' DECRYPTION BY PASSWORD = 'x'"),
        (15332, "ALTER CERTIFICATE A_cert WITH PRIVATE KEY (FILE = 'a.pk8', DECRYPTION BY PASSWORD = '<2_Strong_Password!>')"),
        (15334, "ALTER CERTIFICATE pw_cert WITH PRIVATE KEY (ENCRYPTION BY PASSWORD = '<2_Strong_Password!>')"),
        (15345, "CREATE CERTIFICATE x AUTHORIZATION [public] WITH SUBJECT = 'x'"),
        (15345, "ALTER AUTHORIZATION ON CERTIFICATE::A_cert TO db_owner"),
        (15397, "ALTER CERTIFICATE A_cert WITH PRIVATE KEY (DECRYPTION BY PASSWORD = 'x')"),
        (15448, "ALTER SERVICE MASTER KEY ADD ENCRYPTION BY MACHINE KEY"),
        (15451, "ALTER SERVICE MASTER KEY DROP ENCRYPTION BY MACHINE KEY"),
        (40510, "ALTER SERVICE MASTER KEY WITH OLD_ACCOUNT = 'a', OLD_PASSWORD = 'b'"),
        (15465, "CREATE CERTIFICATE x FROM FILE = 'p.cer' WITH PRIVATE KEY (FILE = 'a.pk8', DECRYPTION BY PASSWORD = 'wrong')"),
        (15465, "CREATE CERTIFICATE x FROM FILE = 'p.cer' WITH PRIVATE KEY (FILE = 'a.pk8')"),
        (15474, "CREATE CERTIFICATE x FROM FILE = 'p.cer' WITH PRIVATE KEY (FILE = 'a.pk8', DECRYPTION BY PASSWORD = '<2_Strong_Password!>')"),
        (15468, "CREATE CERTIFICATE x WITH SUBJECT = 'x', START_DATE = '1960-01-01', EXPIRY_DATE = '2030-01-01'"),
        (33069, "CREATE CERTIFICATE x FROM FILE = 'p.cer' WITH PRIVATE KEY (BINARY = 0x00)"),
        (15578, "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        (15579, "ALTER MASTER KEY ADD ENCRYPTION BY SERVICE MASTER KEY"),
        (15579, "ALTER MASTER KEY ADD ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        (15557, "ALTER MASTER KEY DROP ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        (15580, "DROP MASTER KEY"),
        (15530, "EXEC sp_control_dbmasterkey_password 'd', 'x', 'add'; EXEC sp_control_dbmasterkey_password 'd', 'x', 'add'"),
        (15151, "EXEC sp_control_dbmasterkey_password 'd', 'unknown', 'drop'"),
        (911, "EXEC sp_control_dbmasterkey_password 'nowhere', 'x', 'add'"),
        (201, "EXEC sp_control_dbmasterkey_password 'd', 'x'"),
        (214, "EXEC sp_control_dbmasterkey_password 'd', 1, 'add'"),
        (15233, "EXEC sp_control_dbmasterkey_password 'd', 'x', 'change'"),
    ]
    .into_iter()
    .map(|(number, sql)| (number, sql.to_owned()))
    .chain([
        (15117, format!("CREATE LOGIN x WITH PASSWORD = '{}'", "aB1!".repeat(40))),
        (15299, format!("CREATE CERTIFICATE unsigned FROM BINARY = {unsigned}")),
    ])
    .collect();
    for (number, sql) in cases {
        let collected = f.run(&sql);
        let numbers: Vec<u32> = collected.messages.iter().map(|message| message.number).collect();
        assert!(
            numbers.contains(&number),
            "{number}: {sql} gave {:?}",
            collected.messages
        );
    }
    f.ok("CREATE USER mapped FOR CERTIFICATE pw_cert;
          CREATE ENDPOINT e AUTHORIZATION l2 STATE = STOPPED AS TCP (LISTENER_PORT = 7024) FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL);
          ALTER AUTHORIZATION ON CERTIFICATE::w1 TO u1");
    for (number, sql) in [
        (3716, "DROP CERTIFICATE A_cert"),
        (15138, "DROP USER u1"),
        (15141, "DROP LOGIN l2"),
        (15559, "DROP CERTIFICATE pw_cert"),
    ] {
        assert_eq!(f.refused(sql), [number], "{sql}");
    }
    // In the other database.
    f.ok("USE d");
    for (number, sql) in [
        (
            15246,
            "BACKUP CERTIFICATE pub TO FILE = 'y.cer' WITH PRIVATE KEY (FILE = 'y.pk8', ENCRYPTION BY PASSWORD = '<2_Strong_Password!>')",
        ),
        (15342, "ALTER CERTIFICATE pub REMOVE PRIVATE KEY"),
        (4621, "GRANT CONNECT ON ENDPOINT::e TO l1"),
    ] {
        assert_eq!(f.refused(sql), [number], "{sql}");
    }
    f.ok("ALTER MASTER KEY DROP ENCRYPTION BY SERVICE MASTER KEY");
    for (number, sql) in [
        (15558, "ALTER MASTER KEY DROP ENCRYPTION BY SERVICE MASTER KEY"),
        (15581, "CREATE CERTIFICATE x WITH SUBJECT = 'x'"),
        (
            15329,
            "ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'",
        ),
    ] {
        assert_eq!(f.refused(sql), [number], "{sql}");
    }
    // What only damage can raise.
    f.ok("USE master");
    f.tamper("UPDATE certificate SET private_key = x'3000' WHERE name = 'A_cert'");
    assert_eq!(
        f.refused("BACKUP CERTIFICATE A_cert TO FILE = 'z.cer' WITH PRIVATE KEY (FILE = 'z.pk8', ENCRYPTION BY PASSWORD = '<2_Strong_Password!>')"),
        [15507]
    );
    assert_eq!(
        f.refused("ALTER MASTER KEY REGENERATE WITH ENCRYPTION BY PASSWORD = '<1_Strong_Password!>'"),
        [15320]
    );
    let damaged = {
        let master = f.instance.master();
        let mut by = catalog_keys::row(&master, 1)
            .unwrap()
            .unwrap()
            .by_service_master_key
            .unwrap();
        *by.wrapped.last_mut().unwrap() ^= 1;
        master
            .execute(
                "UPDATE master_key SET by_service_master_key = ?1 WHERE database_id = 1",
                [by.wrapped],
            )
            .unwrap()
    };
    assert_eq!(damaged, 1);
    assert_eq!(f.refused("CREATE CERTIFICATE x WITH SUBJECT = 'x'"), [15466]);
}

/// A message that quotes a statement must not quote its password.
#[test]
fn no_message_repeats_a_password() {
    let mut f = Fixture::new();
    f.keys();
    let secret = "Canary-7-Canary";
    for sql in [
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{}'",
        "OPEN MASTER KEY DECRYPTION BY PASSWORD = '{}'",
        "OPEN MASTER KEY DECRYPTION BY PASSWORD '{}'",
        "ALTER MASTER KEY DROP ENCRYPTION BY PASSWORD = '{}'",
        "BACKUP MASTER KEY TO FILE = 'a/../b' ENCRYPTION BY PASSWORD = '{}'",
        "RESTORE MASTER KEY FROM FILE = 'absent' DECRYPTION BY PASSWORD = '{}' ENCRYPTION BY PASSWORD = '{}'",
        "RESTORE SERVICE MASTER KEY FROM FILE = 'absent' DECRYPTION BY PASSWORD = '{}'",
        "ALTER SERVICE MASTER KEY WITH OLD_ACCOUNT = 'a', OLD_PASSWORD = '{}'",
        "EXEC sp_control_dbmasterkey_password 'nowhere', '{}', 'add'",
        "EXEC sp_control_dbmasterkey_password 'master', '{}', 'add'",
        "EXEC sp_control_dbmasterkey_password '{}'",
        "CREATE CERTIFICATE x FROM FILE = 'absent' WITH FORMAT = 'PFX', PRIVATE KEY (DECRYPTION BY PASSWORD = '{}')",
        "SELECT CERTPRIVATEKEY(CERT_ID('A_cert'), '{}', '{}')",
    ] {
        let collected = f.run(&sql.replace("{}", secret));
        for message in &collected.messages {
            assert!(!message.text.contains(secret), "{sql}: {message:?}");
        }
        assert!(collected.messages.iter().any(Message::is_error), "{sql}");
    }
    let log = std::fs::read_to_string(f.instance.dir().error_log()).unwrap_or_default();
    assert!(!log.contains(secret));
}
