//! Reads Bicep files into what the tests look at: declarations, and expressions as a tree.

use std::{fs, path::Path};

use tree_sitter::{Node, Parser};

/// A file.
pub struct File {
    /// Its path below `infra/`.
    pub path: String,
    pub declarations: Vec<Declaration>,
}

/// A declaration.
pub struct Declaration {
    pub kind: Kind,
    pub name: String,
    /// What it is set to; of a parameter its default.
    pub value: Option<Expression>,
}

/// What is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Parameter,
    Variable,
    Output,
    Type,
    /// With its type, without the version.
    Resource {
        kind: String,
        existing: bool,
    },
    /// With its path.
    Module(String),
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A literal text; interpolations stand in it as they are written, and as expressions beside it.
    Text(String, Vec<Expression>),
    Name(String),
    Object(Vec<(String, Expression)>),
    Array(Vec<Expression>),
    Call(String, Vec<Expression>),
    Member(Box<Expression>, String),
    /// `[for names in items: body]`, or `names => body`.
    Scope(Vec<String>, Vec<Expression>, Box<Expression>),
    Ternary(Box<[Expression; 3]>),
    /// Numbers, operators and the like, by what they are made of.
    Other(String, Vec<Expression>),
}

impl File {
    /// Reads a file; panics with the place of what is no Bicep.
    pub fn read(root: &Path, path: &str) -> Self {
        let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        // A parameters file assigns as variables are set: without types.
        let text = if path.ends_with(".bicepparam") { text.replace("\nparam ", "\nvar ") } else { text };
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).unwrap();
        let tree = parser.parse(&text, None).unwrap();
        assert_no_error(tree.root_node(), path);
        let mut cursor = tree.root_node().walk();
        let nodes: Vec<Node<'_>> = tree.root_node().named_children(&mut cursor).collect();
        let declarations = nodes.iter().filter_map(|node| declaration(*node, &text)).collect();
        Self { path: path.to_owned(), declarations }
    }

    /// The declaration of this name.
    pub fn find(&self, name: &str) -> Option<&Declaration> {
        self.declarations.iter().find(|declaration| declaration.name == name)
    }

    /// What a variable is set to.
    pub fn variable(&self, name: &str) -> &Expression {
        let found = self.find(name).filter(|found| found.kind == Kind::Variable);
        let found = found.unwrap_or_else(|| panic!("{} has no variable {name}", self.path));
        found.value.as_ref().unwrap()
    }

    /// Those of one kind.
    pub fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Declaration> {
        self.declarations.iter().filter(
            move |found| matches!(&found.kind, Kind::Resource { kind: own, existing: false } if own == kind),
        )
    }
}

impl Expression {
    /// Everything directly below.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Name(_) => Vec::new(),
            Self::Text(_, parts) | Self::Array(parts) | Self::Call(_, parts) | Self::Other(_, parts) => {
                parts.iter().collect()
            }
            Self::Object(properties) => properties.iter().map(|(_, value)| value).collect(),
            Self::Member(object, _) => vec![object],
            Self::Scope(_, items, body) => items.iter().chain([&**body]).collect(),
            Self::Ternary(parts) => parts.iter().collect(),
        }
    }

    /// This and everything below.
    pub fn all(&self) -> Vec<&Self> {
        let below = self.children().into_iter().flat_map(Self::all);
        std::iter::once(self).chain(below).collect()
    }

    /// A property, by its path: `properties.siteConfig`. Looks through loops and conditions into their object.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |expression, name| match expression {
            Self::Scope(_, _, body) => body.at(name),
            Self::Object(properties) => {
                properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        })
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// The texts of an array.
    pub fn texts(&self) -> Vec<&str> {
        let Self::Array(items) = self else { panic!("{self:?} is no array") };
        items.iter().map(|item| item.text().unwrap_or_else(|| panic!("{item:?} is no text"))).collect()
    }

    /// The words of a literal that is no text: `true`, `10`.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Other(word, parts) if parts.is_empty() => Some(word),
            _ => None,
        }
    }
}

fn assert_no_error(node: Node<'_>, path: &str) {
    if !node.has_error() {
        return;
    }
    let at = node.start_position();
    assert!(!node.is_error() && !node.is_missing(), "{path}:{}:{} is no Bicep", at.row + 1, at.column + 1);
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        assert_no_error(child, path);
    }
}

fn named(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).filter(|child| !child.kind().contains("comment")).collect()
}

fn source<'a>(node: Node<'_>, text: &'a str) -> &'a str {
    &text[node.byte_range()]
}

fn declaration(node: Node<'_>, text: &str) -> Option<Declaration> {
    let children = named(node);
    let name = || source(children[0], text).to_owned();
    let string = |at: usize| source(children[at], text).trim_matches('\'').to_owned();
    let has = |word: &str| node.children(&mut node.walk()).any(|child| child.kind() == word);
    let last = || children.last().map(|last| expression(*last, text));
    let (kind, value) = match node.kind() {
        "parameter_declaration" => {
            let default = if has("=") { last() } else { None };
            (Kind::Parameter, default)
        }
        "variable_declaration" => (Kind::Variable, last()),
        "output_declaration" => (Kind::Output, last()),
        "type_declaration" => (Kind::Type, None),
        "module_declaration" => (Kind::Module(string(1)), last()),
        "resource_declaration" => {
            let kind = string(1).split('@').next().unwrap_or_default().to_owned();
            (Kind::Resource { kind, existing: has("existing") }, last())
        }
        _ => return None,
    };
    Some(Declaration { kind, name: name(), value })
}

fn expression(node: Node<'_>, text: &str) -> Expression {
    let children = named(node);
    let all = |nodes: &[Node<'_>]| nodes.iter().map(|node| expression(*node, text)).collect::<Vec<_>>();
    let own = || source(node, text).to_owned();
    match node.kind() {
        "identifier" | "keyword_identifier" => Expression::Name(own()),
        "string" => {
            let parts = children.iter().filter(|child| child.kind() == "interpolation");
            let parts = parts.flat_map(|part| all(&named(*part))).collect();
            Expression::Text(own().trim_matches('\'').to_owned(), parts)
        }
        "object" => Expression::Object(
            children
                .iter()
                .filter(|child| child.kind() == "object_property")
                .map(|property| {
                    let parts = named(*property);
                    let key = source(parts[0], text).trim_matches('\'').to_owned();
                    let value = parts.last().filter(|_| parts.len() > 1);
                    (
                        key,
                        value.map_or_else(
                            || Expression::Other(String::new(), Vec::new()),
                            |v| expression(*v, text),
                        ),
                    )
                })
                .collect(),
        ),
        "array" => Expression::Array(all(&children)),
        "call_expression" => {
            let arguments = named(children[1]);
            Expression::Call(source(children[0], text).to_owned(), all(&arguments))
        }
        "member_expression" => {
            let property = source(children[1], text).to_owned();
            Expression::Member(Box::new(expression(children[0], text)), property)
        }
        "lambda_expression" => {
            let names = source(children[0], text).trim_matches(['(', ')']);
            let names = names.split(',').map(|name| name.trim().to_owned()).collect();
            Expression::Scope(names, Vec::new(), Box::new(expression(children[1], text)))
        }
        "for_statement" => {
            let names = source(children[0], text).trim_matches(['(', ')']);
            let names = names.split(',').map(|name| name.trim().to_owned()).collect();
            let body = expression(children[children.len() - 1], text);
            Expression::Scope(names, all(&children[1..children.len() - 1]), Box::new(body))
        }
        // `if (condition) { … }`: the object counts, and what the condition names.
        "if_statement" => {
            let body = expression(children[1], text);
            Expression::Scope(Vec::new(), vec![expression(children[0], text)], Box::new(body))
        }
        "ternary_expression" => {
            let [condition, then, otherwise] = [0, 1, 2].map(|at| expression(children[at], text));
            Expression::Ternary(Box::new([condition, then, otherwise]))
        }
        _ if children.is_empty() => Expression::Other(own(), Vec::new()),
        kind => Expression::Other(kind.to_owned(), all(&children)),
    }
}
