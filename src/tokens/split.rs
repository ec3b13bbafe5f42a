//! Where ASCII text is split before each piece becomes tokens: what the patterns of `o200k_base` and `cl100k_base` say,
//! written out for ASCII. The patterns look around, so that a general engine tries each alternative at each place;
//! here a piece is one look at each of its bytes. A law holds it against tiktoken-rs (`count/tests.rs`).

use super::tokenizer::Encoding;

/// What the patterns tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    /// `\r` and `\n`.
    Newline,
    /// White space but newlines.
    Blank,
    /// Everything else: punctuation and control characters.
    Mark,
}

const CLASSES: [Class; 128] = {
    let mut classes = [Class::Mark; 128];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' => Class::Upper,
            b'a'..=b'z' => Class::Lower,
            b'0'..=b'9' => Class::Digit,
            b'\r' | b'\n' => Class::Newline,
            b'\t' | 0x0B | 0x0C | b' ' => Class::Blank,
            _ => Class::Mark,
        };
        byte += 1;
    }
    classes
};

/// Where the piece ends that begins at `at`, which lies in the text: always behind `at`.
pub(super) fn piece_end(encoding: Encoding, text: &[u8], at: usize) -> usize {
    match encoding {
        Encoding::O200k => o200k(text, at),
        Encoding::Cl100k => cl100k(text, at),
    }
}

/// ```text
/// [^\r\n letter digit]? upper* lower+ contraction? | [^\r\n letter digit]? upper+ lower* contraction? | digit{1,3}
/// |  ?[^ white letter digit]+[\r\n/]* | white*[\r\n]+ | white+(?!not white) | white+
/// ```
fn o200k(text: &[u8], at: usize) -> usize {
    let first = class(text, at);
    let word = at + usize::from(matches!(first, Some(Class::Blank | Class::Mark)));
    if matches!(class(text, word), Some(Class::Upper | Class::Lower)) {
        let upper = run(text, word, |class| class == Class::Upper);
        let lower = run(text, upper, |class| class == Class::Lower);
        return contraction(text, lower).unwrap_or(lower);
    }
    if first == Some(Class::Digit) {
        return digits(text, at);
    }
    match marks(text, at) {
        Some(end) => end + text[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/')).count(),
        None => white(text, at),
    }
}

/// ```text
/// contraction | [^\r\n letter digit]? letter+ | digit{1,3} |  ?[^ white letter digit]+[\r\n]* | white+$
/// | white*[\r\n] | white+(?!not white) | white
/// ```
fn cl100k(text: &[u8], at: usize) -> usize {
    if let Some(end) = contraction(text, at) {
        return end;
    }
    let first = class(text, at);
    let word = at + usize::from(matches!(first, Some(Class::Blank | Class::Mark)));
    let word_end = run(text, word, |class| matches!(class, Class::Upper | Class::Lower));
    if word_end > word {
        return word_end;
    }
    if first == Some(Class::Digit) {
        return digits(text, at);
    }
    match marks(text, at) {
        Some(end) => run(text, end, |class| class == Class::Newline),
        None if run(text, at, is_white) == text.len() => text.len(),
        None => white(text, at),
    }
}

/// `'s`, `'t`, `'m`, `'d`, `'re`, `'ve`, `'ll` in letters of any case.
fn contraction(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'\'') {
        return None;
    }
    let letter = |place: usize| text.get(at + place).map(u8::to_ascii_lowercase);
    match (letter(1)?, letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
        _ => None,
    }
}

fn digits(text: &[u8], at: usize) -> usize {
    run(&text[..text.len().min(at + 3)], at, |class| class == Class::Digit)
}

/// Marks, with or without a space before them.
fn marks(text: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(text.get(at) == Some(&b' '));
    let end = run(text, start, |class| class == Class::Mark);
    (end > start).then_some(end)
}

/// Up to the last newline of this white space; without one, all but its last character, which belongs to what follows.
fn white(text: &[u8], at: usize) -> usize {
    let end = run(text, at, is_white);
    let newline = text[at..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n'));
    match newline {
        Some(newline) => at + newline + 1,
        None if end == text.len() || end - at <= 1 => end.max(at + 1),
        None => end - 1,
    }
}

fn is_white(class: Class) -> bool {
    matches!(class, Class::Blank | Class::Newline)
}

fn class(text: &[u8], at: usize) -> Option<Class> {
    text.get(at).and_then(|byte| CLASSES.get(usize::from(*byte)).copied())
}

/// Where those end that are `wanted`.
fn run(text: &[u8], from: usize, wanted: impl Fn(Class) -> bool) -> usize {
    let mut at = from;
    while class(text, at).is_some_and(&wanted) {
        at += 1;
    }
    at
}
