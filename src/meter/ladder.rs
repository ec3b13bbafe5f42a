//! The ladder from what was observed to what is booked: reported, else counted, else estimated.

use crate::dialects::{Endpoint, Observation, Operation};
use crate::tokens::count::Count;
use crate::tokens::facts::RequestFacts;
use crate::tokens::prompt::{OutputCount, OutputSeen};
use crate::tokens::usage::{Kind, TokenUsage, UsageSource};

/// Bytes of text that a token of English, code or JSON stands for, where nothing was counted.
const BYTES_PER_TOKEN: u64 = 4;

/// What a response used, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub usage: TokenUsage,
    pub source: UsageSource,
}

/// Our own counts of the same exchange, as far as they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of the prompt, by kind; and whether it is exact (`tokens::bound::counted_input`).
    pub input: Option<(TokenUsage, bool)>,
    /// Of the output that no report covers ([`Observation::unreported_output`]).
    pub output: Option<OutputCount>,
}

impl Counts {
    /// Whether counts can change the reading: where this is false, nothing need be counted.
    pub fn are_needed_for(endpoint: &Endpoint, status: u16, observation: &Observation) -> bool {
        let counted =
            !matches!(endpoint.operation, Operation::Moderation | Operation::Speech | Operation::Transcription);
        endpoint.metered && counted && !is_final(observation) && !failed(status, observation)
    }
}

/// What is booked for one response.
///
/// - An error without usage used nothing: providers do not bill for it.
/// - Usage that came with the ending is the truth.
/// - A cumulative report of a response that was cut is the truth of what it covers; what flowed behind it is counted.
/// - A placeholder (Anthropic's) is true of the input, if it names one; of the output the larger of report and count is
///   taken.
/// - Without usage, what went in and what flowed out is counted, and where nobody counted, estimated.
pub fn reading(
    endpoint: &Endpoint,
    status: u16,
    observation: &Observation,
    facts: &RequestFacts,
    counts: &Counts,
) -> Reading {
    let (mut usage, source) = match &observation.usage {
        Some(usage) if is_final(observation) => (*usage, UsageSource::Reported),
        _ if failed(status, observation) => (TokenUsage::ZERO, UsageSource::Reported),
        Some(usage) => cut_short(*usage, observation, facts, counts),
        None => unreported(endpoint, observation, facts, counts),
    };
    // Where usage itself names its tool calls, the items say the same again.
    for (kind, units) in observation.tool_calls.used() {
        usage[kind] = usage[kind].max(units);
    }
    Reading { usage, source }
}

fn is_final(observation: &Observation) -> bool {
    observation.usage.is_some() && observation.usage_is_final
}

/// An error status, or an error in place of any output.
fn failed(status: u16, observation: &Observation) -> bool {
    let refused = !(200..300).contains(&status);
    observation.usage.is_none() && (refused || (observation.error_code.is_some() && !observation.has_content))
}

fn cut_short(
    mut usage: TokenUsage,
    observation: &Observation,
    facts: &RequestFacts,
    counts: &Counts,
) -> (TokenUsage, UsageSource) {
    let output = output_count(observation, counts);
    let input_is_reported = usage.input_tokens() > 0;
    let mut input_is_exact = true;
    if !input_is_reported {
        let (input, exact) = input_count(facts, counts);
        usage.add(&input);
        input_is_exact = exact;
    }
    if observation.reported_upto.is_some() {
        if is_nothing(&observation.unreported_output()) && input_is_reported {
            return (usage, UsageSource::Reported);
        }
        usage[Kind::Output] = usage[Kind::Output].saturating_add(output.visible.tokens);
        usage[Kind::Reasoning] = usage[Kind::Reasoning].saturating_add(output.reasoning.tokens);
    } else if output.visible.tokens.saturating_add(output.reasoning.tokens) > usage.output_tokens() {
        (usage[Kind::Output], usage[Kind::Reasoning]) = (output.visible.tokens, output.reasoning.tokens);
        (usage[Kind::OutputAudio], usage[Kind::OutputImage]) = (0, 0);
    }
    (usage, source_of(input_is_exact, output))
}

fn unreported(
    endpoint: &Endpoint,
    observation: &Observation,
    facts: &RequestFacts,
    counts: &Counts,
) -> (TokenUsage, UsageSource) {
    if !endpoint.metered {
        return (TokenUsage::ZERO, UsageSource::None);
    }
    match endpoint.operation {
        // OpenAI: moderation is free, and reports nothing.
        Operation::Moderation => (TokenUsage::ZERO, UsageSource::Reported),
        // Priced by the character of the request; a count of characters is exact.
        Operation::Speech => (TokenUsage::ZERO.with(Kind::Characters, facts.characters), UsageSource::Counted),
        Operation::Images => (TokenUsage::ZERO.with(Kind::Images, observation.images_made), UsageSource::Counted),
        // How long the sound was, only the provider knows.
        Operation::Transcription => (TokenUsage::ZERO, UsageSource::None),
        _ => counted(observation, facts, counts),
    }
}

fn counted(observation: &Observation, facts: &RequestFacts, counts: &Counts) -> (TokenUsage, UsageSource) {
    let (mut usage, exact) = input_count(facts, counts);
    let output = output_count(observation, counts);
    (usage[Kind::Output], usage[Kind::Reasoning]) = (output.visible.tokens, output.reasoning.tokens);
    (usage, source_of(exact, output))
}

fn input_count(facts: &RequestFacts, counts: &Counts) -> (TokenUsage, bool) {
    counts.input.unwrap_or_else(|| {
        let estimate = facts.input.text_bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(facts.input.token_ids);
        (TokenUsage::ZERO.with(Kind::Input, estimate), false)
    })
}

fn source_of(input_is_exact: bool, output: OutputCount) -> UsageSource {
    let exact = input_is_exact && output.visible.exact && output.reasoning.exact;
    if exact { UsageSource::Counted } else { UsageSource::Estimated }
}

/// Of what no report covers. Nobody counted: a token for every four bytes; of nothing, exactly none.
fn output_count(observation: &Observation, counts: &Counts) -> OutputCount {
    let unreported = observation.unreported_output();
    counts.output.unwrap_or_else(|| OutputCount {
        visible: Count { tokens: estimated(&unreported), exact: is_nothing(&unreported) },
        reasoning: Count::ZERO,
    })
}

fn is_nothing(output: &OutputSeen<'_>) -> bool {
    output.text.is_empty() && output.reasoning.is_empty() && output.dropped_bytes == 0 && output.tool_calls == 0
}

/// Tokens of the output that no report covers, by its bytes.
pub(super) fn estimated_output(observation: &Observation) -> u64 {
    estimated(&observation.unreported_output())
}

fn estimated(output: &OutputSeen<'_>) -> u64 {
    let kept = (output.text.len() + output.reasoning.len()) as u64;
    kept.saturating_add(output.dropped_bytes).div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialect;

    const EXACT_INPUT: Option<(TokenUsage, bool)> = Some((TokenUsage::ZERO, true));

    fn chat() -> Endpoint {
        Dialect::OpenAi.recognise("POST", "/v1/chat/completions")
    }

    fn read(seen: &Observation, status: u16, counts: &Counts) -> (u64, u64, UsageSource) {
        let facts = RequestFacts { choices: 1, ..RequestFacts::default() };
        let reading = reading(&chat(), status, seen, &facts, counts);
        (reading.usage.input_tokens(), reading.usage.output_tokens(), reading.source)
    }

    fn counts(input: u64, output: u64) -> Counts {
        Counts { input: Some((TokenUsage::ZERO.with(Kind::Input, input), true)), output: Some(output_of(output, true)) }
    }

    fn output_of(tokens: u64, exact: bool) -> OutputCount {
        OutputCount { visible: Count { tokens, exact }, reasoning: Count::ZERO }
    }

    fn reported(input: u64, output: u64, usage_is_final: bool) -> Observation {
        let usage = TokenUsage::ZERO.with(Kind::Input, input).with(Kind::Output, output);
        Observation { usage: Some(usage), usage_is_final, ..Observation::default() }
    }

    #[test]
    fn what_is_reported_at_the_end_wins() {
        let seen = reported(10, 5, true);
        assert_eq!(read(&seen, 200, &counts(99, 99)), (10, 5, UsageSource::Reported));
        assert!(!Counts::are_needed_for(&chat(), 200, &seen));
    }

    #[test]
    fn a_placeholder_of_a_cut_response_gives_way_to_the_count() {
        let seen = reported(10, 1, false);
        assert!(Counts::are_needed_for(&chat(), 200, &seen));
        assert_eq!(read(&seen, 200, &counts(99, 42)), (10, 42, UsageSource::Counted));
        assert_eq!(read(&reported(10, 50, false), 200, &counts(99, 42)), (10, 50, UsageSource::Counted));
    }

    #[test]
    fn a_cumulative_report_of_a_cut_response_is_kept_and_only_what_flowed_behind_it_is_counted() {
        let mut seen = reported(10, 50, false);
        seen.output.push_text("what the report covers");
        seen.reported_upto = Some(seen.output.mark());
        assert_eq!(read(&seen, 200, &Counts::default()), (10, 50, UsageSource::Reported));
        seen.output.push_text(" and more");
        assert_eq!(seen.unreported_output().text, " and more");
        assert_eq!(read(&seen, 200, &counts(99, 2)), (10, 52, UsageSource::Counted));
        assert_eq!(read(&seen, 200, &Counts::default()), (10, 53, UsageSource::Estimated));
    }

    #[test]
    fn without_a_report_both_sides_are_counted() {
        let mut seen = Observation::default();
        seen.output.push_text("some words");
        assert_eq!(read(&seen, 200, &counts(7, 3)), (7, 3, UsageSource::Counted));
        let inexact = Counts { output: Some(output_of(3, false)), ..counts(7, 0) };
        assert_eq!(read(&seen, 200, &inexact), (7, 3, UsageSource::Estimated));
        assert_eq!(read(&seen, 200, &Counts::default()), (0, 3, UsageSource::Estimated));
    }

    #[test]
    fn an_error_used_nothing() {
        let refused = Observation { error_code: Some("rate_limit_exceeded".into()), ..Observation::default() };
        for status in [200, 302, 400, 429, 500] {
            assert_eq!(read(&refused, status, &counts(7, 3)), (0, 0, UsageSource::Reported), "{status}");
        }
        let after_output = Observation { has_content: true, ..refused };
        assert_eq!(read(&after_output, 200, &counts(7, 3)), (7, 3, UsageSource::Counted));
    }

    #[test]
    fn tool_calls_are_booked_once_however_often_they_are_told() {
        let mut seen = reported(1, 1, true);
        seen.tool_calls = TokenUsage::ZERO.with(Kind::WebSearch, 2);
        let with_items = reading(&chat(), 200, &seen, &RequestFacts::default(), &Counts::default());
        assert_eq!(with_items.usage[Kind::WebSearch], 2);
        seen.usage = seen.usage.map(|usage| usage.with(Kind::WebSearch, 2));
        let with_both = reading(&chat(), 200, &seen, &RequestFacts::default(), &Counts::default());
        assert_eq!(with_both.usage[Kind::WebSearch], 2);
    }

    #[test]
    fn speech_is_counted_by_characters_and_pictures_by_number() {
        let facts = RequestFacts { characters: 12, ..RequestFacts::default() };
        let seen = Observation { images_made: 3, ..Observation::default() };
        let read = |path: &str| {
            reading(
                &Dialect::OpenAi.recognise("POST", path),
                200,
                &seen,
                &facts,
                &Counts { input: EXACT_INPUT, output: None },
            )
        };
        assert_eq!(read("/v1/audio/speech").usage[Kind::Characters], 12);
        assert_eq!(read("/v1/images/generations").usage[Kind::Images], 3);
        assert_eq!(read("/v1/files").source, UsageSource::None);
    }
}
