use super::*;
use crate::catalog::sheet::lines;
use crate::catalog::{Catalog, file};
use proptest::prelude::*;

fn imported(source: Source, text: &str) -> (Catalog, Vec<Remark>) {
    let imported = import(source, text, "2026-11-21").unwrap();
    let catalog = file::load_files(&[("imported", &imported.yaml)]).unwrap_or_else(|faults| {
        panic!("{}\n{}", imported.yaml, faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())
    });
    (catalog, imported.remarks)
}

/// `flex, >272000 input tokens input 2`
fn prices(catalog: &Catalog, provider: &str, model: &str) -> Vec<String> {
    let model = catalog.resolve(provider, model).unwrap().model;
    lines(&model)
        .into_iter()
        .map(|line| format!("{} {} {}", line.terms(), line.what, line.price).trim().to_owned())
        .collect()
}

#[test]
fn litellm_s_suffixes_become_tiers_and_service_tiers() {
    let (catalog, remarks) = imported(
        Source::Litellm,
        r#"{
        "sample_spec": {"litellm_provider": "openai", "input_cost_per_token": 1},
        "gpt-x": {
            "litellm_provider": "openai", "mode": "responses", "max_input_tokens": 922000, "max_output_tokens": 128000,
            "deprecation_date": "2027-01-01", "supports_vision": true, "supports_function_calling": true,
            "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05,
            "cache_creation_input_token_cost": 2.5e-06, "cache_creation_input_token_cost_above_12hr": 5e-06,
            "cache_read_input_token_cost": 5.0000000000000004E-8,
            "input_cost_per_token_above_272k_tokens": 4e-06, "input_cost_per_token_above_272k_tokens_flex": 2e-06,
            "input_cost_per_token_flex": 1e-06, "input_cost_per_token_batches": 1e-06,
            "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_medium": 0.01},
            "regional_processing_uplift_multiplier_eu": 1.1, "vector_store_cost_per_gb_per_day": 0.1
        }}"#,
    );
    assert_eq!(
        prices(&catalog, "openai", "gpt-x"),
        [
            "input 2",
            "cache_read 0.05",
            "cache_write_5m 2.5",
            "cache_write_12h 5",
            "output 10",
            "web_search 10",
            ">272000 input tokens input 4",
            ">272000 input tokens cache_read 0.05",
            ">272000 input tokens cache_write_5m 2.5",
            ">272000 input tokens cache_write_12h 5",
            ">272000 input tokens output 10",
            "batch input 1",
            "batch cache_read 0.05",
            "batch cache_write_5m 2.5",
            "batch cache_write_12h 5",
            "batch output 10",
            "batch, >272000 input tokens input 1",
            "batch, >272000 input tokens cache_read 0.05",
            "batch, >272000 input tokens cache_write_5m 2.5",
            "batch, >272000 input tokens cache_write_12h 5",
            "batch, >272000 input tokens output 10",
            "flex input 1",
            "flex cache_read 0.05",
            "flex cache_write_5m 2.5",
            "flex cache_write_12h 5",
            "flex output 10",
            "flex, >272000 input tokens input 2",
            "flex, >272000 input tokens cache_read 0.05",
            "flex, >272000 input tokens cache_write_5m 2.5",
            "flex, >272000 input tokens cache_write_12h 5",
            "flex, >272000 input tokens output 10",
            "× region eu 1.1",
        ]
    );
    let model = catalog.resolve("openai", "gpt-x").unwrap().model;
    assert_eq!(
        (model.context_window, model.max_output_tokens, model.retired.as_deref()),
        (Some(922_000), Some(128_000), Some("2027-01-01"))
    );
    let told: Vec<_> = remarks.iter().map(|remark| (remark.kind, remark.what.as_str())).collect();
    assert_eq!(
        told,
        [
            (RemarkKind::LeftOut, "vector_store_cost_per_gb_per_day"),
            (RemarkKind::Rounded, "cache_read_input_token_cost: 5.0000000000000004E-8 → 0.05"),
        ]
    );
}

#[test]
fn other_units_ranges_and_sized_images_are_taken_over() {
    let (catalog, _) = imported(
        Source::Litellm,
        r#"{
        "together_ai/a/b": {"litellm_provider": "together_ai", "mode": "chat", "input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7},
        "whisper": {"litellm_provider": "groq", "mode": "audio_transcription", "input_cost_per_second": 3.083e-05, "output_cost_per_second": 0.0},
        "tts": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
        "rank": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0},
        "low/1024-x-1536/paint": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.016},
        "paint": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 5e-06, "output_cost_per_image_token": 4e-05},
        "dashscope/q": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
            {"range": [0, 32000.0], "input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06},
            {"range": [32000.0, 128000.0], "input_cost_per_token": 1.8e-06, "output_cost_per_token": 9e-06}]}}"#,
    );
    assert_eq!(prices(&catalog, "together", "a/b"), ["input 0.1", "output 0.2"]);
    assert_eq!(prices(&catalog, "groq", "whisper"), ["audio_millis 0.110988"]);
    assert_eq!(prices(&catalog, "openai", "tts"), ["characters 15"]);
    assert_eq!(prices(&catalog, "cohere", "rank"), ["requests 2"]);
    assert_eq!(prices(&catalog, "openai", "paint"), ["input 5", "output_image 40", "images 1024x1536 low 0.016"]);
    assert_eq!(
        prices(&catalog, "dashscope", "q"),
        ["input 1", "output 5", ">32000 input tokens input 1.8", ">32000 input tokens output 9"]
    );
}

#[test]
fn a_zero_is_told_and_never_becomes_a_price() {
    let (catalog, remarks) = imported(
        Source::Litellm,
        r#"{
        "ollama/llama": {"litellm_provider": "ollama", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0},
        "half": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 0.0},
        "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-08, "output_cost_per_token": 0.0},
        "film": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_second": 0.1}}"#,
    );
    assert!(catalog.resolve("ollama", "llama").is_none());
    assert_eq!(prices(&catalog, "openai", "half"), ["input 1"]);
    let told: Vec<_> =
        remarks.iter().map(|remark| (remark.kind.name(), remark.model.as_str(), remark.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("zero", "ollama/llama", "input_cost_per_token"),
            ("zero", "ollama/llama", "output_cost_per_token"),
            ("zero", "openai/half", "output_cost_per_token"),
            ("model_left_out", "ollama/llama", "no price that is known here"),
            ("model_left_out", "openai/film", "mode video_generation is not metered here"),
        ]
    );
}

#[test]
fn genai_prices_dates_hours_tiers_and_variants_are_taken_over() {
    let (catalog, remarks) = imported(
        Source::GenaiPrices,
        r#"[{"id": "x-ai", "models": [
        {"id": "m", "match": {"or": [{"equals": "m-alias"}, {"starts_with": "m-"}]}, "context_window": 5000,
         "prices": [
            {"prices": {"input_mtok": 10, "output_mtok": 40, "cache_read_mtok": 2.5}},
            {"constraint": {"start_date": "2025-06-10"}, "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "output_mtok": 8, "output_citation_mtok": 1}},
            {"constraint": {"start_time": "01:00:00Z", "end_time": "04:00:00Z"}, "prices": {"input_mtok": 3, "output_mtok": 8}}],
         "price_variants": [
            {"when": {"service_tier": "flex"}, "prices": {"output_mtok": 4}},
            {"when": {"service_tier": "default"}, "prices": {}},
            {"when": {"route": "eu"}, "prices": {"output_mtok": 9}}]},
        {"id": "m-alias2", "match": {"equals": "M"}, "prices": {"audio_hours": 0.04, "input_audio_hours": 0.04}},
        {"id": "nothing", "match": {"equals": "nothing"}, "prices": {"input_mtok": 0}}]}]"#,
    );
    assert_eq!(
        prices(&catalog, "xai", "m-alias"),
        [
            "input 10",
            "cache_read 2.5",
            "output 40",
            "flex input 10",
            "flex cache_read 2.5",
            "flex output 4",
            "from 2025-06-10 input 2",
            "from 2025-06-10 output 8",
            "from 2025-06-10, >200000 input tokens input 4",
            "from 2025-06-10, >200000 input tokens output 8",
            "from 2025-06-10, 01:00-04:00 UTC input 3",
            "from 2025-06-10, 01:00-04:00 UTC output 8",
            "from 2025-06-10, 01:00-04:00 UTC, >200000 input tokens input 3",
            "from 2025-06-10, 01:00-04:00 UTC, >200000 input tokens output 8",
            "from 2025-06-10, flex input 2",
            "from 2025-06-10, flex output 4",
            "from 2025-06-10, flex, >200000 input tokens input 4",
            "from 2025-06-10, flex, >200000 input tokens output 4",
            "from 2025-06-10, flex, 01:00-04:00 UTC input 3",
            "from 2025-06-10, flex, 01:00-04:00 UTC output 4",
            "from 2025-06-10, flex, 01:00-04:00 UTC, >200000 input tokens input 3",
            "from 2025-06-10, flex, 01:00-04:00 UTC, >200000 input tokens output 4",
        ]
    );
    // An id is stronger than another model's alias.
    assert_eq!(prices(&catalog, "xai", "m-alias2"), ["audio_millis 0.04"]);
    assert!(catalog.resolve("xai", "nothing").is_none());
    let told: Vec<_> = remarks.iter().map(|remark| (remark.kind.name(), remark.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("left_out", "a variant when [(\"route\", \"eu\")]"),
            ("left_out", "output_citation_mtok"),
            ("zero", "input_mtok"),
            ("model_left_out", "no price that is known here"),
        ]
    );
}

#[test]
fn a_file_of_another_kind_is_refused_by_name() {
    for source in [Source::Litellm, Source::GenaiPrices] {
        for text in ["", "{}", "[]", "[1]", "{\"a\": 1}", "null"] {
            let error = import(source, text, "2026-11-21").unwrap_err();
            assert!(error.to_string().contains(source.name()), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_price_is_the_result_reads(price in "[0-9]{1,3}(\\.[0-9]{0,22})?(e-?[0-9]{1,2})?", id in "[ -~]{1,20}") {
        let id = serde_json::Value::from(id);
        let text = format!(r#"{{{id}: {{"litellm_provider": "p", "mode": "chat", "input_cost_per_token": {price}, "output_cost_per_token": 1e-6}}}}"#);
        if let Ok(imported) = import(Source::Litellm, &text, "2026-11-21") {
            let read = file::load_files(&[("imported", &imported.yaml)]);
            prop_assert!(read.is_ok(), "{}\n{:?}", imported.yaml, read.err());
        }
    }
}
