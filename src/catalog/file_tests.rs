use super::*;
use crate::catalog::price::{Pricing, Terms};
use crate::clock::Timestamp;
use crate::tokens::tokenizer::{Encoding, FramingFamily};
use crate::tokens::usage::{Kind, TokenUsage};
use crate::yaml::Value;
use proptest::prelude::*;
use std::sync::LazyLock;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| shipped().unwrap_or_else(|faults| panic!("{}", words(&faults))));

fn words(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

fn id(provider: &str, name: &str) -> Option<String> {
    CATALOG.resolve(provider, name).map(|offer| offer.model.id.to_string())
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn dollars(catalog: &Catalog, provider: &str, model: &str, kinds: &[(Kind, u64)], terms: &Terms) -> String {
    let usage = kinds.iter().fold(TokenUsage::ZERO, |usage, (kind, units)| usage.with(*kind, *units));
    match catalog.resolve(provider, model).unwrap().model.price(&usage, terms, at("2026-11-23T12:00:00Z")) {
        Pricing::Priced(cost) => cost.total.to_string(),
        other => panic!("{model}: {other:?}"),
    }
}

fn overlaid(text: &str) -> Catalog {
    load(SHIPPED, &[("mine.yaml", text)]).unwrap_or_else(|faults| panic!("{}", words(&faults)))
}

/// The places and messages of the faults of an overlay.
fn faults(text: &str) -> Vec<(u32, u32, String, String)> {
    let faults = load("version: 1\ndate: 2026-11-21\n", &[("mine.yaml", text)]).unwrap_err();
    assert!(faults.iter().all(|fault| &*fault.file == "mine.yaml"), "{}", words(&faults));
    faults.into_iter().map(|fault| (fault.line, fault.column, fault.message, fault.remedy)).collect()
}

#[test]
fn the_shipped_catalog_has_the_models_in_use_each_with_a_price() {
    let models = CATALOG.models(None);
    assert!(models.len() >= 250, "{}", models.len());
    let unpriced: Vec<_> = models.iter().filter(|model| !model.is_priced()).map(|model| model.id.clone()).collect();
    assert!(unpriced.is_empty(), "{unpriced:?}");
    assert!(CATALOG.version().starts_with("2026-11-21-") && CATALOG.version().len() == 19, "{}", CATALOG.version());
    for provider in [
        "openai",
        "anthropic",
        "gemini",
        "mistral",
        "deepseek",
        "xai",
        "groq",
        "together",
        "dashscope",
        "cohere",
        "openrouter",
        "perplexity",
        "simulated",
    ] {
        assert!(!CATALOG.models(Some(provider)).is_empty(), "{provider}");
    }
    assert!(models.iter().all(|model| &model.catalog == CATALOG.version()));
}

#[test]
fn every_shipped_name_finds_its_own_model() {
    for model in CATALOG.models(None).iter().filter(|model| !model.id.contains('*')) {
        for name in std::iter::once(&model.id).chain(&model.aliases) {
            assert_eq!(id(&model.provider, name).as_deref(), Some(&*model.id), "{} {name}", model.provider);
        }
    }
}

#[test]
fn dated_names_prefixes_and_cases_find_their_model() {
    for (provider, name, expected) in [
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "GPT-4o-Mini", "gpt-4o-mini"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "gpt-4-0613", "gpt-4"),
        ("openai", "gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", "ft:gpt-4o-mini*"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("gemini", "gemini-2.5-flash-preview-05-20", "gemini-2.5-flash"),
        ("gemini", "gemini-1.5-pro-002", "gemini-1.5-pro"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("groq", "groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
        ("openrouter", "openai/gpt-4o", "gpt-4o"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openrouter", "google/gemini-2.5-pro", "gemini-2.5-pro"),
        ("openrouter", "some/model:free", "*:free"),
        ("azure", "gpt-4o", "gpt-4o"),
        ("azure", "gpt-35-turbo", "gpt-3.5-turbo"),
        ("simulated", "sim-small", "sim-small"),
        ("simulated", "claude-haiku-4-5", "claude-haiku-4-5"),
        ("simulated", "gpt-4o-mini", "gpt-4o-mini"),
    ] {
        assert_eq!(id(provider, name).as_deref(), Some(expected), "{provider} {name}");
    }
    for (provider, name) in [
        ("openai", "gpt-9"),
        ("ollama", "llama3.1:8b"),
        ("nobody", "gpt-4o"),
        ("openai", ""),
        ("azure", "my-deployment"),
    ] {
        assert_eq!(id(provider, name), None, "{provider} {name}");
    }
}

#[test]
fn a_bare_name_leads_to_its_maker_first() {
    let first = |name: &str| CATALOG.providers_of(name).first().map(ToString::to_string);
    assert_eq!(first("gpt-4o").as_deref(), Some("openai"));
    assert_eq!(first("claude-sonnet-4-5-20250929").as_deref(), Some("anthropic"));
    assert_eq!(first("gemini-2.5-pro").as_deref(), Some("gemini"));
    assert_eq!(first("sim-small").as_deref(), Some("simulated"));
    assert_eq!(first("nothing-like-it"), None);
    assert!(CATALOG.providers_of("gpt-4o").iter().any(|provider| &**provider == "azure"));
}

#[test]
fn shipped_models_cost_what_their_makers_say() {
    let flex = Terms { service_tier: Some("flex".into()), ..Terms::default() };
    let batch = Terms { batch: true, ..Terms::default() };
    let plain = Terms::default();
    let price = |provider: &str, model: &str, kinds: &[(Kind, u64)], terms: &Terms| {
        dollars(&CATALOG, provider, model, kinds, terms)
    };
    // 1,000 × $2.5 + 500 × $10.
    assert_eq!(price("openai", "gpt-4o", &[(Kind::Input, 1_000), (Kind::Output, 500)], &plain), "0.0075");
    // 200,001 × $4 + 100,000 × $0.2 + 1,000 × $15: above 272,000 in all; flex halves it.
    let long = [(Kind::Input, 200_001), (Kind::CacheRead, 100_000), (Kind::Output, 1_000)];
    assert_eq!(price("openai", "gpt-6.1-sol", &long, &plain), "0.835004");
    assert_eq!(price("openai", "gpt-6.1-sol", &long, &flex), "0.417502");
    // 10,000 × $3.75 + 2,000 × $6 + 1,000 × $0.3 + 100 × $15 + 2 × $10 a thousand; batch halves tokens, not searches.
    let cached = [
        (Kind::CacheWrite5m, 10_000),
        (Kind::CacheWrite1h, 2_000),
        (Kind::CacheRead, 1_000),
        (Kind::Output, 100),
        (Kind::WebSearch, 2),
    ];
    assert_eq!(price("anthropic", "claude-sonnet-4-5", &cached, &plain), "0.0713");
    assert_eq!(price("anthropic", "claude-sonnet-4-5", &cached, &batch), "0.04565");
    // 1,000 × $0.3 + 1,000 × $1 of sound + 500 × $2.5, of which 400 thoughts.
    let heard = [(Kind::Input, 1_000), (Kind::InputAudio, 1_000), (Kind::Output, 100), (Kind::Reasoning, 400)];
    assert_eq!(price("gemini", "gemini-2.5-flash", &heard, &plain), "0.00255");
    // Off-peak on Monday noon: 1,000 × $0.66 + 100 × $1.98.
    assert_eq!(price("deepseek", "deepseek-v4-pro", &[(Kind::Input, 1_000), (Kind::Output, 100)], &plain), "0.000858");
    // Ten minutes at $0.006.
    assert_eq!(price("openai", "whisper-1", &[(Kind::AudioMillis, 600_000)], &plain), "0.06");
    // 1,000 characters at $15 a million.
    assert_eq!(price("openai", "tts-1", &[(Kind::Characters, 1_000)], &plain), "0.015");
    let hd = Terms { image_size: Some("1792x1024".into()), image_quality: Some("hd".into()), ..Terms::default() };
    assert_eq!(price("openai", "dall-e-3", &[(Kind::Images, 1)], &hd), "0.12");
    assert_eq!(
        price(
            "simulated",
            "sim-small",
            &[(Kind::Input, 1_000), (Kind::CacheRead, 1_000), (Kind::Output, 1_000)],
            &plain
        ),
        "0.0051"
    );
}

#[test]
fn deepseek_s_peak_hours_double_on_weekdays_only() {
    let model = CATALOG.resolve("deepseek", "deepseek-v4-flash").unwrap().model;
    let usage = TokenUsage::ZERO.with(Kind::Input, 1_000_000);
    let price = |moment: &str| match model.price(&usage, &Terms::default(), at(moment)) {
        Pricing::Priced(cost) => cost.total.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(price("2026-11-23T05:00:00Z"), "0.15");
    assert_eq!(price("2026-11-23T06:00:00Z"), "0.30");
    assert_eq!(price("2026-11-21T06:00:00Z"), "0.15");
}

#[test]
fn models_say_what_they_can_and_how_they_count() {
    let model = |provider, name| CATALOG.resolve(provider, name).unwrap().model;
    let o3 = model("openai", "o3");
    assert!(o3.capabilities.reasoning && o3.capabilities.tools);
    assert_eq!(o3.output_limit.as_deref(), Some("max_completion_tokens"));
    assert!(o3.unsupported.iter().any(|member| &**member == "temperature"));
    let gpt = model("openai", "gpt-4o");
    assert_eq!((gpt.tokenizer.encoding, gpt.tokenizer.exact), (Encoding::O200k, true));
    assert_eq!((gpt.context_window, gpt.max_output_tokens), (Some(128_000), Some(16_384)));
    assert!(model("openai", "gpt-4").retired.is_some() && gpt.retired.is_none());
    assert_eq!(model("anthropic", "claude-opus-4-8").tokenizer.framing, FramingFamily::Anthropic47);
}

#[test]
fn an_overlay_changes_field_by_field_and_adds_what_is_new() {
    let catalog = overlaid(
        "models:\n  openai:\n    gpt-4o: {per_mtok: {output: \"8\"}, max_output_tokens: 999}\n    gpt-4: null\n\
         \x20 ollama: {'*': {per_mtok: {input: \"0\", output: \"0\"}}}\n  mine: {m: {per_mtok: {input: \"1\", output: \"2\"}}}\n",
    );
    let million = [(Kind::Input, 1_000_000), (Kind::Output, 1_000_000), (Kind::CacheRead, 1_000_000)];
    assert_eq!(dollars(&catalog, "openai", "gpt-4o", &million, &Terms::default()), "11.75");
    let gpt = catalog.resolve("openai", "gpt-4o").unwrap().model;
    assert_eq!((gpt.context_window, gpt.max_output_tokens), (Some(128_000), Some(999)));
    assert!(catalog.resolve("openai", "gpt-4").is_none());
    assert_eq!(dollars(&catalog, "ollama", "llama3.1:8b", &million[..2], &Terms::default()), "0.00");
    assert_eq!(dollars(&catalog, "mine", "m", &million[..2], &Terms::default()), "3.00");
    assert_ne!(catalog.version(), CATALOG.version());
    assert!(catalog.providers_of("llama3.1:8b").is_empty(), "`*` claims no name for routing");
}

#[test]
fn all_faults_are_told_at_once_with_place_and_remedy() {
    let text = r#"
models:
  p:
    a:
      per_mtok: {inptu: "1", output: 10}
      contxt_window: 5
      tiers:
        - {above_input_tokens: 200, per_mtok: {input: "1"}}
        - {above_input_tokens: 100, per_mtok: {input: "1"}}
      service_tiers: {flex: {multply: "0.5"}}
    b:
      per_mtok: {input: "1.0000000001", output: "-1", cache_read: "1e3"}
      can: [vison]
      windows: [{utc: "25:00-26:00"}]
      changes: [{from: 2026-13-01}]
"#;
    let told = faults(text);
    let lines: Vec<String> =
        told.iter().map(|(line, column, message, remedy)| format!("{line}:{column} {message} | {remedy}")).collect();
    let expected = [
        "5:18 `inptu` is not a kind of token | did you mean `input`?",
        "5:38 the number 10 is not quoted | write \"10\": money is text, never a float",
        "6:7 `contxt_window` is not a key of a model | did you mean `context_window`?",
        "9:32 tiers are out of order | write the smaller size first, each size once",
        "10:30 `multply` is not a key of a service tier | did you mean `multiply`?",
        "12:25 `1.0000000001` has more than 9 decimals | round it to 9 decimals",
        "12:49 `-1` is negative | a price is not negative; leave the kind out if it has none, \"0\" if it is free",
        "12:67 `1e3` is not a decimal number such as `2.50` | write a plain decimal such as \"2.50\"; no exponent, no currency sign",
        "13:13 `vison` is not a capability | did you mean `vision`?",
        "14:23 `25:00-26:00` is no time of day | write hours in UTC: `utc: \"01:00-04:00\"`",
        "15:24 `2026-13-01` is no day | write it as 2026-12-31",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn names_that_clash_and_keys_given_twice_are_faults() {
    let told = faults("models:\n  p:\n    a: {aliases: [c]}\n    b: {aliases: [C]}\n    a: {}\n");
    let messages: Vec<&str> = told.iter().map(|(_, _, message, _)| message.as_str()).collect();
    assert_eq!(messages, ["`C` is a name of `a` and of `b` at p", "`a` is given twice here"]);
}

#[test]
fn a_fault_shows_the_line_and_marks_the_column() {
    let faults =
        load("version: 1\ndate: 2026-11-21\n", &[("mine.yaml", "models:\n  p: {m: {per_mtok: {input: 2}}}\n")])
            .unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "mine.yaml:2:29: the number 2 is not quoted\n      p: {m: {per_mtok: {input: 2}}}\n                                ^\n  mend: write \"2\": money is text, never a float"
    );
}

#[test]
fn what_is_not_plain_yaml_is_refused() {
    for (text, message) in [
        ("models: {p: {m: &a {per_mtok: {input: \"1\"}}}}", "an anchor (`&name`)"),
        ("models: {p: {m: !x {per_mtok: {input: \"1\"}}}}", "a tag (`!name`)"),
        ("models: {}\n---\nmodels: {}\n", "a second document starts here"),
    ] {
        assert!(faults(text).iter().any(|(_, _, told, _)| told == message), "{text}: {:?}", faults(text));
    }
    let deep = format!("models: {}1{}", "[".repeat(40), "]".repeat(40));
    assert!(faults(&deep)[0].2.starts_with("nested deeper than"), "{:?}", faults(&deep));
    assert!(load("", &[]).is_err());
    assert!(faults("models: {p: [}")[0].2.starts_with("not YAML"));
}

#[test]
fn two_readers_of_yaml_read_the_shipped_file_alike() {
    let mut faults = Vec::new();
    let ours = parse(SHIPPED, 0, &mut faults).unwrap();
    let theirs: serde_yaml::Value = serde_yaml::from_str(SHIPPED).unwrap();
    assert_alike(&ours, &theirs, "");
}

fn assert_alike(ours: &Node, theirs: &serde_yaml::Value, path: &str) {
    match (&ours.value, theirs) {
        (Value::Map(entries), serde_yaml::Value::Mapping(mapping)) => {
            assert_eq!(entries.len(), mapping.len(), "{path}");
            for entry in entries {
                let path = format!("{path}/{}", entry.key);
                let theirs = mapping.get(&*entry.key);
                assert_alike(&entry.node, theirs.unwrap_or_else(|| panic!("{path}")), &path);
            }
        }
        (Value::List(items), serde_yaml::Value::Sequence(sequence)) => {
            assert_eq!(items.len(), sequence.len(), "{path}");
            items.iter().zip(sequence).for_each(|(ours, theirs)| assert_alike(ours, theirs, path));
        }
        (Value::Text { text, .. }, serde_yaml::Value::String(theirs)) => assert_eq!(&**text, theirs, "{path}"),
        (Value::Text { text, quoted: false }, other) => {
            assert_eq!(serde_yaml::to_string(other).unwrap().trim(), &**text, "{path}");
        }
        (ours, theirs) => panic!("{path}: {ours:?} is not {theirs:?}"),
    }
}

#[test]
fn every_example_of_the_guide_loads() {
    let guide = include_str!("../../docs/catalog.md");
    let examples: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        overlaid(example);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|[\n :{}\\[\\]\"'&*!|>-]){0,120}") {
        let _ = load_files(&[("any.yaml", &text)]);
    }

    #[test]
    fn no_cut_or_changed_catalog_makes_the_reader_panic(start in 0usize..4_000, length in 0usize..1_500, junk in "[\n :{}\"a0&*-]{0,6}") {
        let lines: Vec<&str> = SHIPPED.lines().skip(start).take(length / 20).collect();
        let text = format!("version: 1\ndate: 2026-11-21\nmodels:\n  p:\n{}", lines.join("\n"));
        let cut: String = text.chars().take(length).collect();
        let _ = load_files(&[("any.yaml", &format!("{cut}{junk}")), ("over.yaml", &text)]);
    }
}
