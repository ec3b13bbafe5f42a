use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

/// Loading takes 160 ms: once for all tests of this file.
pub(crate) fn counter() -> &'static Counter {
    static COUNTER: OnceLock<Counter> = OnceLock::new();
    COUNTER.get_or_init(|| Counter::new([7; 32]))
}

fn tokens(encoding: Encoding, text: &str) -> Count {
    counter().text(encoding, text, &mut always).expect("nobody calls it off")
}

/// Text, tokens in o200k_base and in cl100k_base: recorded from Python tiktoken 0.14.0 (`encode_ordinary`), 2026-11-21.
const RECORDED: [(&str, u64, u64); 11] = [
    ("The quick brown fox jumps over the lazy dog. It's 1999's last day; we'll see 12345 foxes!", 26, 28),
    ("def add(a: int, b: int) -> int:\n    \"\"\"Sum.\"\"\"\n\n    return a + b  # done\n\n\n", 26, 26),
    ("{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Zürich\",\"days\":[1,2,30000]},\"ok\":true}", 28, 28),
    ("今天天气很好，我们去公园散步吧。", 12, 20),
    ("吾輩は猫である。名前はまだ無い。", 14, 21),
    ("مرحبا بالعالم، كيف حالك اليوم؟", 10, 23),
    ("Съешь же ещё этих мягких французских булок, да выпей чаю.", 19, 36),
    ("👩‍👩‍👧‍👦🏳️‍🌈 ok 👍🏽👍🏽", 24, 39),
    ("hello <|endoftext|> world <|im_start|>", 15, 13),
    ("a \t  b\r\n\r\n   c\u{a0} d   ", 9, 9),
    ("aGVsbG8gd29ybGQhIFRoaXMgaXMgYmFzZTY0Lg==", 26, 28),
];

#[test]
fn counts_are_those_of_tiktoken() {
    for (text, o200k, cl100k) in RECORDED {
        assert_eq!(tokens(Encoding::O200k, text), Count { tokens: o200k, exact: true }, "{text}");
        assert_eq!(tokens(Encoding::Cl100k, text), Count { tokens: cl100k, exact: true }, "{text}");
    }
}

/// Recorded from Python tiktoken 0.14.0 on the whole text, 2026-11-21.
#[test]
fn long_text_counts_exactly_although_it_is_cut() {
    let english =
        "The quick brown fox jumps over the lazy dog and then 42 more foxes come, don't they? ".repeat(12_000);
    assert_eq!(tokens(Encoding::O200k, &english), Count { tokens: 252_001, exact: true });
    assert_eq!(tokens(Encoding::Cl100k, &english), Count { tokens: 264_001, exact: true });
    for (text, o200k) in [
        ("a".repeat(100_000), 12_500),
        (" ".repeat(200_000), 1_563),
        ("👍🏽".repeat(20_000), 60_000),
        ("-".repeat(100_000), 1_562),
    ] {
        assert_eq!(tokens(Encoding::O200k, &text), Count { tokens: o200k, exact: true });
    }
}

#[test]
fn adversarial_text_ends_and_says_that_it_is_not_exact() {
    let mut state = 1u32;
    let uppercase: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'A' + (state >> 24) as u8 % 26)
    })
    .take(400_000)
    .collect();
    let texts = ["a".repeat(400_000), " ".repeat(1_200_000), "👍🏽".repeat(50_000), "\t".repeat(400_000), uppercase];
    for text in texts {
        let count = tokens(Encoding::O200k, &text);
        assert!(!count.exact, "no safe cut for more than 256 KiB");
        assert!(count.tokens > 0 && count.tokens <= text.len() as u64);
    }
}

#[test]
fn a_run_of_a_million_spaces_between_words_neither_panics_nor_spoils_the_rest() {
    let text = format!("hello{}world", " ".repeat(1_100_000));
    let count = tokens(Encoding::O200k, &text);
    assert!(!count.exact && count.tokens > 1_000 && count.tokens < 100_000, "{count:?}");
}

#[test]
fn a_conversation_that_comes_again_is_not_encoded_again() {
    let counter = Counter::new([9; 32]);
    let text = "Once more unto the breach, dear friends, once more. ".repeat(5_000);
    let first = counter.text(Encoding::O200k, &text, &mut always).expect("counted");
    let mut asked = 0;
    let again = counter.text(Encoding::O200k, &text, &mut || {
        asked += 1;
        true
    });
    assert_eq!((again, asked), (Ok(first), 0), "no piece was begun");
}

#[test]
fn a_count_can_be_called_off_between_pieces() {
    let text = "to be or not to be ".repeat(20_000);
    let mut pieces = 0;
    let result = Counter::new([9; 32]).text(Encoding::O200k, &text, &mut || {
        pieces += 1;
        pieces < 3
    });
    assert_eq!((result, pieces), (Err(CalledOff), 3));
}

#[test]
fn nothing_is_loaded_before_it_is_needed() {
    let counter = Counter::new([0; 32]);
    assert!(!counter.is_loaded(Encoding::O200k));
    assert!(counter.load(Encoding::O200k));
    assert!(counter.is_loaded(Encoding::O200k) && !counter.is_loaded(Encoding::Cl100k));
}

/// What tiktoken-rs itself says of the whole text.
fn tiktoken(encoding: Encoding, text: &str) -> u64 {
    encoded(counter().vocabulary(encoding).expect("it is embedded"), text).expect("no run of a million blanks")
}

#[test]
fn real_texts_count_as_tiktoken_counts_them_new_and_known() {
    let texts = [
        include_str!("../../../README.md"),
        include_str!("../../../config/farebox.yaml"),
        include_str!("../count.rs"),
        include_str!("tests.rs"),
        include_str!("../../../Cargo.lock"),
        include_str!("../../../grafana/dashboards/farebox-spend.json"),
    ];
    let counter = Counter::new([3; 32]);
    for (encoding, text) in Encoding::ALL.into_iter().flat_map(|encoding| texts.map(|text| (encoding, text))) {
        let whole = Count { tokens: tiktoken(encoding, text), exact: true };
        for _ in 0..2 {
            assert_eq!(counter.text(encoding, text, &mut always), Ok(whole), "{}", &text[..40]);
            counter.forget();
        }
    }
}

/// Base64, and other text in which no piece comes again.
#[test]
fn a_text_that_never_repeats_counts_as_tiktoken_counts_it() {
    let mut state = 9u32;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let random: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(letters[(state >> 26) as usize])
    })
    .take(60_000)
    .collect();
    for encoding in Encoding::ALL {
        assert_eq!(tokens(encoding, &random), Count { tokens: tiktoken(encoding, &random), exact: true });
    }
}

#[test]
fn an_escaped_text_counts_as_what_it_stands_for_and_is_decoded_once() {
    let text = "let \"it\" be\n\tso; ".repeat(100);
    let raw = serde_json::to_string(&text).expect("a string");
    let escaped = Escaped {
        raw: &raw.as_bytes()[1..raw.len() - 1],
        size: text.len(),
        decode: |raw| serde_json::from_str(&format!("\"{}\"", std::str::from_utf8(raw).expect("UTF-8"))).expect("JSON"),
    };
    let counter = Counter::new([9; 32]);
    let first = counter.escaped(Encoding::O200k, escaped, &mut always);
    assert_eq!(first, Ok(Count { tokens: tiktoken(Encoding::O200k, &text), exact: true }));
    let known = Escaped { decode: |_| panic!("decoded again"), ..escaped };
    assert_eq!(counter.escaped(Encoding::O200k, known, &mut always), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_ascii_is_split_as_tiktoken_splits_it(
        text in "([ \t\n\r\x0b\x0c]{0,3}([a-zA-Z]{0,5}'?[sStTmMdDrReEvVlL]{0,3}|[0-9]{1,5}|[!-/:-@\\[-`{-~]{1,3}[/\r\n]{0,2}|[\x00-\x7f]{0,3})){1,20}"
    ) {
        for encoding in Encoding::ALL {
            prop_assert_eq!(counter().piece(encoding, &text).tokens, tiktoken(encoding, &text), "{:?}", text);
        }
    }

    #[test]
    fn any_bytes_below_128_are_split_as_tiktoken_splits_them(bytes in proptest::collection::vec(0u8..128, 0..24)) {
        let text = String::from_utf8(bytes).expect("ASCII");
        for encoding in Encoding::ALL {
            prop_assert_eq!(counter().piece(encoding, &text).tokens, tiktoken(encoding, &text), "{:?}", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn other_letters_between_ascii_leave_the_count_as_it_is(words in proptest::collection::vec("[a-zA-Z]{1,9}|[a-z]{0,3}é[a-z]{0,4}|[0-9]{1,4}|[’'][sS]|[!-/:-@]{1,2}|計量|[\\PC\n ]{1,3}|'ſ| {1,3}", 100..300)) {
        let text = words.concat();
        for encoding in Encoding::ALL {
            prop_assert_eq!(counter().piece(encoding, &text).tokens, tiktoken(encoding, &text));
        }
    }

    #[test]
    fn any_safe_cut_leaves_the_count_as_it_is(text in "([ \t\n]{0,4}([a-zA-Z']{0,9}|[0-9]{1,5}|[.,!?/\\-]{1,3}|\\PC{0,3})){1,40}", from in 0usize..60) {
        for encoding in Encoding::ALL {
            if let Some(at) = text.get(from..).and(safe_cut(&text, from)) {
                let whole = counter().piece(encoding, &text).tokens;
                let parts = counter().piece(encoding, &text[..at]).tokens + counter().piece(encoding, &text[at..]).tokens;
                prop_assert_eq!(parts, whole, "cut at {} of {:?}", at, text);
            }
        }
    }

    #[test]
    fn pieces_are_the_text(words in proptest::collection::vec("[a-z]{1,9}|[\u{4e00}-\u{4e20}]{1,4}| {1,3}", 1..40), times in 1usize..3_000) {
        let text = words.concat().repeat(times);
        let joined: String = Pieces::of(&text).map(|piece| piece.text).collect();
        prop_assert_eq!(joined, text);
    }
}
