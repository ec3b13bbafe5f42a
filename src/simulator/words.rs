//! What the simulated model says: words that are one token each (o200k), so that the tokens of any part of an answer
//! are known without counting; and its count of what it was asked.

use std::collections::HashSet;

/// Beyond this, input is counted as one token for four bytes: a simulator must not cost more than what it simulates.
const COUNTED_BYTES_MAX: usize = 256 * 1024;

/// Each is one token of o200k, alone and behind a space; a test holds us to it.
const WORDS: [&str; 64] = [
    "the", "a", "and", "to", "of", "in", "is", "that", "for", "it", "with", "as", "on", "be", "at", "by", "this",
    "from", "or", "an", "are", "was", "not", "but", "we", "can", "all", "will", "one", "which", "their", "if", "time",
    "when", "up", "out", "so", "more", "what", "about", "into", "them", "some", "other", "new", "than", "then", "now",
    "only", "over", "like", "work", "part", "very", "after", "well", "because", "good", "first", "people", "way",
    "many", "these", "our",
];

/// A piece of output and the tokens it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub tokens: u64,
}

/// `count` words, always the same ones for the same seed.
pub fn words(seed: u64, count: u64) -> Vec<Piece> {
    let mut state = seed | 1;
    let mut said = Vec::new();
    for place in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS.get((state % 64) as usize).copied().unwrap_or("the");
        let text = if place == 0 { word.to_owned() } else { format!(" {word}") };
        said.push(Piece { text, tokens: 1 });
    }
    said
}

/// Text that is not ours to choose (JSON for a schema, arguments of a tool), cut at its tokens.
pub fn pieces_of(text: &str) -> Vec<Piece> {
    let encoding = tiktoken_rs::o200k_base_singleton();
    let Ok((tokens, _)) = encoding.encode(text, &HashSet::new()) else {
        return vec![Piece { text: text.to_owned(), tokens: count(text) }];
    };
    let (mut pieces, mut held) = (Vec::new(), Vec::new());
    for token in tokens {
        held.push(token);
        let bytes = encoding.decode_bytes(&held).unwrap_or_default();
        if let Ok(text) = String::from_utf8(bytes) {
            pieces.push(Piece { text, tokens: held.len() as u64 });
            held.clear();
        }
    }
    pieces
}

/// Tokens of a text by o200k.
pub fn count(text: &str) -> u64 {
    if text.len() > COUNTED_BYTES_MAX {
        return (text.len() as u64).div_ceil(4);
    }
    match tiktoken_rs::o200k_base_singleton().encode(text, &HashSet::new()) {
        Ok((tokens, _)) => tokens.len() as u64,
        Err(_) => (text.len() as u64).div_ceil(4),
    }
}

/// Puts pieces together into `chunks` chunks, as even as can be; never an empty one.
pub fn into_chunks(pieces: Vec<Piece>, chunks: Option<u64>) -> Vec<Piece> {
    let total = pieces.len() as u64;
    let Some(chunks) = chunks.filter(|chunks| *chunks > 0 && *chunks < total) else { return pieces };
    let mut joined: Vec<Piece> = Vec::new();
    for (place, piece) in pieces.into_iter().enumerate() {
        let place = place as u64;
        let begins = place == 0 || place * chunks / total != (place - 1) * chunks / total;
        match joined.last_mut() {
            Some(last) if !begins => {
                last.text.push_str(&piece.text);
                last.tokens += piece.tokens;
            }
            _ => joined.push(piece),
        }
    }
    joined
}

pub fn text_of(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

pub fn tokens_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.tokens).sum()
}

/// Keeps pieces up to `limit` tokens. Says whether something was cut off.
pub fn cut_to(pieces: &mut Vec<Piece>, limit: u64) -> bool {
    let mut tokens = 0;
    let kept = pieces.iter().take_while(|piece| {
        tokens += piece.tokens;
        tokens <= limit
    });
    let kept = kept.count();
    let was_cut = kept < pieces.len();
    pieces.truncate(kept);
    was_cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_words_are_a_hundred_tokens_and_so_is_every_beginning() {
        for seed in 0..20 {
            let said = words(seed * 7_919, 100);
            for length in [1, 2, 50, 100] {
                assert_eq!(count(&text_of(&said[..length])), length as u64);
            }
        }
    }

    #[test]
    fn text_cut_at_its_tokens_is_the_text_again() {
        for text in [r#"{"city":"Paris","days":[1,2,3]}"#, "naïve 🦀 你好", ""] {
            let pieces = pieces_of(text);
            assert_eq!((text_of(&pieces), tokens_of(&pieces)), (text.to_owned(), count(text)));
        }
    }

    #[test]
    fn chunks_are_as_many_as_asked_and_lose_nothing() {
        for chunks in [1, 3, 7, 10, 11] {
            let joined = into_chunks(words(9, 10), Some(chunks));
            assert_eq!(joined.len() as u64, chunks.min(10));
            assert_eq!((text_of(&joined), tokens_of(&joined)), (text_of(&words(9, 10)), 10));
        }
    }

    #[test]
    fn a_limit_keeps_the_beginning_and_says_so() {
        let mut said = words(3, 10);
        assert!(cut_to(&mut said, 4));
        assert_eq!(tokens_of(&said), 4);
        assert!(!cut_to(&mut said, 4));
    }
}
