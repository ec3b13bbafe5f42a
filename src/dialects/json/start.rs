//! Objects that begin alike. Every chunk of a stream repeats its id, its model and more, word for word, before it says
//! anything new; what was read once of that need not be read again.

use super::{Broken, Reader};

/// How the last object of a stream began: the members before the first one that tells something new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SameStart {
    /// From the object's first byte to the quote of that member's name.
    bytes: Vec<u8>,
}

impl SameStart {
    /// As [`Reader::object`], but members at the beginning that stood there word for word the last time are not offered
    /// again. Only those named in `repeats` are ever left out: to be offered one of them twice must change nothing.
    pub fn object(
        &mut self,
        reader: &mut Reader<'_>,
        repeats: &[&str],
        mut member: impl FnMut(&str, &mut Reader<'_>) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        let is_known = self.begins(reader.body);
        // Where the first member stands that tells something new; whether one that is left out came behind it as well.
        let (mut news_at, mut is_again) = (is_known.then_some(self.bytes.len()), false);
        let body = reader.body;
        let offer = |name: &str, value: &mut Reader<'_>| {
            if repeats.contains(&name) {
                is_again |= news_at.is_some();
            } else {
                news_at.get_or_insert(value.name_place().start);
            }
            member(name, value)
        };
        let read = if is_known { reader.rest_of_object(self.bytes.len(), offer) } else { reader.object(offer) };
        let may_keep = !is_again && read == Ok(true);
        match news_at.filter(|_| may_keep) {
            _ if is_known && may_keep => {}
            Some(news_at) => body[..news_at].clone_into(&mut self.bytes),
            None => self.bytes.clear(),
        }
        read
    }

    /// Nothing is left out of the next object.
    pub fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Where the last of the members ends that were left out of this object; 0: none was.
    pub fn end_in(&self, body: &[u8]) -> usize {
        if !self.begins(body) {
            return 0;
        }
        let is_between = |byte: &u8| matches!(byte, b',' | b' ' | b'\n' | b'\r' | b'\t');
        self.bytes.iter().rposition(|byte| !is_between(byte)).map_or(0, |last| last + 1)
    }

    /// At least one member: a lone brace is not worth it.
    fn begins(&self, body: &[u8]) -> bool {
        self.bytes.len() > 2 && body.starts_with(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPEATS: [&str; 2] = ["id", "model"];

    type Members = Vec<(String, String)>;

    fn all(body: &str) -> (bool, Members) {
        let mut members = Vec::new();
        let mut reader = Reader::new(body.as_bytes());
        let read = reader.object(|name, value| {
            members.push((name.to_owned(), String::from_utf8_lossy(value.raw()?).into_owned()));
            Ok(())
        });
        (read == Ok(true) && reader.end().is_ok(), members)
    }

    fn told(start: &mut SameStart, body: &str) -> (bool, Members) {
        let mut members = Vec::new();
        let mut reader = Reader::new(body.as_bytes());
        let read = start.object(&mut reader, &REPEATS, |name, value| {
            members.push((name.to_owned(), String::from_utf8_lossy(value.raw()?).into_owned()));
            Ok(())
        });
        (read == Ok(true) && reader.end().is_ok(), members)
    }

    #[test]
    fn what_the_last_object_said_already_is_left_out() {
        let mut start = SameStart::default();
        assert_eq!(told(&mut start, r#"{"id":"a", "model":"m", "choices":[1]}"#).1.len(), 3);
        let second = r#"{"id":"a", "model":"m", "choices":[2],"usage":null}"#;
        assert_eq!(start.end_in(second.as_bytes()), r#"{"id":"a", "model":"m""#.len());
        let news = [("choices".to_owned(), "[2]".to_owned()), ("usage".to_owned(), "null".to_owned())];
        assert_eq!(told(&mut start, second), (true, news.to_vec()));
        assert_eq!(told(&mut start, r#"{"id":"b", "model":"m", "choices":[3]}"#).1.len(), 3, "another id");
    }

    #[test]
    fn a_member_that_comes_again_later_is_never_left_out() {
        let mut start = SameStart::default();
        let twice = r#"{"id":"a","choices":[],"id":"b"}"#;
        assert_eq!(told(&mut start, twice).1.len(), 3);
        assert_eq!(told(&mut start, twice).1.len(), 3);
    }

    proptest! {
        /// What is kept of the members, the last of each name counting, is the same with and without the short cut.
        #[test]
        fn leaving_out_changes_nothing_that_is_kept(
            bodies in proptest::collection::vec(
                r#"(\{("id":"[ab]",|"model":"m",|"choices":\[1?\],| ){0,4}("choices":\[\]|"id":"c")?[}]? ?)"#, 1..8),
        ) {
            let mut start = SameStart::default();
            let (mut kept, mut kept_short) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
            for body in &bodies {
                let (is_whole, members) = all(body);
                kept.extend(members);
                let (is_whole_short, members) = told(&mut start, body);
                kept_short.extend(members);
                prop_assert_eq!(is_whole, is_whole_short, "{}", body);
                prop_assert_eq!(&kept, &kept_short, "{}", body);
            }
        }
    }
}
