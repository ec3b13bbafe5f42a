//! Asking an identity provider, bounded in time and size. What its metadata names is asked, and nothing else: redirects
//! are not followed.

use crate::alerts::{Egress, Outgoing};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use std::pin::Pin;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Of what went wrong.
const TOLD_CHARS_MAX: usize = 500;

/// Why there was no answer, or not the one that was needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(pub String);

/// What leads to one provider.
pub(super) struct Channel {
    outgoing: Outgoing,
    egress: Option<Egress>,
}

impl Channel {
    pub(super) fn new(egress: Option<Egress>) -> Channel {
        Channel { outgoing: Outgoing::default(), egress }
    }
}

impl<'c> AsyncHttpClient<'c> for Channel {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(ask(&self.outgoing, self.egress.as_ref(), request))
    }
}

async fn ask(outgoing: &Outgoing, egress: Option<&Egress>, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let asked = tokio::time::timeout(TIMEOUT, async {
        let response = outgoing.ask(request, egress).await.map_err(NoAnswer)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer(error.to_string()))?.to_bytes();
        Ok(HttpResponse::from_parts(head, body.to_vec()))
    });
    asked.await.unwrap_or_else(|_| Err(NoAnswer(format!("no answer within {} s", TIMEOUT.as_secs()))))
}

/// With its causes. Some of it are a stranger's words: so many letters, and no lines.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    why.chars().filter(|letter| !letter.is_control()).take(TOLD_CHARS_MAX).collect()
}
