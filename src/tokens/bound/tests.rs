use super::super::count::always;
use super::super::count::tests::counter;
use super::super::prompt::{PromptTally, PromptText};
use super::super::tokenizer::{Encoding, FramingFamily};
use super::*;
use crate::money::Ratio;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Said {
    Message(String),
    Name(String),
    Text(String),
    Call(String, String),
    Tool(String),
}

impl Said {
    fn text(&self) -> PromptText<'_> {
        match self {
            Said::Message(role) => PromptText::Message(role),
            Said::Name(name) => PromptText::Name(name),
            Said::Text(text) => PromptText::Text(text),
            Said::Call(name, arguments) => PromptText::ToolCall { name, arguments },
            Said::Tool(source) => PromptText::Definition(source),
        }
    }

    /// As a dialect sizes it.
    fn size(&self, input: &mut InputSize) {
        match self {
            Said::Message(_) => input.messages += 1,
            Said::Name(text) | Said::Text(text) => input.text_bytes += text.len() as u64,
            Said::Call(name, arguments) => {
                input.tool_calls += 1;
                input.text_bytes += (name.len() + arguments.len()) as u64;
                input.rendered_bytes += (name.len() + arguments.len()) as u64;
            }
            Said::Tool(source) => {
                input.tools += 1;
                input.text_bytes += source.len() as u64;
                input.rendered_bytes += source.len() as u64;
            }
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~\n\t]{0,60}", "\\PC{0,30}", "[🙂-🙏👍]{0,9}", "[一-龥]{0,20}", "[A-Z]{0,60}", " {0,60}"]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        Just("{}".to_owned()),
        proptest::collection::vec(-9i64..100_000, 0..30)
            .prop_map(|numbers| serde_json::json!({"a": numbers, "b": {"c": {}}}).to_string()),
        text().prop_map(|text| serde_json::json!({"": text, "x": [null, true, "\n"]}).to_string()),
    ]
}

fn tool() -> impl Strategy<Value = String> {
    let schema = prop_oneof![
        proptest::collection::vec(0u32..10, 0..60)
            .prop_map(|numbers| serde_json::json!({"type": "integer", "enum": numbers})),
        proptest::collection::vec("[a-z]{0,3}", 0..30)
            .prop_map(|words| serde_json::json!({"type": "string", "enum": words})),
        text().prop_map(|text| serde_json::json!({"type": ["string", "null"], "description": text})),
        Just(serde_json::json!({"type": "array", "items": {"type": "array", "items": {"type": "object"}}})),
        Just(serde_json::json!({})),
    ];
    ("[a-z]{1,9}", text(), proptest::collection::hash_map("[a-z]{1,3}", schema, 0..6)).prop_map(
        |(name, description, properties)| {
            let parameters = serde_json::json!({"type": "object", "properties": properties});
            serde_json::json!({"function": {"name": name, "description": description, "parameters": parameters}})
                .to_string()
        },
    )
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        "system|user|assistant|tool".prop_map(Said::Message),
        text().prop_map(Said::Text),
        "[a-z]{1,9}".prop_map(Said::Name),
        ("[a-z_]{1,20}", arguments()).prop_map(|(name, arguments)| Said::Call(name, arguments)),
        tool().prop_map(Said::Tool),
    ]
}

fn tokenizers() -> Vec<Tokenizer> {
    use FramingFamily::*;
    let mut all: Vec<_> = [Openai4o, Openai5, Openai51, OpenaiO]
        .into_iter()
        .flat_map(|family| Encoding::ALL.map(|encoding| Tokenizer::exact(encoding, family)))
        .collect();
    let double = Ratio { numerator: 2, denominator: 1 };
    all.extend([Anthropic45, Anthropic47, Gemini, Grok4, Default].map(|family| Tokenizer::estimated(double, family)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn the_bound_of_a_prompt_is_never_below_its_count(first in "user|system", said in proptest::collection::vec(said(), 0..12)) {
        let mut said: Vec<_> = std::iter::once(Said::Message(first)).chain(said).collect();
        said.dedup_by(|said, before| matches!(said, Said::Name(_)) && !matches!(before, Said::Message(_)));
        let mut facts = RequestFacts::default();
        for said in &said {
            said.size(&mut facts.input);
        }
        for tokenizer in tokenizers() {
            let mut go_on = always;
            let mut tally = PromptTally::new(counter(), &tokenizer, &mut go_on);
            for said in &said {
                tally.push(said.text());
            }
            let saved = tally.saved();
            let count = tally.finish().expect("nobody calls it off").tokens;
            let bound = input_bound(&facts, &BoundRule { tokenizer, ..BoundRule::default() }).input_tokens();
            prop_assert!(bound >= count, "{} < {} by {:?}: {:?}", bound, count, tokenizer, said);
            prop_assert!(bound - saved >= count, "{} - {} < {} by {:?}: {:?}", bound, saved, count, tokenizer, said);
        }
    }
}

#[test]
fn the_bound_grows_by_what_the_body_does_not_show() {
    let rule = BoundRule { context_window: Some(200_000), ..BoundRule::default() };
    let facts = RequestFacts { server_state: true, ..RequestFacts::default() };
    assert_eq!(input_bound(&facts, &rule)[Kind::Input], 200_000);
    let facts = RequestFacts { server_tools: true, ..RequestFacts::default() };
    assert_eq!(input_bound(&facts, &BoundRule::default())[Kind::Input], CONTEXT_WINDOW_DEFAULT);
}

#[test]
fn media_are_bounded_and_predicted_in_their_own_kinds() {
    let mut facts = RequestFacts::default();
    facts.input.images = vec![ImagePart { detail: ImageDetail::Low, size: None }; 2];
    facts.input.images_more = 1;
    facts.input.audio_bytes = 160_000;
    facts.input.audio_parts = 1;
    let rule = BoundRule { image: ImageRule::Openai4o, ..BoundRule::default() };
    let bound = input_bound(&facts, &rule);
    assert_eq!((bound[Kind::InputImage], bound[Kind::InputAudio]), (2 * 85 + 1_445, 1_600));
    let likely = input_estimate(&facts, &rule);
    assert_eq!((likely[Kind::InputImage], likely[Kind::InputAudio]), (2 * 85 + 765, 100));
    let (_, exact) = counted_input(Count::ZERO, &facts, &rule);
    assert!(!exact, "pictures are predicted");
}

#[test]
fn files_never_exceed_the_context_window() {
    let mut facts = RequestFacts::default();
    facts.input.file_bytes = 30_000_000;
    facts.input.file_parts = 1;
    let rule = BoundRule { context_window: Some(128_000), ..BoundRule::default() };
    assert_eq!(input_bound(&facts, &rule)[Kind::Input], 128_000 + 5);
}

#[test]
fn the_output_is_bounded_by_the_request_then_the_model_then_a_default_for_every_choice() {
    let mut facts = RequestFacts { output_limit: Some(500), choices: 3, ..RequestFacts::default() };
    assert_eq!(output_bound(&facts, Some(16_384), 4_096), 1_500);
    assert_eq!(output_bound(&facts, Some(100), 4_096), 300);
    facts.output_limit = None;
    assert_eq!(output_bound(&facts, Some(16_384), 4_096), 3 * 16_384);
    facts.choices = 0;
    assert_eq!(output_bound(&facts, None, 4_096), 4_096);
}

#[test]
fn the_estimate_of_english_is_near_its_count() {
    let text = "The quick brown fox jumps over the lazy dog near the river bank while it rains. ".repeat(50);
    let mut facts = RequestFacts::default();
    facts.input.messages = 1;
    facts.input.text_bytes = text.len() as u64;
    let counted = counter().text(Encoding::O200k, &text, &mut always).expect("counted").tokens;
    let estimate = input_estimate(&facts, &BoundRule::default()).input_tokens();
    assert!(estimate.abs_diff(counted) * 100 <= counted * 25, "{estimate} for {counted}");
}
