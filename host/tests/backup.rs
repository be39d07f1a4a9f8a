//! The documented preparation of a mirror from backups, and what RESTORE refuses.

mod common;

use common::{count, equal_files, level, pair, sample, wait_for, write};
use rusqlite::Connection;

#[test]
fn preparation_from_backups() {
    let root = tempfile::tempdir().unwrap();
    let [a, b] = pair(root.path(), ["127.84.3.1", "127.84.3.2"]);
    a.ok("CREATE DATABASE Sales; ALTER DATABASE Sales SET RECOVERY FULL");
    let file = a.dir.join("data/Sales.db");
    sample(&file, 50);
    assert_eq!(a.refused("BACKUP LOG Sales TO DISK = 'Sales.bak'"), [4214, 3013]);
    a.ok("BACKUP DATABASE Sales TO DISK = 'Sales.bak' WITH FORMAT");
    write(&Connection::open(&file).unwrap(), 20);
    a.ok("BACKUP LOG Sales TO DISK = 'Sales.bak'");
    write(&Connection::open(&file).unwrap(), 20);
    a.ok("BACKUP LOG Sales TO DISK = 'Sales.bak' WITH NAME = 'third'");
    std::fs::copy(a.dir.join("backup/Sales.bak"), b.dir.join("backup/Sales.bak")).unwrap();
    assert_eq!(
        b.refused("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY"),
        [3118, 3013]
    );
    assert_eq!(
        b.refused("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY"),
        [3135, 3013]
    );
    assert_eq!(
        b.refused("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH FILE = 4, NORECOVERY"),
        [3287, 3013]
    );
    b.ok("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH FILE = 1, NORECOVERY");
    assert_eq!(
        b.refused("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 1, NORECOVERY"),
        [3136, 3013]
    );
    assert_eq!(
        b.refused("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 3, NORECOVERY"),
        [4305, 3013]
    );
    b.ok("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY");
    b.ok("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 3, NORECOVERY");
    assert_eq!(
        b.refused("RESTORE LOG Sales FROM DISK = 'Sales.bak' WITH FILE = 2, NORECOVERY"),
        [4326, 3013]
    );
    assert_eq!(b.refused("USE Sales"), [927]);
    b.ok("ALTER DATABASE Sales SET PARTNER = 'TCP://127.84.3.1:7024'");
    a.ok("ALTER DATABASE Sales SET PARTNER = 'TCP://127.84.3.2:7024'");
    write(&Connection::open(&file).unwrap(), 10);
    level(&a, &b, "FULL");
    let (_, copy) = equal_files(&a, &b);
    assert_eq!(count(&copy), 100);
    assert_eq!(
        b.refused("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH NORECOVERY, REPLACE"),
        [3104, 3013]
    );

    // The session ends; the copy is recovered and goes on alone.
    a.ok("ALTER DATABASE Sales SET PARTNER OFF");
    wait_for("the mirror hears of the end", || {
        b.rows("SELECT mirroring_guid FROM sys.database_mirroring WHERE database_id > 4") == ["NULL"]
    });
    b.ok("RESTORE DATABASE Sales WITH RECOVERY");
    assert_eq!(
        b.rows("SELECT state_desc FROM sys.databases WHERE name = 'Sales'"),
        ["ONLINE"]
    );
    assert_eq!(b.refused("RESTORE DATABASE Sales WITH RECOVERY"), [3117, 3013]);
    assert_eq!(
        b.refused("RESTORE DATABASE Sales FROM DISK = 'Sales.bak'"),
        [3159, 3013]
    );
    write(&Connection::open(&copy).unwrap(), 1);
    b.ok("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH REPLACE");
    assert_eq!(count(&b.dir.join("data/Sales.db")), 50);
    b.ok("CREATE DATABASE Other");
    assert_eq!(
        b.refused("RESTORE DATABASE Other FROM DISK = 'Sales.bak' WITH NORECOVERY"),
        [3154, 3013]
    );
}
