//! Functions: which exist, how many arguments they take, and what they are called in SQLite. Those with `tsql_`
//! are registered by `tsql::functions`.

use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};
use crate::tsql::parser::{Parsed, Parser};

/// A function whose arguments are plain expressions.
struct Function {
    name: &'static str,
    /// Fewest and most arguments.
    arguments: (usize, usize),
    /// `{}` is the list of arguments, `{0}`, `{1}` and `{2}` are single ones.
    sqlite: &'static str,
}

const fn function(name: &'static str, least: usize, most: usize, sqlite: &'static str) -> Function {
    Function {
        name,
        arguments: (least, most),
        sqlite,
    }
}

const FUNCTIONS: &[Function] = &[
    // the instance and the session
    function("CERTENCODED", 1, 1, "tsql_certencoded({})"),
    function("CERTPRIVATEKEY", 2, 3, "tsql_certprivatekey({})"),
    function("CERTPROPERTY", 2, 2, "tsql_certproperty({})"),
    function("CERT_ID", 1, 1, "tsql_cert_id({})"),
    function("DB_ID", 0, 1, "tsql_db_id({})"),
    function("DB_NAME", 0, 1, "tsql_db_name({})"),
    function("GETDATE", 0, 0, "tsql_now()"),
    function("GETUTCDATE", 0, 0, "tsql_now()"),
    function("IS_SRVROLEMEMBER", 1, 2, "tsql_is_srvrolemember({})"),
    function("ORIGINAL_LOGIN", 0, 0, "tsql_original_login()"),
    function("SCHEMA_NAME", 0, 0, "'dbo'"),
    function("SERVERPROPERTY", 1, 1, "tsql_serverproperty({})"),
    function("SUSER_ID", 0, 1, "tsql_suser_id({})"),
    function("SUSER_NAME", 0, 1, "tsql_suser_name({})"),
    function("SUSER_SNAME", 0, 1, "tsql_suser_sname({})"),
    function("SYSDATETIME", 0, 0, "tsql_now()"),
    function("SYSUTCDATETIME", 0, 0, "tsql_now()"),
    function("USER_NAME", 0, 1, "tsql_user_name({})"),
    // choices
    function("COALESCE", 2, 16, "coalesce({})"),
    function("IIF", 3, 3, "iif({})"),
    function("ISNULL", 2, 2, "ifnull({})"),
    function("NULLIF", 2, 2, "nullif({0} COLLATE NOCASE, {1})"),
    // text
    function("CHAR", 1, 1, "char({})"),
    function("CHARINDEX", 2, 2, "instr(lower({1}), lower({0}))"),
    function("CONCAT", 2, 100, "concat({})"),
    function("CONCAT_WS", 3, 100, "concat_ws({})"),
    function("DATALENGTH", 1, 1, "tsql_datalength({})"),
    function("LEFT", 2, 2, "tsql_left({})"),
    function("LEN", 1, 1, "tsql_len({})"),
    function("LOWER", 1, 1, "lower({})"),
    function("LTRIM", 1, 1, "ltrim({})"),
    function("NCHAR", 1, 1, "char({})"),
    function("QUOTENAME", 1, 1, "('[' || replace({0}, ']', ']]') || ']')"),
    function("REPLACE", 3, 3, "replace({})"),
    function("RIGHT", 2, 2, "tsql_right({})"),
    function("RTRIM", 1, 1, "rtrim({})"),
    function("SUBSTRING", 3, 3, "substr({})"),
    function("TRIM", 1, 1, "trim({})"),
    function("UNICODE", 1, 1, "unicode({})"),
    function("UPPER", 1, 1, "upper({})"),
    // numbers
    function("ABS", 1, 1, "abs({})"),
    function("ROUND", 2, 2, "round({})"),
];

/// Aggregates over one expression, which may be DISTINCT.
const AGGREGATES: &[(&str, &str)] = &[
    ("AVG", "avg"),
    ("COUNT", "count"),
    ("COUNT_BIG", "count"),
    ("MAX", "max"),
    ("MIN", "min"),
    ("SUM", "sum"),
];

/// Parts of a date that DATEDIFF and DATEADD count, with their short forms.
const DATE_PARTS: &[(&str, &str)] = &[
    ("YEAR", "year"),
    ("YYYY", "year"),
    ("YY", "year"),
    ("MONTH", "month"),
    ("MM", "month"),
    ("M", "month"),
    ("DAY", "day"),
    ("DD", "day"),
    ("D", "day"),
    ("HOUR", "hour"),
    ("HH", "hour"),
    ("MINUTE", "minute"),
    ("MI", "minute"),
    ("N", "minute"),
    ("SECOND", "second"),
    ("SS", "second"),
    ("S", "second"),
    ("MILLISECOND", "millisecond"),
    ("MS", "millisecond"),
];

/// Types of CAST and CONVERT: name, and how many numbers may stand in parentheses.
const TYPES: &[(&str, usize)] = &[
    ("BIGINT", 0),
    ("BINARY", 1),
    ("BIT", 0),
    ("CHAR", 1),
    ("DATE", 0),
    ("DATETIME", 0),
    ("DATETIME2", 1),
    ("DECIMAL", 2),
    ("FLOAT", 1),
    ("INT", 0),
    ("INTEGER", 0),
    ("NCHAR", 1),
    ("NUMERIC", 2),
    ("NVARCHAR", 1),
    ("REAL", 0),
    ("SMALLDATETIME", 0),
    ("SMALLINT", 0),
    ("SQL_VARIANT", 0),
    ("SYSNAME", 0),
    ("TIME", 1),
    ("TINYINT", 0),
    ("UNIQUEIDENTIFIER", 0),
    ("VARBINARY", 1),
    ("VARCHAR", 1),
];

impl Parser<'_> {
    /// If a call is next, its translation. A name with points before the parenthesis is no function of ours.
    pub(super) fn function(&mut self) -> Parsed<Option<String>> {
        let token = self.peek();
        if token.kind != Kind::Word || self.peek_at(1).kind != Kind::Symbol(Symbol::Open) {
            return Ok(None);
        }
        let line = token.span.line;
        let name = self.source(token.span).to_ascii_uppercase();
        // Words like IN and EXISTS have been dealt with; another reserved word is no function.
        self.advance();
        self.open()?;
        let call = if let Some((_, sqlite)) = AGGREGATES.iter().find(|(known, _)| *known == name) {
            self.aggregate(sqlite)?
        } else if let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) {
            self.plain(function, line)?
        } else {
            match name.as_str() {
                "CAST" | "TRY_CAST" => self.cast(name == "TRY_CAST")?,
                "CONVERT" | "TRY_CONVERT" => self.convert(name == "TRY_CONVERT")?,
                "DATEDIFF" | "DATEADD" => self.date_function(&name)?,
                "STRING_AGG" => {
                    let value = self.expression()?;
                    self.expect_symbol(Symbol::Comma, ",")?;
                    format!("group_concat({value}, {})", self.expression()?)
                }
                _ => return Err(SyntaxError::unknown_function(line, &name)),
            }
        };
        self.close()?;
        if self.is("OVER") {
            return Err(SyntaxError::not_supported(
                self.line(),
                "OVER (window functions)",
                "",
            ));
        }
        Ok(Some(call))
    }

    fn aggregate(&mut self, sqlite: &str) -> Parsed<String> {
        if sqlite == "count" && self.accept_symbol(Symbol::Star) {
            return Ok("count(*)".to_owned());
        }
        let distinct = if self.accept("DISTINCT") {
            "DISTINCT "
        } else {
            self.accept("ALL");
            ""
        };
        Ok(format!("{sqlite}({distinct}{})", self.expression()?))
    }

    fn plain(&mut self, function: &Function, line: u32) -> Parsed<String> {
        let arguments = if self.is_symbol(Symbol::Close) {
            Vec::new()
        } else {
            self.call_arguments()?
        };
        let (least, most) = function.arguments;
        if !(least..=most).contains(&arguments.len()) {
            let wanted = if least == most {
                format!("{least}")
            } else {
                format!("{least} to {most}")
            };
            let text = format!("The function {} takes {wanted} arguments.", function.name);
            return Err(SyntaxError::new(174, 15, line, text));
        }
        Ok(fill(function.sqlite, &arguments))
    }

    fn call_arguments(&mut self) -> Parsed<Vec<String>> {
        let mut count = 0;
        self.list(|parser| {
            parser.check_chain(&mut count)?;
            parser.expression()
        })
    }

    /// `expression AS type`
    fn cast(&mut self, lenient: bool) -> Parsed<String> {
        let value = self.expression()?;
        self.expect("AS")?;
        let (name, sizes) = self.sql_type()?;
        Ok(conversion(&value, &name, &sizes, "NULL", lenient))
    }

    /// `type, expression [, style]`
    fn convert(&mut self, lenient: bool) -> Parsed<String> {
        let (name, sizes) = self.sql_type()?;
        self.expect_symbol(Symbol::Comma, ",")?;
        let value = self.expression()?;
        let style = if self.accept_symbol(Symbol::Comma) {
            self.expression()?
        } else {
            "NULL".to_owned()
        };
        Ok(conversion(&value, &name, &sizes, &style, lenient))
    }

    /// A type and the numbers in its parentheses; -1 is MAX.
    fn sql_type(&mut self) -> Parsed<(String, Vec<i64>)> {
        let line = self.line();
        let name = self.name("a type")?.value;
        let upper = name.to_ascii_uppercase();
        let Some(&(_, most)) = TYPES.iter().find(|(known, _)| *known == upper) else {
            return Err(SyntaxError::unknown_type(line, &name));
        };
        let mut sizes = Vec::new();
        if most > 0 && self.accept_symbol(Symbol::Open) {
            sizes = self.list(|parser| {
                if parser.accept("MAX") {
                    return Ok(-1);
                }
                let size = parser.integer("a length")?;
                i64::try_from(size)
                    .ok()
                    .filter(|size| *size <= 8_000)
                    .ok_or_else(|| {
                        SyntaxError::new(
                            131,
                            15,
                            line,
                            format!("The length of type {upper} is at most 8000."),
                        )
                    })
            })?;
            self.close()?;
            if sizes.len() > most {
                return Err(SyntaxError::new(
                    291,
                    15,
                    line,
                    format!("Type {upper} takes {most} numbers at most."),
                ));
            }
        }
        Ok((upper, sizes))
    }

    /// `part, a, b`
    fn date_function(&mut self, name: &str) -> Parsed<String> {
        let part = self.choice(DATE_PARTS)?;
        self.expect_symbol(Symbol::Comma, ",")?;
        let first = self.expression()?;
        self.expect_symbol(Symbol::Comma, ",")?;
        let second = self.expression()?;
        Ok(format!(
            "tsql_{}('{part}', {first}, {second})",
            name.to_ascii_lowercase()
        ))
    }
}

fn conversion(value: &str, name: &str, sizes: &[i64], style: &str, lenient: bool) -> String {
    let size = |index: usize| sizes.get(index).map_or("NULL".to_owned(), i64::to_string);
    let function = if lenient {
        "tsql_try_convert"
    } else {
        "tsql_convert"
    };
    format!("{function}({value}, '{name}', {}, {}, {style})", size(0), size(1))
}

/// Puts `arguments[n]` in the place of each `{n}`, and all of them in the place of `{}`.
fn fill(pattern: &str, arguments: &[String]) -> String {
    let mut filled = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let (index, behind) = behind.split_once('}').unwrap_or(("", behind));
        if index.is_empty() {
            filled.push_str(&arguments.join(", "));
        } else if let Some(argument) = index.parse::<usize>().ok().and_then(|index| arguments.get(index)) {
            filled.push_str(argument);
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}
