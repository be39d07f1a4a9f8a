//! SELECT over the catalog views: parsed as Transact-SQL, written as the SQL of SQLite.
//!
//! Nothing is passed on that was not understood: the output holds only constructs and functions that this module
//! writes, names in back quotes and constants. Rules: `docs/tsql.md`, "SELECT".

mod expression;
mod function;
#[cfg(test)]
mod tests;

use super::ast::{Name, Query};
use super::error::SyntaxError;
use super::lexer::{Kind, Symbol};
use super::parser::{Parsed, Parser};

/// Most terms in a chain of operators, columns of a result, or tables of a FROM: SQLite has limits of its own,
/// and a chain is copied as it grows.
const CHAIN_MAX: usize = 256;

/// How a query stands in the text around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A statement: expressions without a name are given the empty one.
    Statement,
    /// A subquery.
    Inner,
}

impl Parser<'_> {
    /// A whole SELECT statement.
    pub(super) fn select_statement(&mut self) -> Parsed<Query> {
        let start = self.peek().span;
        let sqlite = self.query(Place::Statement)?;
        Ok(Query {
            sqlite,
            span: start.to(self.last_span()),
        })
    }

    /// What PRINT prints, as a query of one value.
    pub(super) fn print_expression(&mut self) -> Parsed<Query> {
        let start = self.peek().span;
        let value = self.expression()?;
        Ok(Query {
            sqlite: format!("SELECT {value} AS ``"),
            span: start.to(self.last_span()),
        })
    }

    /// `select { UNION [ALL] | EXCEPT | INTERSECT select } [ORDER BY …] [OFFSET …]`
    fn query(&mut self, place: Place) -> Parsed<String> {
        self.nested(|parser| parser.query_inner(place))
    }

    fn query_inner(&mut self, place: Place) -> Parsed<String> {
        let (mut sqlite, mut top) = self.simple_select(place)?;
        let mut count = 1;
        let mut last = "";
        while let Some(operator) = self.set_operator() {
            // INTERSECT binds tighter in Transact-SQL, and not in SQLite.
            if !last.is_empty() && (operator == "INTERSECT") != (last == "INTERSECT") {
                let what = "INTERSECT beside UNION or EXCEPT";
                return Err(SyntaxError::not_supported(self.line(), what, ""));
            }
            self.check_chain(&mut count)?;
            let (right, right_top) = self.simple_select(place)?;
            sqlite = format!(
                "{} {operator} {}",
                limited(sqlite, top.take()),
                limited(right, right_top)
            );
            last = operator;
        }
        if self.accept("ORDER") {
            self.expect("BY")?;
            sqlite.push_str(" ORDER BY ");
            sqlite.push_str(&self.order_by()?);
        }
        let offset_line = self.line();
        let offset = if self.accept("OFFSET") {
            Some(self.offset()?)
        } else {
            None
        };
        match (top, offset) {
            (Some(_), Some(_)) => {
                let text = "TOP cannot stand in the same query as OFFSET.";
                return Err(SyntaxError::new(10741, 15, offset_line, text));
            }
            (Some(top), None) => sqlite.push_str(&format!(" LIMIT {top}")),
            (None, Some(offset)) => sqlite.push_str(&offset),
            (None, None) => {}
        }
        self.refuse_tail()?;
        Ok(sqlite)
    }

    fn set_operator(&mut self) -> Option<&'static str> {
        if self.accept("UNION") {
            return Some(if self.accept("ALL") { "UNION ALL" } else { "UNION" });
        }
        ["EXCEPT", "INTERSECT"]
            .into_iter()
            .find(|operator| self.accept(operator))
    }

    /// What may follow a query elsewhere.
    fn refuse_tail(&mut self) -> Parsed<()> {
        let line = self.line();
        for (word, what) in [
            ("FOR", "FOR XML, FOR JSON, FOR BROWSE"),
            ("OPTION", "OPTION (query hints)"),
        ] {
            if self.is(word) {
                return Err(SyntaxError::not_supported(line, what, ""));
            }
        }
        Ok(())
    }

    pub(super) fn check_chain(&self, count: &mut usize) -> Parsed<()> {
        *count += 1;
        if *count > CHAIN_MAX {
            Err(SyntaxError::too_deep(self.line()))
        } else {
            Ok(())
        }
    }

    /// One SELECT and its TOP, which is not in the text yet.
    fn simple_select(&mut self, place: Place) -> Parsed<(String, Option<u64>)> {
        self.expect("SELECT")?;
        let mut sqlite = String::from("SELECT ");
        if self.accept("DISTINCT") {
            sqlite.push_str("DISTINCT ");
        } else {
            self.accept("ALL");
        }
        let top = if self.accept("TOP") {
            Some(self.top()?)
        } else {
            None
        };
        let mut count = 0;
        let items = self.list(|parser| {
            parser.check_chain(&mut count)?;
            parser.item(place)
        })?;
        sqlite.push_str(&items.join(", "));
        let line = self.line();
        if self.is("INTO") {
            return Err(SyntaxError::not_supported(line, "SELECT INTO", ""));
        }
        if self.accept("FROM") {
            sqlite.push_str(" FROM ");
            sqlite.push_str(&self.tables()?);
        }
        if self.accept("WHERE") {
            sqlite.push_str(" WHERE ");
            sqlite.push_str(&self.expression()?);
        }
        if self.accept("GROUP") {
            self.expect("BY")?;
            let mut count = 0;
            let terms = self.list(|parser| {
                parser.check_chain(&mut count)?;
                Ok(format!("{} COLLATE NOCASE", parser.expression()?))
            })?;
            sqlite.push_str(" GROUP BY ");
            sqlite.push_str(&terms.join(", "));
        }
        if self.accept("HAVING") {
            sqlite.push_str(" HAVING ");
            sqlite.push_str(&self.expression()?);
        }
        Ok((sqlite, top))
    }

    /// Behind TOP: `n` or `(n)`.
    fn top(&mut self) -> Parsed<u64> {
        let parentheses = self.accept_symbol(Symbol::Open);
        let rows = self.integer("a number of rows")?;
        if parentheses {
            self.close()?;
        }
        let line = self.line();
        if self.is("PERCENT") || self.are(&["WITH", "TIES"]) {
            return Err(SyntaxError::not_supported(
                line,
                "TOP with PERCENT or WITH TIES",
                "",
            ));
        }
        Ok(rows.min(i64::MAX as u64))
    }

    /// Behind OFFSET: `n ROWS [FETCH NEXT m ROWS ONLY]`.
    fn offset(&mut self) -> Parsed<String> {
        let rows = [("ROWS", ()), ("ROW", ())];
        let skipped = self.integer("a number of rows")?.min(i64::MAX as u64);
        self.choice(&rows)?;
        if !self.accept("FETCH") {
            return Ok(format!(" LIMIT -1 OFFSET {skipped}"));
        }
        self.choice(&[("NEXT", ()), ("FIRST", ())])?;
        let taken = self.integer("a number of rows")?.min(i64::MAX as u64);
        self.choice(&rows)?;
        self.expect("ONLY")?;
        Ok(format!(" LIMIT {taken} OFFSET {skipped}"))
    }

    /// One column of the result.
    fn item(&mut self, place: Place) -> Parsed<String> {
        if self.accept_symbol(Symbol::Star) {
            return Ok("*".to_owned());
        }
        if let Some(star) = self.qualified_star()? {
            return Ok(star);
        }
        // `alias = expression`
        let alias_first = self.is_name_at(0) || self.peek().kind == Kind::String;
        if alias_first && self.peek_at(1).kind == Kind::Symbol(Symbol::Equal) {
            let alias = self.alias()?;
            self.equal()?;
            return Ok(format!("{} AS {}", self.expression()?, quoted(&alias)?));
        }
        let column = self.column_name_ahead();
        let expression = self.expression()?;
        let is_column = column
            .as_ref()
            .is_some_and(|column| column.span.end == self.last_span().end);
        let has_alias = self.accept("AS") || self.is_name_at(0) || self.peek().kind == Kind::String;
        if has_alias {
            return Ok(format!("{expression} AS {}", quoted(&self.alias()?)?));
        }
        match column.filter(|_| is_column) {
            Some(column) => Ok(format!("{expression} AS {}", quoted(&column)?)),
            None if place == Place::Statement => Ok(format!("{expression} AS ``")),
            None => Ok(expression),
        }
    }

    /// `name.*`
    fn qualified_star(&mut self) -> Parsed<Option<String>> {
        let mut ahead = 0;
        while self.is_name_at(ahead) && self.peek_at(ahead + 1).kind == Kind::Symbol(Symbol::Point) {
            ahead += 2;
        }
        if ahead == 0 || self.peek_at(ahead).kind != Kind::Symbol(Symbol::Star) {
            return Ok(None);
        }
        let mut last = String::new();
        while !self.accept_symbol(Symbol::Star) {
            last = quoted(&self.name("the name of a table")?)?;
            self.expect_symbol(Symbol::Point, ".")?;
        }
        // SQLite knows `table.*` only.
        Ok(Some(format!("{last}.*")))
    }

    /// If a column reference is next, its last name.
    fn column_name_ahead(&self) -> Option<Name> {
        let mut ahead = 0;
        while self.is_name_at(ahead) && self.peek_at(ahead + 1).kind == Kind::Symbol(Symbol::Point) {
            ahead += 2;
        }
        let is_call = self.peek_at(ahead + 1).kind == Kind::Symbol(Symbol::Open);
        if !self.is_name_at(ahead) || is_call {
            return None;
        }
        let token = self.peek_at(ahead);
        let source = self.source(token.span);
        let value = if token.kind == Kind::QuotedName {
            super::lexer::unquote(source)
        } else {
            source.to_owned()
        };
        Some(Name {
            value,
            span: token.span,
        })
    }

    /// The name of a column or table, which may also be written as a string.
    fn alias(&mut self) -> Parsed<Name> {
        if self.peek().kind == Kind::String {
            let text = self.string("an alias")?;
            return Ok(Name {
                value: text.value,
                span: text.span,
            });
        }
        self.name("an alias")
    }

    fn order_by(&mut self) -> Parsed<String> {
        let mut count = 0;
        let terms = self.list(|parser| {
            parser.check_chain(&mut count)?;
            let is_ordinal = parser.peek().kind == Kind::Integer;
            let term = parser.expression()?;
            let collation = if is_ordinal { "" } else { " COLLATE NOCASE" };
            let direction = if parser.accept("DESC") {
                " DESC"
            } else {
                parser.accept("ASC");
                ""
            };
            Ok(format!("{term}{collation}{direction}"))
        })?;
        Ok(terms.join(", "))
    }

    // -- FROM

    fn tables(&mut self) -> Parsed<String> {
        let mut tables = self.table()?;
        let mut count = 1;
        loop {
            let line = self.line();
            let join = if self.accept_symbol(Symbol::Comma) {
                ", "
            } else if self.is_any(&["CROSS", "OUTER"]) && self.is_at(1, "APPLY") {
                return Err(SyntaxError::not_supported(line, "APPLY", ""));
            } else if self.accept_all(&["CROSS", "JOIN"]) {
                " CROSS JOIN "
            } else if let Some(join) = self.join()? {
                join
            } else {
                return Ok(tables);
            };
            self.check_chain(&mut count)?;
            tables.push_str(join);
            tables.push_str(&self.table()?);
            if !matches!(join, ", " | " CROSS JOIN ") {
                self.expect("ON")?;
                tables.push_str(" ON ");
                tables.push_str(&self.expression()?);
            }
        }
    }

    fn join(&mut self) -> Parsed<Option<&'static str>> {
        let sides = [
            ("LEFT", " LEFT JOIN "),
            ("RIGHT", " RIGHT JOIN "),
            ("FULL", " FULL JOIN "),
        ];
        for (side, join) in sides {
            if self.accept(side) {
                self.accept("OUTER");
                self.expect("JOIN")?;
                return Ok(Some(join));
            }
        }
        if self.accept("INNER") {
            self.expect("JOIN")?;
            return Ok(Some(" JOIN "));
        }
        Ok(self.accept("JOIN").then_some(" JOIN "))
    }

    fn table(&mut self) -> Parsed<String> {
        if self.accept_symbol(Symbol::Open) {
            let line = self.line();
            if !self.is("SELECT") {
                let what = "Parentheses in FROM around anything but a SELECT";
                return Err(SyntaxError::not_supported(line, what, ""));
            }
            let query = self.query(Place::Inner)?;
            self.close()?;
            self.accept("AS");
            let alias = self.name("an alias for the subquery")?;
            return Ok(format!("({query}) AS {}", quoted(&alias)?));
        }
        let line = self.line();
        if self.peek().kind == Kind::Variable {
            let name = self.source(self.peek().span);
            return Err(SyntaxError::new(
                1087,
                15,
                line,
                format!("The table variable \"{name}\" is not declared."),
            ));
        }
        let mut parts = self.qualified_name("the name of a view")?;
        if self.is_symbol(Symbol::Open) {
            return Err(SyntaxError::not_supported(line, "A function in FROM", ""));
        }
        let shown = parts
            .iter()
            .map(|part| part.value.as_str())
            .collect::<Vec<_>>()
            .join(".");
        self.only_master(&mut parts, 2, line)?;
        // Tables that SQLite keeps for itself are none of ours.
        let is_internal = parts.last().is_some_and(|name| {
            let lower = name.value.to_ascii_lowercase();
            lower.starts_with("sqlite_") || lower.starts_with("pragma_")
        });
        if is_internal {
            return Err(SyntaxError::new(
                208,
                16,
                line,
                format!("Invalid object name '{shown}'."),
            ));
        }
        let mut table = joined(&parts)?;
        if self.accept("AS") || self.is_name_at(0) {
            let alias = self.name("an alias")?;
            table.push_str(" AS ");
            table.push_str(&quoted(&alias)?);
        }
        self.table_hints()?;
        Ok(table)
    }

    /// `WITH (NOLOCK)` and the like say nothing here: a catalog view is read at one moment.
    fn table_hints(&mut self) -> Parsed<()> {
        if self.is("WITH") && self.peek_at(1).kind == Kind::Symbol(Symbol::Open) {
            self.advance();
            self.open()?;
            self.list(|parser| {
                if parser.peek().kind != Kind::Word {
                    return Err(parser.unexpected("a table hint"));
                }
                parser.advance();
                Ok(())
            })?;
            self.close()?;
        }
        Ok(())
    }

    /// `name { . name }`, at most four.
    fn qualified_name(&mut self, what: &str) -> Parsed<Vec<Name>> {
        let mut parts = vec![self.name(what)?];
        while self.is_symbol(Symbol::Point) && parts.len() < 4 {
            self.advance();
            // `master..sysusers`: the schema in the middle is left out.
            if self.is_symbol(Symbol::Point) {
                continue;
            }
            parts.push(self.name(what)?);
        }
        Ok(parts)
    }

    /// Takes away a leading database: only `master` can be named, which is where the views are.
    fn only_master(&self, parts: &mut Vec<Name>, length: usize, line: u32) -> Parsed<()> {
        if parts.len() > length {
            let database = parts.remove(0);
            if parts.len() > length || !database.value.eq_ignore_ascii_case("master") {
                let what = format!("A name in another database ('{}')", database.value);
                return Err(SyntaxError::not_supported(
                    line,
                    &what,
                    "USE that database first.",
                ));
            }
        }
        Ok(())
    }
}

/// A query of a set operation, which may only have its TOP inside parentheses of its own.
fn limited(sqlite: String, top: Option<u64>) -> String {
    match top {
        Some(rows) => format!("SELECT * FROM ({sqlite} LIMIT {rows})"),
        None => sqlite,
    }
}

/// A name for SQLite. In double quotes an unknown name would become a string; in back quotes it never does.
fn quoted(name: &Name) -> Parsed<String> {
    if name.value.contains('\0') {
        return Err(SyntaxError::near(
            name.span.line,
            "a name that holds a NUL character",
            "",
        ));
    }
    Ok(format!("`{}`", name.value.replace('`', "``")))
}

fn joined(parts: &[Name]) -> Parsed<String> {
    let parts: Vec<String> = parts.iter().map(quoted).collect::<Parsed<_>>()?;
    Ok(parts.join("."))
}
