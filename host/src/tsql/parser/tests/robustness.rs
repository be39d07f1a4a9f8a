use super::{refused, text_of};
use crate::tsql::{lexer, parse};

#[test]
fn several_statements() {
    let batch = parse(
        "USE master;\nCREATE CERTIFICATE HOST_A_cert \n   WITH SUBJECT = 'HOST_A'\nPRINT 'x';;\n-- end\nSELECT 1 SELECT 2",
    )
    .unwrap();
    let lines: Vec<u32> = batch
        .statements
        .iter()
        .map(|statement| statement.span.line)
        .collect();
    assert_eq!(lines, [1, 2, 4, 6, 6]);
    assert!(parse("").unwrap().statements.is_empty());
    assert!(parse(" ;; /* nothing */ ").unwrap().statements.is_empty());
}

#[test]
fn errors_name_number_and_line() {
    assert_eq!(refused("FROBNICATE THE MIRROR"), (102, 15, 1));
    assert_eq!(refused("USE master;\n\nFROBNICATE x"), (102, 15, 3));
    assert_eq!(refused("USE master\nFROM x"), (156, 15, 2));
    assert_eq!(refused("USE"), (102, 15, 1));
    assert_eq!(refused("PRINT 'x"), (105, 15, 1));
    assert_eq!(refused("/* a\n\n"), (113, 15, 1));
    assert_eq!(refused("DECLARE @x int = 1"), (40510, 16, 1));
    assert_eq!(refused("IF 1 = 1 PRINT 'x'"), (40510, 16, 1));
    assert_eq!(refused("SET NOCOUNT ON"), (40510, 16, 1));
    assert_eq!(refused("CREATE TABLE t (a int)"), (40510, 16, 1));
    assert_eq!(refused("CREATE WIDGET w"), (102, 15, 1));
    assert_eq!(refused("SELECT @x"), (137, 15, 1));
    assert_eq!(refused("PRINT 1 WITH x AS (SELECT 1) SELECT 1"), (319, 15, 1));
    assert_eq!(refused("USE [select] from"), (156, 15, 1));
    assert_eq!(refused("USE select"), (156, 15, 1));
    assert_eq!(
        refused(&"x".repeat(crate::tsql::BATCH_LENGTH_MAX + 1)),
        (50001, 16, 1)
    );
    // The first error of the batch is the one that is told, even if the lexer stops later.
    assert_eq!(refused("USE FROM 'mirror"), (156, 15, 1));
}

#[test]
fn errors_do_not_repeat_strings() {
    for text in [
        "CREATE MASTER KEY ENCRYPTION BY 'hunter2'",
        "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'x' 'hunter2'",
        "CREATE LOGIN l WITH PASSWORD = N'x' 'hunter2",
        "CREATE LOGIN l WITH PASSWORD 'hunter2'",
        "PRINT 'x', 'hunter2'",
        "USE 'hunter2'",
    ] {
        assert!(!text_of(text).contains("hunter2"), "{}", text_of(text));
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |open: &str, close: &str| {
        let n = 5_000;
        refused(&format!("SELECT {}1{}", open.repeat(n), close.repeat(n))).0
    };
    assert_eq!(deep("(", ")"), 191);
    assert_eq!(deep("(SELECT ", ")"), 191);
    assert_eq!(deep("CASE WHEN 1 = ", " THEN 1 END"), 191);
    assert_eq!(deep("- ", ""), 191);
    assert_eq!(deep("1 + ", ""), 191);
    assert_eq!(deep("ISNULL(", ", 1)"), 191);
    assert!(parse(&format!("SELECT {}1", "NOT ".repeat(5_000))).is_ok());
}

/// Words, symbols and constants thrown together, and mutilations of good statements: parsing ends, and spans lie
/// inside the text. (A seeded generator of our own, so that a failure can be repeated.)
#[test]
fn never_panics() {
    const PIECES: &[&str] = &[
        "CREATE",
        "ALTER",
        "DROP",
        "BACKUP",
        "RESTORE",
        "MASTER",
        "KEY",
        "CERTIFICATE",
        "ENDPOINT",
        "LOGIN",
        "USER",
        "DATABASE",
        "SET",
        "PARTNER",
        "WITNESS",
        "FROM",
        "FOR",
        "WITH",
        "AS",
        "TCP",
        "(",
        ")",
        ",",
        ";",
        "=",
        "::",
        ".",
        "*",
        "+",
        "-",
        "'a'",
        "N'ü'",
        "'",
        "[b]",
        "[",
        "\"c\"",
        "\"",
        "0x1F",
        "0x",
        "7024",
        "1.5",
        "1e",
        "@x",
        "@@SPID",
        "@",
        "--",
        "/*",
        "*/",
        "\n",
        "SELECT",
        "TOP",
        "CASE",
        "WHEN",
        "END",
        "IN",
        "LIKE",
        "NOT",
        "NULL",
        "EXEC",
        "PRINT",
        "x",
        "é",
        "\u{0}",
        "\u{feff}",
        "🦀",
        "$",
        "GRANT",
        "CONNECT",
        "ON",
        "TO",
        "CAST",
        "CONVERT",
        "ORDER",
        "BY",
        "JOIN",
        "LISTENER_PORT",
        "LISTENER_IP",
        "DATABASE_MIRRORING",
        "ROLE",
        "ALL",
        "AUTHENTICATION",
        "PASSWORD",
        "BY",
        "ENCRYPTION",
        "DISK",
        "OFFSET",
        "ROWS",
        "UNION",
        "sys",
        "USE",
        "WHERE",
        "EXISTS",
        "DISTINCT",
        "count",
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let goods = [
        include_str!("../../../../../tests/e2e/scripts/host_a_outbound.sql"),
        include_str!("../../../../../tests/e2e/scripts/host_b_inbound.sql"),
        include_str!("../../../../../tests/e2e/scripts/observe.sql"),
    ];
    for _ in 0..20_000 {
        let mut text = String::new();
        if random(3) == 0 {
            let good = goods[random(goods.len())];
            text.extend(good.chars().skip(random(good.len())).take(random(400)));
            let at = text
                .char_indices()
                .nth(random(text.len() + 1))
                .map_or(0, |(at, _)| at);
            text.insert_str(at, PIECES[random(PIECES.len())]);
        } else {
            for _ in 0..random(30) {
                text.push_str(PIECES[random(PIECES.len())]);
                text.push_str(if random(4) == 0 { "" } else { " " });
            }
        }
        let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
        for token in lexer::tokens(&text).0 {
            assert!(
                text.get(token.span.start as usize..token.span.end as usize)
                    .is_some(),
                "{text:?}"
            );
            assert!(
                token.span.start <= token.span.end && (1..=lines).contains(&token.span.line),
                "{text:?}"
            );
        }
        match parse(&text) {
            Err(error) => assert!((1..=lines).contains(&error.line), "{text:?}: {error}"),
            Ok(batch) => {
                let mut end = 0;
                for statement in batch.statements {
                    let span = statement.span;
                    assert!(
                        span.start >= end && span.start < span.end && span.end as usize <= text.len(),
                        "{text:?}"
                    );
                    assert!(!span.of(&text).is_empty(), "{text:?}");
                    end = span.end;
                }
            }
        }
    }
}

/// The worst that 1 MiB can hold is parsed or refused in a moment: nothing grows with the square of the length.
#[test]
fn hostile_megabytes_take_a_moment() {
    let fill = |piece: &str| piece.repeat(crate::tsql::BATCH_LENGTH_MAX / piece.len());
    let nested = |open: &str, close: &str, inner: &str| {
        format!("SELECT {}{inner}{}", open.repeat(14), close.repeat(14))
    };
    let list = vec!["'xxxxxxxx'"; 1_000].join(",");
    let texts = [
        fill("("),
        fill("/*"),
        fill("'"),
        fill("[a]."),
        fill("SELECT 1 "),
        fill("SELECT 1,2,3;"),
        fill("PRINT 'a'+'b' "),
        fill("EXEC p 1,2 "),
        fill("1+"),
        format!("EXEC p {}", fill("1,")[..1_000_000].to_owned()),
        format!("SELECT {}", fill("a,")[..1_000_000].to_owned()),
        format!("SELECT {}1", "a.b.c+".repeat(100_000)),
        format!("SELECT {}1", "NOT ".repeat(200_000)),
        format!("DROP DATABASE {}a", "a,".repeat(400_000)),
        nested(
            "(1+",
            ")",
            &format!("CASE WHEN 1 IN ({list}) THEN 1 END{}", "+1".repeat(250)),
        ),
        nested(
            "CASE WHEN 1=1 THEN ",
            " END",
            &format!("CASE WHEN 1 IN ({list}) THEN 1 END"),
        ),
        nested("ISNULL(1,", ")+1", &format!("(SELECT 1 WHERE 1 IN ({list}))")),
    ];
    for text in texts {
        let started = std::time::Instant::now();
        let beginning: String = text.chars().take(30).collect();
        let _ = parse(&text);
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(10), "{beginning}: {took:?}");
    }
}
