//! What a request wishes of the simulator: `x-sim-*` headers, which pass through a proxy like any end-to-end header.
//!
//! | header | value | what happens |
//! |---|---|---|
//! | `x-sim-seed` | any text | ids, times and words depend on it alone: the same body each time |
//! | `x-sim-status` | 400…599 | this error, in the dialect's shape |
//! | `x-sim-retry-after` | seconds | `retry-after` of that error |
//! | `x-sim-fail-first`, `x-sim-id` | N, any text | the first N attempts of this id fail (with `x-sim-status`, else 503) |
//! | `x-sim-output-tokens` | N | so many tokens of visible output |
//! | `x-sim-chunks` | N | streamed in so many chunks; one token each without it |
//! | `x-sim-cached-tokens`, `x-sim-cache-write-tokens` | N | so much of the input is said to be cached, or written |
//! | `x-sim-reasoning-tokens` | N | so many tokens of reasoning before the output |
//! | `x-sim-service-tier` | text | the tier that the response says was billed |
//! | `x-sim-response-model` | text | the model that the response says answered |
//! | `x-sim-usage` | `none` | usage is not reported, of a batch neither |
//! | `x-sim-first-byte-ms`, `x-sim-chunk-ms` | ms | pauses before the head and before each chunk |
//! | `x-sim-stall-after` | N chunks | then silence until the client leaves |
//! | `x-sim-cut-after` | N chunks | then the connection ends, in the middle of the body |
//! | `x-sim-malformed` | `sse`, `json` | broken events, or a body that is no JSON |
//! | `x-sim-encoding` | `gzip`, `br`, `zstd`, `accepted` | compressed, asked for or not; `accepted`: as `accept-encoding` says |
//! | `x-sim-redirect` | URL | 307 there |
//! | `x-sim-early-413` | `yes` | 413 before the body is read |
//! | `x-sim-reset` | `yes` | the connection is reset before the head |

use super::SimulatorSettings;
use super::squeeze::Encoding;
use http::HeaderMap;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub seed: Option<u64>,
    pub status: Option<u16>,
    pub retry_after: Option<u64>,
    pub fail_first: Option<u64>,
    pub id: Option<String>,
    pub output_tokens: Option<u64>,
    pub chunks: Option<u64>,
    pub cached_tokens: u64,
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
    pub service_tier: Option<String>,
    pub response_model: Option<String>,
    pub hide_usage: bool,
    pub first_byte: Duration,
    pub chunk_pause: Duration,
    pub stall_after: Option<u64>,
    pub cut_after: Option<u64>,
    pub malformed: Option<Malformed>,
    pub encoding: Option<Encoding>,
    pub redirect: Option<String>,
    pub early_413: bool,
    pub reset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Sse,
    Json,
}

impl Wishes {
    /// Reads the wishes. A name or a value that is not known is an error: a mistyped wish must not look like a pass.
    pub fn read(headers: &HeaderMap, settings: &SimulatorSettings) -> Result<Wishes, String> {
        let mut wishes =
            Wishes { first_byte: settings.first_byte, chunk_pause: settings.chunk_pause, ..Wishes::default() };
        for (name, value) in headers {
            let Some(wish) = name.as_str().strip_prefix("x-sim-") else { continue };
            let value = value.to_str().map_err(|_| format!("{name}: not text"))?;
            wishes.take(wish, value, headers).map_err(|why| format!("{name}: {value}: {why}"))?;
        }
        Ok(wishes)
    }

    fn take(&mut self, wish: &str, value: &str, headers: &HeaderMap) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match wish {
            "seed" => self.seed = Some(seed_of(value.as_bytes())),
            "status" => {
                let status = number(value)?;
                let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
                self.status = Some(status.ok_or("a status of 400 to 599 is meant")?);
            }
            "retry-after" => self.retry_after = Some(number(value)?),
            "fail-first" => self.fail_first = Some(number(value)?),
            "id" => self.id = text(),
            "output-tokens" => self.output_tokens = Some(number(value)?),
            "chunks" => self.chunks = Some(number(value)?),
            "cached-tokens" => self.cached_tokens = number(value)?,
            "cache-write-tokens" => self.cache_write_tokens = number(value)?,
            "reasoning-tokens" => self.reasoning_tokens = number(value)?,
            "service-tier" => self.service_tier = text(),
            "response-model" => self.response_model = text(),
            "usage" => self.hide_usage = one_of(value, &["none"])? == 0,
            "first-byte-ms" => self.first_byte = Duration::from_millis(number(value)?),
            "chunk-ms" => self.chunk_pause = Duration::from_millis(number(value)?),
            "stall-after" => self.stall_after = Some(number(value)?),
            "cut-after" => self.cut_after = Some(number(value)?),
            "malformed" => {
                self.malformed =
                    Some(if one_of(value, &["sse", "json"])? == 0 { Malformed::Sse } else { Malformed::Json });
            }
            "encoding" if value == "accepted" => self.encoding = Encoding::accepted(headers),
            "encoding" => self.encoding = Some(Encoding::named(value).ok_or("gzip, br, zstd or accepted is meant")?),
            "redirect" => self.redirect = text(),
            "early-413" => self.early_413 = one_of(value, &["yes"])? == 0,
            "reset" => self.reset = one_of(value, &["yes"])? == 0,
            _ => return Err("no such wish; the list is in src/simulator/wishes.rs".to_owned()),
        }
        Ok(())
    }
}

/// A number that only depends on these bytes.
pub fn seed_of(bytes: &[u8]) -> u64 {
    let mut first = [0u8; 8];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "a whole number is meant".to_owned())
}

fn one_of(value: &str, known: &[&str]) -> Result<usize, String> {
    known.iter().position(|word| *word == value).ok_or_else(|| format!("one of {known:?} is meant"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Wishes, String> {
        let headers = headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        Wishes::read(&headers, &SimulatorSettings::default())
    }

    #[test]
    fn a_mistyped_wish_is_an_error_that_names_it() {
        assert!(read(&[("x-sim-stauts", "500")]).is_err_and(|why| why.contains("x-sim-stauts")));
        assert!(read(&[("x-sim-status", "200")]).is_err_and(|why| why.contains("400 to 599")));
        assert!(read(&[("x-sim-chunks", "many")]).is_err());
    }

    #[test]
    fn an_encoding_may_follow_what_is_accepted() {
        let accepted = |value| read(&[("x-sim-encoding", "accepted"), ("accept-encoding", value)]);
        assert_eq!(accepted("gzip, br").map(|wishes| wishes.encoding), Ok(Some(Encoding::Gzip)));
        assert_eq!(accepted("identity").map(|wishes| wishes.encoding), Ok(None));
    }
}
