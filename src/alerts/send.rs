//! One message on its way.

use super::outgoing::Outgoing;
use super::{Receiver, Way, message};
use crate::store::Alert;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer, what is worth telling.
const ANSWER_BYTES_MAX: usize = 1_000;
const ANSWER_CHARS_MAX: usize = 200;

/// Why it did not arrive. Holds nothing secret: the address of a webhook is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub why: String,
    /// Worth another attempt.
    pub again: bool,
}

impl Failed {
    pub fn gone(why: &str) -> Failed {
        Failed { why: why.to_owned(), again: false }
    }

    fn for_now(why: String) -> Failed {
        Failed { why, again: true }
    }
}

#[derive(Default)]
pub struct Sender {
    outgoing: Outgoing,
}

impl Sender {
    pub async fn send(&self, receiver: &Receiver, alert: &Alert) -> Result<(), Failed> {
        let (url, token, body) = match &receiver.way {
            Way::Slack { url } => (url, None, message::slack(alert)),
            Way::Webhook { url, token } => (url, token.as_ref(), message::webhook(alert)),
        };
        let id = message::id(alert);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("farebox/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &id)
            .header("x-farebox-alert-id", &id);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|_| Failed::gone("the receiver's address or token cannot be sent"))?;
        let answered = tokio::time::timeout(TIMEOUT, async {
            let response = self.outgoing.ask(request, receiver.egress.as_ref()).await.map_err(Failed::for_now)?;
            let (status, body) = (response.status(), Limited::new(response.into_body(), ANSWER_BYTES_MAX));
            let said = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            judged(status, &said)
        });
        answered.await.unwrap_or_else(|_| Err(Failed::for_now(format!("no answer within {} s", TIMEOUT.as_secs()))))
    }
}

/// 2xx is taken. A receiver that is overloaded or broken is asked again; one that does not want it is not, but for what
/// an operator may mend meanwhile (a token, an address).
fn judged(status: StatusCode, said: &[u8]) -> Result<(), Failed> {
    if status.is_success() {
        return Ok(());
    }
    let said: String =
        String::from_utf8_lossy(said).chars().filter(|c| !c.is_control()).take(ANSWER_CHARS_MAX).collect();
    let refused = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    Err(Failed { why: format!("it answered {}: {said}", status.as_u16()), again: !refused.contains(&status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_mended_is_tried_again_and_what_is_not_wanted_is_not() {
        assert_eq!(judged(StatusCode::NO_CONTENT, b""), Ok(()));
        let again = |status: u16| judged(StatusCode::from_u16(status).unwrap(), b"sorry\n").unwrap_err().again;
        assert!([401, 403, 404, 408, 429, 500, 503].into_iter().all(again));
        assert!(![400, 413, 422].into_iter().any(again));
        assert_eq!(judged(StatusCode::BAD_GATEWAY, b"so\nrry").unwrap_err().why, "it answered 502: sorry");
    }
}
