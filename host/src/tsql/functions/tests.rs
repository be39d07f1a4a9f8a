use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::{Context, failure, register};
use crate::tsql::ast::StatementKind;
use crate::tsql::parse;

struct Fixed;

impl Context for Fixed {
    fn server_name(&self) -> String {
        "HOST_A".to_owned()
    }
    fn version(&self) -> String {
        "dbmirror 1".to_owned()
    }
    fn session_id(&self) -> i64 {
        51
    }
    fn database_name(&self, id: Option<i64>) -> Option<String> {
        (id.unwrap_or(1) == 1).then(|| "master".to_owned())
    }
    fn database_id(&self, name: Option<&str>) -> Option<i64> {
        name.unwrap_or("master")
            .eq_ignore_ascii_case("master")
            .then_some(1)
    }
    fn server_property(&self, name: &str) -> Option<crate::tsql::Value> {
        name.eq_ignore_ascii_case("IsClustered")
            .then_some(crate::tsql::Value::Int(0))
    }
    fn original_login(&self) -> String {
        "sa".to_owned()
    }
    fn login_of_id(&self, id: i64) -> Option<String> {
        (id == 1).then(|| "sa".to_owned())
    }
    fn login_id(&self, name: Option<&str>) -> Option<i64> {
        name.is_none_or(|name| name == "sa").then_some(1)
    }
    fn user_of_id(&self, id: i64) -> Option<String> {
        (id == 1).then(|| "dbo".to_owned())
    }
    fn is_role_member(&self, role: &str, _: Option<&str>) -> Option<bool> {
        (role == "sysadmin").then_some(true)
    }
    fn login_name(&self) -> String {
        "sa".to_owned()
    }
    fn login_of(&self, sid: &[u8]) -> Option<String> {
        (sid == [1]).then(|| "sa".to_owned())
    }
    fn certificate_id(&self, name: &str) -> Option<i64> {
        (name == "c").then_some(256)
    }
    fn certificate_der(&self, id: i64) -> Option<Vec<u8>> {
        (id == 256).then(|| vec![0x30, 0])
    }
    fn certificate_property(&self, id: i64, name: &str) -> Option<crate::tsql::Value> {
        (id == 256 && name == "Subject").then(|| crate::tsql::Value::from("CN"))
    }
    fn certificate_private_key(
        &self,
        id: i64,
        encryption: &str,
        decryption: Option<&str>,
    ) -> core::result::Result<Option<Vec<u8>>, (u32, String)> {
        match decryption {
            Some(_) => Err((15147, "not allowed".to_owned())),
            None => Ok((id == 256).then(|| encryption.as_bytes().to_vec())),
        }
    }
    fn user_name(&self) -> String {
        "dbo".to_owned()
    }
}

fn connection() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    register(&connection, Arc::new(Fixed)).unwrap();
    connection
        .execute_batch(
            "ATTACH ':memory:' AS sys;
             CREATE TABLE sys.databases (name TEXT, database_id INTEGER, state_desc TEXT, create_date TEXT, owner_sid BLOB);
             INSERT INTO sys.databases VALUES
               ('master', 1, 'ONLINE', '2026-01-01 00:00:00.000', x'01'),
               ('Sales', 5, 'RESTORING', '2026-03-01 12:00:00.000', x'01'),
               ('Alpha_1', 6, 'ONLINE', NULL, x'02');",
        )
        .unwrap();
    connection
}

fn run(text: &str) -> Result<Vec<Vec<Value>>, rusqlite::Error> {
    let batch = parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let [statement] = batch.statements.as_slice() else {
        panic!("{text}")
    };
    let StatementKind::Select(query) = &statement.kind else {
        panic!("{text}")
    };
    let connection = connection();
    let mut prepared = connection
        .prepare(&query.sqlite)
        .unwrap_or_else(|error| panic!("{}\n{error}", query.sqlite));
    let columns = prepared.column_count();
    let rows = prepared.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
    rows.collect()
}

/// The one value of a query.
fn value(expression: &str) -> Value {
    run(&format!("SELECT {expression}")).unwrap().remove(0).remove(0)
}

fn text(expression: &str) -> String {
    match value(expression) {
        Value::Text(text) => text,
        other => panic!("{expression}: {other:?}"),
    }
}

fn number(expression: &str) -> i64 {
    match value(expression) {
        Value::Integer(number) => number,
        other => panic!("{expression}: {other:?}"),
    }
}

/// The message number with which an expression fails when it runs.
fn fails(expression: &str) -> u32 {
    let error = run(&format!("SELECT {expression}")).unwrap_err();
    failure(&error).unwrap_or_else(|| panic!("{error}")).0
}

fn names(query: &str) -> Vec<String> {
    let rows = run(query).unwrap();
    rows.into_iter()
        .map(|mut row| match row.remove(0) {
            Value::Text(text) => text,
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn plus_joins_or_adds() {
    assert_eq!(text("'a' + N'b' + 'c'"), "abc");
    assert_eq!(number("1 + 2 * 3 - 4"), 3);
    assert_eq!(number("'1' + 2"), 3);
    assert_eq!(value("'a' + NULL"), Value::Null);
    assert_eq!(value("0x01 + 0x02"), Value::Blob(vec![1, 2]));
    assert_eq!(value("1.5 + 1"), Value::Real(2.5));
    assert_eq!(fails("'a' + 1"), 245);
    assert_eq!(fails("9223372036854775807 + 1"), 8115);
    assert_eq!(number("- -5 + ~0"), 4);
}

#[test]
fn names_compare_without_case() {
    assert_eq!(
        names("SELECT name FROM sys.databases WHERE name = 'SALES'"),
        ["Sales"]
    );
    assert_eq!(
        names("SELECT name FROM SYS.Databases WHERE 'sales' = NAME"),
        ["Sales"]
    );
    assert_eq!(
        names("SELECT name FROM sys.databases WHERE name IN ('MASTER', 'x')"),
        ["master"]
    );
    assert_eq!(
        names("SELECT name FROM sys.databases WHERE name NOT IN (SELECT 'MASTER') ORDER BY 1"),
        ["Alpha_1", "Sales"]
    );
    assert_eq!(
        names("SELECT name FROM sys.databases WHERE name BETWEEN 'b' AND 'N'"),
        ["master"]
    );
    assert_eq!(
        names("SELECT name FROM sys.databases ORDER BY name DESC"),
        ["Sales", "master", "Alpha_1"]
    );
    assert_eq!(
        names("SELECT CASE name WHEN 'SALES' THEN 'yes' END FROM sys.databases WHERE database_id = 5"),
        ["yes"]
    );
}

#[test]
fn like() {
    let found = |pattern: &str| {
        names(&format!(
            "SELECT name FROM sys.databases WHERE name LIKE {pattern} ORDER BY name"
        ))
    };
    assert_eq!(found("'%a%'"), ["Alpha_1", "master", "Sales"]);
    assert_eq!(found("'S_les'"), ["Sales"]);
    assert_eq!(found("'%[_]%'"), ["Alpha_1"]);
    assert_eq!(found("'%!_%' ESCAPE '!'"), ["Alpha_1"]);
    assert_eq!(found("'[a-m]%'"), ["Alpha_1", "master"]);
    assert_eq!(found("'[^a-m]%'"), ["Sales"]);
    assert_eq!(number("CASE WHEN 'a[b' LIKE 'a[b' THEN 1 ELSE 0 END"), 1);
    assert_eq!(number("CASE WHEN 'ab' NOT LIKE 'a' THEN 1 ELSE 0 END"), 1);
    assert_eq!(fails("CASE WHEN 'ab' LIKE 'a' ESCAPE 'xy' THEN 1 END"), 506);
    let slow = format!(
        "CASE WHEN '{}' LIKE '%{}b' THEN 1 END",
        "a".repeat(4_000),
        "a".repeat(2_000)
    );
    assert_eq!(fails(&slow), 50002);
}

#[test]
fn queries() {
    assert_eq!(
        names("SELECT TOP 1 name FROM sys.databases ORDER BY database_id DESC"),
        ["Alpha_1"]
    );
    assert_eq!(
        names("SELECT TOP (2) d.name FROM master.sys.databases AS d WITH (NOLOCK) ORDER BY d.database_id"),
        ["master", "Sales"]
    );
    assert_eq!(
        names("SELECT name FROM sys.databases ORDER BY database_id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY"),
        ["Sales"]
    );
    assert_eq!(
        names("SELECT x.n FROM (SELECT n = name FROM sys.databases WHERE database_id = 5) AS x"),
        ["Sales"]
    );
    assert_eq!(
        names(
            "SELECT TOP 1 name FROM sys.databases UNION ALL SELECT TOP 1 'z' FROM sys.databases ORDER BY 1 DESC"
        ),
        ["z", "master"]
    );
    assert_eq!(
        number("COUNT(*) FROM sys.databases a JOIN sys.databases b ON a.database_id = b.database_id"),
        3
    );
    assert_eq!(number("COUNT(DISTINCT state_desc) FROM sys.databases"), 2);
    assert_eq!(
        names("SELECT state_desc FROM sys.databases GROUP BY state_desc HAVING COUNT(*) > 1"),
        ["ONLINE"]
    );
    assert_eq!(
        names("SELECT d.* FROM sys.databases d WHERE EXISTS (SELECT 1) AND NOT d.database_id <> 6"),
        ["Alpha_1"]
    );
}

#[test]
fn column_names() {
    let connection = connection();
    let names = |text: &str| {
        let batch = parse(text).unwrap();
        let StatementKind::Select(query) = &batch.statements[0].kind else {
            panic!()
        };
        let prepared = connection.prepare(&query.sqlite).unwrap();
        prepared.column_names().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        names(
            "SELECT name, d.database_id, [n] = name, name AS m, name 'o', name + 'x', COUNT(*), DB_NAME(1) FROM sys.databases d"
        ),
        ["name", "database_id", "n", "m", "o", "", "", ""]
    );
    assert_eq!(names("SELECT * FROM sys.databases").len(), 5);
}

#[test]
fn functions_of_the_session() {
    assert_eq!(text("@@SERVERNAME"), "HOST_A");
    assert_eq!(text("@@version"), "dbmirror 1");
    assert_eq!(number("@@SPID"), 51);
    assert_eq!(text("DB_NAME()"), "master");
    assert_eq!(value("DB_NAME(9)"), Value::Null);
    assert_eq!(number("DB_ID('MASTER')"), 1);
    assert_eq!(value("DB_ID('none')"), Value::Null);
    assert_eq!(number("SERVERPROPERTY('IsClustered')"), 0);
    assert_eq!(
        text("SUSER_SNAME() + '/' + USER_NAME() + '/' + CURRENT_USER"),
        "sa/dbo/dbo"
    );
    assert_eq!(text("SUSER_SNAME(0x01)"), "sa");
}

#[test]
fn functions_of_text_and_choice() {
    assert_eq!(text("ISNULL(NULL, 'x')"), "x");
    assert_eq!(text("COALESCE(NULL, NULL, 'y')"), "y");
    assert_eq!(value("NULLIF('A', 'a')"), Value::Null);
    assert_eq!(text("IIF(1 = 1, 'y', 'n')"), "y");
    assert_eq!(number("LEN('ab  ')"), 2);
    assert_eq!(number("DATALENGTH(N'ab')"), 4);
    assert_eq!(text("LEFT('abc', 2) + RIGHT('abc', 1) + RIGHT('abc', 0)"), "abc");
    assert_eq!(fails("LEFT('abc', -1)"), 536);
    assert_eq!(number("CHARINDEX('B', 'abc')"), 2);
    assert_eq!(text("QUOTENAME('a]b')"), "[a]]b]");
    assert_eq!(text("CONCAT('a', NULL, 1)"), "a1");
    assert_eq!(
        text("SUBSTRING('abcd', 2, 2) + UPPER('x') + REPLACE('aa', 'a', 'b')"),
        "bcXbb"
    );
}

#[test]
fn conversions() {
    assert_eq!(text("CAST(5 AS varchar(10))"), "5");
    assert_eq!(text("CAST('abcdef' AS nvarchar(3))"), "abc");
    assert_eq!(text("CAST('ab' AS char(4))"), "ab  ");
    assert_eq!(text("CAST(12345 AS varchar(2))"), "*");
    assert_eq!(number("CAST(' 12 ' AS int)"), 12);
    assert_eq!(number("CAST(1.9 AS int)"), 1);
    assert_eq!(number("CAST(7 AS bit)"), 1);
    assert_eq!(fails("CAST('x' AS int)"), 245);
    assert_eq!(fails("CAST(300 AS tinyint)"), 8115);
    assert_eq!(value("TRY_CAST('x' AS int)"), Value::Null);
    assert_eq!(value("CAST(NULL AS int)"), Value::Null);
    assert_eq!(text("CONVERT(varchar(max), 0x0AFF, 1)"), "0x0AFF");
    assert_eq!(
        value("CONVERT(varbinary(max), '0x0AFF', 1)"),
        Value::Blob(vec![0x0a, 0xff])
    );
    assert_eq!(
        text("CONVERT(varchar(10), create_date, 23) FROM sys.databases WHERE database_id = 5"),
        "2026-03-01"
    );
    assert_eq!(
        text("CONVERT(varchar(30), '2026-03-01 12:00:00.500', 126)"),
        "2026-03-01T12:00:00.500"
    );
    assert_eq!(fails("CONVERT(varchar(30), '2026-03-01', 99)"), 281);
    assert_eq!(
        text("CAST('6f9619ff-8b86-d011-b42d-00c04fc964ff' AS uniqueidentifier)"),
        "6F9619FF-8B86-D011-B42D-00C04FC964FF"
    );
    assert_eq!(fails("CAST('x' AS uniqueidentifier)"), 8169);
    assert_eq!(text("CAST('20260301' AS datetime)"), "2026-03-01 00:00:00.000");
    assert_eq!(text("CAST(1.005 AS decimal(5, 1))"), "1.0");
}

#[test]
fn dates() {
    assert_eq!(number("DATEDIFF(day, '2025-12-31 23:59:59', '2026-01-01')"), 1);
    assert_eq!(number("DATEDIFF(year, '2025-12-31', '2026-01-01')"), 1);
    assert_eq!(number("DATEDIFF(month, '2026-01-31', '2025-12-01')"), -1);
    assert_eq!(
        number("DATEDIFF(ms, '2026-01-01', '2026-01-01 00:00:01.500')"),
        1500
    );
    assert_eq!(text("DATEADD(month, 1, '2026-01-31')"), "2026-02-28 00:00:00.000");
    assert_eq!(text("DATEADD(hh, -1, '2026-01-01')"), "2025-12-31 23:00:00.000");
    assert_eq!(fails("DATEADD(year, 100000, '2026-01-01')"), 517);
    assert_eq!(fails("DATEADD(day, 1, 'never')"), 241);
    assert_eq!(value("DATEDIFF(day, NULL, GETDATE())"), Value::Null);
    assert_eq!(number("DATEDIFF(minute, GETUTCDATE(), CURRENT_TIMESTAMP)"), 0);
}
