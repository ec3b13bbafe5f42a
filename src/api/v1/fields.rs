//! What a request says, taken apart piece by piece: path, parameters, and the members of its JSON body. What nobody
//! took is a fault, so that a misspelt member never passes unheard.

use super::super::problem::Problem;
use super::super::usage::Asked as Parameters;
use crate::clock::Timestamp;
use crate::queries::Misasked;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes of one text.
const TEXT_BYTES_MAX: usize = 512;
/// Members of one list or map.
const LIST_MAX: usize = 100;

pub(in crate::api) struct Asked {
    pub path: Vec<(String, String)>,
    pub parameters: Parameters,
    pub fields: Fields,
    /// `If-Match`.
    pub expected: Option<String>,
    /// The address it came from.
    pub from: Option<SocketAddr>,
}

impl Asked {
    /// A piece of the path.
    pub fn of_path(&self, name: &str) -> &str {
        self.path.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// The address that it came from, in words.
    pub fn address(&self) -> String {
        self.from.map_or("unknown".to_owned(), |address| address.ip().to_canonical().to_string())
    }

    /// Refuses a change of something that is no longer as its editor saw it.
    pub fn expect(&self, etag: &str) -> Result<(), Problem> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let is_met = expected.split(',').map(str::trim).any(|one| one == "*" || one == etag);
        if is_met { Ok(()) } else { Err(Problem::stale()) }
    }
}

/// The members of a JSON object.
#[derive(Default)]
pub(in crate::api) struct Fields(Map<String, Value>);

/// Names and values.
type Pairs = Vec<(Arc<str>, Arc<str>)>;

pub(super) fn fault(field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Misasked::new(field, problem, remedy).into()
}

impl Fields {
    pub fn read(body: &[u8]) -> Result<Fields, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Fields(members)),
            Ok(_) => Err(fault("body", "this is no JSON object", "send an object: {\"name\": …}")),
            Err(error) => {
                let place = format!("this is no JSON: line {}, column {}", error.line(), error.column());
                Err(fault("body", place, "send one JSON object"))
            }
        }
    }

    /// Whether it is written there, be it as `null`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What is written there; `null` is as if nothing were.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => plain(name, text).map(Some),
            Some(_) => Err(fault(name, "this is no text", "write a string")),
        }
    }

    pub fn needed(&mut self, name: &str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| fault(name, "it is missing", format!("give `{name}`, a string")))
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(fault(name, "this is no yes or no", "write true or false")),
        }
    }

    /// A whole number up to `max`.
    pub fn count(&mut self, name: &str, max: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let count = value.as_u64().filter(|count| *count <= max);
        count
            .map(Some)
            .ok_or_else(|| fault(name, "this is no such number", format!("write a whole number up to {max}")))
    }

    /// A moment to come.
    pub fn moment(&mut self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let read = text.parse::<jiff::Timestamp>().map(|moment| Timestamp(moment.as_microsecond()));
        match read {
            Ok(moment) if moment > now => Ok(Some(moment)),
            Ok(_) => Err(fault(name, "this moment is past", "give one to come, or null for never")),
            Err(_) => Err(fault(name, "this is no moment", "write it as RFC 3339 has it: 2027-12-31T18:00:00Z")),
        }
    }

    pub fn pairs(&mut self, name: &str) -> Result<Option<Pairs>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Object(members) = value else {
            return Err(fault(name, "this is no object", "write {\"name\": \"value\"}"));
        };
        if members.len() > LIST_MAX {
            return Err(fault(name, format!("{} members are too many", members.len()), format!("at most {LIST_MAX}")));
        }
        let mut pairs = BTreeMap::new();
        for (key, value) in members {
            let Value::String(value) = value else {
                return Err(fault(&format!("{name}.{}", short(&key)), "this is no text", "write a string"));
            };
            let place = format!("{name}.{}", short(&key));
            if key.is_empty() {
                return Err(fault(name, "a name is empty", "give each value a name"));
            }
            pairs.insert(Arc::from(plain(&place, key)?), Arc::from(plain(&place, value)?));
        }
        Ok(Some(pairs.into_iter().collect()))
    }

    /// Everything, as it is written.
    pub fn take_all(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.0)
    }

    /// Refuses a member that is none of these.
    pub fn only(&self, known: &[String]) -> Result<(), Problem> {
        let Some(name) = self.0.keys().find(|name| !known.contains(name)) else { return Ok(()) };
        let remedy = if known.is_empty() { "send no body".to_owned() } else { format!("one of: {}", known.join(", ")) };
        Err(fault(&short(name), "there is no such member", remedy))
    }
}

/// A list's length, and each of its texts.
pub(super) fn check_list<'a>(
    name: &str,
    texts: impl ExactSizeIterator<Item = &'a str>,
    is_good: impl Fn(&str) -> bool,
    remedy: &str,
) -> Result<(), Problem> {
    if texts.len() > LIST_MAX {
        return Err(fault(name, format!("{} members are too many", texts.len()), format!("at most {LIST_MAX}")));
    }
    for text in texts {
        if !is_good(text) {
            return Err(fault(name, format!("`{}` cannot stand here", short(text)), remedy));
        }
    }
    Ok(())
}

fn plain(name: &str, text: String) -> Result<String, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(name, format!("{} bytes are too many", text.len()), format!("at most {TEXT_BYTES_MAX}")));
    }
    if text.chars().any(char::is_control) {
        return Err(fault(name, "there are control characters in it", "write plain text"));
    }
    Ok(text)
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(60).collect()
}

/// Beside the register's own faults nothing of the store is told.
impl From<crate::store::ChangeError> for Problem {
    fn from(error: crate::store::ChangeError) -> Self {
        use crate::store::ChangeError as E;
        const NAMES: &str = "names are unique in the whole installation and never given out twice: choose another";
        let detail = error.to_string();
        match error {
            E::Name(_) => fault("name", detail, "small letters, digits and `. _ - @ +`, at most 64"),
            // Of another organisation or deleted: which one is not told.
            E::Taken { .. } | E::WasTaken { .. } => Problem::conflict("this name cannot be given").at("name", NAMES),
            E::Missing { kind, .. } | E::Deleted { kind, .. } => Problem::unknown(kind),
            E::WhichOrganisation(_) => fault("organisation", "there are several", "say which"),
            E::OtherOrganisation { .. } | E::Foreign { .. } => {
                fault("user", "there is no such user in this organisation", "name one of the same organisation")
            }
            E::Holds { .. } | E::SealedOtherwise { .. } => Problem::conflict(detail),
            E::Store(error) => Problem::from(error),
        }
    }
}
