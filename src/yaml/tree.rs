//! YAML as a tree that knows where each part stands, so that every fault can say its line and column, also after an
//! overlay was laid over the shipped file. Text stays text: no number is read as a float.
//!
//! Not all of YAML: one document, no anchors, aliases or tags, no key twice, depth bounded. All of these are faults.

use super::fault::Fault;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::sync::Arc;

const DEPTH_MAX: usize = 16;

/// Where something stands: the file by its place in the list that was loaded, line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: u16,
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `quoted` tells `"2"` from `2`.
    Text {
        text: Arc<str>,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: Arc<str>,
    pub place: Place,
    pub node: Node,
}

impl Node {
    /// `~`, `null` or nothing at all: in an overlay it takes away what is below it.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text { text, quoted: false } if matches!(&**text, "" | "~" | "null"))
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn find(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| &*entry.key == key).map(|entry| &entry.node)
    }

    /// A mapping over a mapping is laid key by key; anything else takes the place of what was there; null removes it.
    pub fn overlay(&mut self, over: Node) {
        match (&mut self.value, over) {
            (Value::Map(mine), Node { value: Value::Map(theirs), .. }) => {
                for entry in theirs {
                    let known = mine.iter().position(|known| known.key == entry.key);
                    match known {
                        Some(known) if entry.node.is_null() => drop(mine.remove(known)),
                        Some(known) => mine[known].node.overlay(entry.node),
                        None if entry.node.is_null() => {}
                        None => mine.push(entry),
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}

/// Reads one document. An empty one is `None`. The faults are all that a tree cannot be built over; the first error of
/// the YAML grammar ends the reading.
pub fn parse(text: &str, file: u16, faults: &mut Vec<Fault>) -> Option<Node> {
    let mut builder = Builder { file, faults, open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let place = place_of(file, error.marker().line(), error.marker().col());
                builder.faults.push(Fault::at(
                    place,
                    format!("not YAML: {}", error.info()),
                    "mend the indentation or the quotes here",
                ));
                return None;
            }
        }
        if builder.open.len() > DEPTH_MAX {
            let place = builder.open.last().map(|open| open.place).unwrap_or_default();
            builder.faults.push(Fault::at(
                place,
                format!("nested deeper than {DEPTH_MAX} levels"),
                "no file of Farebox is deeper than 12",
            ));
            return None;
        }
    }
    builder.root
}

struct Builder<'f> {
    file: u16,
    faults: &'f mut Vec<Fault>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

/// A list or mapping under way.
struct Open {
    place: Place,
    value: Value,
    /// In a mapping: the key whose value comes next; `None` in it: an unusable key, whose value is dropped.
    key: Option<Option<(Arc<str>, Place)>>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) {
        let place = place_of(self.file, span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents == 2 {
                    self.fault(place, "a second document starts here", "one file is one document: remove the `---`");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                let quoted = !matches!(style, ScalarStyle::Plain);
                self.put(place, Value::Text { text: Arc::from(text.as_ref()), quoted });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                self.open.push(Open { place, value: Value::List(Vec::new()), key: None });
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(place, anchor, tag.is_some());
                self.open.push(Open { place, value: Value::Map(Vec::new()), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.put(done.place, done.value);
                }
            }
            Event::Alias(_) => {
                self.fault(place, "an alias (`*name`)", "write the value out: there are no anchors and aliases here");
                self.put(place, Value::Text { text: Arc::from(""), quoted: false });
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn put(&mut self, place: Place, value: Value) {
        let node = Node { place, value };
        let Some(open) = self.open.last_mut() else {
            if self.documents <= 1 {
                self.root = Some(node);
            }
            return;
        };
        match &mut open.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some(Some((key, place))) => entries.push(Entry { key, place, node }),
                Some(None) => {}
                None => {
                    let key = match node.value {
                        Value::Text { text, .. } if entries.iter().all(|entry| entry.key != text) => Ok((text, place)),
                        Value::Text { text, .. } => Err(format!("`{text}` is given twice here")),
                        _ => Err("a key that is not a word".to_owned()),
                    };
                    open.key = Some(key.as_ref().ok().cloned());
                    if let Err(message) = key {
                        self.fault(place, &message, "remove one of the two");
                    }
                }
            },
            Value::Text { .. } => {}
        }
    }

    fn refuse_extras(&mut self, place: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.fault(place, "an anchor (`&name`)", "write the value out: there are no anchors and aliases here");
        }
        if tag {
            self.fault(place, "a tag (`!name`)", "remove it: there are no tags here");
        }
    }

    fn fault(&mut self, place: Place, message: &str, remedy: &str) {
        self.faults.push(Fault::at(place, message.to_owned(), remedy));
    }
}

fn place_of(file: u16, line: usize, column: usize) -> Place {
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { file, line: short(line), column: short(column.saturating_add(1)) }
}
