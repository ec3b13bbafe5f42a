//! The simulator's door: connections, the log, what was wished, and the way to the dialect.

use super::answer::Occasion;
use super::reply::{Call, Reply, ReplyBody};
use super::seen::{Ending, SeenLog, Visit, seed_of_body};
use super::sending::{Accident, Chunk, Sending};
use super::shelf::Shelf;
use super::squeeze::{Squeezer, squeeze};
use super::wishes::{Malformed, Wishes};
use super::{SimulatorSettings, anthropic, gemini, openai};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bodies beyond this are refused.
const BODY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What all connections share.
pub(super) struct Shop {
    pub settings: SimulatorSettings,
    pub log: Arc<SeenLog>,
    pub shelf: Shelf,
}

/// A connection that can be ended from inside an answer.
#[derive(Debug, Default)]
pub struct Line {
    severed: Notify,
    by_reset: AtomicBool,
}

impl Line {
    /// Ends the connection after what was written.
    pub fn cut(&self) {
        self.severed.notify_one();
    }

    /// Ends the connection with a TCP reset.
    pub fn reset(&self) {
        self.by_reset.store(true, Ordering::Relaxed);
        self.severed.notify_one();
    }
}

type Body = Either<Sending, Full<Bytes>>;

/// Serves one connection until either side ends it.
pub(super) async fn serve(shop: Arc<Shop>, stream: TcpStream) {
    let line = Arc::new(Line::default());
    let served = service_fn(|request| {
        let (shop, line) = (Arc::clone(&shop), Arc::clone(&line));
        async move { Ok::<_, Infallible>(receive(shop, line, request).await) }
    });
    let _ = stream.set_nodelay(true);
    let mut connection = http1::Builder::new().max_headers(500).serve_connection(TokioIo::new(stream), served);
    let severed = {
        let severed = pin!(line.severed.notified());
        tokio::select! {
            _ = &mut connection => false,
            () = severed => true,
        }
    };
    if severed && line.by_reset.load(Ordering::Relaxed) {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn receive(shop: Arc<Shop>, line: Arc<Line>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if let Some(report) = report(&shop, head.uri.path()) {
        return report.map(Either::Right);
    }
    let mut visit = shop.log.arrive(&head);
    let wishes = match Wishes::read(&head.headers, &shop.settings) {
        Ok(wishes) => wishes,
        Err(why) => {
            drop(body.collect().await);
            let refusal = error(&head, 400, &why);
            return send(refusal, &Wishes::default(), visit, line, None);
        }
    };
    if wishes.reset {
        visit.end(Ending::Reset);
        line.reset();
        return std::future::pending().await;
    }
    if wishes.early_413 {
        // Like a server that lingers: it answers at once, and reads on so that the answer is not lost.
        tokio::spawn(async move { drop(body.collect().await) });
        return send(error(&head, 413, "the body is too large"), &wishes, visit, line, None);
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        visit.end(Ending::ClientGone);
        return send(error(&head, 400, "the body did not arrive whole"), &wishes, visit, line, None);
    };
    let body = body.to_bytes();
    let hash = visit.body(&body, shop.settings.keep_bodies);
    tokio::time::sleep(wishes.first_byte).await;
    let reply = reply(&shop, &head, &body, &wishes, &visit);
    send(reply, &wishes, visit, line, Some(hash))
}

/// `GET /simulator/attempts` and `/simulator/totals`: the log, for tests in another process.
fn report(shop: &Shop, path: &str) -> Option<Response<Full<Bytes>>> {
    let body = match path {
        "/simulator/attempts" => serde_json::to_vec(&shop.log.attempts()),
        "/simulator/totals" => serde_json::to_vec(&shop.log.totals()),
        "/simulator/healthz" => Ok(b"{\"status\":\"ok\"}".to_vec()),
        _ => return None,
    };
    let mut response = Response::new(Full::from(body.unwrap_or_default()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Some(response)
}

fn reply(shop: &Shop, head: &Parts, body: &Bytes, wishes: &Wishes, visit: &Visit) -> Reply {
    let settings = &shop.settings;
    let seed = seed_of_body(settings.seed, body);
    let occasion = Occasion {
        attempt: visit.number,
        seed,
        now_seconds: u64::try_from(settings.clock.now().as_seconds()).unwrap_or(0),
    };
    if settings.require_key && !has_key(head) {
        return error(head, 401, "no key was sent");
    }
    if let Some(status) = wished_by_key(head) {
        return error(head, status, "this key is refused, as it wishes");
    }
    if let Some(url) = &wishes.redirect {
        return error(head, 307, "it is elsewhere").with_header("location", url.clone());
    }
    let (path, dialect) = place(head);
    let call = Call {
        method: head.method.as_str(),
        path,
        query: head.uri.query().unwrap_or_default(),
        body,
        json: serde_json::from_slice(body).unwrap_or_default(),
        wishes,
        occasion: &occasion,
        settings,
        shelf: &shop.shelf,
    };
    let fault = fault(shop, wishes, visit.number);
    let reply = match dialect {
        Speech::OpenAi => openai::reply(&call),
        Speech::Anthropic => anthropic::reply(&call),
        Speech::Gemini => gemini::reply(&call),
    };
    let stream = matches!(reply.body, ReplyBody::Stream(_));
    visit.asked(reply.operation, reply.model.as_deref(), stream);
    match fault {
        Some(status) => {
            let refusal = error(head, status, &format!("simulated {status}"));
            match wishes.retry_after {
                Some(seconds) => refusal.with_header("retry-after", seconds.to_string()),
                None => refusal,
            }
        }
        None => reply,
    }
}

/// The error status that is due: wished, or by the rate of the settings.
fn fault(shop: &Shop, wishes: &Wishes, number: u64) -> Option<u16> {
    if let Some(first) = wishes.fail_first {
        let fails = shop.log.fails(wishes.id.as_deref().unwrap_or_default(), first);
        return fails.then_some(wishes.status.unwrap_or(503));
    }
    let draw = super::wishes::seed_of(&(shop.settings.seed ^ number).to_le_bytes());
    let unlucky = draw % 100 < u64::from(shop.settings.error_percent);
    let statuses = [429, 500, 503];
    wishes.status.or_else(|| unlucky.then(|| statuses[(draw / 100 % 3) as usize]))
}

fn send(mut reply: Reply, wishes: &Wishes, visit: Visit, line: Arc<Line>, hash: Option<String>) -> Response<Body> {
    if wishes.malformed.is_some() && reply.status == 200 {
        reply = garbled(reply, wishes.malformed);
    }
    visit.answered(reply.status, reply.usage.filter(|_| reply.status < 300));
    let mut response = Response::builder()
        .status(reply.status)
        .header("content-type", reply.content_type)
        .header("x-sim-attempt", visit.number)
        .header(request_id_name(&reply), format!("sim-{}", visit.number));
    if let Some(hash) = hash {
        response = response.header("x-sim-body-blake3", hash);
    }
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    if let Some(encoding) = wishes.encoding {
        response = response.header("content-encoding", encoding.name());
    }
    let accident = (wishes.stall_after.map(|after| Accident::Stall { after }))
        .or(wishes.cut_after.map(|after| Accident::Cut { after }));
    let tokens = reply.usage.map_or(0, |usage| usage.output_tokens);
    let sending = match reply.body {
        ReplyBody::Stream(chunks) => Sending::new(chunks, visit, line)
            .pausing(wishes.chunk_pause)
            .squeezed(wishes.encoding.and_then(|encoding| Squeezer::new(encoding).ok())),
        ReplyBody::Whole(body) => {
            let body = wishes.encoding.and_then(|encoding| squeeze(encoding, &body).ok()).unwrap_or(body);
            let half = if accident.is_some() { body.len() / 2 } else { body.len() };
            let chunks = [Chunk::content(body.slice(..half), tokens), Chunk::content(body.slice(half..), 0)];
            let chunks = chunks.into_iter().filter(|chunk| !chunk.bytes.is_empty()).collect();
            Sending::new(chunks, visit, line).of_known_length()
        }
    };
    let body = Either::Left(sending.with_accident(accident));
    response.body(body).unwrap_or_else(|_| Response::new(Either::Right(Full::default())))
}

/// Anthropic's id has another name.
fn request_id_name(reply: &Reply) -> &'static str {
    if reply.headers.iter().any(|(name, _)| *name == "anthropic-organization-id") {
        "request-id"
    } else {
        "x-request-id"
    }
}

fn garbled(mut reply: Reply, how: Option<Malformed>) -> Reply {
    reply.body = match (reply.body, how) {
        (ReplyBody::Whole(body), _) => {
            let mut broken = body.slice(..body.len() / 2).to_vec();
            broken.extend_from_slice(b"}}]\x00\xff");
            ReplyBody::Whole(broken.into())
        }
        (ReplyBody::Stream(mut chunks), _) => {
            let place = chunks.len().min(3);
            chunks.insert(place, Chunk::frame("data: {\"id\": \"chatcm\n\n: a comment\nnonsense\ndata\n\n"));
            chunks.insert(place, Chunk::frame(&b"data: \xff\xfe not utf-8\n\n"[..]));
            ReplyBody::Stream(chunks)
        }
    };
    reply
}

#[derive(Clone, Copy)]
enum Speech {
    OpenAi,
    Anthropic,
    Gemini,
}

/// The path without its dialect's prefix, and whose it is.
fn place(head: &Parts) -> (&str, Speech) {
    let whole = head.uri.path();
    for (prefix, speech) in
        [("/openai", Speech::OpenAi), ("/anthropic", Speech::Anthropic), ("/gemini", Speech::Gemini)]
    {
        if let Some(path) = whole.strip_prefix(prefix).filter(|path| path.starts_with("/v1")) {
            return (path, speech);
        }
    }
    let is_gemini = ["/v1beta", "/v1alpha", "/download/v1beta"].iter().any(|start| whole.starts_with(start));
    let speech = if is_gemini || whole.contains(":generateContent") {
        Speech::Gemini
    } else if whole.starts_with("/v1/messages") || head.headers.contains_key("anthropic-version") {
        Speech::Anthropic
    } else {
        Speech::OpenAi
    };
    (whole, speech)
}

fn has_key(head: &Parts) -> bool {
    let names = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
    let in_query = head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    in_query || names.iter().any(|name| head.headers.contains_key(*name))
}

/// A key in which `sim-401`, `sim-403` or `sim-429` stands gets that answer.
fn wished_by_key(head: &Parts) -> Option<u16> {
    let keys = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];
    let texts = keys.iter().filter_map(|name| head.headers.get(*name)?.to_str().ok());
    let wish = |text: &str| [401, 403, 429].into_iter().find(|status| text.contains(&format!("sim-{status}")));
    texts.filter_map(wish).next()
}

fn error(head: &Parts, status: u16, message: &str) -> Reply {
    match place(head).1 {
        Speech::OpenAi => openai::error(status, message, None),
        Speech::Anthropic => anthropic::error(status, message),
        Speech::Gemini => gemini::error(status, message),
    }
}
