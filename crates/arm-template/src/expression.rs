//! The grammar of expressions: text to tree.
//!
//! <https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions>

/// "Template expressions can't exceed 24,576 characters."
const LONGEST_EXPRESSION: usize = 24_576;
/// Calls and indices inside each other; deeper text is refused so that hostile input cannot exhaust the stack.
const DEEPEST_EXPRESSION: usize = 64;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Text(String),
    Integer(i64),
    Call { name: String, arguments: Vec<Expression> },
    Member { of: Box<Expression>, name: String },
    Index { of: Box<Expression>, index: Box<Expression> },
}

/// What a JSON string of a template means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// This text itself (an escaped `[[` has lost one bracket).
    Literal(String),
    Expression(Expression),
}

/// Whether Resource Manager would evaluate this string: `[…]`, but neither `[[…]` nor `[…] …`.
pub fn is_expression(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']') && !text.starts_with("[[")
}

/// Reads a JSON string of a template.
pub(crate) fn meaning(text: &str) -> Result<Meaning, String> {
    if text.starts_with("[[") && text.ends_with(']') {
        return Ok(Meaning::Literal(text[1..].to_owned()));
    }
    if !is_expression(text) {
        return Ok(Meaning::Literal(text.to_owned()));
    }
    // .NET counts UTF-16 units.
    if text.encode_utf16().count() > LONGEST_EXPRESSION {
        return Err(format!(
            "The language expression length limit of '{LONGEST_EXPRESSION}' characters is exceeded."
        ));
    }
    let inner = &text[1..text.len() - 1];
    let mut parser = Parser { text: inner, at: 0, depth: 0 };
    let expression = parser.expression()?;
    parser.space();
    match parser.peek() {
        None => Ok(Meaning::Expression(expression)),
        Some(found) => Err(parser.unexpected(found)),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.at += found.len_utf8();
        Some(found)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.take();
        }
    }

    fn unexpected(&self, found: char) -> String {
        format!(
            "The language expression '{}' is not valid: the string character '{found}' at position '{}' is not expected.",
            self.text, self.at
        )
    }

    fn ended(&self) -> String {
        format!("Unable to parse language expression '{}': the expression ends too early.", self.text)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.space();
        match self.peek() {
            Some(found) if found == wanted => {
                self.take();
                Ok(())
            }
            Some(found) => Err(self.unexpected(found)),
            None => Err(self.ended()),
        }
    }

    fn expression(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST_EXPRESSION {
            return Err(format!(
                "The language expression is nested deeper than '{DEEPEST_EXPRESSION}' levels."
            ));
        }
        let mut expression = self.primary()?;
        let mut suffixes = 0;
        loop {
            self.space();
            expression = match self.peek() {
                Some('.') => {
                    self.take();
                    self.space();
                    Expression::Member { of: Box::new(expression), name: self.identifier()? }
                }
                Some('[') => {
                    self.take();
                    let index = self.expression()?;
                    self.expect(']')?;
                    Expression::Index { of: Box::new(expression), index: Box::new(index) }
                }
                _ => break,
            };
            suffixes += 1;
            if suffixes > DEEPEST_EXPRESSION {
                return Err(format!(
                    "The language expression has more than '{DEEPEST_EXPRESSION}' member accesses."
                ));
            }
        }
        self.depth -= 1;
        Ok(expression)
    }

    fn primary(&mut self) -> Result<Expression, String> {
        self.space();
        match self.peek() {
            None => Err(self.ended()),
            Some('\'') => self.string().map(Expression::Text),
            Some(c) if c == '-' || c == '+' || c.is_ascii_digit() => self.integer(),
            Some(c) if is_identifier(c) => self.call(),
            Some(c) => Err(self.unexpected(c)),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.take();
        let mut value = String::new();
        loop {
            match self.take() {
                None => return Err(self.ended()),
                Some('\'') if self.peek() == Some('\'') => {
                    self.take();
                    value.push('\'');
                }
                Some('\'') => return Ok(value),
                Some(c) => value.push(c),
            }
        }
    }

    fn integer(&mut self) -> Result<Expression, String> {
        let start = self.at;
        self.take();
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.take();
        }
        let digits = &self.text[start..self.at];
        digits.parse().map(Expression::Integer).map_err(|_| {
            format!("The language expression '{}' is not valid: '{digits}' is not an integer.", self.text)
        })
    }

    fn identifier(&mut self) -> Result<String, String> {
        let start = self.at;
        while self.peek().is_some_and(is_identifier) {
            self.take();
        }
        if start == self.at {
            return Err(match self.peek() {
                Some(found) => self.unexpected(found),
                None => self.ended(),
            });
        }
        Ok(self.text[start..self.at].to_owned())
    }

    fn call(&mut self) -> Result<Expression, String> {
        let mut name = self.identifier()?;
        self.space();
        // A user-defined function has its namespace before the dot.
        while self.peek() == Some('.') {
            self.take();
            self.space();
            name = format!("{name}.{}", self.identifier()?);
            self.space();
        }
        self.expect('(')?;
        let mut arguments = Vec::new();
        self.space();
        if self.peek() == Some(')') {
            self.take();
            return Ok(Expression::Call { name, arguments });
        }
        loop {
            arguments.push(self.expression()?);
            self.space();
            match self.take() {
                Some(',') => {}
                Some(')') => return Ok(Expression::Call { name, arguments }),
                Some(found) => return Err(self.unexpected(found)),
                None => return Err(self.ended()),
            }
        }
    }
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}
