//! Expressions, by rising precedence: OR, AND, NOT, comparison, sum, product, sign, constant.

use super::{CHAIN_MAX, Place, joined};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol, unquote};
use crate::tsql::parser::{Parsed, Parser, decode_binary};
use crate::tsql::span::Span;

/// Most values of an IN list.
const IN_MAX: usize = 1_024;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<String> {
        self.nested(Self::disjunction)
    }

    /// `term { operator term }` for operators that SQLite groups as Transact-SQL does.
    fn chain(&mut self, operator: &str, term: fn(&mut Self) -> Parsed<String>) -> Parsed<String> {
        let first = term(self)?;
        if !self.is(operator) {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.accept(operator) {
            terms.push(term(self)?);
            if terms.len() > CHAIN_MAX {
                return Err(SyntaxError::too_deep(self.line()));
            }
        }
        Ok(format!("({})", terms.join(&format!(" {operator} "))))
    }

    fn disjunction(&mut self) -> Parsed<String> {
        self.chain("OR", Self::conjunction)
    }

    fn conjunction(&mut self) -> Parsed<String> {
        self.chain("AND", Self::negation)
    }

    fn negation(&mut self) -> Parsed<String> {
        let mut negated = false;
        while self.accept("NOT") {
            negated = !negated;
        }
        let operand = self.comparison()?;
        Ok(if negated {
            format!("(NOT {operand})")
        } else {
            operand
        })
    }

    fn comparison(&mut self) -> Parsed<String> {
        let left = self.sum()?;
        let line = self.line();
        if let Some(operator) = self.comparison_operator() {
            if self.is_any(&["ALL", "ANY", "SOME"]) {
                return Err(SyntaxError::not_supported(
                    line,
                    "A comparison with ALL, ANY or SOME",
                    "",
                ));
            }
            // The catalog compares names without regard to case.
            return Ok(format!("({left} {operator} {} COLLATE NOCASE)", self.sum()?));
        }
        if self.accept("IS") {
            let not = if self.accept("NOT") { " NOT" } else { "" };
            self.expect("NULL")?;
            return Ok(format!("({left} IS{not} NULL)"));
        }
        let negated = self.is("NOT") && ["LIKE", "IN", "BETWEEN"].iter().any(|word| self.is_at(1, word));
        if negated {
            self.advance();
        }
        let not = if negated { "NOT " } else { "" };
        if self.accept("LIKE") {
            let pattern = self.sum()?;
            let escape = if self.accept("ESCAPE") {
                format!(", {}", self.sum()?)
            } else {
                String::new()
            };
            Ok(format!("({not}tsql_like({left}, {pattern}{escape}))"))
        } else if self.accept("BETWEEN") {
            let low = self.sum()?;
            self.expect("AND")?;
            let high = self.sum()?;
            Ok(format!("({left} COLLATE NOCASE {not}BETWEEN {low} AND {high})"))
        } else if self.accept("IN") {
            Ok(format!("({left} COLLATE NOCASE {not}IN ({}))", self.in_list()?))
        } else {
            Ok(left)
        }
    }

    fn comparison_operator(&mut self) -> Option<&'static str> {
        let Kind::Symbol(symbol) = self.peek().kind else {
            return None;
        };
        let operator = match symbol {
            Symbol::Equal => "=",
            Symbol::NotEqual => "<>",
            Symbol::Less => "<",
            Symbol::LessEqual => "<=",
            Symbol::Greater => ">",
            Symbol::GreaterEqual => ">=",
            _ => return None,
        };
        self.advance();
        Some(operator)
    }

    fn in_list(&mut self) -> Parsed<String> {
        self.open()?;
        let list = if self.is("SELECT") {
            self.query(Place::Inner)?
        } else {
            let mut count = 0;
            let values = self.list(|parser| {
                count += 1;
                if count > IN_MAX {
                    return Err(SyntaxError::too_deep(parser.line()));
                }
                parser.expression()
            })?;
            values.join(", ")
        };
        self.close()?;
        Ok(list)
    }

    fn sum(&mut self) -> Parsed<String> {
        let mut left = self.product()?;
        let mut count = 1;
        loop {
            self.check_chain(&mut count)?;
            let line = self.line();
            if self.accept_symbol(Symbol::Plus) {
                // + adds numbers and joins strings: which of the two is known when it runs.
                left = format!("tsql_add({left}, {})", self.product()?);
            } else if self.accept_symbol(Symbol::Minus) {
                left = format!("({left} - {})", self.product()?);
            } else if self.accept_symbol(Symbol::Ampersand) {
                left = format!("({left} & {})", self.product()?);
            } else if self.accept_symbol(Symbol::Bar) {
                left = format!("({left} | {})", self.product()?);
            } else if self.is_symbol(Symbol::Caret) {
                return Err(SyntaxError::not_supported(line, "The operator ^", ""));
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self) -> Parsed<String> {
        let mut left = self.sign()?;
        let mut count = 1;
        loop {
            self.check_chain(&mut count)?;
            let operator = if self.accept_symbol(Symbol::Star) {
                "*"
            } else if self.accept_symbol(Symbol::Slash) {
                "/"
            } else if self.accept_symbol(Symbol::Percent) {
                "%"
            } else {
                return Ok(left);
            };
            left = format!("({left} {operator} {})", self.sign()?);
        }
    }

    fn sign(&mut self) -> Parsed<String> {
        let mut signs = Vec::new();
        loop {
            if self.accept_symbol(Symbol::Minus) {
                signs.push("-");
            } else if self.accept_symbol(Symbol::Tilde) {
                signs.push("~");
            } else if !self.accept_symbol(Symbol::Plus) {
                break;
            }
            if signs.len() > CHAIN_MAX {
                return Err(SyntaxError::too_deep(self.line()));
            }
        }
        let value = self.value()?;
        if self.is("COLLATE") {
            return Err(SyntaxError::not_supported(
                self.line(),
                "COLLATE",
                "Comparisons ignore case.",
            ));
        }
        // Blanks between the signs: two hyphens in a row would begin a comment.
        Ok(if signs.is_empty() {
            value
        } else {
            format!("({} {value})", signs.join(" "))
        })
    }

    fn value(&mut self) -> Parsed<String> {
        let token = self.peek();
        match token.kind {
            Kind::Integer | Kind::Decimal => {
                self.advance();
                Ok(self.source(token.span).to_owned())
            }
            Kind::Binary => {
                self.advance();
                Ok(binary_constant(&decode_binary(self.source(token.span))))
            }
            Kind::String => {
                self.advance();
                self.string_constant(token.span)
            }
            Kind::Variable => self.variable(token.span),
            Kind::Symbol(Symbol::Open) => self.parentheses(),
            Kind::Word | Kind::QuotedName => self.word_value(),
            Kind::Symbol(_) | Kind::End => Err(self.unexpected("an expression")),
        }
    }

    fn string_constant(&self, span: Span) -> Parsed<String> {
        let text = unquote(self.source(span));
        if text.contains('\0') {
            return Err(SyntaxError::near(
                span.line,
                "a string that holds a NUL character",
                "",
            ));
        }
        Ok(format!("'{}'", text.replace('\'', "''")))
    }

    fn variable(&mut self, span: Span) -> Parsed<String> {
        let name = self.source(span).to_owned();
        let call = match name.to_ascii_uppercase().as_str() {
            "@@SERVERNAME" => "tsql_servername()",
            "@@SERVICENAME" => "'DBMIRROR'",
            "@@VERSION" => "tsql_version()",
            "@@SPID" => "tsql_spid()",
            "@@TRANCOUNT" => "0",
            "@@LANGUAGE" => "'us_english'",
            _ if name.starts_with("@@") => {
                let text = format!("The system variable {name} does not exist on this server.");
                return Err(SyntaxError::new(137, 15, span.line, text));
            }
            _ => return Err(SyntaxError::undeclared_variable(span.line, &name)),
        };
        self.advance();
        Ok(call.to_owned())
    }

    fn parentheses(&mut self) -> Parsed<String> {
        self.open()?;
        let inner = if self.is("SELECT") {
            self.query(Place::Inner)?
        } else {
            self.expression()?
        };
        self.close()?;
        Ok(format!("({inner})"))
    }

    fn word_value(&mut self) -> Parsed<String> {
        let line = self.line();
        if self.accept("NULL") {
            return Ok("NULL".to_owned());
        }
        if self.accept("CASE") {
            return self.nested(Self::case);
        }
        if self.accept("EXISTS") {
            self.open()?;
            let query = self.query(Place::Inner)?;
            self.close()?;
            return Ok(format!("(EXISTS ({query}))"));
        }
        for (word, call) in [
            ("CURRENT_TIMESTAMP", "tsql_now()"),
            ("CURRENT_USER", "tsql_user_name()"),
            ("SESSION_USER", "tsql_user_name()"),
            ("USER", "tsql_user_name()"),
            ("SYSTEM_USER", "tsql_login_name()"),
        ] {
            if self.accept(word) {
                return Ok(call.to_owned());
            }
        }
        if let Some(call) = self.function()? {
            return Ok(call);
        }
        let mut parts = self.qualified_name("an expression")?;
        if self.is_symbol(Symbol::Open) {
            let name = parts
                .iter()
                .map(|part| part.value.as_str())
                .collect::<Vec<_>>()
                .join(".");
            return Err(SyntaxError::unknown_function(line, &name));
        }
        self.only_master(&mut parts, 3, line)?;
        joined(&parts)
    }

    /// Behind CASE.
    fn case(&mut self) -> Parsed<String> {
        let mut text = String::from("(CASE");
        if !self.is("WHEN") {
            text.push_str(&format!(" {} COLLATE NOCASE", self.expression()?));
        }
        let mut count = 0;
        while self.accept("WHEN") {
            self.check_chain(&mut count)?;
            let condition = self.expression()?;
            self.expect("THEN")?;
            text.push_str(&format!(" WHEN {condition} THEN {}", self.expression()?));
        }
        if count == 0 {
            return Err(self.unexpected("WHEN"));
        }
        if self.accept("ELSE") {
            text.push_str(&format!(" ELSE {}", self.expression()?));
        }
        self.expect("END")?;
        text.push_str(" END)");
        Ok(text)
    }
}

fn binary_constant(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("x'{digits}'")
}
