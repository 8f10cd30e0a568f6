//! A YAML or JSON document with the position of every node, so that a finding can name its line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A place in the text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// A node and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    pub position: Option<Position>,
    pub node: Node,
}

/// A node's content. Numbers keep their text: a quantity may be written as a bare number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Field>),
}

/// A key, where it is, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub key: String,
    pub position: Option<Position>,
    pub value: Tree,
}

impl Tree {
    /// The value under a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        let Node::Map(fields) = &self.node else { return None };
        fields.iter().find(|f| f.key == key).map(|f| &f.value)
    }

    /// The text under a key of a map.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Tree { node: Node::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// Removes a key of a map and returns its value.
    pub(super) fn take(&mut self, key: &str) -> Option<Tree> {
        let Node::Map(fields) = &mut self.node else { return None };
        let at = fields.iter().position(|f| f.key == key)?;
        Some(fields.remove(at).value)
    }

    /// What the node is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.node {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a string",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }
}

impl From<&Value> for Tree {
    fn from(value: &Value) -> Self {
        let node = match value {
            Value::Null => Node::Null,
            Value::Bool(b) => Node::Bool(*b),
            Value::Number(n) => Node::Number(n.to_string()),
            Value::String(s) => Node::Text(s.clone()),
            Value::Array(list) => Node::List(list.iter().map(Tree::from).collect()),
            Value::Object(map) => Node::Map(
                map.iter()
                    .map(|(key, value)| Field {
                        key: key.clone(),
                        position: None,
                        value: Tree::from(value),
                    })
                    .collect(),
            ),
        };
        Self { position: None, node }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self { position: position(spanned.referenced), node: spanned.value })
    }
}

fn position(location: serde_saphyr::Location) -> Option<Position> {
    let known = location != serde_saphyr::Location::UNKNOWN;
    known.then(|| Position { line: location.line(), column: location.column() })
}

/// Where a YAML error is.
pub(super) fn error_position(error: &serde_saphyr::Error) -> Option<Position> {
    error.location().and_then(position)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        Node::deserialize(d)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Node, E> {
        Ok(Node::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_i128<E>(self, n: i128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_u128<E>(self, n: u128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_str<E>(self, s: &str) -> Result<Node, E> {
        Ok(Node::Text(s.to_owned()))
    }
    fn visit_string<E>(self, s: String) -> Result<Node, E> {
        Ok(Node::Text(s))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(tree) = seq.next_element()? {
            list.push(tree);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let value = map.next_value()?;
            fields.push(Field { key: key.value, position: position(key.referenced), value });
        }
        Ok(Node::Map(fields))
    }
}
