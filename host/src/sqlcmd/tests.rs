use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::script::{ScriptError, Splitter, Step};
use super::*;
use crate::admin::{Listener, Message, Session, Sink};
use crate::cli::{Cli, Command};
use crate::tsql::{Column, SqlType, Value, parse};

// -- scripts

fn split_with(variables: &[(&str, &str)], script: &str) -> Result<Vec<(String, u32)>, ScriptError> {
    let variables: Vec<_> = variables
        .iter()
        .map(|&(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    let mut splitter = Splitter::new(&variables);
    let mut batches = Vec::new();
    for line in script.lines() {
        match splitter.line(line)? {
            Some(Step::Run { batch, times }) => batches.push((batch.to_string(), times)),
            Some(Step::Quit) => return Ok(batches),
            Some(Step::OnError(_)) | None => {}
        }
    }
    if let Some(Step::Run { batch, times }) = splitter.finish() {
        batches.push((batch.to_string(), times));
    }
    Ok(batches)
}

fn split(script: &str) -> Vec<String> {
    split_with(&[], script)
        .unwrap()
        .into_iter()
        .map(|(batch, _)| batch)
        .collect()
}

#[test]
fn go_separates_batches() {
    assert_eq!(split("a\nGO\nb\n  go  \n\nc"), ["a\n", "b\n", "\nc\n"]);
    assert_eq!(split("a\r\nGO\r\nb"), ["a\n", "b\n"]);
    assert_eq!(split("GO\n\n GO\n"), [""; 0], "nothing to run");
    assert_eq!(split("a\nGO -- and on\nb"), ["a\n", "b\n"]);
    assert_eq!(split("a\nGOTO x\nGOES"), ["a\nGOTO x\nGOES\n"]);
    assert_eq!(
        split("\u{feff}GO\na\nQUIT\nb"),
        [""; 0],
        "what was not run when QUIT came is forgotten"
    );
    assert_eq!(
        split_with(&[], "a\nGO 3\nb\nGO").unwrap(),
        [("a\n".into(), 3), ("b\n".into(), 1)]
    );
    for bad in ["GO 0", "GO x", "GO ;", "GO 1 2", "GO 99999999"] {
        assert_eq!(
            split_with(&[], &format!("a\n{bad}")).unwrap_err().line,
            2,
            "{bad}"
        );
    }
}

#[test]
fn go_inside_something_is_text() {
    for text in [
        "PRINT 'a\nGO\nb'",
        "/* a\nGO\n*/",
        "/* /* a */\nGO\n*/",
        "SELECT [a\nGO\n]",
        "SELECT \"a\nGO\n\"",
        "PRINT 'it''s\nGO\n'",
    ] {
        assert_eq!(split(text), [format!("{text}\n")], "{text}");
    }
    // None of these is open at the end of its line.
    for closed in [
        "-- 'a", "'a'", "'--'", "[/*]", "/* ' */", "'/*'", "''''", "[a]]]", "-- /*",
    ] {
        assert_eq!(
            split(&format!("{closed}\nGO\nb")),
            [format!("{closed}\n"), "b\n".to_owned()],
            "{closed}"
        );
    }
}

#[test]
fn variables() {
    let with = |script: &str| split_with(&[("Port", "7024"), ("Quote", "'")], script);
    assert_eq!(with("N'TCP://h:$(PORT)'").unwrap()[0].0, "N'TCP://h:7024'\n");
    assert_eq!(with("[$(port)]$(Port)").unwrap()[0].0, "[7024]7024\n");
    assert_eq!(
        with("-- $(none)\n/* $(none)\n$(none) */").unwrap().len(),
        1,
        "comments are left alone"
    );
    let error = with("a\n'$(none)'").unwrap_err();
    assert_eq!((error.line, error.text.contains("none")), (2, true));
    assert_eq!(with("$(a b) $( $(").unwrap()[0].0, "$(a b) $( $(\n");
    // A quote in a value opens a string as it would in the script.
    assert_eq!(with("$(Quote)\nGO\n'").unwrap().len(), 1);
    assert_eq!(
        with(":setvar H \"a b\"\n$(h)\n:setvar port\n").unwrap()[0].0,
        "a b\n"
    );
    assert!(with(":setvar port\n$(port)").is_err());
    assert!(with(":setvar a)b c").is_err());
    assert!(with(":r other.sql").is_err());
    assert!(with(":on error maybe").is_err());
}

/// Every script of the procedure is understood, whole.
#[test]
fn committed_scripts_parse() {
    fn scripts(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                scripts(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "sql") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    scripts(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/scripts"),
        &mut found,
    );
    assert!(found.len() >= 15, "{found:?}");
    let mut statements = 0;
    for path in found {
        let hosts = [
            ("HOST_A", "a.example"),
            ("HOST_B", "b.example"),
            ("HOST_W", "w.example"),
        ];
        let batches = split_with(&hosts, &std::fs::read_to_string(&path).unwrap()).unwrap();
        for (batch, _) in batches {
            let parsed = parse(&batch).unwrap_or_else(|error| panic!("{}: {error}\n{batch}", path.display()));
            statements += parsed.statements.len();
        }
    }
    assert!(statements >= 70, "{statements}");
}

#[test]
fn encodings() {
    let utf16 = |little: bool| {
        let unit = |unit: u16| {
            if little {
                unit.to_le_bytes()
            } else {
                unit.to_be_bytes()
            }
        };
        "\u{feff}é🦀".encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    for bytes in [utf16(true), utf16(false), "é🦀".into()] {
        assert_eq!(decode(&bytes).unwrap().as_str(), "é🦀");
    }
    assert!(decode(&[0xff, 0xfe, 0]).is_none());
    assert!(decode(&[0xff, 0xfe, 0, 0xd8]).is_none());
    assert!(decode(&[0x80]).is_none());
}

// -- a run against an instance

struct Fake;

fn names() -> [Column; 3] {
    [
        Column::new("name", SqlType::NVarChar(Some(10))),
        Column::new("n", SqlType::SmallInt),
        Column::new("", SqlType::VarBinary(Some(2))),
    ]
}

impl Session for Fake {
    fn batch(&mut self, text: &str, sink: &mut dyn Sink) {
        let _ = match text.trim() {
            "rows" => (|| {
                sink.columns(&names())?;
                sink.row(&["master".into(), Value::Int(1), Value::Binary(vec![10, 255])])?;
                sink.row(&["Sales\u{1b}[2J".into(), Value::Int(-5), Value::Null])?;
                sink.rows_affected(2)
            })(),
            "bits" => (|| {
                sink.columns(&[
                    Column::new("b", SqlType::Bit),
                    Column::new("b", SqlType::Float),
                    Column::new("", SqlType::Int),
                ])?;
                sink.row(&[Value::Int(1), Value::Float(0.5), Value::Int(7)])?;
                sink.rows_affected(1)
            })(),
            "many" => (|| {
                sink.columns(&[Column::new("n", SqlType::Int)])?;
                (0..100_000).try_for_each(|n| sink.row(&[Value::Int(n)]))?;
                sink.rows_affected(100_000)?;
                std::fs::write(self::marker(), "done").unwrap();
                Ok(())
            })(),
            "print" => sink.message(&Message::print("hello")),
            "fail" => sink.message(&Message {
                number: 15_581,
                severity: 16,
                state: 3,
                line: 2,
                procedure: None,
                text: "Create a master key first.".to_owned(),
            }),
            "fail in procedure" => sink.message(&Message {
                number: 50_000,
                severity: 11,
                state: 1,
                line: 1,
                procedure: Some("sp_x".to_owned()),
                text: "no".to_owned(),
            }),
            "die" => panic!("on purpose"),
            other => sink.message(&Message::print(format!("ran {other}"))),
        };
    }
    fn database(&self) -> &str {
        "master"
    }
}

fn marker() -> PathBuf {
    std::env::temp_dir().join(format!("dbmirror-sqlcmd-{}", std::process::id()))
}

/// Runs `dbmirror sql -S DIR arguments…` against the fake instance: exit code, output, errors.
fn sql(arguments: &[&str]) -> (u8, String, String) {
    sql_into(arguments, &mut Vec::new())
}

fn sql_into<W: Write + AsBytes>(arguments: &[&str], out: &mut W) -> (u8, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::bind(dir.path()).unwrap();
    let stop = listener.stopper();
    let server = dir.path().to_str().unwrap();
    let line = ["dbmirror", "sql", "-S", server]
        .into_iter()
        .chain(arguments.iter().copied());
    let Command::Sql(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| listener.run("HOST_A", |_| Box::new(Fake)).unwrap());
        let mut errors = Vec::new();
        let status = run_with(&args, out, &mut errors);
        stop.stop();
        (status, out.as_text(), String::from_utf8(errors).unwrap())
    })
}

trait AsBytes {
    fn as_text(&self) -> String;
}

impl AsBytes for Vec<u8> {
    fn as_text(&self) -> String {
        String::from_utf8(self.clone()).unwrap()
    }
}

#[test]
fn tables() {
    let (status, out, errors) = sql(&["-Q", "rows"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    let expected = "\
name       n
---------- ------ ------
master          1 0x0AFF
Sales\u{fffd}[2J      -5 NULL

(2 rows affected)
";
    assert_eq!(out, expected);
    let (_, out, _) = sql(&["-Q", "rows", "-h", "-1", "-W", "-s", "|"]);
    assert_eq!(
        out,
        "master|1|0x0AFF\nSales\u{fffd}[2J|-5|NULL\n\n(2 rows affected)\n"
    );
    let (_, out, _) = sql(&["-Q", "rows", "-h1", "-W", "-s,"]);
    assert_eq!(out.matches("name,n,\n----,-,\n").count(), 2, "{out}");
    let (_, out, _) = sql(&["-Q", "print"]);
    assert_eq!(out, "hello\n");
}

#[test]
fn errors_and_exit_codes() {
    let (status, out, errors) = sql(&["-Q", "fail\nGO\nprint"]);
    assert_eq!((status, out.as_str()), (1, "hello\n"), "the script goes on");
    assert_eq!(
        errors,
        "Msg 15581, Level 16, State 3, Line 2\nCreate a master key first.\n"
    );
    let (status, out, _) = sql(&["-b", "-Q", "fail\nGO\nprint"]);
    assert_eq!((status, out.as_str()), (1, ""), "-b stops");
    let (status, out, _) = sql(&["-Q", ":on error exit\nfail\nGO\nprint"]);
    assert_eq!((status, out.as_str()), (1, ""));
    let (status, _, errors) = sql(&["-Q", "fail in procedure"]);
    assert_eq!(
        (status, errors.as_str()),
        (1, "Msg 50000, Level 11, State 1, Procedure sp_x, Line 1\nno\n")
    );
    let (status, _, errors) = sql(&["-Q", "print\nGO\n$(nothing)"]);
    assert_eq!(status, 1);
    assert!(errors.contains("'nothing' is not defined"), "{errors}");
    let (status, _, errors) = sql(&["-Q", "die"]);
    assert_eq!(status, 3, "{errors}");
    assert_eq!(sql(&["-i", "/nowhere.sql"]).0, 2);
    assert_eq!(sql(&["-U", "sa", "-Q", "print"]).0, 2);
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = dir.path().to_str().unwrap();
    let Command::Sql(args) = Cli::try_parse_from(["dbmirror", "sql", "-S", server, "-Q", "x"])
        .unwrap()
        .command
    else {
        panic!()
    };
    let mut errors = Vec::new();
    assert_eq!(run_with(&args, &mut Vec::new(), &mut errors), 3);
    assert!(errors.as_text().contains(server), "the directory is named");
}

#[test]
fn scripts_and_variables() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = write("one.sql", "one $(X)\nGO 2\n:setvar Y two\nleft over");
    let two = write("two.sql", "$(y)\ngo\n");
    let (status, out, errors) = sql(&["-i", &one, "-i", &two, "-v", "X=1"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(out, "ran one 1\nran one 1\nran left over\nran two\n");
}

#[test]
fn json_lines() {
    let (status, out, errors) = sql(&["--format", "json", "-Q", "bits\nGO\nprint\nGO\nfail"]);
    assert_eq!(status, 1);
    assert!(errors.starts_with("Msg 15581"));
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "begin",
            "columns",
            "row",
            "rows_affected",
            "message",
            "error",
            "end"
        ]
    );
    assert_eq!(
        (&lines[0]["version"], &lines[0]["instance"]),
        (&1.into(), &"HOST_A".into())
    );
    assert_eq!(lines[1]["columns"][1]["type"], "float");
    assert_eq!(
        lines[2]["row"],
        serde_json::json!({ "b": true, "b#2": 0.5, "#3": 7 })
    );
    assert_eq!(
        (&lines[5]["number"], &lines[5]["line"]),
        (&15_581.into(), &2.into())
    );
    assert_eq!(lines[6]["status"], 1);
}

/// A reader that leaves after a few bytes.
struct Leaving(usize);

impl Write for Leaving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsBytes for Leaving {
    fn as_text(&self) -> String {
        String::new()
    }
}

#[test]
fn a_broken_pipe_is_no_error_and_stops_no_statement() {
    let _ = std::fs::remove_file(marker());
    let (status, _, errors) = sql_into(&["-Q", "many"], &mut Leaving(100));
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(marker()).unwrap(), "done");
    std::fs::remove_file(marker()).unwrap();
}

/// A disk that is full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsBytes for Full {
    fn as_text(&self) -> String {
        String::new()
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let (status, _, errors) = sql_into(&["-Q", "print"], &mut Full);
    assert_eq!(status, 2, "{errors}");
}
