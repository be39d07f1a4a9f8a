use crate::tsql::ast::StatementKind;
use crate::tsql::parse;

fn sqlite(text: &str) -> String {
    match parse(text)
        .unwrap_or_else(|error| panic!("{text}\n{error}"))
        .statements
        .remove(0)
        .kind
    {
        StatementKind::Select(query) | StatementKind::Print { expression: query } => query.sqlite,
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> u32 {
    match parse(text) {
        Err(error) => error.number,
        Ok(batch) => panic!("{text}\n{batch:?}"),
    }
}

#[test]
fn what_is_written_for_sqlite() {
    for (text, expected) in [
        (
            "SELECT * FROM sys.certificates;",
            "SELECT * FROM `sys`.`certificates`",
        ),
        (
            "SELECT name FROM sys.endpoints",
            "SELECT `name` AS `name` FROM `sys`.`endpoints`",
        ),
        (
            "SELECT TOP 5 [a`b] FROM [x y]",
            "SELECT `a``b` AS `a``b` FROM `x y` LIMIT 5",
        ),
        ("SELECT n = 1", "SELECT 1 AS `n`"),
        ("SELECT 'it''s'", "SELECT 'it''s' AS ``"),
        ("PRINT 'a' + 'b'", "SELECT tsql_add('a', 'b') AS ``"),
        ("SELECT - -1", "SELECT (- - 1) AS ``"),
        (
            "SELECT 1 WHERE a = b OR c < d AND NOT e >= 0x0f",
            "SELECT 1 AS `` WHERE ((`a` = `b` COLLATE NOCASE) OR \
          ((`c` < `d` COLLATE NOCASE) AND (NOT (`e` >= x'0F' COLLATE NOCASE))))",
        ),
        ("SELECT s.* FROM a.s", "SELECT `s`.* FROM `a`.`s`"),
        (
            "SELECT ISNULL(a, 'x') b FROM t",
            "SELECT ifnull(`a`, 'x') AS `b` FROM `t`",
        ),
    ] {
        assert_eq!(sqlite(text), expected);
    }
}

#[test]
fn what_is_refused() {
    for (text, number) in [
        ("SELECT a INTO b FROM c", 40510),
        ("SELECT a FROM t FOR XML AUTO", 40510),
        ("SELECT a FROM t OPTION (RECOMPILE)", 40510),
        ("SELECT a FROM t CROSS APPLY f(1)", 40510),
        ("SELECT a FROM f(1)", 40510),
        ("SELECT a FROM Sales.sys.certificates", 40510),
        ("SELECT TOP 5 PERCENT a FROM t", 40510),
        ("SELECT ROW_NUMBER() OVER (ORDER BY a) FROM t", 195),
        ("SELECT COUNT(*) OVER () FROM t", 40510),
        ("SELECT a COLLATE Latin1_General_BIN FROM t", 40510),
        ("SELECT * FROM sqlite_master", 208),
        ("SELECT * FROM sys.[pragma_table_info]", 208),
        ("SELECT load_extension('x')", 195),
        ("SELECT tsql_add(1, 2)", 195),
        ("SELECT dbo.f(1)", 195),
        ("SELECT LEN('a', 'b')", 174),
        ("SELECT CAST(1 AS geography)", 243),
        ("SELECT CAST('a' AS varchar(9000))", 131),
        ("SELECT @@CONNECTIONS", 137),
        ("SELECT a FROM @t", 1087),
        (
            "SELECT a FROM t UNION SELECT b FROM t INTERSECT SELECT c FROM t",
            40510,
        ),
        ("SELECT TOP 1 a FROM t ORDER BY a OFFSET 1 ROWS", 10741),
        ("SELECT 1 WHERE a = b = c", 102),
        ("SELECT (a", 102),
        ("SELECT a FROM", 102),
        ("SELECT FROM t", 156),
        ("SELECT a b c", 102),
        ("SELECT 'a\0b'", 102),
        ("SELECT [a\0b]", 102),
        ("SELECT a FROM t WHERE a > ALL (SELECT 1)", 40510),
        ("WITH c AS (SELECT 1) SELECT * FROM c", 40510),
    ] {
        assert_eq!(refused(text), number, "{text}");
    }
}
