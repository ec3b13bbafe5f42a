//! What counting costs: reading the facts of a 1 MB body, bounding it, counting it anew and again from the memo, and the
//! worst texts known.
//!
//! `cargo bench --bench count`. Each line is the best of five runs.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use farebox::dialects::Dialect;
use farebox::tokens::bound::{BoundRule, input_bound};
use farebox::tokens::count::{Counter, always};
use farebox::tokens::prompt::PromptTally;
use farebox::tokens::tokenizer::{Encoding, Tokenizer};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RUNS: u32 = 5;
const BYTES: usize = 1_000_000;

fn main() {
    let counter = Counter::new([7; 32]);
    let loading = Instant::now();
    assert!(counter.load(Encoding::O200k));
    println!("load o200k_base                {:>9.1} ms", millis(loading.elapsed()));
    println!("1 MB of                    read facts  bound      count anew  count again");
    for (name, text) in texts() {
        bench(&counter, name, &text);
    }
}

fn bench(counter: &Counter, name: &str, text: &str) {
    // A conversation: the text in messages of 10 kB.
    let messages: Vec<_> =
        chunks(text, 10_000).map(|text| serde_json::json!({"role": "user", "content": text})).collect();
    let body = serde_json::json!({"model": "gpt-4o", "messages": messages}).to_string().into_bytes();
    let endpoint = Dialect::OpenAi.recognise("POST", "/v1/chat/completions");
    let tokenizer = Tokenizer::customary("gpt-4o");
    let rule = BoundRule { tokenizer, ..BoundRule::default() };
    let facts = Dialect::OpenAi.read_request(&endpoint, &body).unwrap();
    let count = |counter: &Counter| {
        let mut go_on = always;
        let mut tally = PromptTally::new(counter, &tokenizer, &mut go_on);
        Dialect::OpenAi.prompt_texts(&endpoint, &body, &mut |text| tally.push(text));
        tally.finish().unwrap()
    };
    let read = best(|| {
        black_box(Dialect::OpenAi.read_request(&endpoint, black_box(&body)).unwrap());
    });
    let bound = best(|| {
        black_box(input_bound(black_box(&facts), &rule));
    });
    let anew = best(|| {
        // The vocabulary is the one that is loaded; only the memo is empty.
        counter.forget();
        black_box(count(counter));
    });
    let again = best(|| {
        black_box(count(counter));
    });
    println!(
        "{name:<25} {:>9.3} ms {:>8.3} ms {:>10.1} ms {:>9.3} ms",
        millis(read),
        millis(bound),
        millis(anew),
        millis(again)
    );
}

fn texts() -> Vec<(&'static str, String)> {
    let english = "The meter reads what the provider says, and where it says nothing it counts what flowed. ";
    let code = "    let total = parts.iter().map(|part| part.cost).sum::<u64>();\n    if total > limit { return Err(Full); }\n";
    let json = r#"{"id":18233,"name":"get_weather","arguments":{"city":"Zurich","days":[1,2,3]},"ok":true},"#;
    let chinese = "计量器读取提供者所说的内容，如果没有说，它就计算流过的内容。";
    let repeated = |text: &str| text.repeat(BYTES.div_ceil(text.len()));
    let mut state = 1u32;
    let upper: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'A' + (state >> 24) as u8 % 26)
    })
    .take(BYTES)
    .collect();
    vec![
        ("English", repeated(english)),
        ("Rust", repeated(code)),
        ("JSON", repeated(json)),
        ("Chinese", repeated(chinese)),
        ("one letter", "a".repeat(BYTES)),
        ("spaces", " ".repeat(BYTES)),
        ("random capitals", upper),
    ]
}

fn chunks(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = (bytes..rest.len()).find(|&at| rest.is_char_boundary(at)).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(at);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn best(mut run: impl FnMut()) -> Duration {
    (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .min()
        .unwrap()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
