//! How long each caller's answers were lately, from the rollups: what a process that starts knows of its callers.

use crate::clock::Timestamp;
use crate::store::{Dimension, GroupBy, Reader, StoreError, TimeRange, UsageQuery};
use std::sync::Arc;

/// Days before now that count.
const DAYS: i64 = 7;
const DAY_MICROS: i64 = 86_400_000_000;

/// A caller's answers of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Empty for callers without a name.
    pub key: Arc<str>,
    pub model: Arc<str>,
    /// Those that did not fail.
    pub calls: u64,
    pub output_tokens: u64,
}

/// The last week, whole days.
///
/// # Errors
/// Where there are more callers and models than a question may have groups: then nothing is known at the start.
pub fn answers_lately(reader: &Reader, now: Timestamp) -> Result<Vec<Answers>, StoreError> {
    let today = now.as_micros().div_euclid(DAY_MICROS);
    let usage = reader.usage(&UsageQuery {
        group_by: vec![GroupBy::Dimension(Dimension::Key), GroupBy::Dimension(Dimension::Model)],
        filters: Vec::new(),
        range: TimeRange { from: Some(Timestamp((today - DAYS) * DAY_MICROS)), to: None },
    })?;
    let answers = usage.groups.into_iter().filter_map(|group| {
        let [key, Some(model)] = group.key.as_slice() else { return None };
        let key = key.clone().unwrap_or_default();
        let calls = group.sums.calls.saturating_sub(group.sums.failed);
        let output_tokens = group.sums.usage.output_tokens();
        Some(Answers { key, model: Arc::clone(model), calls, output_tokens })
    });
    Ok(answers.filter(|answers| answers.calls > 0).collect())
}
