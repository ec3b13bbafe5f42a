//! What Farebox adds to a response's head.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// A name that only Farebox gives: what a provider says under it would be taken for our word.
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-farebox-")
}

/// Header lines as they are written, each ended.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<u8>);

impl Marks {
    /// Room for those of a common call.
    pub fn new() -> Marks {
        Marks(Vec::with_capacity(384))
    }

    /// A value that cannot stand in a header is left out. `name` in lower case.
    pub fn put(&mut self, name: &str, value: &str) {
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
            self.line(name.as_bytes(), value.as_bytes());
        }
    }

    pub fn put_number(&mut self, name: &str, value: u64) {
        let mut digits = [0u8; 20];
        let (mut at, mut rest) = (digits.len(), value);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.line(name.as_bytes(), &digits[at..]);
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Into a map, for whoever writes heads from one.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        for (name, value) in self.lines() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.insert(name, value);
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((line.get(..colon)?, line.get(colon + 2..line.len().saturating_sub(1))?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_stand_in_a_header_is_left_out() {
        let mut marks = Marks::new();
        marks.put("x-farebox-cost", "0.1");
        marks.put("x-farebox-model", "a\r\nset-cookie: b");
        marks.put("x-farebox-warning", "f\u{fc}nf");
        marks.put_number("retry-after", 70);
        assert_eq!(marks.as_bytes(), b"x-farebox-cost: 0.1\r\nretry-after: 70\r\n");
        let mut headers = HeaderMap::new();
        marks.put_into(&mut headers);
        assert_eq!((headers.len(), &headers["x-farebox-cost"]), (2, &HeaderValue::from_static("0.1")));
    }
}
