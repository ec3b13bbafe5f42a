//! Content encodings, event by event: what was written is readable at once, as providers' edges do it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

impl Encoding {
    pub fn named(name: &str) -> Option<Encoding> {
        match name {
            "gzip" => Some(Encoding::Gzip),
            "br" => Some(Encoding::Brotli),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Brotli => "br",
            Encoding::Zstd => "zstd",
        }
    }

    /// The first encoding that the client accepts and we know.
    pub fn accepted(headers: &HeaderMap) -> Option<Encoding> {
        let accepted = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        accepted.split(',').find_map(|one| Encoding::named(one.split(';').next().unwrap_or_default().trim()))
    }
}

/// Compresses a stream; each call gives bytes that can be decompressed up to there.
pub struct Squeezer {
    encoder: Encoder,
    out: Sink,
}

enum Encoder {
    Gzip(flate2::write::GzEncoder<Sink>),
    Brotli(Box<brotli::CompressorWriter<Sink>>),
    Zstd(zstd::stream::write::Encoder<'static, Sink>),
}

impl Squeezer {
    pub fn new(encoding: Encoding) -> io::Result<Squeezer> {
        let out = Sink::default();
        let encoder = match encoding {
            Encoding::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(out.clone(), flate2::Compression::default())),
            Encoding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(out.clone(), 4096, 5, 20))),
            Encoding::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(out.clone(), 3)?),
        };
        Ok(Squeezer { encoder, out })
    }

    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let writer: &mut dyn Write = match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Brotli(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        };
        writer.write_all(bytes)?;
        writer.flush()?;
        Ok(self.out.take())
    }

    pub fn finish(self) -> io::Result<Bytes> {
        match self.encoder {
            Encoder::Gzip(encoder) => drop(encoder.finish()?),
            Encoder::Brotli(encoder) => drop(encoder.into_inner()),
            Encoder::Zstd(encoder) => drop(encoder.finish()?),
        }
        Ok(self.out.take())
    }
}

/// A whole body, compressed.
pub fn squeeze(encoding: Encoding, body: &[u8]) -> io::Result<Bytes> {
    let mut squeezer = Squeezer::new(encoding)?;
    let mut out = squeezer.push(body)?.to_vec();
    out.extend_from_slice(&squeezer.finish()?);
    Ok(out.into())
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock()).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_event_is_readable_as_soon_as_it_was_pushed() {
        let mut squeezer = Squeezer::new(Encoding::Gzip).unwrap();
        let first = squeezer.push(b"data: one\n\n").unwrap();
        let mut reader = flate2::read::GzDecoder::new(&first[..]);
        let mut seen = vec![0; 11];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(seen, b"data: one\n\n");
    }

    #[test]
    fn a_squeezed_body_is_itself_again() {
        let body = b"metering ".repeat(1000);
        let unzipped = |mut reader: Box<dyn Read>| {
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            out
        };
        let of = |encoding| io::Cursor::new(squeeze(encoding, &body).unwrap());
        assert_eq!(unzipped(Box::new(flate2::read::GzDecoder::new(of(Encoding::Gzip)))), body);
        assert_eq!(unzipped(Box::new(brotli::Decompressor::new(of(Encoding::Brotli), 4096))), body);
        assert_eq!(unzipped(Box::new(zstd::stream::read::Decoder::new(of(Encoding::Zstd)).unwrap())), body);
    }
}
