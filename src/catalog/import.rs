//! Reads the community catalogues (LiteLLM's map, genai-prices) and writes them as ours. Numbers are read from their
//! source text, never through a float. What cannot be said here is listed, never left out silently and never zeroed: in
//! these files a price of 0 often means that nobody knows, so a zero is not taken over either.

mod decimal;
mod genai_prices;
mod litellm;

use super::draft::{self, Draft};
use super::names::NAME_BYTES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Whose catalogue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `model_prices_and_context_window.json`.
    Litellm,
    /// `prices.json` of the crate, `data.json` of the feed.
    GenaiPrices,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Litellm => "litellm",
            Source::GenaiPrices => "genai-prices",
        }
    }
}

/// Another's catalogue as ours.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    pub yaml: String,
    pub models: usize,
    pub remarks: Vec<Remark>,
}

/// Something that was not taken over as it stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    pub kind: RemarkKind,
    /// `openai/gpt-4o`
    pub model: String,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemarkKind {
    /// A price that this catalog has no word for; the model's other prices are taken.
    LeftOut,
    /// A price of 0, which may mean unknown.
    Zero,
    /// Nothing of the model could be taken.
    ModelLeftOut,
    /// More than 9 decimals (a float's artefact): rounded to the nearest.
    Rounded,
}

impl RemarkKind {
    pub fn name(self) -> &'static str {
        match self {
            RemarkKind::LeftOut => "left_out",
            RemarkKind::Zero => "zero",
            RemarkKind::ModelLeftOut => "model_left_out",
            RemarkKind::Rounded => "rounded",
        }
    }
}

/// The file is not the catalogue that it is said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a catalogue of {source_name}: {why}")]
pub struct NotACatalogue {
    pub source_name: &'static str,
    pub why: String,
}

/// Reads `text`; `date` (`2026-11-21`) is the day of the prices.
pub fn import(source: Source, text: &str, date: &str) -> Result<Imported, NotACatalogue> {
    let mut sheet = Sheet::default();
    let read = match source {
        Source::Litellm => litellm::read(text, &mut sheet),
        Source::GenaiPrices => genai_prices::read(text, &mut sheet),
    };
    read.map_err(|error| NotACatalogue { source_name: source.name(), why: error.to_string() })?;
    if sheet.models.is_empty() {
        return Err(NotACatalogue { source_name: source.name(), why: "it has no model with a price".to_owned() });
    }
    Ok(sheet.finish(source, date))
}

/// What an import has found so far.
#[derive(Default)]
struct Sheet {
    models: BTreeMap<String, BTreeMap<String, Draft>>,
    remarks: BTreeSet<Remark>,
}

impl Sheet {
    fn remark(&mut self, kind: RemarkKind, model: &str, what: impl Into<String>) {
        self.remarks.insert(Remark { kind, model: model.to_owned(), what: what.into() });
    }

    fn finish(mut self, source: Source, date: &str) -> Imported {
        let usable = |id: &str| !id.trim().is_empty() && id.len() <= NAME_BYTES_MAX;
        for (provider, models) in &mut self.models {
            models.retain(|id, _| {
                if !usable(id) {
                    let (kind, model) = (RemarkKind::ModelLeftOut, format!("{provider}/{id}"));
                    self.remarks.insert(Remark { kind, model, what: "a blank or endless name".to_owned() });
                }
                usable(id)
            });
        }
        for models in self.models.values_mut() {
            // An id is stronger than an alias, and of two equal aliases the first keeps it.
            let mut taken: BTreeSet<String> = models.keys().map(|id| id.to_ascii_lowercase()).collect();
            for draft in models.values_mut() {
                draft.aliases.retain(|alias| taken.insert(alias.to_ascii_lowercase()));
            }
        }
        let models = self.models.values().map(BTreeMap::len).sum();
        Imported {
            yaml: draft::to_yaml(&self.models, date, source.name()),
            models,
            remarks: self.remarks.into_iter().collect(),
        }
    }
}

/// A provider's name here.
fn provider_name(theirs: &str) -> &str {
    match theirs {
        "text-completion-openai" => "openai",
        "cohere_chat" => "cohere",
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        "google" => "gemini",
        "x-ai" => "xai",
        "moonshotai" => "moonshot",
        "voyageai" => "voyage",
        same => same,
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
