//! EXEC procedure with constants as arguments.

use super::{Parsed, Parser, decode_binary};
use crate::tsql::ast::{Argument, Execute, Literal, Name, StatementKind};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol, unquote};
use crate::tsql::span::Span;

/// Most arguments of a procedure.
const ARGUMENTS_MAX: usize = 1_024;

impl Parser<'_> {
    pub(super) fn execute(&mut self, line: u32) -> Parsed<StatementKind> {
        if self.is("AS") {
            return self.execute_as(line);
        }
        if self.is_symbol(Symbol::Open) {
            return Err(SyntaxError::not_supported(
                line,
                "EXEC of a string",
                "Send the statements themselves.",
            ));
        }
        if self.peek().kind == Kind::Variable {
            let name = self.source(self.peek().span).to_owned();
            return Err(SyntaxError::undeclared_variable(line, &name));
        }
        let mut procedure = vec![self.name("the name of a procedure")?];
        while self.accept_symbol(Symbol::Point) {
            // `master..sp_x` leaves the schema out.
            if self.is_symbol(Symbol::Point) {
                continue;
            }
            procedure.push(self.name("the name of a procedure")?);
            if procedure.len() > 3 {
                return Err(SyntaxError::not_supported(line, "EXEC on a linked server", ""));
            }
        }
        let arguments = if self.argument_follows() {
            self.arguments()?
        } else {
            Vec::new()
        };
        Ok(StatementKind::Execute(Execute { procedure, arguments }))
    }

    fn argument_follows(&self) -> bool {
        match self.peek().kind {
            Kind::String
            | Kind::Integer
            | Kind::Decimal
            | Kind::Binary
            | Kind::Variable
            | Kind::QuotedName => true,
            Kind::Symbol(symbol) => matches!(symbol, Symbol::Minus | Symbol::Plus),
            Kind::Word => self.is("NULL") || self.is("DEFAULT") || self.is_name_at(0),
            Kind::End => false,
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments: Vec<Argument> = Vec::new();
        loop {
            let line = self.line();
            if arguments.len() >= ARGUMENTS_MAX {
                let text = format!("A procedure takes at most {ARGUMENTS_MAX} arguments.");
                return Err(SyntaxError::new(180, 15, line, text));
            }
            let name = self.argument_name();
            let named_before = arguments.last().is_some_and(|argument| argument.name.is_some());
            if named_before && name.is_none() {
                let text = "Behind an argument with its name ('@name = value') each one needs its name.";
                return Err(SyntaxError::new(119, 15, line, text));
            }
            let start = self.peek().span;
            let value = self.argument_value()?;
            arguments.push(Argument {
                name,
                value,
                span: start.to(self.last_span()),
            });
            if !self.accept_symbol(Symbol::Comma) {
                return Ok(arguments);
            }
        }
    }

    /// `@name =`
    fn argument_name(&mut self) -> Option<Name> {
        let token = self.peek();
        if token.kind != Kind::Variable || self.peek_at(1).kind != Kind::Symbol(Symbol::Equal) {
            return None;
        }
        self.advance();
        self.advance();
        let value = self.source(token.span).trim_start_matches('@').to_owned();
        Some(Name {
            value,
            span: token.span,
        })
    }

    fn argument_value(&mut self) -> Parsed<Literal> {
        if self.accept("NULL") {
            return Ok(Literal::Null);
        }
        if self.accept("DEFAULT") {
            return Ok(Literal::Default);
        }
        let negative = self.accept_symbol(Symbol::Minus);
        let signed = negative || self.accept_symbol(Symbol::Plus);
        let token = self.peek();
        match token.kind {
            Kind::Integer | Kind::Decimal => {
                self.advance();
                Ok(self.number(token.span, negative))
            }
            _ if signed => Err(self.unexpected("a number")),
            Kind::String => {
                self.advance();
                Ok(Literal::Text(unquote(self.source(token.span))))
            }
            Kind::Binary => {
                self.advance();
                Ok(Literal::Binary(decode_binary(self.source(token.span))))
            }
            Kind::Variable => Err(SyntaxError::undeclared_variable(
                token.span.line,
                self.source(token.span),
            )),
            _ if self.is_name_at(0) => Ok(Literal::Text(self.name("a value")?.value)),
            _ => Err(self.unexpected("a constant")),
        }
    }

    fn number(&self, span: Span, negative: bool) -> Literal {
        let sign = if negative { "-" } else { "" };
        let text = format!("{sign}{}", self.source(span));
        text.parse().map_or(Literal::Decimal(text), Literal::Int)
    }
}
