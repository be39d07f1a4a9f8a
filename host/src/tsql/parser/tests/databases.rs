use super::{one, refused};
use crate::tsql::ast::*;

#[test]
fn databases() {
    let create = |text: &str| match one(&format!("CREATE DATABASE {text}")) {
        StatementKind::CreateDatabase(create) => create,
        other => panic!("{other:?}"),
    };
    assert!(create("Sales").files.is_empty());
    let attach = create("[Sales db] ON (FILENAME = '/srv/sales.db') FOR ATTACH");
    assert!(attach.attach && attach.files[0].filename.value == "/srv/sales.db");
    let full = create(
        "s ON PRIMARY (NAME = s_data, FILENAME = 'a'), (NAME = 'b', FILENAME = 'b') LOG ON (FILENAME = 'l')",
    );
    assert_eq!(
        (full.files.len(), full.log_files.len(), full.attach),
        (2, 1, false)
    );
    assert_eq!(refused("CREATE DATABASE s FOR ATTACH"), (7801, 15, 1));
    assert_eq!(refused("CREATE DATABASE s ON (NAME = n)"), (7801, 15, 1));
    assert_eq!(
        refused("CREATE DATABASE s ON (FILENAME = 'f', SIZE = 10)"),
        (40510, 16, 1)
    );

    let option = |text: &str| match one(&format!("ALTER DATABASE s SET {text}")) {
        StatementKind::AlterDatabase {
            database: Some(_),
            option,
        } => option,
        other => panic!("{other:?}"),
    };
    let partner = |text: &str| match option(&format!("PARTNER {text}")) {
        DatabaseOption::Partner(partner) => partner,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        option("RECOVERY BULK_LOGGED"),
        DatabaseOption::Recovery(RecoveryModel::BulkLogged)
    );
    let PartnerOption::Address {
        address,
        seeding_mode,
    } = partner("= 'TCP://b:7024' WITH (SEEDING_MODE = AUTOMATIC)")
    else {
        panic!()
    };
    assert_eq!(
        (address.value.as_str(), seeding_mode),
        ("TCP://b:7024", Some(SeedingMode::Automatic))
    );
    for (text, expected) in [
        ("OFF", PartnerOption::Off),
        ("FAILOVER", PartnerOption::Failover),
        (
            "FORCE_SERVICE_ALLOW_DATA_LOSS",
            PartnerOption::ForceServiceAllowDataLoss,
        ),
        ("SUSPEND", PartnerOption::Suspend),
        ("RESUME", PartnerOption::Resume),
        ("SAFETY FULL", PartnerOption::Safety(SafetyLevel::Full)),
        ("SAFETY OFF", PartnerOption::Safety(SafetyLevel::Off)),
        ("TIMEOUT 20", PartnerOption::Timeout(20)),
        ("TIMEOUT 99999999999", PartnerOption::Timeout(u32::MAX)),
        (
            "REDO_QUEUE UNLIMITED",
            PartnerOption::RedoQueue(RedoQueue::Unlimited),
        ),
        (
            "REDO_QUEUE 2 GB",
            PartnerOption::RedoQueue(RedoQueue::KiB(2 << 20)),
        ),
        ("REDO_QUEUE 3", PartnerOption::RedoQueue(RedoQueue::KiB(3 << 10))),
    ] {
        assert_eq!(partner(text), expected, "{text}");
    }
    assert!(matches!(
        option("WITNESS = 'TCP://w:1'"),
        DatabaseOption::Witness(WitnessOption::Address(_))
    ));
    assert_eq!(option("WITNESS OFF"), DatabaseOption::Witness(WitnessOption::Off));
    assert!(matches!(
        one("ALTER DATABASE CURRENT SET PARTNER OFF"),
        StatementKind::AlterDatabase { database: None, .. }
    ));
    assert_eq!(refused("ALTER DATABASE s SET READ_ONLY"), (40510, 16, 1));
    assert_eq!(
        refused("ALTER DATABASE s SET PARTNER OFF, RECOVERY FULL"),
        (40510, 16, 1)
    );
    assert_eq!(refused("ALTER DATABASE s SET PARTNER"), (102, 15, 1));
    assert_eq!(refused("ALTER DATABASE s SET PARTNER MAYBE"), (102, 15, 1));
    let StatementKind::DropDatabase {
        databases,
        if_exists: true,
    } = one("DROP DATABASE IF EXISTS a, [b c]")
    else {
        panic!()
    };
    assert_eq!(databases.len(), 2);
    assert!(matches!(one("USE master"), StatementKind::Use { database } if database.value == "master"));
}

#[test]
fn backup_and_restore() {
    let StatementKind::Backup(backup) =
        one("BACKUP DATABASE Sales TO DISK = 'Sales.bak' WITH FORMAT, STATS, NAME = 'n'")
    else {
        panic!()
    };
    assert_eq!(
        (backup.kind, backup.options.format, backup.options.stats),
        (BackupKind::Database, Some(true), Some(10))
    );
    let StatementKind::Backup(log) = one("BACKUP LOG Sales TO DISK = 'Sales.bak' WITH NORECOVERY, NOINIT")
    else {
        panic!()
    };
    assert!(log.options.norecovery && log.options.init == Some(false));
    let StatementKind::Restore(restore) = one(
        "RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY, MOVE \
         'a' TO 'b'",
    ) else {
        panic!()
    };
    assert_eq!(
        (restore.options.file, &restore.options.recovery),
        (Some(2), &RestoreRecovery::Norecovery)
    );
    assert_eq!(restore.options.moves.len(), 1);
    let StatementKind::Restore(recover) = one("RESTORE DATABASE Sales WITH RECOVERY") else {
        panic!()
    };
    assert!(recover.disk.is_none() && recover.options.recovery == RestoreRecovery::Recovery);
    assert_eq!(
        refused("RESTORE DATABASE s WITH RECOVERY, NORECOVERY"),
        (7816, 15, 1)
    );
    assert_eq!(
        refused("RESTORE DATABASE s FROM DISK = 'f' WITH FILE = 0"),
        (7810, 15, 1)
    );
    assert_eq!(
        refused("BACKUP DATABASE s TO DISK = 'f' WITH NO_TRUNCATE"),
        (7803, 15, 1)
    );
    assert_eq!(refused("BACKUP DATABASE s TO URL = 'f'"), (40510, 16, 1));
    assert_eq!(refused("RESTORE HEADERONLY FROM DISK = 'f'"), (40510, 16, 1));
}

#[test]
fn procedures() {
    let execute = |text: &str| match one(text) {
        StatementKind::Execute(execute) => execute,
        other => panic!("{other:?}"),
    };
    assert_eq!(execute("EXEC sp_readerrorlog").name(), "sp_readerrorlog");
    assert_eq!(execute("sp_readerrorlog 0, 1, N'x'").arguments.len(), 3);
    let call = execute("EXECUTE master..sp_x 'it''s', -5, 1.5, 0xFF, NULL, word, @a = DEFAULT, @b = [c d]");
    assert_eq!(call.procedure.len(), 2);
    let values: Vec<&Literal> = call.arguments.iter().map(|argument| &argument.value).collect();
    let text = |text: &str| Literal::Text(text.to_owned());
    assert_eq!(
        values,
        [
            &text("it's"),
            &Literal::Int(-5),
            &Literal::Decimal("1.5".to_owned()),
            &Literal::Binary(vec![255]),
            &Literal::Null,
            &text("word"),
            &Literal::Default,
            &text("c d"),
        ]
    );
    assert_eq!(call.arguments[7].name.as_ref().unwrap().value, "b");
    assert_eq!(refused("EXEC p @a = 1, 2"), (119, 15, 1));
    assert_eq!(refused("EXEC p @a"), (137, 15, 1));
    assert_eq!(refused("EXEC ('text')"), (40510, 16, 1));
    assert_eq!(
        refused("PRINT 'a' sp_who"),
        (102, 15, 1),
        "a bare procedure only begins a batch"
    );
}
