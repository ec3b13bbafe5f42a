//! The chunked coding of a response (RFC 9112 §7.1), taken off whatever has been read. No I/O.

use bytes::{Buf, Bytes, BytesMut};

/// A size line with its extensions, and all trailers together, are no longer.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How far the coding was read.
#[derive(Debug, Default)]
pub struct Chunked {
    next: Next,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Size,
    /// So many bytes of a chunk are to come.
    Payload(u64),
    PayloadEnd,
    Trailers,
    Ended,
    Malformed,
}

/// The coding is broken: where the next chunk begins cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Chunked {
    /// The last chunk and its trailers were read.
    pub fn has_ended(&self) -> bool {
        self.next == Next::Ended
    }

    /// Takes every chunk that is in `buffer`, whole or begun, and gives their payloads joined; nothing where there are
    /// none. What is behind the end stays in `buffer`. Trailers are dropped, as by most clients.
    ///
    /// # Errors
    /// Only when nothing is left to give of what came before it.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Bytes, Malformed> {
        let mut payload = BytesMut::new();
        loop {
            match self.next {
                // A size of no digits would be read as 0, the end.
                Next::Size if buffer.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) => {
                    self.next = Next::Malformed;
                }
                Next::Size => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        buffer.advance(line);
                        self.next = if size == 0 { Next::Trailers } else { Next::Payload(size) };
                    }
                    Ok(httparse::Status::Partial) if buffer.len() <= LINE_BYTES_MAX => break,
                    Ok(httparse::Status::Partial) | Err(_) => self.next = Next::Malformed,
                },
                Next::Payload(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    if here == 0 {
                        break;
                    }
                    if payload.is_empty() {
                        payload.reserve(buffer.len());
                    }
                    payload.extend_from_slice(&buffer[..here]);
                    buffer.advance(here);
                    let left = left - here as u64;
                    self.next = if left == 0 { Next::PayloadEnd } else { Next::Payload(left) };
                }
                Next::PayloadEnd => match buffer.get(..2) {
                    None => break,
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.next = Next::Size;
                    }
                    Some(_) => self.next = Next::Malformed,
                },
                Next::Trailers => match memchr::memchr(b'\n', buffer) {
                    Some(end) => {
                        let is_last = matches!(&buffer[..end], b"" | b"\r");
                        buffer.advance(end + 1);
                        if is_last {
                            self.next = Next::Ended;
                        }
                    }
                    None if buffer.len() <= LINE_BYTES_MAX => break,
                    None => self.next = Next::Malformed,
                },
                Next::Malformed if payload.is_empty() => return Err(Malformed),
                Next::Ended | Next::Malformed => break,
            }
        }
        Ok(payload.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes of these pieces, read one after the other: payload, whether it ended, what is left over.
    fn taken(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), Malformed> {
        let (mut chunked, mut buffer, mut payload) = (Chunked::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            payload.extend_from_slice(&chunked.take(&mut buffer)?);
        }
        Ok((payload, chunked.has_ended(), buffer.to_vec()))
    }

    #[test]
    fn chunks_that_are_here_are_joined_and_trailers_dropped() {
        let wire = b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nx-sum: 1\r\n\r\nHTTP/1.1";
        assert_eq!(taken(&[wire]), Ok((b"abcde".to_vec(), true, b"HTTP/1.1".to_vec())));
    }

    #[test]
    fn a_begun_chunk_does_not_wait_for_its_end() {
        assert_eq!(taken(&[b"a\r\n01234"]), Ok((b"01234".to_vec(), false, Vec::new())));
    }

    #[test]
    fn what_came_before_a_fault_is_given_first() {
        let (mut chunked, mut buffer) = (Chunked::default(), BytesMut::from(&b"1\r\nax\r\n"[..]));
        assert_eq!(chunked.take(&mut buffer), Ok(Bytes::from_static(b"a")));
        assert_eq!(chunked.take(&mut buffer), Err(Malformed));
        assert_eq!(chunked.take(&mut buffer), Err(Malformed));
    }

    #[test]
    fn sizes_that_are_none_are_malformed() {
        let endless = vec![b'1'; 40];
        let long = [b"1;".as_slice(), &vec![b'x'; LINE_BYTES_MAX]].concat();
        for wire in [b"zz\r\n".as_slice(), b"-1\r\n", b"\r\n", b"1\nab", b"0x1\r\na", &endless, &long] {
            assert_eq!(taken(&[wire]), Err(Malformed), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn trailers_without_an_end_are_malformed() {
        let long = [b"0\r\nx: ".as_slice(), &vec![b'x'; LINE_BYTES_MAX]].concat();
        assert_eq!(taken(&[&long]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_wire_gives_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nx: y\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).chain([0, wire.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            prop_assert_eq!(taken(&pieces), Ok((chunks.concat(), true, Vec::new())));
        }
    }
}
