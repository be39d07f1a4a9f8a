//! The documented preparation of a mirror from backups, and what RESTORE refuses.

use dbmirror_tests::processes::*;

#[test]
fn sets_are_restored_in_order_or_refused_by_number() {
    let pair = pair(97);
    let (a, b) = (&pair.a, &pair.b);
    a.ok("CREATE DATABASE Sales; ALTER DATABASE Sales SET RECOVERY FULL");
    let file = a.dir.join("data/Sales.db");
    open(&file)
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
    let write = |rows: i64| {
        let db = open(&file);
        for n in 0..rows {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
                .expect("a commit");
        }
    };
    write(50);
    assert_eq!(a.refusals("BACKUP LOG Sales TO DISK = 'Sales.bak'"), [4214, 3013]);
    a.ok("BACKUP DATABASE Sales TO DISK = 'Sales.bak' WITH FORMAT");
    write(20);
    a.ok("BACKUP LOG Sales TO DISK = 'Sales.bak'");
    write(20);
    a.ok("BACKUP LOG Sales TO DISK = 'Sales.bak' WITH NAME = 'third'");
    copy_certificate(a, b, "Sales.bak");
    let restore = |what: &str, set: u32| {
        format!("RESTORE {what} Sales FROM DISK = 'Sales.bak' WITH FILE = {set}, NORECOVERY")
    };
    assert_eq!(b.refusals(&restore("LOG", 2)), [3118, 3013]);
    assert_eq!(b.refusals(&restore("DATABASE", 2)), [3135, 3013]);
    assert_eq!(b.refusals(&restore("DATABASE", 4)), [3287, 3013]);
    b.ok(&restore("DATABASE", 1));
    assert_eq!(b.refusals(&restore("LOG", 1)), [3136, 3013]);
    assert_eq!(b.refusals(&restore("LOG", 3)), [4305, 3013]);
    b.ok(&restore("LOG", 2));
    b.ok(&restore("LOG", 3));
    assert_eq!(b.refusals(&restore("LOG", 2)), [4326, 3013]);
    assert_eq!(b.refusals("USE Sales"), [927]);
    b.ok(&format!("ALTER DATABASE Sales SET PARTNER = '{}'", a.url()));
    a.ok(&format!("ALTER DATABASE Sales SET PARTNER = '{}'", b.url()));
    write(10);
    pair.assert_level_and_equal("Sales", &file);
    let (copy, ..) = b.checkpoint("Sales");
    assert_eq!(count(&copy), 100);
    assert_eq!(
        b.refusals("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH NORECOVERY, REPLACE"),
        [3104, 3013]
    );

    // The session ends; the copy is recovered and goes on alone.
    a.ok("ALTER DATABASE Sales SET PARTNER OFF");
    b.await_mirroring("Sales", "mirroring_guid", "NULL");
    b.ok("RESTORE DATABASE Sales WITH RECOVERY");
    assert_eq!(
        b.lines("SELECT state_desc FROM sys.databases WHERE name = 'Sales'"),
        ["ONLINE"]
    );
    assert_eq!(b.refusals("RESTORE DATABASE Sales WITH RECOVERY"), [3117, 3013]);
    assert_eq!(
        b.refusals("RESTORE DATABASE Sales FROM DISK = 'Sales.bak'"),
        [3159, 3013]
    );
    open(&copy)
        .execute("INSERT INTO t (v) VALUES ('alone')", [])
        .expect("a commit");
    b.ok("RESTORE DATABASE Sales FROM DISK = 'Sales.bak' WITH REPLACE");
    assert_eq!(count(&b.dir.join("data/Sales.db")), 50);
    b.ok("CREATE DATABASE Other");
    assert_eq!(
        b.refusals("RESTORE DATABASE Other FROM DISK = 'Sales.bak' WITH NORECOVERY"),
        [3154, 3013]
    );
}
