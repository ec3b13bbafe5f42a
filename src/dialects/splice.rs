//! Writing into a body without touching anything else: unknown members, the spelling of numbers, the order of names and
//! every blank stay as they came, byte for byte.

use super::json::{self, Reader, Shape};
use crate::tokens::facts::SplicePoints;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// What to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits<'a> {
    pub model: Option<&'a str>,
    /// The limit, and the member to write it to if the body has none; `outer.inner` names a member of a member
    /// (`generationConfig.maxOutputTokens`, `options.num_predict`).
    pub output_limit: Option<(&'a str, u64)>,
    /// OpenAI: `stream_options.include_usage: true`.
    pub include_usage: bool,
    /// Top-level members to take out, with their values.
    pub remove: &'a [Arc<str>],
    /// A top-level member and the name that it gets instead.
    pub rename: Option<(&'a str, &'a str)>,
}

/// The body with the edits written at their points. Without an edit to make, the same bytes, not copied.
///
/// A body without a `model` member gets none: there the model stands in the path.
pub fn splice(body: &Bytes, points: &SplicePoints, edits: &Edits<'_>) -> Bytes {
    let mut patches = Patches::default();
    if let Some(model) = edits.model {
        let written = quoted(model);
        for place in points.model.iter().chain(&points.model_again) {
            patches.replace(place.clone(), written.clone());
        }
    }
    if let Some((member, limit)) = edits.output_limit {
        match &points.output_limit {
            Some(place) => {
                for place in std::iter::once(place).chain(&points.output_limit_again) {
                    patches.replace(place.clone(), limit.to_string());
                }
            }
            None => patches.insert(body, points, member, &limit.to_string()),
        }
    }
    if edits.include_usage {
        patches.ask_for_usage(body, points);
    }
    if !edits.remove.is_empty() || edits.rename.is_some() {
        patches.adapt(body, edits);
    }
    patches.apply(body)
}

/// The top-level members of a body, by name, in the order of the text. Of what is no object, none.
pub fn member_names(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let read = Reader::new(body).object(|name, _| {
        names.push(name.to_owned());
        Ok(())
    });
    if read.is_ok() { names } else { Vec::new() }
}

#[derive(Default)]
struct Patches(Vec<(Range<usize>, String)>);

impl Patches {
    fn replace(&mut self, place: Range<usize>, text: String) {
        self.0.push((place, text));
    }

    fn insert(&mut self, body: &[u8], points: &SplicePoints, member: &str, value: &str) {
        let Some(top) = points.members else { return };
        let Some((outer, inner)) = member.split_once('.') else {
            return self.insert_at(body, top, format!("{}:{value}", quoted(member)));
        };
        let inner = format!("{}:{value}", quoted(inner));
        match last_member(body, outer) {
            None => self.insert_at(body, top, format!("{}:{{{inner}}}", quoted(outer))),
            Some(place) => match shape_at(body, &place) {
                Shape::Object => self.insert_at(body, place.start + 1, inner),
                Shape::Null => self.replace(place, format!("{{{inner}}}")),
                _ => {}
            },
        }
    }

    /// Writes a new member just behind a `{`.
    fn insert_at(&mut self, body: &[u8], at: usize, mut member: String) {
        let is_first_of_many = body.get(at..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
        if is_first_of_many != Some(&b'}') || self.0.iter().any(|(place, _)| *place == (at..at)) {
            member.push(',');
        }
        self.0.push((at..at, member));
    }

    fn ask_for_usage(&mut self, body: &[u8], points: &SplicePoints) {
        let Some(options) = &points.stream_options else {
            return self.insert(body, points, "stream_options.include_usage", "true");
        };
        match shape_at(body, options) {
            Shape::Null => self.replace(options.clone(), "{\"include_usage\":true}".to_owned()),
            Shape::Object => {
                let mut places = Vec::new();
                let inside = body.get(options.clone()).unwrap_or_default();
                let read = Reader::new(inside).object(|name, value| {
                    if name == "include_usage" {
                        let is_true = value.shape() == Shape::True;
                        places.push((value.skip()?, is_true));
                    }
                    Ok(())
                });
                if read.is_ok() && places.is_empty() {
                    self.insert_at(body, options.start + 1, "\"include_usage\":true".to_owned());
                }
                for (place, _) in places.into_iter().filter(|(_, is_true)| !is_true) {
                    self.replace(place.start + options.start..place.end + options.start, "true".to_owned());
                }
            }
            _ => {}
        }
    }

    /// Takes members out and renames one. Of an object that would lose all of its members, none is taken.
    fn adapt(&mut self, body: &[u8], edits: &Edits<'_>) {
        let mut members: Vec<(Range<usize>, bool)> = Vec::new();
        let mut renamed = Vec::new();
        let read = Reader::new(body).object(|name, value| {
            let name_place = value.name_place();
            let removed = edits.remove.iter().any(|gone| **gone == *name);
            if let Some((_, new)) = edits.rename.filter(|(old, _)| *old == name && !removed) {
                renamed.push((name_place.clone(), quoted(new)));
            }
            let place = value.skip()?;
            members.push((name_place.start..place.end, removed));
            Ok(())
        });
        if read.is_err() {
            return;
        }
        self.0.extend(renamed);
        if members.iter().all(|(_, removed)| *removed) {
            return;
        }
        let cuts = json::cuts(&members);
        let gone = |place: &Range<usize>| cuts.iter().any(|cut| cut.start <= place.start && place.end <= cut.end);
        self.0.retain(|(place, _)| place.is_empty() || !gone(place));
        self.0.extend(cuts.into_iter().map(|cut| (cut, String::new())));
    }

    fn apply(mut self, body: &Bytes) -> Bytes {
        if self.0.is_empty() {
            return body.clone();
        }
        // Stable, and reversed first: of two members inserted at one place, the later one was told to add a comma.
        self.0.reverse();
        self.0.sort_by_key(|(place, _)| (place.start, place.end));
        let added: usize = self.0.iter().map(|(_, text)| text.len()).sum();
        let mut written = Vec::with_capacity(body.len() + added);
        let mut from = 0;
        for (place, text) in self.0 {
            let Some(kept) = body.get(from..place.start) else { return body.clone() };
            written.extend_from_slice(kept);
            written.extend_from_slice(text.as_bytes());
            from = place.end;
        }
        written.extend_from_slice(body.get(from..).unwrap_or_default());
        Bytes::from(written)
    }
}

/// Where the last top-level member of this name has its value.
fn last_member(body: &[u8], wanted: &str) -> Option<Range<usize>> {
    let mut found = None;
    let read = Reader::new(body).object(|name, value| {
        if name == wanted {
            found = Some(value.skip()?);
        }
        Ok(())
    });
    read.ok().and(found)
}

fn shape_at(body: &[u8], place: &Range<usize>) -> Shape {
    Reader::new(body.get(place.clone()).unwrap_or_default()).shape()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::{BodyShape, Dialect, Endpoint, Operation};
    use proptest::prelude::*;

    fn chat() -> Endpoint {
        Dialect::OpenAi.recognise("POST", "/v1/chat/completions")
    }

    fn spliced(body: &str, edits: &Edits<'_>) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let facts = Dialect::OpenAi.read_request(&chat(), &body).unwrap();
        String::from_utf8(splice(&body, &facts.splice, edits).to_vec()).unwrap()
    }

    #[test]
    fn without_an_edit_the_bytes_are_the_same_ones() {
        let body = Bytes::from_static(b"{\"model\":\"m\"}");
        let facts = Dialect::OpenAi.read_request(&chat(), &body).unwrap();
        assert_eq!(splice(&body, &facts.splice, &Edits::default()).as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_swapped_model_is_written_wherever_the_body_names_one() {
        let edits = Edits { model: Some("b\"c"), ..Edits::default() };
        assert_eq!(
            spliced("{ \"model\" : \"a\",\"x\":1.50E+2, \"mod\\u0065l\":\"z\"\n}", &edits),
            "{ \"model\" : \"b\\\"c\",\"x\":1.50E+2, \"mod\\u0065l\":\"b\\\"c\"\n}"
        );
        assert_eq!(spliced("{}", &edits), "{}");
    }

    #[test]
    fn an_output_limit_replaces_all_that_stand_there_or_goes_in_front() {
        let edits = Edits { output_limit: Some(("max_completion_tokens", 9)), ..Edits::default() };
        assert_eq!(
            spliced(r#"{"max_tokens":1e3,"max_completion_tokens":null}"#, &edits),
            r#"{"max_tokens":9,"max_completion_tokens":9}"#
        );
        assert_eq!(spliced(r#"{ "a":1}"#, &edits), r#"{"max_completion_tokens":9, "a":1}"#);
        assert_eq!(spliced("{ }", &edits), r#"{"max_completion_tokens":9 }"#);
    }

    #[test]
    fn a_limit_inside_another_member_makes_that_member_if_need_be() {
        for (body, written) in [
            (r#"{"o":{"t":1}}"#, r#"{"o":{"n":9,"t":1}}"#),
            (r#"{"o":null}"#, r#"{"o":{"n":9}}"#),
            (r#"{"o":7}"#, r#"{"o":7}"#),
            ("{}", r#"{"o":{"n":9}}"#),
        ] {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let points = SplicePoints { members: Some(1), ..SplicePoints::default() };
            let edits = Edits { output_limit: Some(("o.n", 9)), ..Edits::default() };
            assert_eq!(splice(&body, &points, &edits), written);
        }
    }

    #[test]
    fn usage_is_asked_for_whatever_stream_options_say() {
        let edits = Edits { include_usage: true, ..Edits::default() };
        for (body, written) in [
            (r#"{"a":1}"#, r#"{"stream_options":{"include_usage":true},"a":1}"#),
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options": { }}"#, r#"{"stream_options": {"include_usage":true }}"#),
            (r#"{"stream_options":{"x":1}}"#, r#"{"stream_options":{"include_usage":true,"x":1}}"#),
            (r#"{"stream_options":{"include_usage": false}}"#, r#"{"stream_options":{"include_usage": true}}"#),
            (r#"{"stream_options":{"include_usage":true}}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":"odd"}"#, r#"{"stream_options":"odd"}"#),
        ] {
            assert_eq!(spliced(body, &edits), written);
        }
    }

    #[test]
    fn two_new_members_are_parted_by_a_comma() {
        let edits = Edits { output_limit: Some(("max_tokens", 9)), include_usage: true, ..Edits::default() };
        for body in ["{}", r#"{"a":1}"#] {
            let written: serde_json::Value = serde_json::from_str(&spliced(body, &edits)).unwrap();
            assert_eq!(
                (&written["max_tokens"], &written["stream_options"]["include_usage"]),
                (&9.into(), &true.into())
            );
        }
    }

    #[test]
    fn what_a_model_does_not_take_is_cut_out_and_its_limit_renamed() {
        let remove: [Arc<str>; 2] = ["temperature".into(), "top_p".into()];
        let edits = Edits {
            model: Some("o"),
            remove: &remove,
            rename: Some(("max_tokens", "max_completion_tokens")),
            output_limit: Some(("max_completion_tokens", 9)),
            ..Edits::default()
        };
        for (body, written) in [
            (r#"{"model":"a", "temperature": 1, "max_tokens":7}"#, r#"{"model":"o", "max_completion_tokens":9}"#),
            (r#"{ "temperature":{"x":[1]}, "model":"a", "top_p":1 }"#, r#"{"max_completion_tokens":9, "model":"o" }"#),
            (r#"{"model":"a","top_p":1,"temperature":2}"#, r#"{"max_completion_tokens":9,"model":"o"}"#),
        ] {
            let spliced = spliced(body, &edits);
            assert_eq!(spliced.replace(' ', ""), written.replace(' ', ""), "{body}");
        }
    }

    #[test]
    fn a_limit_that_is_cut_out_is_not_written_as_well() {
        let remove: [Arc<str>; 1] = ["max_tokens".into()];
        let edits = Edits { remove: &remove, output_limit: Some(("max_completion_tokens", 9)), ..Edits::default() };
        assert_eq!(
            spliced(r#"{"model":"a","max_tokens":7,"max_completion_tokens":8}"#, &edits),
            r#"{"model":"a","max_completion_tokens":9}"#
        );
    }

    proptest! {
        #[test]
        fn nothing_changes_but_the_spliced_values(
            before in r#"("[a-z]{1,3}" ?: ?(1\.50|\[ ?\]|"m\\n"|null),[ \n]?){0,3}"#,
            after in r#"(,[ \n]?"[a-z]{1,3}":(-0\.0|\{\}|"\\u00e9"|true)){0,3}"#,
            model in "[a-z\"\\\\é]{0,8}",
            limit in any::<u64>(),
        ) {
            let body = format!("{{{before}\"model\": \"old\" ,\"max_tokens\":7{after}}}");
            let expected = format!("{{{before}\"model\": {} ,\"max_tokens\":{limit}{after}}}", quoted(&model));
            let edits = Edits { model: Some(&model), output_limit: Some(("max_tokens", limit)), ..Edits::default() };
            prop_assert_eq!(spliced(&body, &edits), expected);
        }
    }

    #[test]
    fn the_shape_of_a_chat_endpoint_is_what_these_tests_assume() {
        assert_eq!((chat().operation, chat().body), (Operation::Chat, BodyShape::Json));
    }
}
