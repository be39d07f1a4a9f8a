//! A database crosses from one instance to the other: by automatic seeding, and by the documented preparation from backups.

mod common;

use std::path::{Path, PathBuf};

use common::{STATE, Server, count, equal_files, level, pair, sample, wait_for, write};
use rusqlite::Connection;

#[test]
fn databases_are_made_attached_and_dropped() {
    let root = tempfile::tempdir().unwrap();
    let a = Server::start(root.path(), "HOST_A", "127.84.1.1");
    a.ok("CREATE DATABASE Sales");
    assert_eq!(a.refused("CREATE DATABASE sales"), [1801, 1802]);
    let file = PathBuf::from(
        a.rows("SELECT physical_name FROM sys.databases WHERE name = 'Sales'")
            .remove(0),
    );
    assert_eq!(file, a.dir.canonicalize().unwrap().join("data/Sales.db"));
    let mode: String = Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(a.rows("USE Sales; SELECT DB_NAME()"), ["Sales"]);
    let refused = a.run("USE Sales; SELECT * FROM orders");
    assert!(
        refused
            .messages
            .iter()
            .any(|m| m.number == 208 && m.text.contains("Sales.db")),
        "{:?}",
        refused.messages
    );
    assert_eq!(a.refused("USE Sales; DROP DATABASE Sales"), [3702]);

    let rollback = root.path().join("rollback.db");
    Connection::open(&rollback)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let attach = |name: &str, path: &Path| {
        format!(
            "CREATE DATABASE {name} ON (FILENAME = '{}') FOR ATTACH",
            path.display()
        )
    };
    let refused = a.run(&attach("R", &rollback));
    assert_eq!(refused.errors(), [5120, 1802]);
    assert!(
        refused.messages[0].text.contains("PRAGMA journal_mode = WAL"),
        "{:?}",
        refused.messages
    );
    std::fs::write(
        root.path().join("text"),
        "not a database, and longer than a header",
    )
    .unwrap();
    assert_eq!(a.refused(&attach("R", &root.path().join("text"))), [5172, 1802]);
    assert_eq!(a.refused(&attach("R", &root.path().join("none"))), [5133, 1802]);
    assert_eq!(a.refused(&attach("R", Path::new("relative.db"))), [5133, 1802]);
    assert_eq!(a.refused(&attach("R", &file)), [5120, 1802]);
    assert_eq!(a.refused(&attach("R", &a.dir.join("master.db"))), [5120, 1802]);
    let app = root.path().join("app.db");
    sample(&app, 10);
    a.ok(&attach("App", &app));
    assert_eq!(a.rows("SELECT name, state_desc, recovery_model_desc FROM sys.databases WHERE database_id > 4 ORDER BY name"),
        ["App|ONLINE|FULL", "Sales|ONLINE|FULL"]);
    // Both survive a restart.
    let dir = a.dir.clone();
    assert_eq!(a.stop(), 0);
    let a = Server::start_at(&dir, "HOST_A", "127.84.1.1");
    assert_eq!(
        a.rows("SELECT name, state_desc FROM sys.databases WHERE database_id > 4 ORDER BY name"),
        ["App|ONLINE", "Sales|ONLINE"]
    );
    a.ok("DROP DATABASE App, Sales");
    assert!(app.exists(), "an attached file stays");
    assert!(!file.exists());
    assert_eq!(count(&app), 10);
    assert_eq!(a.refused("DROP DATABASE master"), [3708]);
}

#[test]
fn automatic_seeding() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.84.2.1", "127.84.2.2"]);
    let app = root.path().join("sales.db");
    sample(&app, 200);
    a.ok(&format!(
        "CREATE DATABASE Sales ON (FILENAME = '{}') FOR ATTACH",
        app.display()
    ));
    b.ok("ALTER DATABASE Sales SET PARTNER = 'TCP://127.84.2.1:7024' WITH (SEEDING_MODE = AUTOMATIC)");
    assert_eq!(
        b.rows("SELECT state_desc FROM sys.databases WHERE name = 'Sales'"),
        ["RESTORING"]
    );
    a.ok("ALTER DATABASE Sales SET PARTNER = 'TCP://127.84.2.2:7024'");
    level(&a, &b, "FULL");
    write(&Connection::open(&app).unwrap(), 300);
    level(&a, &b, "FULL");
    let (_, copy) = equal_files(&a, &b);
    assert_eq!(count(&copy), 500);
    assert_eq!(
        a.rows("SELECT mirroring_role, mirroring_state, mirroring_role_sequence, mirroring_safety_level, mirroring_safety_sequence,
                       mirroring_partner_name, mirroring_partner_instance, mirroring_witness_name, mirroring_connection_timeout,
                       mirroring_redo_queue_type FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL"),
        ["1|4|1|2|1|TCP://127.84.2.2:7024|HOST_B|NULL|10|UNLIMITED"]
    );
    // The copy is of the principal's family now.
    let family = |server: &Server| {
        server.rows("SELECT family_guid FROM sys.database_recovery_status WHERE database_id > 4")
    };
    wait_for("the catalog follows the seed", || family(&a) == family(&b));
    assert_eq!(b.refused("USE Sales"), [954]);
    assert_eq!(a.refused("DROP DATABASE Sales"), [3743]);
    assert_eq!(
        a.refused("ALTER DATABASE Sales SET RECOVERY SIMPLE"),
        [1468, 5069]
    );
    assert_eq!(
        a.refused("ALTER DATABASE Sales SET PARTNER = 'TCP://127.84.2.2:7024'"),
        [1405, 5069]
    );
    assert_eq!(
        b.refused("ALTER DATABASE Sales SET PARTNER SAFETY OFF"),
        [1470, 5069]
    );
    a.ok("ALTER DATABASE Sales SET PARTNER SAFETY OFF");
    write(&Connection::open(&app).unwrap(), 5);
    level(&a, &b, "OFF");

    a.ok("ALTER DATABASE Sales SET PARTNER TIMEOUT 3");
    wait_for("a time-out below 5 is 5", || {
        a.rows("SELECT mirroring_connection_timeout FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL") == ["5"]
    });
    a.ok("ALTER DATABASE Sales SET PARTNER SUSPEND");
    wait_for("the session is suspended", || {
        a.rows(STATE) == ["PRINCIPAL|SUSPENDED|OFF"]
    });
    write(&Connection::open(&app).unwrap(), 3);
    a.ok("ALTER DATABASE Sales SET PARTNER RESUME");
    level(&a, &b, "OFF");

    // Both are restarted: the session goes on by itself.
    let dirs = [a.dir.clone(), b.dir.clone()];
    assert_eq!(a.stop(), 0);
    write(&Connection::open(&app).unwrap(), 5);
    b.kill();
    let a = Server::start_at(&dirs[0], "HOST_A", "127.84.2.1");
    let b = Server::start_at(&dirs[1], "HOST_B", "127.84.2.2");
    level(&a, &b, "OFF");
    let (_, copy) = equal_files(&a, &b);
    assert_eq!(count(&copy), 513);
    a.ok("ALTER DATABASE Sales SET PARTNER OFF");
    wait_for("the mirror hears of the end", || {
        b.rows("SELECT mirroring_guid FROM sys.database_mirroring WHERE database_id > 4") == ["NULL"]
    });
    a.ok("DROP DATABASE Sales");
    b.ok("DROP DATABASE Sales");
}

#[test]
fn sessions_that_cannot_start_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.84.4.1", "127.84.4.2"]);
    a.ok("CREATE DATABASE Sales");
    let partner = |address: &str| format!("ALTER DATABASE Sales SET PARTNER = '{address}'");
    assert_eq!(a.refused(&partner("HTTP://x:1")), [1449, 5069]);
    assert_eq!(a.refused(&partner("TCP://127.84.4.1:7024")), [1452, 5069]);
    let closed = a.run(&partner("TCP://127.84.4.9:7024"));
    assert_eq!(closed.errors(), [1418, 5069], "{:?}", closed.messages);
    assert!(
        closed.messages[0].text.contains("Nobody listens"),
        "{:?}",
        closed.messages
    );
    assert_eq!(a.refused(&partner("TCP://127.84.4.2:7024")), [1448, 5069]);
    // The principal first: the other copy does not wait for it.
    b.ok("CREATE DATABASE Sales");
    assert_eq!(a.refused(&partner("TCP://127.84.4.2:7024")).last(), Some(&5069));
    assert_eq!(a.refused("ALTER DATABASE Sales SET PARTNER OFF"), [1416, 5069]);
    assert_eq!(
        a.refused("ALTER DATABASE Sales SET PARTNER TIMEOUT 40000"),
        [1476, 5069]
    );
    a.ok("ALTER DATABASE Sales SET RECOVERY SIMPLE");
    assert_eq!(a.refused(&partner("TCP://127.84.4.2:7024")), [1465, 5069]);
    assert_eq!(a.refused("BACKUP LOG Sales TO DISK = 'x.bak'"), [4208, 3013]);
    for server in [&a, &b] {
        assert_eq!(
            server.rows("SELECT mirroring_guid FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL"),
            [""; 0]
        );
    }
    a.ok("ALTER ENDPOINT Endpoint_Mirroring STATE = STOPPED; ALTER DATABASE Sales SET RECOVERY FULL");
    assert_eq!(a.refused(&partner("TCP://127.84.4.2:7024")), [1486, 5069]);
}
