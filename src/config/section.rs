//! Reads one section of the tree key by key, collects the faults, and knows which keys were asked for: what was not is
//! no setting.

use super::diagnose::{Fault, nearest};
use super::tree::{Entry, Node, Origin, Shape};
use super::values::{Read, Wrong};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub value: T,
    pub origin: Origin,
}

/// What reading brings to light besides the values.
#[derive(Debug, Default)]
pub struct Notes {
    pub faults: RefCell<Vec<Fault>>,
    /// Every key that was asked for, as `ledger.sync_interval`; items of `providers` have no name in it.
    pub keys: RefCell<BTreeSet<String>>,
}

impl Notes {
    pub fn fault(&self, origin: &Origin, what: String, remedy: impl Into<String>) {
        self.faults.borrow_mut().push(Fault { origin: origin.clone(), what, remedy: remedy.into() });
    }
}

#[derive(Debug)]
pub struct Section<'a> {
    node: Option<&'a Node>,
    /// As in a sentence: `providers.openai.timeouts`.
    path: String,
    /// As in [`Notes::keys`].
    schema: String,
    asked: Vec<&'static str>,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    pub fn root(node: &'a Node, notes: &'a Notes) -> Self {
        if !matches!(node.shape, Shape::Section(_)) {
            notes.fault(
                &node.origin,
                format!("the file is {}", node.kind()),
                "write settings: `listen: 127.0.0.1:4000`",
            );
        }
        Section { node: Some(node), path: String::new(), schema: String::new(), asked: Vec::new(), notes }
    }

    /// An item of a list of sections; `called` stands for its place in sentences. `None` lists the keys only.
    pub fn item(&self, key: &'static str, called: &str, node: Option<&'a Node>) -> Section<'a> {
        let (path, schema) = (format!("{}.{called}", self.spelled(key)), dotted(&self.schema, key));
        Section { node, path, schema, asked: Vec::new(), notes: self.notes }
    }

    /// A section below this one, read as empty where it is not written.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let node = match self.ask(key) {
            Some(entry) if matches!(entry.value.shape, Shape::Section(_)) => Some(&entry.value),
            Some(entry) => {
                self.wrong_shape(key, &entry.value, "settings of its own, one a line below it");
                None
            }
            None => None,
        };
        let (path, schema) = (self.spelled(key), dotted(&self.schema, key));
        Section { node, path, schema, asked: Vec::new(), notes: self.notes }
    }

    pub fn value<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Placed<T>> {
        self.read(key, read, true)
    }

    /// Like [`Section::value`]; what was written is not repeated in a fault.
    pub fn secret<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Placed<T>> {
        self.read(key, read, false)
    }

    /// A list of single values; in a variable, with commas.
    pub fn list<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Vec<Placed<T>>> {
        let node = &self.ask(key)?.value;
        let mut values = Vec::new();
        let mut one = |origin: &Origin, text: &str| match read(text) {
            Ok(value) => values.push(Placed { value, origin: origin.clone() }),
            Err(wrong) => self.cannot_read(key, origin, Some(text), wrong),
        };
        match (&node.shape, &node.origin) {
            (Shape::Scalar(text), Origin::Variable(_)) => {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).for_each(|part| one(&node.origin, part));
            }
            (Shape::List(items), _) => {
                for item in items {
                    match &item.shape {
                        Shape::Scalar(text) => one(&item.origin, text),
                        _ => self.wrong_shape(key, item, "a single value in each line of the list"),
                    }
                }
            }
            _ => {
                self.wrong_shape(key, node, "a list: `[a, b]`");
                return None;
            }
        }
        Some(values)
    }

    /// A list of sections.
    pub fn items(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = &self.ask(key)?.value;
        match &node.shape {
            Shape::List(items) => Some(items),
            _ => {
                self.wrong_shape(key, node, "a list of sections, each beginning with `- name:`");
                None
            }
        }
    }

    /// A section whose keys are the user's own words.
    pub fn free(&mut self, key: &'static str) -> &'a [Entry] {
        match self.ask(key) {
            Some(entry) if matches!(entry.value.shape, Shape::Section(_)) => entry.value.entries(),
            Some(entry) => {
                self.wrong_shape(key, &entry.value, "names and values, one pair a line");
                &[]
            }
            None => &[],
        }
    }

    pub fn notes(&self) -> &'a Notes {
        self.notes
    }

    /// Whether anything is written there, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.node.is_some_and(|node| node.entry(key).is_some())
    }

    /// The place of the section itself.
    pub fn origin(&self) -> Origin {
        self.node.map_or(Origin::Whole, |node| node.origin.clone())
    }

    /// The whole name of a key in this section.
    pub fn spelled(&self, key: &str) -> String {
        dotted(&self.path, key)
    }

    /// Whatever was written and never asked for is a fault.
    pub fn close(self) {
        for entry in self.node.map_or(&[][..], Node::entries) {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let near = nearest(&entry.key, self.asked.iter().copied());
            let (what, remedy) = match &entry.origin {
                Origin::Variable(name) => (
                    "there is no such setting".to_owned(),
                    near.map(|near| format!("write {}", as_variable(name, &entry.key, near))),
                ),
                _ => (
                    format!("`{}` is not a setting", self.spelled(&entry.key)),
                    near.map(|near| format!("write `{near}`")),
                ),
            };
            let known = || format!("known here: {}", self.asked.join(", "));
            self.notes.fault(&entry.origin, what, remedy.unwrap_or_else(known));
        }
    }

    fn read<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>, shown: bool) -> Option<Placed<T>> {
        let node = &self.ask(key)?.value;
        let Shape::Scalar(text) = &node.shape else {
            self.wrong_shape(key, node, "a single value");
            return None;
        };
        match read(text) {
            Ok(value) => Some(Placed { value, origin: node.origin.clone() }),
            Err(wrong) => {
                self.cannot_read(key, &node.origin, shown.then_some(text.as_str()), wrong);
                None
            }
        }
    }

    /// The entry of a key, unless nothing is written there.
    fn ask(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.notes.keys.borrow_mut().insert(dotted(&self.schema, key));
        self.node?.entry(key).filter(|entry| !matches!(entry.value.shape, Shape::Nothing))
    }

    fn cannot_read(&self, key: &str, origin: &Origin, text: Option<&str>, wrong: Wrong) {
        let what = match text {
            Some(text) => format!("`{}` is `{}`, which {}", self.spelled(key), shortened(text), wrong.what),
            None => format!("`{}` {}", self.spelled(key), wrong.what),
        };
        self.notes.fault(origin, what, wrong.remedy);
    }

    fn wrong_shape(&self, key: &str, node: &Node, expected: &str) {
        let what = format!("`{}` is {}", self.spelled(key), node.kind());
        self.notes.fault(&node.origin, what, format!("write {expected}"));
    }
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn shortened(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}

/// The variable with its last words exchanged.
fn as_variable(name: &str, key: &str, near: &str) -> String {
    let stem = name.get(..name.len().saturating_sub(key.len())).unwrap_or(name);
    format!("{stem}{}", near.to_ascii_uppercase())
}
