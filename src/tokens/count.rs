//! Exact counts of text by tiktoken-rs, in bounded steps.
//!
//! Only `CoreBPE::encode` is called: on a run of 1,000,000 white-space characters it returns an error, where
//! `encode_ordinary`, `count_*` and `*_with_special_tokens` panic; and it takes `<|endoftext|>` in a user's text for
//! text. Long text is cut where a cut cannot change the tokens: before a space that follows a character other than
//! white space, since no alternative of the cl100k and o200k patterns matches across it and no look-ahead sees it. The
//! pieces let the work yield and stop; whole texts are remembered by a keyed hash.
//!
//! ASCII is split here ([`super::split`]), and the encoder asked only for pieces that are not known yet: searching for
//! the next piece by the pattern is most of what an encoding takes. Words with other letters go to it as they are.

use super::known::KnownPieces;
use super::memo::Memo;
use super::prompt::Escaped;
use super::split::piece_end;
use super::tokenizer::Encoding;
use std::collections::HashSet;
use std::sync::OnceLock;
use tiktoken_rs::CoreBPE;

/// A number of tokens, and whether it is what the model's own tokenizer would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    pub exact: bool,
}

impl Count {
    pub const ZERO: Count = Count { tokens: 0, exact: true };

    /// A sum is exact when all of its parts are.
    pub fn add(&mut self, other: Count) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.exact &= other.exact;
    }
}

/// The caller of a count no longer wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the count was called off")]
pub struct CalledOff;

/// Asked between pieces (every ≤ 64 KiB of ordinary text, ≤ 256 KiB without spaces): `false` calls the count off.
pub type GoOn<'a> = &'a mut dyn FnMut() -> bool;

/// Never calls a count off.
pub fn always() -> bool {
    true
}

/// Counts text. Vocabularies load at first need (about 160 ms and 46 MB for o200k) or by [`Counter::load`].
#[derive(Debug)]
pub struct Counter {
    o200k: Vocabulary,
    cl100k: Vocabulary,
    memo: Memo,
    known: KnownPieces,
}

impl Counter {
    /// Pieces are about this long.
    pub const PIECE_BYTES: usize = 32 * 1024;
    /// Text without a safe cut for this long is cut anyhow, and its count is no longer exact.
    pub const UNCUT_BYTES_MAX: usize = 256 * 1024;
    /// The pieces of such text.
    const HARD_PIECE_BYTES: usize = 64 * 1024;
    /// Shorter texts are counted faster than looked up.
    const REMEMBERED_BYTES_MIN: usize = 256;

    /// `memo_key` keeps others from choosing texts whose hashes meet: random, one for a process.
    pub fn new(memo_key: [u8; 32]) -> Self {
        let (o200k, cl100k) = Default::default();
        Counter { o200k, cl100k, memo: Memo::new(memo_key), known: KnownPieces::default() }
    }

    /// Loads a vocabulary now; for a thread at start-up. False when it cannot be built.
    pub fn load(&self, encoding: Encoding) -> bool {
        self.vocabulary(encoding).is_some()
    }

    /// Nothing is loaded by asking.
    pub fn is_loaded(&self, encoding: Encoding) -> bool {
        self.cell(encoding).0.get().is_some()
    }

    /// Empties the memo of counted texts, as if they were new; vocabularies and known pieces stay.
    pub fn forget(&self) {
        self.memo.forget();
    }

    /// Empties the memo and what is known of pieces; vocabularies stay.
    pub fn forget_all(&self) {
        self.memo.forget();
        self.known.forget();
    }

    /// The tokens of `text`. Bounded: ≤ 1 s of one core a megabyte for the worst text known, some 50 ms for English.
    pub fn text(&self, encoding: Encoding, text: &str, go_on: GoOn<'_>) -> Result<Count, CalledOff> {
        if text.len() < Self::REMEMBERED_BYTES_MIN {
            return Ok(self.piece(encoding, text));
        }
        let key = self.memo.key(encoding, text);
        if let Some(known) = self.memo.find(key) {
            return Ok(known);
        }
        let count = self.anew(encoding, text, go_on)?;
        self.memo.keep(key, count);
        Ok(count)
    }

    /// The tokens of a text that is still escaped, which is decoded only where it is not known.
    pub fn escaped(&self, encoding: Encoding, text: Escaped<'_>, go_on: GoOn<'_>) -> Result<Count, CalledOff> {
        let decoded = || (text.decode)(text.raw);
        if text.raw.len() < Self::REMEMBERED_BYTES_MIN {
            return Ok(self.piece(encoding, &decoded()));
        }
        let key = self.memo.escaped_key(encoding, text.raw);
        if let Some(known) = self.memo.find(key) {
            return Ok(known);
        }
        let count = self.anew(encoding, &decoded(), go_on)?;
        self.memo.keep(key, count);
        Ok(count)
    }

    fn anew(&self, encoding: Encoding, text: &str, go_on: GoOn<'_>) -> Result<Count, CalledOff> {
        let mut count = Count::ZERO;
        for piece in Pieces::of(text) {
            if !go_on() {
                return Err(CalledOff);
            }
            let tokens = self.piece(encoding, piece.text);
            count.add(Count { exact: tokens.exact && !piece.hard, ..tokens });
        }
        Ok(count)
    }

    fn piece(&self, encoding: Encoding, text: &str) -> Count {
        match self.vocabulary(encoding).and_then(|bpe| self.tokens(bpe, encoding, text)) {
            Some(tokens) => Count { tokens, exact: true },
            None => Count { tokens: guess(text), exact: false },
        }
    }

    /// `None` when the encoder refuses the text.
    fn tokens(&self, bpe: &CoreBPE, encoding: Encoding, text: &str) -> Option<u64> {
        let (mut tokens, mut rest) = (0, text);
        let mut tried = Tried::default();
        while !rest.is_empty() {
            let (ascii, other) = split_off_ascii(rest);
            let mut at = 0;
            while at < ascii.len() {
                let end = piece_end(encoding, ascii.as_bytes(), at);
                tokens += self.known(bpe, encoding, ascii.get(at..end)?, &mut tried)?;
                at = end;
                if tried.repeats_little() {
                    let counted = text.len() - rest.len() + at;
                    return Some(tokens + encoded(bpe, text.get(counted..)?)?);
                }
            }
            if !other.is_empty() {
                tokens += self.known(bpe, encoding, other, &mut tried)?;
            }
            rest = rest.get(ascii.len() + other.len()..)?;
        }
        Some(tokens)
    }

    fn known(&self, bpe: &CoreBPE, encoding: Encoding, piece: &str, tried: &mut Tried) -> Option<u64> {
        tried.pieces += 1;
        if piece.len() > KnownPieces::PIECE_BYTES_MAX {
            return encoded(bpe, piece);
        }
        let found = self.known.tokens(encoding, piece, |piece| encoded(bpe, piece))?;
        tried.new += usize::from(found.is_new);
        Some(found.tokens)
    }

    fn vocabulary(&self, encoding: Encoding) -> Option<&CoreBPE> {
        let load = match encoding {
            Encoding::O200k => tiktoken_rs::o200k_base,
            Encoding::Cl100k => tiktoken_rs::cl100k_base,
        };
        self.cell(encoding).0.get_or_init(|| load().ok().map(Box::new)).as_deref()
    }

    fn cell(&self, encoding: Encoding) -> &Vocabulary {
        match encoding {
            Encoding::O200k => &self.o200k,
            Encoding::Cl100k => &self.cl100k,
        }
    }
}

/// Loaded once; `None` inside when the embedded tables cannot be read.
#[derive(Default)]
struct Vocabulary(OnceLock<Option<Box<CoreBPE>>>);

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "loaded" } else { "not loaded" })
    }
}

/// How many pieces of a text were looked up, and how many of them were new.
#[derive(Default)]
struct Tried {
    pieces: usize,
    new: usize,
}

impl Tried {
    /// To ask for each piece costs more than to ask for all: so many may be new, and one in so many beyond them, then
    /// the rest of the text goes to the encoder as a whole.
    fn repeats_little(&self) -> bool {
        self.new > 256 + self.pieces / 8
    }
}

/// A beginning that is all ASCII, and the few words behind it that are not. The cuts between leave the tokens as they
/// are: no alternative of the patterns goes on from an ASCII letter or digit to white space or a mark, but for the `'` of
/// a contraction, and no look-ahead of what ends there sees further.
fn split_off_ascii(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let Some(other) = bytes.iter().position(|byte| !byte.is_ascii()) else { return (text, "") };
    let is_cut = |at: usize| {
        let (before, behind) = (bytes[at - 1], bytes[at]);
        before.is_ascii_alphanumeric() && behind.is_ascii() && !behind.is_ascii_alphanumeric() && behind != b'\''
    };
    let start = (1..other).rev().find(|at| is_cut(*at)).unwrap_or(0);
    let end = (other + 1..bytes.len()).find(|at| is_cut(*at)).unwrap_or(bytes.len());
    // Both are places of ASCII letters, so of whole characters.
    (text.get(..start).unwrap_or_default(), text.get(start..end).unwrap_or_default())
}

/// What the encoder makes of a text; `None` when it refuses it.
fn encoded(bpe: &CoreBPE, text: &str) -> Option<u64> {
    bpe.encode(text, &HashSet::new()).ok().map(|(tokens, _)| tokens.len() as u64)
}

/// Without a tokenizer: a token for every three bytes, which is on the high side for most languages.
fn guess(text: &str) -> u64 {
    (text.len() as u64).div_ceil(3)
}

/// A stretch of text that is encoded at once.
struct Piece<'a> {
    text: &'a str,
    /// Cut where a cut can change the tokens.
    hard: bool,
}

/// Cuts a text into [`Piece`]s.
struct Pieces<'a> {
    rest: &'a str,
    /// Bytes of `rest` that have no safe cut in them, so they are not searched again.
    hard_until: usize,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        Pieces { rest: text, hard_until: 0 }
    }

    fn split(&mut self, at: usize, hard: bool) -> Option<Piece<'a>> {
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest;
        self.hard_until = self.hard_until.saturating_sub(at);
        Some(Piece { text, hard })
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        if self.hard_until > 0 {
            let longest = self.hard_until.min(Counter::HARD_PIECE_BYTES);
            let at = (longest..self.rest.len()).find(|&at| self.rest.is_char_boundary(at)).unwrap_or(self.rest.len());
            return self.split(at, true);
        }
        if self.rest.len() <= 2 * Counter::PIECE_BYTES {
            return self.split(self.rest.len(), false);
        }
        match safe_cut(self.rest, Counter::PIECE_BYTES) {
            Some(at) if at <= Counter::UNCUT_BYTES_MAX => self.split(at, false),
            None if self.rest.len() <= Counter::UNCUT_BYTES_MAX => self.split(self.rest.len(), false),
            cut => {
                self.hard_until = cut.unwrap_or(self.rest.len());
                self.next()
            }
        }
    }
}

/// The first place at or behind `from` where a cut leaves the tokens as they are.
fn safe_cut(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b' ', bytes.get(from..)?).map(|space| from + space).find(|&at| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_some_and(|before| !before.is_whitespace())
    })
}

#[cfg(test)]
pub(crate) mod tests;
