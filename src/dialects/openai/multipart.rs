//! Multipart bodies: the few small fields that say which model and what kind of answer, read from the first bytes while
//! the file streams through.

use crate::tokens::facts::{ImageOrder, RequestFacts};
use memchr::memmem;
use std::sync::Arc;

/// What the first bytes of a multipart body say about its `model` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormField {
    Found(String),
    /// Neither the field nor the body's end is in these bytes.
    NeedMore,
    Absent,
}

/// Looks for the `model` field. `boundary` is the content type's parameter, without dashes or quotes.
pub fn multipart_model(prefix: &[u8], boundary: &str) -> FormField {
    let mut form = Form::new(prefix, boundary);
    let model = form.by_ref().find(|(name, _)| *name == "model");
    match model {
        Some((_, value)) => FormField::Found(String::from_utf8_lossy(value).into_owned()),
        None if form.ended => FormField::Absent,
        None => FormField::NeedMore,
    }
}

/// The facts that the fields among these bytes show.
pub fn multipart_facts(prefix: &[u8], boundary: &str) -> RequestFacts {
    let mut facts = RequestFacts { choices: 1, ..RequestFacts::default() };
    for (name, value) in Form::new(prefix, boundary) {
        let text = || Arc::<str>::from(String::from_utf8_lossy(value));
        let image = facts.image.get_or_insert_with(ImageOrder::default);
        match name {
            "model" => facts.requested_model = Some(text()),
            "stream" => facts.stream = value == b"true",
            "n" => facts.choices = text().parse().unwrap_or(1).max(1),
            "size" => image.size = Some(text()),
            "quality" => image.quality = Some(text()),
            "user" => facts.user = Some(text()),
            "prompt" => {
                facts.input.text_bytes += value.len() as u64;
                facts.input.messages = 1;
            }
            _ => {}
        }
    }
    facts
}

/// The complete fields of the first bytes of a body, files included (RFC 7578).
struct Form<'a> {
    rest: &'a [u8],
    delimiter: Vec<u8>,
    ended: bool,
}

impl<'a> Form<'a> {
    fn new(prefix: &'a [u8], boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter has no line end before it; a preamble may stand there.
        let opening = &delimiter[2..];
        let rest = memmem::find(prefix, opening).map_or(&b""[..], |at| &prefix[at + opening.len()..]);
        Form { rest, delimiter, ended: false }
    }
}

impl<'a> Iterator for Form<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.starts_with(b"--") {
                self.ended = true;
                return None;
            }
            let head_end = memmem::find(self.rest, b"\r\n\r\n")?;
            let (head, value) = (&self.rest[..head_end], &self.rest[head_end + 4..]);
            let value_end = memmem::find(value, &self.delimiter)?;
            self.rest = &value[value_end + self.delimiter.len()..];
            if let Some(name) = field_name(head) {
                return Some((name, &value[..value_end]));
            }
        }
    }
}

/// `name` of the part's `Content-Disposition`.
fn field_name(head: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head
        .lines()
        .find(|line| line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:")))?;
    let parameter = line.split(';').map(str::trim).find_map(|parameter| parameter.strip_prefix("name="))?;
    Some(parameter.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: \
        audio/wav\r\n\r\nRIFF\r\n--xy\r\n--xyz\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --xyz\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--xyz--\r\n";

    #[test]
    fn the_model_is_found_behind_a_file() {
        assert_eq!(multipart_model(BODY.as_bytes(), "xyz"), FormField::Found("whisper-1".to_owned()));
        let facts = multipart_facts(BODY.as_bytes(), "xyz");
        assert_eq!((facts.requested_model.as_deref(), facts.stream), (Some("whisper-1"), true));
    }

    #[test]
    fn every_prefix_asks_for_more_until_the_model_is_whole() {
        let found_at = BODY.find("whisper-1\r\n--xyz").unwrap() + "whisper-1\r\n--xyz".len();
        for end in 0..BODY.len() {
            let found = multipart_model(&BODY.as_bytes()[..end], "xyz");
            assert_eq!(found == FormField::NeedMore, end < found_at, "{end}");
        }
    }

    #[test]
    fn a_form_without_a_model_says_so_at_its_end() {
        let body = BODY.replace("\"model\"", "\"other\"");
        assert_eq!(multipart_model(body.as_bytes(), "xyz"), FormField::Absent);
    }
}
