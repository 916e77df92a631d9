//! JSON objects whose names stay in the order that they were added in.

use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A value in an [`Object`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Value(Value),
    Object(Object),
    List(Vec<Object>),
}

/// Names and values, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object(Vec<(String, Node)>);

impl Object {
    /// Adds a number or a text.
    pub(crate) fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), Node::Value(value.into())));
    }

    /// Adds a list.
    pub(crate) fn list(&mut self, name: &str, list: Vec<Object>) {
        self.0.push((name.to_owned(), Node::List(list)));
    }

    /// Adds an object.
    pub(crate) fn object(&mut self, name: &str, object: Object) {
        self.0.push((name.to_owned(), Node::Object(object)));
    }

    /// As text over several lines.
    pub(crate) fn pretty(&self) -> io::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(io::Error::other)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, node) in &self.0 {
            match node {
                Node::Value(value) => map.serialize_entry(name, value)?,
                Node::Object(object) => map.serialize_entry(name, object)?,
                Node::List(list) => map.serialize_entry(name, list)?,
            }
        }
        map.end()
    }
}

/// A number as JSON: those of more than 64 bits are texts, since few programs read them otherwise.
pub(crate) fn wide(number: u128) -> Value {
    Value::from(number.to_string())
}
