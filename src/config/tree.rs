//! What people wrote, as one tree with places: the file's YAML with the environment laid over it. Scalars stay text, so
//! that a file and a variable say a value in the same words.

use crate::yaml::{self, Value};
use std::collections::BTreeMap;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line and column count from 1.
    File { line: usize, column: usize },
    /// The variable's name.
    Variable(String),
    /// The file as a whole, or nowhere.
    Whole,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub origin: Origin,
    pub shape: Shape,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub origin: Origin,
    pub value: Node,
}

/// The text is not YAML, or not YAML that a configuration can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub origin: Origin,
    pub what: String,
    pub remedy: String,
}

impl Node {
    pub fn empty() -> Node {
        Node { origin: Origin::Whole, shape: Shape::Section(Vec::new()) }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.shape {
            Shape::Section(entries) => entries,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// What it is, for a sentence.
    pub fn kind(&self) -> &'static str {
        match self.shape {
            Shape::Nothing => "nothing",
            Shape::Scalar(_) => "a single value",
            Shape::List(_) => "a list",
            Shape::Section(_) => "a section",
        }
    }
}

/// Reads one YAML document. An empty text is an empty section.
///
/// # Errors
/// Everything that a tree cannot be built over.
pub fn read(text: &str) -> Result<Node, Vec<Unreadable>> {
    let mut faults = Vec::new();
    let root = yaml::parse(text, 0, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into_iter().map(Unreadable::from).collect());
    }
    let node = root.map_or_else(Node::empty, Node::from);
    Ok(if matches!(node.shape, Shape::Nothing) { Node::empty() } else { node })
}

impl From<yaml::Node> for Node {
    fn from(node: yaml::Node) -> Node {
        let shape = match node.value {
            _ if node.is_null() => Shape::Nothing,
            Value::Text { text, .. } => Shape::Scalar(text.to_string()),
            Value::List(items) => Shape::List(items.into_iter().map(Node::from).collect()),
            Value::Map(entries) => {
                let entry = |entry: yaml::Entry| Entry {
                    key: entry.key.to_string(),
                    origin: Origin::from(entry.place),
                    value: Node::from(entry.node),
                };
                Shape::Section(entries.into_iter().map(entry).collect())
            }
        };
        Node { origin: Origin::from(node.place), shape }
    }
}

impl From<yaml::Place> for Origin {
    fn from(place: yaml::Place) -> Origin {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Origin::File { line: number(place.line), column: number(place.column) }
    }
}

impl From<yaml::Fault> for Unreadable {
    fn from(fault: yaml::Fault) -> Unreadable {
        let place = yaml::Place { file: 0, line: fault.line, column: fault.column };
        Unreadable { origin: Origin::from(place), what: fault.message, remedy: fault.remedy }
    }
}

/// Lays variables over the tree: each path of keys gets a scalar. Gives back those whose path leads through something
/// that is no section.
pub fn overlay(root: &mut Node, variables: &BTreeMap<String, (Vec<String>, String)>) -> Vec<Unreadable> {
    let mut faults = Vec::new();
    for (name, (path, text)) in variables {
        if let Err(at) = lay(root, path, name, text) {
            faults.push(Unreadable {
                origin: Origin::Variable(name.clone()),
                what: format!("it reaches into `{at}`, which is not a section"),
                remedy: "each `__` in the name goes one section deeper".to_owned(),
            });
        }
    }
    faults
}

/// The item of a list of sections whose `name` is this.
pub fn named<'a>(items: &'a mut [Node], name: &str) -> Option<&'a mut Node> {
    items.iter_mut().find(|item| {
        let written = item.entry("name").map(|entry| &entry.value.shape);
        matches!(written, Some(Shape::Scalar(text)) if text == name)
    })
}

fn lay(node: &mut Node, path: &[String], variable: &str, text: &str) -> Result<(), String> {
    let origin = || Origin::Variable(variable.to_owned());
    let Some((key, rest)) = path.split_first() else {
        *node = Node { origin: origin(), shape: Shape::Scalar(text.to_owned()) };
        return Ok(());
    };
    match &mut node.shape {
        Shape::Nothing => node.shape = Shape::Section(Vec::new()),
        Shape::List(items) => {
            // Only `providers` is a list of named sections.
            if named(items, key).is_none() {
                let name = Node { origin: origin(), shape: Shape::Scalar(key.clone()) };
                let entry = Entry { key: "name".to_owned(), origin: origin(), value: name };
                items.push(Node { origin: origin(), shape: Shape::Section(vec![entry]) });
            }
            return match named(items, key) {
                Some(item) => lay(item, rest, variable, text),
                None => Err(key.clone()),
            };
        }
        Shape::Section(_) | Shape::Scalar(_) => {}
    }
    let Shape::Section(entries) = &mut node.shape else { return Err(key.clone()) };
    if !entries.iter().any(|entry| entry.key == *key) {
        let value = Node { origin: origin(), shape: Shape::Nothing };
        entries.push(Entry { key: key.clone(), origin: origin(), value });
    }
    match entries.iter_mut().find(|entry| entry.key == *key) {
        Some(entry) => {
            if rest.is_empty() {
                entry.origin = origin();
            }
            lay(&mut entry.value, rest, variable, text)
        }
        None => Err(key.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(node: &Node) -> (usize, usize) {
        match node.origin {
            Origin::File { line, column } => (line, column),
            _ => panic!("{node:?}"),
        }
    }

    #[test]
    fn every_value_knows_its_place_and_its_spelling() {
        let tree = read("listen: 127.0.0.1:4000\nretries:\n  max: 007\n  statuses: [429, 5e2]\n").unwrap();
        let max = tree.entry("retries").unwrap().value.entry("max").unwrap();
        assert_eq!(place(&max.value), (3, 8));
        assert!(matches!(&max.value.shape, Shape::Scalar(text) if text == "007"));
        let Shape::List(statuses) = &tree.entry("retries").unwrap().value.entry("statuses").unwrap().value.shape else {
            panic!()
        };
        assert_eq!(place(&statuses[1]), (4, 19));
        assert!(matches!(&statuses[1].shape, Shape::Scalar(text) if text == "5e2"));
    }

    #[test]
    fn letters_of_several_bytes_do_not_move_places() {
        let tree = read("# größer, 大\na: \"é\"\nb: 12.50\n").unwrap();
        assert!(matches!(&tree.entry("b").unwrap().value.shape, Shape::Scalar(text) if text == "12.50"));
    }

    #[test]
    fn a_text_without_settings_is_an_empty_section() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n"] {
            assert!(read(text).unwrap().entries().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_yaml_names_its_place() {
        let faults = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(matches!(faults[..], [Unreadable { origin: Origin::File { line: 2..=4, .. }, .. }]), "{faults:?}");
        let twice = read("a: 1\nb: &b 2\na: 3\n").unwrap_err();
        let origins: Vec<&Origin> = twice.iter().map(|fault| &fault.origin).collect();
        assert_eq!(origins, [&Origin::File { line: 2, column: 4 }, &Origin::File { line: 3, column: 1 }], "{twice:?}");
    }

    #[test]
    fn a_variable_wins_over_the_file_and_keeps_its_name() {
        let mut tree = read("ledger: {sync_interval: 10ms}\nproviders: [{name: openai, key: caller}]\n").unwrap();
        let variable = |name: &str, path: &[&str], text: &str| {
            (name.to_owned(), (path.iter().map(|part| (*part).to_owned()).collect(), text.to_owned()))
        };
        let faults = overlay(
            &mut tree,
            &BTreeMap::from([
                variable("A", &["ledger", "sync_interval"], "20ms"),
                variable("B", &["providers", "openai", "key"], "none"),
                variable("C", &["providers", "groq", "key"], "none"),
                variable("D", &["ledger", "sync_interval", "deeper"], "1"),
            ]),
        );
        let interval = &tree.entry("ledger").unwrap().value.entry("sync_interval").unwrap().value;
        assert_eq!(interval.origin, Origin::Variable("A".to_owned()));
        let Shape::List(providers) = &mut tree.entry("providers").unwrap().value.clone().shape else { panic!() };
        assert_eq!(providers.len(), 2);
        assert!(named(providers, "groq").unwrap().entry("key").is_some());
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].origin, Origin::Variable("D".to_owned()));
    }
}
