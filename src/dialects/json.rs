//! Reading JSON by places: one pass over the bytes, no tree, nothing allocated per member.
//!
//! Why not serde: the proxy must read a few facts out of a prompt of megabytes, must know *where* in the body they
//! stand so that they can be overwritten without touching the rest, and must let pass whatever a provider would accept:
//! wrong types, repeated names, members nested ten thousand levels deep, numbers of any spelling.
//!
//! Structure is checked (brackets, commas, quotes); scalars that nobody reads are not. Members are handed out in the
//! order of the text, so for repeated names the last one wins, as in every provider's own reader.
//!
//! A callback either reads the value it is offered with exactly one call, or leaves it, and then it is skipped.

mod scan;
mod start;

pub use start::SameStart;

use crate::tokens::prompt::{Escaped, PromptText};
use scan::{End, string_end};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Objects and arrays inside more than this many others are passed over unread, so that readers may recurse: no API
/// has anything to say that deep.
pub const DEPTH_MAX: u32 = 64;

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
    /// The end of the text, or something that is no JSON value.
    Nothing,
}

/// The text is not JSON. `at` is the byte where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct Broken {
    pub at: usize,
    pub expected: &'static str,
}

impl Broken {
    /// Line and column, both from 1, the column in bytes.
    pub fn line_and_column(&self, body: &[u8]) -> (usize, usize) {
        let before = body.get(..self.at).unwrap_or(body);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start + 1)
    }
}

/// A string of the text, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a [u8],
    /// `raw`, where the whole body is UTF-8.
    valid: Option<&'a str>,
    at: usize,
    size: usize,
}

impl<'a> Text<'a> {
    /// A text without escapes that stands in no body; its place means nothing.
    pub const fn literal(text: &'a str) -> Self {
        Text { raw: text.as_bytes(), valid: Some(text), at: 0, size: text.len() }
    }

    /// The bytes between the quotes, escapes and all.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Length in bytes once escapes are decoded; exact.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Where the string stands, quotes included.
    pub fn place(&self) -> Range<usize> {
        self.at..self.at + self.raw.len() + 2
    }

    /// The beginning of the string, from at most `raw_bytes_max` bytes as written.
    pub fn decode_start(&self, raw_bytes_max: usize) -> Cow<'a, str> {
        let raw = self.raw.get(..raw_bytes_max).unwrap_or(self.raw);
        if memchr::memchr(b'\\', raw).is_none() { plain(raw) } else { Cow::Owned(unescape(raw)) }
    }

    /// The string as a piece of a prompt, decoded only if it must be.
    pub fn prompt(&self, sink: &mut dyn FnMut(PromptText<'_>)) {
        if self.size == self.raw.len() {
            return sink(PromptText::Text(&self.plain()));
        }
        sink(PromptText::Escaped(Escaped { raw: self.raw, size: self.size, decode: unescape }));
    }

    /// The string itself; borrowed where it has no escapes. What is no UTF-8 or a lone surrogate becomes U+FFFD.
    pub fn decode(&self) -> Cow<'a, str> {
        if self.size == self.raw.len() { self.plain() } else { Cow::Owned(unescape(self.raw)) }
    }

    fn plain(&self) -> Cow<'a, str> {
        self.valid.map_or_else(|| plain(self.raw), Cow::Borrowed)
    }
}

/// Whole UTF-8, as nearly all is, is checked faster than it is searched for what is broken.
fn plain(raw: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed)
}

/// A cursor over JSON text, standing before a value or behind the last one.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    body: &'a [u8],
    /// The same, checked once: nothing in it needs to be checked again.
    text: Option<&'a str>,
    at: usize,
    name_at: Range<usize>,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A byte order mark at the start is passed over.
    pub fn new(body: &'a [u8]) -> Self {
        let at = if body.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Reader { body, text: std::str::from_utf8(body).ok(), at, name_at: 0..0, depth: 0 }
    }

    /// The next value's shape, without reading it.
    pub fn shape(&mut self) -> Shape {
        self.pass_blanks();
        match self.body.get(self.at) {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::Array,
            Some(b'"') => Shape::Text,
            Some(b't') => Shape::True,
            Some(b'f') => Shape::False,
            Some(b'n') => Shape::Null,
            Some(b'-' | b'0'..=b'9') => Shape::Number,
            _ => Shape::Nothing,
        }
    }

    /// Where the cursor stands; directly before the next value, if [`Reader::shape`] was asked.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Where the name of the member stands whose value is being offered, quotes included.
    pub fn name_place(&self) -> Range<usize> {
        self.name_at.clone()
    }

    /// Offers each member of an object. `false`: the value was something else (or too deep), and was skipped.
    pub fn object(&mut self, mut member: impl FnMut(&str, &mut Self) -> Result<(), Broken>) -> Result<bool, Broken> {
        if self.shape() != Shape::Object || self.depth >= DEPTH_MAX {
            return self.skip().map(|_| false);
        }
        self.at += 1;
        self.pass_blanks();
        if self.take(b'}') {
            return Ok(true);
        }
        self.members(&mut member)
    }

    /// The members of the outermost object from the one whose name begins at `at`.
    fn rest_of_object(
        &mut self,
        at: usize,
        mut member: impl FnMut(&str, &mut Self) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        self.at = at;
        self.members(&mut member)
    }

    fn members(&mut self, member: &mut impl FnMut(&str, &mut Self) -> Result<(), Broken>) -> Result<bool, Broken> {
        self.depth += 1;
        loop {
            self.pass_blanks();
            if self.body.get(self.at) != Some(&b'"') {
                return Err(self.broken("a member name in quotes"));
            }
            let name = self.string()?;
            self.pass_blanks();
            if !self.take(b':') {
                return Err(self.broken("`:` after a member name"));
            }
            self.pass_blanks();
            let value_at = self.at;
            self.name_at = name.place();
            member(&name.decode(), self)?;
            if self.at == value_at {
                self.skip()?;
            }
            self.pass_blanks();
            if self.take(b'}') {
                self.depth -= 1;
                return Ok(true);
            }
            if !self.take(b',') {
                return Err(self.broken("`,` or `}`"));
            }
        }
    }

    /// Offers each element of an array. `false`: the value was something else (or too deep), and was skipped.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Broken>) -> Result<bool, Broken> {
        if self.shape() != Shape::Array || self.depth >= DEPTH_MAX {
            return self.skip().map(|_| false);
        }
        self.at += 1;
        self.pass_blanks();
        if self.take(b']') {
            return Ok(true);
        }
        self.depth += 1;
        loop {
            self.pass_blanks();
            let value_at = self.at;
            element(self)?;
            if self.at == value_at {
                self.skip()?;
            }
            self.pass_blanks();
            if self.take(b']') {
                self.depth -= 1;
                return Ok(true);
            }
            if !self.take(b',') {
                return Err(self.broken("`,` or `]`"));
            }
        }
    }

    /// A string; `None`: the value was something else, and was skipped.
    pub fn text(&mut self) -> Result<Option<Text<'a>>, Broken> {
        if self.shape() == Shape::Text { self.string().map(Some) } else { self.skip().map(|_| None) }
    }

    /// A string to keep; `None`: the value was something else, and was skipped.
    pub fn shared(&mut self) -> Result<Option<Arc<str>>, Broken> {
        Ok(self.text()?.map(|text| Arc::from(text.decode().as_ref())))
    }

    /// A number as written; `None`: the value was something else, and was skipped.
    pub fn number(&mut self) -> Result<Option<&'a str>, Broken> {
        let is_number = self.shape() == Shape::Number;
        let place = self.skip()?;
        let ascii = || self.body.get(place.clone()).and_then(|raw| std::str::from_utf8(raw).ok());
        Ok(if is_number { self.text.map_or_else(ascii, |text| text.get(place.clone())) } else { None })
    }

    /// A whole number of units; a fraction is rounded up. `None`: it was something else, or negative.
    pub fn units(&mut self) -> Result<Option<u64>, Broken> {
        Ok(self.number()?.and_then(|raw| raw.parse().ok().or_else(|| round_up(raw))))
    }

    /// `None`: the value was something else, and was skipped.
    pub fn boolean(&mut self) -> Result<Option<bool>, Broken> {
        let shape = self.shape();
        self.skip()?;
        Ok(match shape {
            Shape::True => Some(true),
            Shape::False => Some(false),
            _ => None,
        })
    }

    /// Passes over a value of any depth, without recursion, and says where it stands.
    pub fn skip(&mut self) -> Result<Range<usize>, Broken> {
        self.pass_blanks();
        let start = self.at;
        let mut open = Nesting::default();
        loop {
            match self.body.get(self.at) {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    open.push(true);
                    self.at += 1;
                }
                Some(b'[') => {
                    open.push(false);
                    self.at += 1;
                }
                Some(b'}') if open.pop(true) => self.at += 1,
                Some(b']') if open.pop(false) => self.at += 1,
                Some(b',' | b':') if open.depth > 0 => self.at += 1,
                Some(byte) if is_scalar(*byte) => self.pass_while(is_scalar),
                _ => return Err(self.broken(if open.depth > 0 { "the rest of this value" } else { "a value" })),
            }
            if open.depth == 0 {
                return Ok(start..self.at);
            }
            self.pass_blanks();
        }
    }

    /// A value of any shape, as written.
    pub fn raw(&mut self) -> Result<&'a [u8], Broken> {
        let place = self.skip()?;
        Ok(self.body.get(place).unwrap_or_default())
    }

    /// Nothing but blanks may follow the outermost value.
    pub fn end(&mut self) -> Result<(), Broken> {
        self.pass_blanks();
        if self.at == self.body.len() { Ok(()) } else { Err(self.broken("nothing more after the value")) }
    }

    /// An error at the cursor.
    pub fn broken(&self, expected: &'static str) -> Broken {
        Broken { at: self.at, expected }
    }

    /// Reads the string whose opening quote is at the cursor.
    fn string(&mut self) -> Result<Text<'a>, Broken> {
        let start = self.at + 1;
        let Some(End { at: length, saved }) = string_end(self.body.get(start..).unwrap_or_default()) else {
            return Err(Broken { at: self.at, expected: "a closing quote for this string" });
        };
        let at = start + length;
        let valid = self.text.and_then(|text| text.get(start..at));
        let text = Text { raw: &self.body[start..at], valid, at: self.at, size: at - start - saved };
        self.at = at + 1;
        Ok(text)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.body.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn pass_blanks(&mut self) {
        self.pass_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
    }

    fn pass_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.body.get(self.at).is_some_and(|byte| wanted(*byte)) {
            self.at += 1;
        }
    }
}

/// What to cut so that an object loses the members that are marked, commas included. `members` are in the order of the
/// text, each from the quote of its name to the end of its value.
pub fn cuts(members: &[(Range<usize>, bool)]) -> Vec<Range<usize>> {
    let last_kept = members.iter().rposition(|(_, cut)| !cut);
    let marked = members.iter().enumerate().filter(|(_, (_, cut))| *cut);
    let cut = marked.map(|(nth, (place, _))| match last_kept {
        // Before a kept member: up to it, comma included. Behind the last kept one: its comma goes too.
        Some(kept) if nth > kept => members[nth - 1].0.end..place.end,
        _ => place.start..members.get(nth + 1).map_or(place.end, |(next, _)| next.start),
    });
    cut.collect()
}

/// Which brackets are open: kinds for the first 128 levels, beyond that only how many.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_object: u128,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth < 128 {
            let bit = 1u128 << self.depth;
            self.is_object = if object { self.is_object | bit } else { self.is_object & !bit };
        }
        self.depth += 1;
    }

    /// `false`: this bracket does not close what is open.
    fn pop(&mut self, object: bool) -> bool {
        if self.depth == 0 || (self.depth <= 128 && (self.is_object >> (self.depth - 1) & 1 == 1) != object) {
            return false;
        }
        self.depth -= 1;
        true
    }
}

/// Numbers and literals, and what lenient writers put in their place (`NaN`, `Infinity`).
fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

fn round_up(raw: &str) -> Option<u64> {
    let value = raw.parse::<f64>().ok().filter(|value| (0.0..1e18).contains(value))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked above")]
    Some(value.ceil() as u64)
}

/// Bytes that an escape takes as written and as decoded. `at` begins with the backslash.
fn escape_size(at: &[u8]) -> (usize, usize) {
    match hex4(at) {
        None => (at.len().min(2), 1),
        Some(unit) if unit < 0x80 => (6, 1),
        Some(unit) if unit < 0x800 => (6, 2),
        Some(0xD800..=0xDBFF) if low_surrogate(at.get(6..)).is_some() => (12, 4),
        Some(_) => (6, 3),
    }
}

fn low_surrogate(at: Option<&[u8]>) -> Option<u32> {
    hex4(at?).filter(|unit| (0xDC00..=0xDFFF).contains(unit))
}

/// The code unit of `\uXXXX`; `None` for any other escape.
fn hex4(at: &[u8]) -> Option<u32> {
    let digits = at.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

fn unescape(raw: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(step) = memchr::memchr(b'\\', rest) {
        let (plain, at) = rest.split_at(step);
        decoded.extend_from_slice(plain);
        let (length, _) = escape_size(at);
        let character = match hex4(at) {
            Some(high) if length == 12 => {
                let low = low_surrogate(at.get(6..)).unwrap_or(0xDC00);
                char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).unwrap_or('\u{FFFD}')
            }
            Some(unit) => char::from_u32(unit).unwrap_or('\u{FFFD}'),
            None => match at.get(1) {
                Some(b'n') => '\n',
                Some(b't') => '\t',
                Some(b'r') => '\r',
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{C}',
                Some(byte) if byte.is_ascii() => char::from(*byte),
                _ => '\u{FFFD}',
            },
        };
        decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = at.get(length..).unwrap_or_default();
    }
    decoded.extend_from_slice(rest);
    String::from_utf8(decoded).unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
