//! Every folder of `tests/golden` is a response and what it reads as: one for each row of the dialects' tables.
//!
//! `tests/golden/<dialect>/<case>/response.{json,sse}` is what the provider sends, `case.yaml` what differs from a plain
//! call; `reading.yaml` says what is seen. A stream is read in one piece and in pieces of 1, 7 and 64 bytes, and must read alike.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a response is seen to be; what is left out is not there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reading {
    usage: Option<BTreeMap<String, u64>>,
    /// The provider's own tools, counted from the output.
    calls: BTreeMap<String, u64>,
    #[serde(rename = "final")]
    is_final: bool,
    finished: bool,
    pending: bool,
    finish_reason: Option<String>,
    error_code: Option<String>,
    service_tier: Option<String>,
    region: Option<String>,
    speed: Option<String>,
    provider_cost: Option<String>,
    /// Checked only where it is written: the visible text, the reasoning, and how many tools were called.
    text: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<u32>,
    images_made: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    method: Option<String>,
    path: Option<String>,
}

#[test]
fn every_response_reads_as_its_folder_says() {
    let mut faults = Vec::new();
    let mut cases = 0;
    for dialect in [Dialect::Anthropic, Dialect::Gemini] {
        for folder in folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect.name())) {
            cases += 1;
            let yaml = std::fs::read_to_string(folder.join("reading.yaml")).expect("a reading.yaml");
            let wanted: Reading = serde_yaml::from_str(&yaml).unwrap_or_else(|fault| panic!("{folder:?}: {fault}"));
            for (how, seen) in observations(dialect, &folder) {
                let read = reading(&seen, &wanted);
                if read != wanted {
                    faults.push(format!("{} ({how}):\n  wanted {wanted:?}\n  read   {read:?}", folder.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases >= 40, "only {cases} cases were found");
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap_or_else(|fault| panic!("{root:?}: {fault}"));
    let mut folders: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    folders.sort();
    folders
}

fn observations(dialect: Dialect, folder: &Path) -> Vec<(String, Observation)> {
    let case = std::fs::read_to_string(folder.join("case.yaml")).unwrap_or_else(|_| "{}".to_owned());
    let case: Case = serde_yaml::from_str(&case).expect("case.yaml");
    let chat = match dialect {
        Dialect::Anthropic => "/v1/messages",
        _ => "/v1beta/models/gemini-3.8-flash:generateContent",
    };
    let path = case.path.as_deref().unwrap_or(chat);
    let endpoint = dialect.recognise(case.method.as_deref().unwrap_or("POST"), path);
    let Ok(stream) = std::fs::read(folder.join("response.sse")) else {
        let whole = std::fs::read(folder.join("response.json"));
        let mut seen = Observation::default();
        dialect.observe_whole(&endpoint, Flavor::Standard, &whole.expect("a response"), &mut seen);
        return vec![("whole".to_owned(), seen)];
    };
    let in_pieces = |bytes: usize| {
        let mut seen = Observation::default();
        let mut splitter = sse::Splitter::default();
        let mut observe = |event: sse::Event<'_>| dialect.observe_event(&endpoint, Flavor::Standard, event, &mut seen);
        for piece in stream.chunks(bytes) {
            splitter.push(piece, &mut observe);
        }
        splitter.finish(&mut observe);
        (format!("in pieces of {bytes}"), seen)
    };
    [usize::MAX, 1, 7, 64].map(in_pieces).into()
}

fn reading(seen: &Observation, wanted: &Reading) -> Reading {
    let by_name = |usage: &TokenUsage| usage.used().map(|(kind, units)| (kind.name().to_owned(), units)).collect();
    let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    Reading {
        usage: seen.usage.as_ref().map(by_name),
        calls: by_name(&seen.tool_calls),
        is_final: seen.usage_is_final,
        finished: seen.finished,
        pending: seen.pending,
        finish_reason: owned(&seen.finish_reason),
        error_code: owned(&seen.error_code),
        service_tier: owned(&seen.service_tier),
        region: owned(&seen.region),
        speed: owned(&seen.speed),
        provider_cost: seen.provider_cost.map(|cost| cost.to_string()),
        text: wanted.text.as_ref().map(|_| seen.output.text.clone()),
        reasoning: wanted.reasoning.as_ref().map(|_| seen.output.reasoning.clone()),
        tool_calls: wanted.tool_calls.map(|_| seen.output.tool_calls),
        images_made: seen.images_made,
    }
}
