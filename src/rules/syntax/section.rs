//! Reads one section by its table of keys, and collects every fault with its place and the nearest known word.

use super::keys::{Key, Table};
use super::scalar::field_names;
use super::values::{Read, Wrong};
use crate::rules::field::Field;
use crate::yaml::{Entry, Fault, Node, Place, Value, nearest};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What reading brings to light.
#[derive(Debug, Default)]
pub struct Notes {
    pub faults: RefCell<Vec<Fault>>,
    pub warnings: RefCell<Vec<Fault>>,
    /// Keys that the reader asked for, as `a budget.limit`: the tests compare them with the tables.
    pub asked: RefCell<BTreeSet<(&'static str, &'static str)>>,
}

impl Notes {
    pub fn fault(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::at(place, what.into(), remedy));
    }

    pub fn warning(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(Fault::at(place, what.into(), remedy));
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub value: T,
    pub place: Place,
}

/// A section whose keys were held against its table.
pub struct Section<'n> {
    node: &'n Node,
    table: &'static Table,
    notes: &'n Notes,
}

impl<'n> Section<'n> {
    /// `None`, with a fault, where it is no section.
    pub fn new(node: &'n Node, table: &'static Table, notes: &'n Notes) -> Option<Section<'n>> {
        if !matches!(node.value, Value::Map(_)) {
            let known: Vec<&str> = table.keys.iter().take(3).map(|key| key.name).collect();
            let known = if table.fields {
                "`team: research`".to_owned()
            } else {
                format!("keys such as `{}:`", known.join(":`, `"))
            };
            notes.fault(
                node.place,
                format!("{} is written as a section, and this is {}", table.called, kind(node)),
                format!("write {known}"),
            );
            return None;
        }
        for entry in node.entries() {
            let known = table.keys.iter().any(|key| *key.name == *entry.key);
            let is_field = table.fields && Field::named(&entry.key).is_some();
            if !known && !is_field {
                unknown(entry, table, notes);
            }
        }
        let section = Section { node, table, notes };
        for key in table.keys.iter().filter(|key| key.needed && section.find(key.name).is_none()) {
            notes.fault(
                node.place,
                format!("{} needs `{}`", table.called, key.name),
                format!("add `{}:` — {}", key.name, key.says),
            );
        }
        Some(section)
    }

    pub fn place(&self) -> Place {
        self.node.place
    }

    /// Whether its table has such a key.
    pub fn knows(&self, key: &str) -> bool {
        self.table.keys.iter().any(|known| known.name == key)
    }

    pub fn notes(&self) -> &'n Notes {
        self.notes
    }

    /// The node of a key; a key with nothing behind it counts as not written.
    pub fn find(&self, key: &'static str) -> Option<&'n Node> {
        self.notes.asked.borrow_mut().insert((self.table.called, key));
        debug_assert!(self.table.keys.iter().any(|known: &Key| known.name == key), "{key} is in no table");
        self.node.find(key).filter(|node| !node.is_null())
    }

    pub fn value<T>(&self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Placed<T>> {
        self.scalar(key, self.find(key)?, &read)
    }

    pub fn or<T>(&self, key: &'static str, default: T, read: impl Fn(&str) -> Read<T>) -> T {
        self.value(key, read).map_or(default, |placed| placed.value)
    }

    /// One or a list.
    pub fn some<T>(&self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Vec<Placed<T>>> {
        self.each(key, self.find(key)?, &read)
    }

    pub fn each<T>(&self, key: &str, node: &Node, read: &impl Fn(&str) -> Read<T>) -> Option<Vec<Placed<T>>> {
        let Value::List(items) = &node.value else { return self.scalar(key, node, read).map(|one| vec![one]) };
        if items.is_empty() {
            self.notes.fault(node.place, format!("`{key}` is an empty list"), "name at least one, or leave it out");
            return None;
        }
        Some(items.iter().filter_map(|item| self.scalar(key, item, read)).collect())
    }

    pub fn section(&self, key: &'static str, table: &'static Table) -> Option<Section<'n>> {
        Section::new(self.find(key)?, table, self.notes)
    }

    /// A section or a list of them.
    pub fn sections(&self, key: &'static str, table: &'static Table) -> Vec<Section<'n>> {
        match self.find(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => {
                items.iter().filter_map(|item| Section::new(item, table, self.notes)).collect()
            }
            Some(node) => Section::new(node, table, self.notes).into_iter().collect(),
        }
    }

    /// A list of sections, each beginning with a dash.
    pub fn list(&self, key: &'static str, table: &'static Table) -> Vec<Section<'n>> {
        match self.find(key) {
            Some(node) if !matches!(node.value, Value::List(_)) => {
                self.notes.fault(
                    node.place,
                    format!("`{key}` is {}", kind(node)),
                    "write a list: each item begins with `- `",
                );
                Vec::new()
            }
            _ => self.sections(key, table),
        }
    }

    /// The author's own names with values.
    pub fn free(&self, key: &'static str) -> &'n [Entry] {
        match self.find(key) {
            Some(node) if matches!(node.value, Value::Map(_)) => node.entries(),
            Some(node) => {
                self.notes.fault(
                    node.place,
                    format!("`{key}` is {}", kind(node)),
                    "write names and values, one pair a line",
                );
                &[]
            }
            None => &[],
        }
    }

    /// Fields of the call, with what is written behind each.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &'n Entry)> + use<'n> {
        let own: Vec<&str> = self.table.keys.iter().map(|key| key.name).collect();
        let entries = if self.table.fields { self.node.entries() } else { &[] };
        entries
            .iter()
            .filter(move |entry| !own.contains(&&*entry.key))
            .filter_map(|entry| Some((Field::named(&entry.key)?, entry)))
    }

    pub fn scalar<T>(&self, key: &str, node: &Node, read: &impl Fn(&str) -> Read<T>) -> Option<Placed<T>> {
        let Value::Text { text, .. } = &node.value else {
            self.notes.fault(node.place, format!("`{key}` is {}", kind(node)), "write a single value");
            return None;
        };
        match read(text) {
            Ok(value) => Some(Placed { value, place: node.place }),
            Err(Wrong { what, remedy }) => {
                self.notes.fault(node.place, format!("`{key}` is `{}`, which {what}", shortened(text)), remedy);
                None
            }
        }
    }
}

fn unknown(entry: &Entry, table: &Table, notes: &Notes) {
    let own = table.keys.iter().map(|key| key.name);
    let fields = if table.fields { field_names() } else { Vec::new() };
    let known: Vec<&str> = own.chain(fields).collect();
    let remedy = match nearest(&entry.key, known.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None => {
            let tags = if table.fields { ", tag.<name>, metadata.<name>" } else { "" };
            format!("known here: {}{tags}", known.join(", "))
        }
    };
    notes.fault(entry.place, format!("{} has no `{}`", table.called, shortened(&entry.key)), remedy);
}

/// What it is, for a sentence.
pub fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Text { .. } if node.is_null() => "nothing",
        Value::Text { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a section",
    }
}

pub fn shortened(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}
