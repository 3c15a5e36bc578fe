//! Reads the YAML of pipelines as JSON: mappings, sequences and scalars, which is all that they need.

use serde_json::{Map, Value, json};
use tree_sitter::{Node, Parser};

/// A file's document; panics with the place of what is no YAML, or more of it than pipelines need.
pub fn read(path: &str, text: &str) -> Value {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_yaml::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    let root = tree.root_node();
    assert!(!root.has_error(), "{path} is no YAML: {}", root.to_sexp());
    let documents = named(root);
    let [document] = documents.as_slice() else { panic!("{path} is not one document") };
    value(*document, text)
}

fn named(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).filter(|child| child.kind() != "comment").collect()
}

fn value(node: Node<'_>, text: &str) -> Value {
    let own = || &text[node.byte_range()];
    match node.kind() {
        // What only wraps another.
        "document" | "block_node" | "flow_node" | "plain_scalar" => {
            let children = named(node);
            let [inner] = children.as_slice() else { panic!("{}: not one value", own()) };
            value(*inner, text)
        }
        "block_mapping" => {
            Value::Object(named(node).into_iter().map(|pair| entry(pair, text)).collect::<Map<_, _>>())
        }
        "block_sequence" => named(node).into_iter().map(|item| value(named(item)[0], text)).collect(),
        "string_scalar" | "float_scalar" => json!(own()),
        "null_scalar" => Value::Null,
        "boolean_scalar" => json!(own() == "true"),
        "integer_scalar" => json!(own().parse::<i64>().unwrap()),
        "single_quote_scalar" => json!(own().trim_matches('\'')),
        // `|`, and the lines below it, which stand deeper than what they belong to.
        "block_scalar" => {
            let lines: Vec<&str> = own().lines().skip(1).map(str::trim).collect();
            json!(lines.join("\n"))
        }
        other => panic!("{}: pipelines need no {other}", own()),
    }
}

fn entry(pair: Node<'_>, text: &str) -> (String, Value) {
    let part = |name| pair.child_by_field_name(name).map(|node| value(node, text));
    match part("key") {
        Some(Value::String(key)) => (key, part("value").unwrap_or(Value::Null)),
        key => panic!("a key that is no text: {key:?}"),
    }
}
