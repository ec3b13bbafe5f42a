//! What counting costs: reading the facts of a 1 MB body, bounding it, counting it when nothing of it is known, when its
//! words are known, and again from the memo; and the worst texts known. English, Rust and JSON have few lines twice.
//!
//! `benches/run count`. Times are this thread's CPU, each the best of five runs.

use super::machine::thread_cpu_time;
use farebox::dialects::Dialect;
use farebox::tokens::bound::{BoundRule, input_bound};
use farebox::tokens::count::{Counter, always};
use farebox::tokens::prompt::PromptTally;
use farebox::tokens::tokenizer::{Encoding, Tokenizer};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RUNS: u32 = 5;
const BYTES: usize = 1_000_000;

pub fn run(_: &[String]) {
    let counter = Counter::new([7; 32]);
    let loading = Instant::now();
    assert!(counter.load(Encoding::O200k));
    println!("load o200k_base                {:>9.1} ms", millis(loading.elapsed()));
    println!("1 MB of                    read facts  bound       count first  count anew   count again");
    println!("goals                                                    60 ms         60 ms       1 ms");
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
    // The vocabulary is the one that is loaded; at first no piece of the text is known, then only the whole is not.
    let first = best(|| {
        counter.forget_all();
        black_box(count(counter));
    });
    let anew = best(|| {
        counter.forget();
        black_box(count(counter));
    });
    let again = best(|| {
        black_box(count(counter));
    });
    println!(
        "{name:<25} {:>9.3} ms {:>8.3} ms {:>10.1} ms {:>10.1} ms {:>9.3} ms",
        millis(read),
        millis(bound),
        millis(first),
        millis(anew),
        millis(again)
    );
}

fn texts() -> Vec<(&'static str, String)> {
    let chinese = "计量器读取提供者所说的内容，如果没有说，它就计算流过的内容。";
    let mut random = Random(1);
    let upper = std::iter::repeat_with(|| char::from(b'A' + random.below(26) as u8)).take(BYTES).collect();
    vec![
        ("English", shuffled(&mut random, &["README.md", "docs"], "md")),
        ("Rust", shuffled(&mut random, &["src"], "rs")),
        ("JSON", json(&mut random)),
        ("Chinese", chinese.repeat(BYTES.div_ceil(chinese.len()))),
        ("one letter", "a".repeat(BYTES)),
        ("spaces", " ".repeat(BYTES)),
        ("random capitals", upper),
    ]
}

/// Lines of this repository's own files, in another order and as often as it takes.
fn shuffled(random: &mut Random, places: &[&str], ending: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    let mut places: Vec<_> = places.iter().map(|place| root.join(place)).collect();
    while let Some(place) = places.pop() {
        match std::fs::read_dir(&place) {
            Ok(inside) => places.extend(inside.map(|entry| entry.unwrap().path())),
            Err(_) => files.push(place),
        }
    }
    files.retain(|file| file.extension().is_some_and(|own| own == ending));
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut shuffled = String::with_capacity(BYTES);
    while shuffled.len() < BYTES {
        // Some lines that belong together stay together.
        let from = random.below(lines.len() as u64) as usize;
        lines[from..].iter().take(12).for_each(|line| shuffled.push_str(line));
    }
    shuffled
}

/// Tool calls and their results, as an agent's conversation carries them: names repeat, values do not.
fn json(random: &mut Random) -> String {
    let cities = ["Zurich", "São Paulo", "New York", "Osaka", "Lagos", "Reykjavík"];
    let mut text = String::from("[");
    while text.len() < BYTES {
        let id = random.below(1 << 44);
        let city = cities[random.below(6) as usize];
        let (days, price, temperature) = (random.below(31), random.below(100_000), random.below(400));
        text.push_str(&format!(
            r#"{{"id":"call_{id:011x}","name":"get_weather","arguments":{{"city":"{city}","days":[1,{days}],"units":"metric"}},"result":{{"temperature":{}.{},"price":{}.{:02},"ok":{},"at":"2026-11-{:02}T{:02}:30:00Z"}}}},"#,
            temperature / 10, temperature % 10, price / 100, price % 100, days % 3 == 0, 1 + days % 28, days % 24,
        ));
    }
    text
}

/// The same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % end
    }
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
            let began = thread_cpu_time();
            run();
            thread_cpu_time().saturating_sub(began)
        })
        .min()
        .unwrap()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
