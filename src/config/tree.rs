//! What people wrote, as one tree with places: the file's YAML with the environment laid over it. Scalars stay text, so
//! that a file and a variable say a value in the same words.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::collections::BTreeMap;

/// Nested deeper than this, a file is not a configuration.
const DEPTH_MAX: usize = 32;

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
pub fn read(text: &str) -> Result<Node, Unreadable> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| unreadable(&error))?;
    match documents.as_slice() {
        [] => Ok(Node::empty()),
        [document] => {
            let letters: Vec<char> = text.chars().collect();
            let node = convert(document, &letters, 0)?;
            Ok(if matches!(node.shape, Shape::Nothing) { Node::empty() } else { node })
        }
        [_, second, ..] => Err(Unreadable {
            origin: origin_of(second),
            what: "a second YAML document begins here".to_owned(),
            remedy: "keep one document in the file: remove the `---` between".to_owned(),
        }),
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

fn convert(node: &MarkedYaml<'_>, letters: &[char], depth: usize) -> Result<Node, Unreadable> {
    let origin = origin_of(node);
    let wrong = |what: &str, remedy: &str| Unreadable {
        origin: origin_of(node),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    if depth > DEPTH_MAX {
        return Err(wrong("this is nested too deeply", "no setting is deeper than four sections"));
    }
    let shape = match &node.data {
        YamlData::Value(Scalar::Null) => Shape::Nothing,
        YamlData::Value(Scalar::String(text)) => Shape::Scalar(text.to_string()),
        // As it was typed: `0.50` and `1e3` keep their spelling.
        YamlData::Value(_) => Shape::Scalar(
            letters.get(node.span.start.index()..node.span.end.index()).map(String::from_iter).unwrap_or_default(),
        ),
        YamlData::Sequence(items) => {
            Shape::List(items.iter().map(|item| convert(item, letters, depth + 1)).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(pairs) => {
            let mut entries = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let Node { origin, shape: Shape::Scalar(key) } = convert(key, letters, depth + 1)? else {
                    return Err(Unreadable {
                        origin: origin_of(key),
                        ..wrong("a key must be a word", "name a setting")
                    });
                };
                entries.push(Entry { key, origin, value: convert(value, letters, depth + 1)? });
            }
            Shape::Section(entries)
        }
        YamlData::Tagged(..) | YamlData::Alias(_) | YamlData::Representation(..) | YamlData::BadValue => {
            if letters.iter().all(|letter| letter.is_whitespace()) || depth == 0 {
                Shape::Nothing
            } else {
                return Err(wrong("tags and unknown aliases are not read here", "write the value itself"));
            }
        }
    };
    Ok(Node { origin, shape })
}

fn origin_of(node: &MarkedYaml<'_>) -> Origin {
    Origin::File { line: node.span.start.line().max(1), column: node.span.start.col() + 1 }
}

fn unreadable(error: &saphyr::ScanError) -> Unreadable {
    let mark = error.marker();
    let remedy = if error.info().contains("duplicated key") {
        "keep one of the two"
    } else {
        "check the indentation, the quotes and the colons just before this place"
    };
    Unreadable {
        origin: Origin::File { line: mark.line().max(1), column: mark.col() + 1 },
        what: format!("this is not YAML: {}", error.info()),
        remedy: remedy.to_owned(),
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
        let fault = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(matches!(fault.origin, Origin::File { line: 2..=4, .. }), "{fault:?}");
        let twice = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(twice.origin, Origin::File { line: 3, column: 1 });
        assert_eq!(twice.remedy, "keep one of the two");
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
