//! A request as the dialects see it, and their reply before it is sent.

use super::SimulatorSettings;
use super::answer::{Answer, Ask, Occasion, answer};
use super::seen::Usage;
use super::sending::Chunk;
use super::shelf::Shelf;
use super::wishes::Wishes;
use bytes::Bytes;
use serde_json::Value;

/// One request, read whole.
pub struct Call<'a> {
    pub method: &'a str,
    /// Without a dialect's prefix: `/v1/chat/completions`.
    pub path: &'a str,
    pub query: &'a str,
    pub body: &'a Bytes,
    /// `Null` where the body is no JSON.
    pub json: Value,
    pub wishes: &'a Wishes,
    pub occasion: &'a Occasion,
    pub settings: &'a SimulatorSettings,
    pub shelf: &'a Shelf,
}

impl Call<'_> {
    pub fn answer(&self, ask: &Ask) -> Answer {
        answer(ask, self.wishes, self.occasion, self.settings)
    }

    /// A string member of the body.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.json.get(member).and_then(Value::as_str)
    }

    pub fn number(&self, member: &str) -> Option<u64> {
        self.json.get(member).and_then(Value::as_u64)
    }

    pub fn flag(&self, member: &str) -> bool {
        self.json.get(member).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn query_has(&self, name: &str, value: &str) -> bool {
        self.query.split('&').any(|pair| pair.split_once('=') == Some((name, value)))
    }

    /// A text field of a multipart form.
    pub fn form_field(&self, name: &str) -> Option<String> {
        let marker = format!("name=\"{name}\"\r\n");
        let start = memchr::memmem::find(self.body, marker.as_bytes())? + marker.len();
        let rest = &self.body[start..];
        let value = &rest[memchr::memmem::find(rest, b"\r\n\r\n").filter(|at| *at < 200).map_or(2, |at| at + 4)..];
        let end = memchr::memmem::find(value, b"\r\n--")?;
        String::from_utf8(value[..end].to_vec()).ok()
    }
}

/// What a dialect replies.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: ReplyBody,
    pub usage: Option<Usage>,
    /// For the log.
    pub operation: &'static str,
    pub model: Option<String>,
}

#[derive(Clone, Debug)]
pub enum ReplyBody {
    Whole(Bytes),
    Stream(Vec<Chunk>),
}

impl Reply {
    pub fn json(operation: &'static str, body: impl Into<Bytes>) -> Reply {
        Reply {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            body: ReplyBody::Whole(body.into()),
            usage: None,
            operation,
            model: None,
        }
    }

    pub fn bytes(operation: &'static str, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        Reply { content_type, ..Reply::json(operation, body) }
    }

    pub fn events(operation: &'static str, chunks: Vec<Chunk>) -> Reply {
        Reply {
            content_type: "text/event-stream; charset=utf-8",
            body: ReplyBody::Stream(chunks),
            ..Reply::json(operation, "")
        }
    }

    pub fn of_model(mut self, model: &str) -> Reply {
        self.model = Some(model.to_owned());
        self
    }

    pub fn using(mut self, usage: Usage) -> Reply {
        self.usage = Some(usage);
        self
    }

    pub fn with_status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

/// `data: …` and an empty line.
pub fn data(json: &str) -> String {
    format!("data: {json}\n\n")
}

/// `event: …`, `data: …` and an empty line.
pub fn event(name: &str, json: &str) -> String {
    format!("event: {name}\ndata: {json}\n\n")
}
