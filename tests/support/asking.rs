//! A client: one request as a sentence, and what came of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

/// No answer takes longer in a test that works.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A request that is being put together.
pub struct Asking {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

/// `asking("POST", "http://127.0.0.1:1234/v1/chat/completions")`
pub fn asking(method: &str, url: &str) -> Asking {
    Asking { method: method.parse().unwrap(), url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
}

impl Asking {
    pub fn json(self, body: &Value) -> Asking {
        self.with("content-type", "application/json").bytes(body.to_string())
    }

    pub fn bytes(mut self, body: impl Into<Bytes>) -> Asking {
        self.body = body.into();
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Asking {
        self.headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        self
    }

    /// `wishing("chunks", 3)` sends `x-sim-chunks: 3`.
    pub fn wishing(self, wish: &str, value: impl ToString) -> Asking {
        self.with(&format!("x-sim-{wish}"), &value.to_string())
    }

    /// Sends it and reads the answer to its end.
    pub async fn answered(self) -> Answered {
        self.streaming().await.finished().await
    }

    /// Sends it and reads the answer's head.
    pub async fn streaming(self) -> Streaming {
        self.attempted().await.expect("an answer's head")
    }

    /// The same where it may well fail.
    pub async fn attempted(self) -> Result<Streaming, String> {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.url.parse().unwrap();
        *request.headers_mut() = self.headers;
        let response = tokio::time::timeout(PATIENCE, client.request(request)).await;
        let response = response.map_err(|_| "no head in time".to_owned())?.map_err(|why| format!("{why:?}"))?;
        let (head, body) = response.into_parts();
        Ok(Streaming { status: head.status, headers: head.headers, body })
    }
}

/// An answer whose body is still to be read. Dropped, the connection is closed.
pub struct Streaming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
}

impl Streaming {
    /// The next bytes of the body; `None` at its end; an error where it was cut.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the next bytes in time")?;
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                Ok(Err(_trailers)) => {}
                Err(why) => return Some(Err(why.to_string())),
            }
        }
    }

    /// Reads until the body so far is enough.
    pub async fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut so_far = Vec::new();
        while !enough(&String::from_utf8_lossy(&so_far)) {
            let bytes = self.next().await.expect("more of the body").expect("an uncut body");
            so_far.extend_from_slice(&bytes);
        }
        String::from_utf8(so_far).unwrap()
    }

    pub async fn finished(mut self) -> Answered {
        let (mut body, mut cut) = (Vec::new(), None);
        while let Some(bytes) = self.next().await {
            match bytes {
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(why) => {
                    cut = Some(why);
                    break;
                }
            }
        }
        Answered { status: self.status, headers: self.headers, body: body.into(), cut }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Why the body ended before its end.
    pub cut: Option<String>,
}

impl Answered {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why} in: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The JSON of every `data:` line but `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|why| panic!("{why} in: {data}"))).collect()
    }

    /// The number by which the simulator knows the attempt.
    pub fn attempt(&self) -> u64 {
        self.header("x-sim-attempt").expect("x-sim-attempt").parse().unwrap()
    }
}
