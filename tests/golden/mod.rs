//! Goldens: one folder for each way in which a provider says what a call used, `golden/<dialect>/<name>/`:
//!
//! - `response.sse`, `response.json` or `response.ndjson`: what the provider sends;
//! - `request.json`, where what was asked matters, and `case.yaml`, what differs from a plain chat call;
//! - `reading.yaml`: what the meter sees in it, and what is booked. Every response is fed whole and in pieces of several
//!   sizes, and must read alike. `UPDATE_GOLDEN=1` writes the readings anew; comments at their head stay.

use farebox::clock::Timestamp;
use farebox::dialects::{Dialect, Flavor};
use farebox::meter::{Counts, Metered, ResponseHead, ResponseMeter};
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `case.yaml`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    method: Option<String>,
    path: Option<String>,
    flavor: Flavor,
    status: Option<u16>,
}

/// `reading.yaml`. What is left out is not there; but the members marked "if written" are only checked where they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reading {
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<BTreeMap<String, u64>>,
    /// The provider's own tools, counted from the output.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    calls: BTreeMap<String, u64>,
    /// If written: what is booked where that is not the reported usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    booked: Option<Booked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_cost: Option<String>,
    #[serde(rename = "final")]
    is_final: bool,
    finished: bool,
    #[serde(skip_serializing_if = "is_default")]
    pending: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<String>,
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_model: Option<String>,
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_id: Option<String>,
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// If written.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    images_made: u64,
}

/// The facts of the request that a reader of the folder would look for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    text_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_limit: Option<u64>,
}

/// What is booked when nobody counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Booked {
    usage: BTreeMap<String, u64>,
    source: UsageSource,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

struct Folder {
    name: String,
    place: PathBuf,
    dialect: Dialect,
    case: Case,
    request: Option<Vec<u8>>,
    response: Vec<u8>,
    content_type: &'static str,
}

impl Folder {
    fn read(dialect: Dialect, place: PathBuf) -> Folder {
        let name = format!("{}/{}", dialect.name(), place.file_name().unwrap().to_str().unwrap());
        let case = std::fs::read_to_string(place.join("case.yaml")).unwrap_or_else(|_| "{}".to_owned());
        let case = serde_yaml::from_str(&case).unwrap_or_else(|fault| panic!("{name}/case.yaml: {fault}"));
        let (response, content_type) = [
            ("response.sse", "text/event-stream"),
            ("response.json", "application/json"),
            ("response.ndjson", "application/x-ndjson"),
        ]
        .into_iter()
        .find_map(|(file, kind)| Some((std::fs::read(place.join(file)).ok()?, kind)))
        .unwrap_or_else(|| panic!("{name}: no response"));
        let request = std::fs::read(place.join("request.json")).ok();
        Folder { name, place, dialect, case, request, response, content_type }
    }

    fn all() -> Vec<Folder> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut found = Vec::new();
        for dialect in Dialect::ALL {
            let entries = std::fs::read_dir(root.join(dialect.name())).unwrap();
            let mut places: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            places.sort();
            found.extend(places.into_iter().map(|place| Folder::read(dialect, place)));
        }
        found
    }

    fn wanted(&self) -> Reading {
        let yaml = std::fs::read_to_string(self.place.join("reading.yaml")).unwrap_or_default();
        serde_yaml::from_str(&yaml).unwrap_or_else(|fault| panic!("{}/reading.yaml: {fault}", self.name))
    }

    fn metered(&self, piece: usize) -> Metered {
        let path = self.case.path.as_deref().unwrap_or(match self.dialect {
            Dialect::OpenAi => "/v1/chat/completions",
            Dialect::Anthropic => "/v1/messages",
            Dialect::Gemini => "/v1beta/models/gemini-3.8-flash:generateContent",
        });
        let endpoint = self.dialect.recognise(self.case.method.as_deref().unwrap_or("POST"), path);
        let status = self.case.status.unwrap_or(200);
        let head = ResponseHead { status, content_type: Some(self.content_type), content_encoding: None };
        let mut meter = ResponseMeter::new(self.dialect, &endpoint, self.case.flavor, &head);
        for piece in self.response.chunks(piece) {
            meter.observe(piece, Timestamp(1));
        }
        meter.finish()
    }

    /// All that can be written of it.
    fn reading(&self, piece: usize) -> Reading {
        let metered = self.metered(piece);
        let facts = self.request.as_ref().map(|request| {
            self.dialect
                .read_request(&metered.endpoint, request)
                .unwrap_or_else(|fault| panic!("{}: {fault}", self.name))
        });
        let asked = facts.as_ref().map(|facts| Asked {
            model: owned(&facts.requested_model),
            text_bytes: facts.input.text_bytes,
            stream: facts.stream,
            output_limit: facts.output_limit,
        });
        let booked = metered.reading(&facts.unwrap_or_default(), &Counts::default());
        let seen = &metered.observation;
        Reading {
            asked,
            usage: seen.usage.as_ref().map(by_name),
            calls: by_name(&seen.tool_calls),
            booked: Some(Booked { usage: by_name(&booked.usage), source: booked.source }),
            provider_cost: seen.provider_cost.map(|cost| cost.to_string()),
            is_final: seen.usage_is_final,
            finished: seen.finished,
            pending: seen.pending,
            finish_reason: owned(&seen.finish_reason),
            error_code: owned(&seen.error_code),
            service_tier: owned(&seen.service_tier),
            region: owned(&seen.region),
            speed: owned(&seen.speed),
            response_model: owned(&seen.response_model),
            response_id: owned(&seen.response_id),
            text: Some(seen.output.text.clone()),
            reasoning: Some(seen.output.reasoning.clone()),
            tool_calls: Some(seen.output.tool_calls),
            images_made: seen.images_made,
        }
    }

    fn rewrite(&self) {
        let place = self.place.join("reading.yaml");
        let old = std::fs::read_to_string(&place).unwrap_or_default();
        let comment: String =
            old.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let reading = self.reading(usize::MAX).without_what_goes_without_saying();
        std::fs::write(place, comment + &serde_yaml::to_string(&reading).unwrap()).unwrap();
    }
}

impl Reading {
    /// Only what `wanted` writes of what is checked if written.
    fn limited_to(mut self, wanted: &Reading) -> Reading {
        fn only<T>(value: &mut Option<T>, wanted: bool) {
            if !wanted {
                *value = None;
            }
        }
        only(&mut self.asked, wanted.asked.is_some());
        only(&mut self.booked, wanted.booked.is_some());
        only(&mut self.response_model, wanted.response_model.is_some());
        only(&mut self.response_id, wanted.response_id.is_some());
        only(&mut self.text, wanted.text.is_some());
        only(&mut self.reasoning, wanted.reasoning.is_some());
        only(&mut self.tool_calls, wanted.tool_calls.is_some());
        self
    }

    fn without_what_goes_without_saying(mut self) -> Reading {
        let as_reported = Booked { usage: self.usage.clone().unwrap_or_default(), source: UsageSource::Reported };
        self.booked = self.booked.filter(|booked| *booked != as_reported);
        self.text = self.text.filter(|text| !text.is_empty());
        self.reasoning = self.reasoning.filter(|text| !text.is_empty());
        self.tool_calls = self.tool_calls.filter(|calls| *calls > 0);
        self
    }
}

fn by_name(usage: &TokenUsage) -> BTreeMap<String, u64> {
    usage.used().map(|(kind, units)| (kind.name().to_owned(), units)).collect()
}

fn owned(text: &Option<Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

#[test]
fn every_response_reads_as_its_folder_says_in_any_pieces() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut faults = Vec::new();
    for folder in Folder::all() {
        let wanted = folder.wanted();
        if update && (wanted == Reading::default() || folder.reading(usize::MAX).limited_to(&wanted) != wanted) {
            folder.rewrite();
        }
        let wanted = folder.wanted();
        for piece in [usize::MAX, 1, 2, 7, 64, 1_000] {
            let read = folder.reading(piece).limited_to(&wanted);
            if read != wanted {
                let [wanted, read] = [&wanted, &read].map(|reading| serde_yaml::to_string(reading).unwrap());
                faults.push(format!("{} in pieces of {piece}\n--- wanted\n{wanted}--- read\n{read}", folder.name));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{}\n{} differ", faults.join("\n"), faults.len());
}

#[test]
fn the_kinds_that_the_folders_name_are_the_houses() {
    for folder in Folder::all() {
        let wanted = folder.wanted();
        for name in wanted.usage.unwrap_or_default().keys().chain(wanted.calls.keys()) {
            assert!(Kind::named(name).is_some(), "{}: {name}", folder.name);
        }
    }
}

#[test]
fn every_folder_of_openai_is_named_in_its_table_and_every_folder_that_it_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("src/dialects/openai/usage_fields.md")).unwrap();
    let folders = Folder::all().into_iter().filter(|folder| folder.dialect == Dialect::OpenAi);
    let missing: Vec<String> =
        folders.map(|folder| folder.name).filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "no row is proved by {missing:?}");
    for folder in table.split('`').filter(|cell| cell.starts_with("openai/")) {
        assert!(root.join("tests/golden").join(folder).is_dir(), "{folder} is named and not there");
    }
}
