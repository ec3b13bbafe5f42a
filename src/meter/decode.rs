//! Undoing a content encoding on our copy of the response. What comes out is handed on at once and never collected.

use brotli::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write};

/// Past this much decoded text the copy is no longer decoded: a few compressed bytes must not keep us busy.
pub const DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// RFC 9659: a decoder of `zstd` need not take windows larger than 8 MiB (2²³).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const BUFFER_BYTES: usize = 4 * 1024;

/// Where decoded bytes go.
pub(super) trait Sink {
    fn take(&mut self, decoded: &[u8]);
}

/// Undoes one content encoding in front of a sink.
pub(super) enum Decoder<S: Sink> {
    Identity(Bounded<S>),
    Gzip(Box<MultiGzDecoder<Bounded<S>>>),
    /// `deflate` before its first byte, which tells whether it has zlib's header, as it should, or not.
    Deflate(Option<Bounded<S>>),
    Zlib(Box<ZlibDecoder<Bounded<S>>>),
    RawDeflate(Box<DeflateDecoder<Bounded<S>>>),
    Brotli(Box<DecompressorWriter<Bounded<S>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded<S>>>),
}

impl<S: Sink> Decoder<S> {
    /// An encoding that we do not know gives the sink back.
    pub fn of(content_encoding: Option<&str>, sink: S) -> Result<Self, S> {
        let bounded = |sink| Bounded { sink: Some(sink), decoded_bytes: 0 };
        let encoding = content_encoding.unwrap_or_default().trim().to_ascii_lowercase();
        Ok(match encoding.as_str() {
            "" | "identity" => Decoder::Identity(bounded(sink)),
            "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(bounded(sink)))),
            "deflate" => Decoder::Deflate(Some(bounded(sink))),
            "br" => Decoder::Brotli(Box::new(DecompressorWriter::new(bounded(sink), BUFFER_BYTES))),
            "zstd" => match zstd_decoder() {
                Some(raw) => {
                    let writer = zstd::stream::zio::Writer::new(bounded(sink), raw);
                    Decoder::Zstd(Box::new(zstd::stream::write::Decoder::with_writer(writer)))
                }
                None => return Err(sink),
            },
            _ => return Err(sink),
        })
    }

    /// An error: the bytes are not of this encoding, or decode to too much. Nothing more is to be written then.
    pub fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if let (Decoder::Deflate(sink), Some(first)) = (&mut *self, chunk.first()) {
            let Some(sink) = sink.take() else { return Err(io::ErrorKind::Other.into()) };
            // RFC 1950: the low four bits of zlib's first byte are 8, its window is at most 2¹⁵.
            *self = match first & 0x0F == 8 && first >> 4 <= 7 {
                true => Decoder::Zlib(Box::new(ZlibDecoder::new(sink))),
                false => Decoder::RawDeflate(Box::new(DeflateDecoder::new(sink))),
            };
        }
        let writer: &mut dyn Write = match self {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(writer) => writer,
            Decoder::Deflate(_) => return Ok(()),
            Decoder::Zlib(writer) => writer,
            Decoder::RawDeflate(writer) => writer,
            Decoder::Brotli(writer) => writer,
            Decoder::Zstd(writer) => writer,
        };
        writer.write_all(chunk)?;
        writer.flush()
    }

    pub fn sink(&mut self) -> Option<&mut S> {
        self.bounded().and_then(|bounded| bounded.sink.as_mut())
    }

    /// What a decoder still held back comes before.
    pub fn into_sink(mut self) -> Option<S> {
        self.bounded().and_then(|bounded| bounded.sink.take())
    }

    fn bounded(&mut self) -> Option<&mut Bounded<S>> {
        match self {
            Decoder::Identity(sink) => Some(sink),
            Decoder::Gzip(writer) => Some(writer.get_mut()),
            Decoder::Deflate(sink) => sink.as_mut(),
            Decoder::Zlib(writer) => Some(writer.get_mut()),
            Decoder::RawDeflate(writer) => Some(writer.get_mut()),
            Decoder::Brotli(writer) => Some(writer.get_mut()),
            Decoder::Zstd(writer) => Some(writer.get_mut()),
        }
    }
}

fn zstd_decoder() -> Option<zstd::stream::raw::Decoder<'static>> {
    let mut raw = zstd::stream::raw::Decoder::new().ok()?;
    raw.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
    Some(raw)
}

/// A sink that refuses to be flooded. Empty once its content was taken out: decoders write their last bytes on drop.
pub(super) struct Bounded<S> {
    sink: Option<S>,
    decoded_bytes: u64,
}

impl<S: Sink> Write for Bounded<S> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        self.decoded_bytes += decoded.len() as u64;
        if self.decoded_bytes > DECODED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(sink) = &mut self.sink {
            sink.take(decoded);
        }
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;

    #[derive(Default)]
    struct Collected(Vec<u8>, usize);

    impl Sink for Collected {
        fn take(&mut self, decoded: &[u8]) {
            self.0.extend_from_slice(decoded);
            self.1 = self.1.max(decoded.len());
        }
    }

    fn decoded(encoding: &str, bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::of(Some(encoding), Collected::default()).ok().unwrap();
        for piece in bytes.chunks(piece) {
            decoder.write(piece)?;
        }
        Ok(decoder.into_sink().unwrap().0)
    }

    fn written(mut writer: impl Write, text: &[u8]) {
        writer.write_all(text).unwrap();
    }

    fn encoded(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let (mut gzip, mut zlib, mut raw, mut brotli) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        written(flate2::write::GzEncoder::new(&mut gzip, Compression::default()), text);
        written(flate2::write::ZlibEncoder::new(&mut zlib, Compression::default()), text);
        written(flate2::write::DeflateEncoder::new(&mut raw, Compression::default()), text);
        written(brotli::CompressorWriter::new(&mut brotli, 4096, 5, 20), text);
        let zstd = zstd::encode_all(text, 3).unwrap();
        vec![
            ("gzip", gzip),
            ("deflate", zlib),
            ("deflate", raw),
            ("br", brotli),
            ("ZSTD", zstd),
            ("identity", text.to_vec()),
        ]
    }

    #[test]
    fn every_encoding_is_undone_in_pieces_of_any_size() {
        let text = "data: {\"a\":1}\n\n".repeat(2_000);
        for (encoding, bytes) in encoded(text.as_bytes()) {
            for piece in [1, 7, 1_000_000] {
                assert_eq!(decoded(encoding, &bytes, piece).unwrap(), text.as_bytes(), "{encoding} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_decoded_is_there_before_the_next_piece_comes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"data: {}\n\n").unwrap();
        gzip.flush().unwrap();
        let mut decoder = Decoder::of(Some("gzip"), Collected::default()).ok().unwrap();
        decoder.write(gzip.get_ref()).unwrap();
        assert_eq!(decoder.sink().unwrap().0, b"data: {}\n\n");
    }

    #[test]
    fn garbage_is_an_error_and_an_unknown_encoding_gives_the_sink_back() {
        for encoding in ["gzip", "br", "zstd"] {
            assert!(decoded(encoding, b"this is not compressed at all, is it", 5).is_err(), "{encoding}");
        }
        assert!(Decoder::of(Some("compress"), Collected::default()).is_err());
    }

    struct Counted(u64);

    impl Sink for Counted {
        fn take(&mut self, decoded: &[u8]) {
            self.0 += decoded.len() as u64;
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..300 {
            bomb.write_all(&vec![b'a'; 1024 * 1024]).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        let mut decoder = Decoder::of(Some("zstd"), Counted(0)).ok().unwrap();
        assert!(decoder.write(&bomb).is_err());
        assert!(decoder.into_sink().unwrap().0 <= DECODED_BYTES_MAX);
    }
}
