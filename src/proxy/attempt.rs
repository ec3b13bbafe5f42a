//! One attempt: bounded, decided and journalled anew, then sent; its answer is handed to [`super::deliver`].

use super::Proxy;
use super::account::{Account, Call, Ending, Marks};
use super::client::Session;
use super::decide::{Admitted, Course, Errand, Refused};
use super::deliver::{self, Delivery};
use super::downstream::{self, BodyFault};
use super::exchange::{Arrived, Asked, AskedBody};
use super::foresee::terms;
use super::limits::Passes;
use super::links;
use super::offer::Target;
use super::purse::Carried;
use super::refusal;
use super::surface;
use super::swap::limit_member;
use super::told;
use super::upstream::{Connection, Failure, Framing, HeadPlan, Line, head, unwritable};
use crate::clock::Timestamp;
use crate::dialects::splice::{Edits, splice};
use crate::dialects::{Dialect, Operation, Refusal, RefusalKind};
use crate::event::{Opening, Outcome};
use crate::ids::EventId;
use crate::ledger::admission::Reservation;
use crate::telemetry::otel::{Arrival, AttemptTrace, RefusedTrace, Trace};
use crate::tenants::GUARDED_OPERATIONS;
use bytes::Bytes;
use http::header::HeaderName;
use http::response::Parts as ResponseHead;
use http::{Method, StatusCode};
use pingora_timeout::fast_timeout::fast_timeout;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of an error response that is tried again, this much is read so that its connection can be kept.
const RETRIED_BODY_BYTES_MAX: usize = 64 * 1024;
/// Where callers put their own name of a call.
static REQUEST_IDS: [HeaderName; 2] =
    [HeaderName::from_static("x-client-request-id"), HeaderName::from_static("x-request-id")];

/// How one attempt went, for the loop over attempts.
pub enum Attempt {
    /// The response was written, or the client is gone.
    Done,
    /// Farebox says no; nothing was sent.
    Refused(Refusal),
    Failed {
        failure: Failure,
        pause: Option<Duration>,
    },
    /// The provider refused this key and accepted nothing; another is there.
    NextKey(Arc<str>),
}

/// One attempt: bounded, decided and journalled anew.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub proxy: &'a Arc<Proxy>,
    pub arrived: &'a Arrived,
    pub asked: &'a Asked,
    /// Where the request wants to go; once it is decided, where it goes.
    pub target: &'a Target,
    /// 1 for the first attempt of its exchange.
    pub number: u16,
    /// Another attempt here may follow: a status that the settings name is tried again instead of passed on.
    pub can_retry: bool,
    /// The same, elsewhere.
    pub more_targets: bool,
    /// Keys of this provider's that it refused this request with.
    pub keys_tried: &'a [Arc<str>],
    /// On a new connection: a kept one was closed under the attempt before.
    pub fresh: bool,
}

impl Run<'_> {
    pub async fn attempt(&self, session: &mut Session, passes: &mut Passes) -> Attempt {
        let asked = if self.number == 1 { self.asked.read } else { Instant::now() };
        let decided = self.decide(Errand::Attempt(passes)).await;
        told::decided(self, &decided);
        let Admitted { course, held } = match decided {
            Ok(admitted) => admitted,
            Err(refused) => {
                self.trace_refusal(&refused, asked);
                return Attempt::Refused(refused.refusal);
            }
        };
        let Some(held) = held else { return Attempt::Done };
        let account = self.account(&course, held.reservation, (asked, held.asked));
        let _slot = held.slot;
        Run { target: &course.target, ..*self }.carry_out(session, &course, account).await
    }

    async fn carry_out(&self, session: &mut Session, course: &Course<'_>, mut account: Account) -> Attempt {
        let carried = match self.carried() {
            Ok(carried) => carried,
            Err(why) => return keyless(account, why),
        };
        let line = match Line::open(&self.target.provider, self.proxy.clock.now(), self.fresh).await {
            Ok(line) => line,
            Err(failure) => return self.not_sent(account, failure),
        };
        let mut connection = match self.send(session, line, &mut account, course, &carried).await {
            Ok(connection) => connection,
            Err(Stop::ClientGone) => return self.client_gone(account),
            Err(Stop::TooSlow) => {
                account.settle(Ending::ClientGone);
                return Attempt::Refused(refusal::slow_body());
            }
            Err(Stop::Failed(failure)) => return self.broken(account, failure),
        };
        let response = match self.response_head(session, &mut connection).await {
            Some(Ok(response)) => response,
            Some(Err(failure)) => {
                connection.release(false).await;
                return self.broken(account, failure);
            }
            None => {
                connection.release(false).await;
                return self.client_gone(account);
            }
        };
        account.answered(&response);
        let status = response.status.as_u16();
        let failure = (status >= 500).then(|| format!("it answered {status}"));
        let is_down = self.tell_health(status, failure, matches!(carried, Carried::Own(_)));
        let can_retry = self.more_targets || self.can_retry && !is_down;
        if let Some(refused_key) = self.judge_key(&carried, &response) {
            let _ = self.try_again(account, connection, &response).await;
            return Attempt::NextKey(refused_key);
        }
        if surface::lists_models_itself(self.arrived, status) {
            return Box::pin(self.models_of_the_catalog(session, account, connection)).await;
        }
        if can_retry && self.asked.is_whole() && self.target.provider.settings.retries.statuses.contains(&status) {
            return Box::pin(self.try_again(account, connection, &response)).await;
        }
        let delivery =
            Delivery { proxy: self.proxy, arrived: self.arrived, asked: self.asked, target: &course.target, course };
        deliver::deliver(delivery, session, connection, account, response).await;
        Attempt::Done
    }

    /// An answer says how the provider is, and what it thinks of our key. Is it down now?
    fn tell_health(&self, status: u16, failure: Option<String>, is_ours: bool) -> bool {
        let (provider, now) = (&self.target.provider, self.proxy.clock.now());
        let mut health = provider.health.lock();
        health.record(failure, now);
        if is_ours {
            health.own_key_answered(status);
        }
        health.is_down(now)
    }

    /// What the call is made with. Operations on what a provider keeps by account always take the same key.
    fn carried(&self) -> Result<Carried, &'static str> {
        let steady = GUARDED_OPERATIONS.contains(&self.arrived.endpoint.operation);
        self.target.provider.purse.take(self.proxy.clock.now(), self.keys_tried, steady)
    }

    /// Marks the key by its answer. `Some`: its name, when the call can be made with another key instead.
    fn judge_key(&self, carried: &Carried, response: &ResponseHead) -> Option<Arc<str>> {
        let Carried::Own(key) = carried else { return None };
        let (status, now) = (response.status.as_u16(), self.proxy.clock.now());
        key.answered(status, retry_after(response), now);
        if !matches!(status, 401..=403 | 429) || !self.asked.is_whole() {
            return None;
        }
        let tried: Vec<Arc<str>> = self.keys_tried.iter().chain([&key.name]).cloned().collect();
        let another = self.target.provider.purse.has_another(now, status, &tried);
        another.then(|| Arc::clone(&key.name))
    }

    /// The account of an admitted attempt. `moments`: when the rules were asked, and the budgets.
    pub fn account(
        &self,
        course: &Course<'_>,
        reservation: Reservation,
        moments: (Instant, Option<Instant>),
    ) -> Account {
        let (arrived, asked) = (self.arrived, self.asked);
        let call = Arc::new(Call {
            endpoint: arrived.endpoint.clone(),
            dialect: arrived.dialect,
            flavor: course.target.provider.settings.flavor,
            facts: Arc::clone(&asked.facts),
            body: if arrived.endpoint.metered { asked.whole() } else { Bytes::new() },
            offer: course.target.offer.clone(),
            swapped_from: course.is_swapped().then(|| self.target.offer.clone()).flatten(),
            terms: match &course.target.offer {
                Some(_) if arrived.endpoint.metered => course.foreseen.terms.clone(),
                _ => terms(arrived, asked),
            },
            client: arrived.client,
            trace: arrived.trace.as_ref().map(|trace| self.traced(trace, moments)),
        });
        let marks = Marks { arrived: arrived.started, read: asked.read, sent: None, answered: None };
        Account::open(self.proxy, reservation, call, marks)
    }

    fn traced(&self, trace: &Trace, (asked, reserving): (Instant, Option<Instant>)) -> Box<AttemptTrace> {
        Box::new(AttemptTrace {
            trace: trace.clone(),
            span: trace.new_span(),
            arrival: Arrival { at: self.arrived.at, started: self.arrived.started },
            asked,
            reserving: reserving.unwrap_or(asked),
            reserved: Instant::now(),
            sent: None,
            answered: None,
            settling: None,
            settled: None,
            facts: Arc::clone(&self.asked.facts),
        })
    }

    /// A decision that was a no, in its trace.
    fn trace_refusal(&self, refused: &Refused<'_>, asked: Instant) {
        let Some(trace) = self.arrived.trace.as_ref().filter(|trace| trace.sampled) else { return };
        let ruled = refused.course.as_ref().and_then(|course| course.ruled.as_deref());
        self.proxy.telemetry.otel.refused(RefusedTrace {
            trace: trace.clone(),
            arrival: Arrival { at: self.arrived.at, started: self.arrived.started },
            asked,
            refused: Instant::now(),
            kind: refused.refusal.kind.name(),
            rule: ruled.and_then(|ruled| ruled.steps.last()?.rule.clone()),
        });
    }

    /// What the journal has before the first byte leaves.
    pub fn opening(&self, course: &Course<'_>) -> Opening {
        let (arrived, asked, foreseen) = (self.arrived, self.asked, &course.foreseen);
        let ruled = course.ruled.as_deref();
        let header = |name: &HeaderName| arrived.head.headers.get(name).and_then(|value| value.to_str().ok());
        let elapsed = i64::try_from(arrived.started.elapsed().as_micros()).unwrap_or(0);
        // A first attempt began when its request arrived; a later one begins now.
        let started_at = if self.number == 1 { arrived.at } else { Timestamp(arrived.at.as_micros() + elapsed) };
        Opening {
            id: EventId(self.proxy.ledger.next_event_id(started_at).0),
            exchange: arrived.id,
            attempt: self.number,
            started_at,
            caller: Arc::clone(&arrived.caller),
            attribution: Arc::clone(&asked.attribution),
            provider: Arc::clone(&course.target.provider.settings.name),
            dialect: arrived.dialect,
            operation: arrived.endpoint.operation,
            requested_model: asked.facts.requested_model.clone(),
            upstream_model: course.target.model.clone(),
            stream: asked.facts.stream,
            client_request_id: REQUEST_IDS.iter().find_map(header).map(|id| Arc::from(&id[..id.len().min(128)])),
            decision: Arc::from(ruled.and_then(|ruled| ruled.action).unwrap_or("admit")),
            rule: ruled.and_then(|ruled| ruled.rule.clone()),
            ceiling: foreseen.ceiling,
            estimate: foreseen.estimated_cost,
            estimated_usage: foreseen.estimate,
            estimated_input_cost: foreseen.estimated_input_cost,
            cost_per_1k_output: foreseen.cost_per_1k_output,
        }
    }

    /// Sends head and body; a streaming body is passed on as it comes.
    async fn send(
        &self,
        session: &mut Session,
        line: Line,
        account: &mut Account,
        course: &Course<'_>,
        carried: &Carried,
    ) -> Result<Connection, Stop> {
        let timeouts = self.target.provider.settings.timeouts;
        let (body, framing) = match &self.asked.body {
            AskedBody::Whole(whole) => {
                let body = self.edited(&whole.bytes, course);
                let unsaid = self.arrived.head.method != Method::POST && downstream::content_length(session).is_none();
                let framing =
                    if body.is_empty() && unsaid { Framing::Nothing } else { Framing::Length(body.len() as u64) };
                (body, framing)
            }
            AskedBody::Streaming { prefix } => (prefix.clone(), streaming_framing(session)),
        };
        let rest = self.rest();
        let plan = HeadPlan {
            original: &self.arrived.head,
            provider: &self.target.provider,
            rest: &rest,
            query: self.arrived.query.as_deref(),
            framing,
            identity: self.asks_for_usage() || course.is_sliced() || links::may_stand_in(self.arrived),
            caller_key_may_pass: self.target.caller_key_may_pass,
            traceparent: account.traceparent().filter(|_| self.target.provider.settings.trace_context),
            carried,
        };
        account.sent(body.len() as u64);
        if matches!(self.asked.body, AskedBody::Whole(_)) {
            return line.send(&plan, body, timeouts.first_byte).await.map_err(Stop::Failed);
        }
        let head = head(&plan).ok_or_else(|| Stop::Failed(unwritable()))?;
        let connection = Box::pin(line.begin(head, timeouts.first_byte)).await.map_err(Stop::Failed)?;
        Box::pin(self.send_streaming(session, connection, account, body)).await
    }

    async fn send_streaming(
        &self,
        session: &mut Session,
        mut connection: Connection,
        account: &mut Account,
        prefix: Bytes,
    ) -> Result<Connection, Stop> {
        let deadline = self.arrived.started + self.target.provider.settings.timeouts.whole;
        let mut next = Some(prefix);
        while let Some(chunk) = next {
            // An answer may come before everything was sent (413): stop sending and read it.
            if !chunk.is_empty() && !connection.write(chunk).await {
                return Ok(connection);
            }
            let piece = {
                let piece = pin!(session.piece());
                fast_timeout(deadline.saturating_duration_since(Instant::now()), piece).await
            };
            next = match piece.unwrap_or(Err(BodyFault::TooSlow)) {
                Ok(chunk) => chunk,
                Err(fault) => {
                    connection.release(false).await;
                    return Err(if fault == BodyFault::TooSlow { Stop::TooSlow } else { Stop::ClientGone });
                }
            };
            account.sent(next.as_ref().map_or(0, |chunk| chunk.len() as u64));
        }
        connection.finish().await;
        Ok(connection)
    }

    /// The body as it leaves: the model's name, a lowered output limit and our request for usage written in, what the
    /// model does not take cut out, nothing else changed.
    fn edited(&self, body: &Bytes, course: &Course<'_>) -> Bytes {
        let in_path = self.arrived.endpoint.model_in_path.is_some();
        let model = self.target.model.as_deref().filter(|_| self.target.renamed && !in_path);
        let plain = Edits { model, include_usage: self.asks_for_usage(), ..Edits::default() };
        let Some(ruled) = course.ruled.as_deref() else { return splice(body, &self.asked.facts.splice, &plain) };
        let limit = ruled.known.output_max.filter(|max| self.asked.facts.output_limit.is_none_or(|asked| *max < asked));
        let member = limit_member(self.arrived.dialect, self.arrived.endpoint.operation, self.target);
        let adapted = &ruled.adapted;
        let edits = Edits {
            output_limit: member.zip(limit),
            remove: &adapted.remove,
            rename: adapted.rename.as_ref().map(|(old, new)| (&**old, &**new)),
            ..plain
        };
        splice(body, &self.asked.facts.splice, &edits)
    }

    /// A renamed model that stands in the path is renamed there.
    fn rest(&self) -> String {
        match (&self.arrived.endpoint.model_in_path, &self.target.model) {
            (Some(old), Some(new)) if self.target.renamed => self.arrived.rest.replacen(&**old, new, 1),
            _ => self.arrived.rest.clone(),
        }
    }

    fn asks_for_usage(&self) -> bool {
        asks_for_usage(self.arrived, self.asked, self.target)
    }

    /// The response's head; `None` when the client left before it and its provider is to be told.
    async fn response_head(
        &self,
        session: &mut Session,
        connection: &mut Connection,
    ) -> Option<Result<ResponseHead, Failure>> {
        let settings = &self.target.provider.settings;
        let timeout = settings.timeouts.first_byte.min(settings.timeouts.whole);
        let head = connection.response_head(timeout);
        let head = if settings.on_client_gone == super::settings::OnClientGone::Drain {
            head.await
        } else {
            tokio::select! {
                biased;
                head = head => head,
                _gone = session.left() => return None,
            }
        };
        Some(head.and_then(|head| match head.status {
            // Nobody asked for it, and what follows would be no HTTP.
            StatusCode::SWITCHING_PROTOCOLS => Err(Failure::NoResponse("it switched protocols unasked".to_owned())),
            _ => Ok(head),
        }))
    }

    fn not_sent(&self, account: Account, failure: Failure) -> Attempt {
        self.target.provider.health.lock().record(Some(failure.in_words()), self.proxy.clock.now());
        account.settle(Ending::NotSent { detail: Arc::from(failure.in_words()) });
        Attempt::Failed { failure, pause: None }
    }

    fn broken(&self, account: Account, failure: Failure) -> Attempt {
        if let Failure::Stale { whole } = failure {
            return stale(account, whole);
        }
        self.target.provider.health.lock().record(Some(failure.in_words()), self.proxy.clock.now());
        let ending = Ending::Broken { outcome: refusal::outcome(&failure), detail: Arc::from(failure.in_words()) };
        account.settle(ending);
        Attempt::Failed { failure, pause: None }
    }

    fn client_gone(&self, account: Account) -> Attempt {
        account.settle(Ending::ClientGone);
        Attempt::Done
    }

    /// The provider has no list of models: the catalog's is given.
    async fn models_of_the_catalog(&self, session: &mut Session, account: Account, connection: Connection) -> Attempt {
        connection.release(false).await;
        account.settle(Ending::Finished);
        let provider = &self.target.provider.settings.name;
        let models = self.proxy.catalog.load().models(Some(provider));
        let body = surface::model_list(self.arrived.dialect, &models, self.proxy.clock.now()).to_string().into_bytes();
        let headers = [("x-farebox-exchange-id", self.arrived.id.to_string())];
        downstream::respond_json(session, 200, &headers, body).await;
        Attempt::Done
    }

    /// A status that the settings name: its attempt is settled, and the next one waits as the provider asks.
    async fn try_again(&self, mut account: Account, mut connection: Connection, response: &ResponseHead) -> Attempt {
        let mut read = 0;
        let whole = loop {
            match connection.piece().await {
                Ok(Some(chunk)) if read + chunk.len() <= RETRIED_BODY_BYTES_MAX => {
                    read += chunk.len();
                    account.observe(&chunk);
                }
                Ok(None) => break true,
                Ok(Some(_)) | Err(_) => break false,
            }
        };
        connection.release(whole).await;
        account.ended();
        account.settle(Ending::Finished);
        let pause = retry_after(response).filter(|pause| *pause <= self.target.provider.settings.retries.pause_max);
        Attempt::Failed { failure: Failure::Rejected(response.status.as_u16()), pause }
    }

    /// By default only what no provider accepted is tried again, and only a body that is still here can be.
    pub fn may_try_again(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::NotConnected(_) | Failure::Rejected(_)) && self.asked.is_whole()
    }

    /// A connection that was closed under a request is tried once more where asking twice does no more than asking once,
    /// but for what it costs (RFC 9110 §9.2.2): of what is metered nothing stays at the provider that anybody would miss.
    pub fn may_repeat(&self) -> bool {
        let endpoint = &self.arrived.endpoint;
        let generates = endpoint.metered && !self.asked.facts.background;
        let leaves_nothing = generates || endpoint.operation == Operation::CountTokens;
        self.asked.is_whole() && (leaves_nothing || self.arrived.head.method.is_idempotent())
    }

    /// Another provider may have the certificate that this one lacks.
    pub fn may_try_elsewhere(&self, failure: &Failure) -> bool {
        self.may_try_again(failure) || matches!(failure, Failure::Untrusted(_)) && self.asked.is_whole()
    }

    /// The pause before the next try: doubled each time, with jitter between a half and the whole.
    pub fn pause(&self, tried: u16) -> Duration {
        let retries = &self.target.provider.settings.retries;
        let doubled =
            retries.pause.saturating_mul(1 << u32::from(tried.saturating_sub(1)).min(16)).min(retries.pause_max);
        let mut random = [0u8; 1];
        let _ = getrandom::fill(&mut random);
        doubled / 2 + doubled.mul_f64(f64::from(random[0]) / 512.0)
    }

    pub fn full(&self, target: &Target) -> Refusal {
        let name = &target.provider.settings.name;
        Refusal {
            retry_after_seconds: Some(1),
            ..refusal::because(
                RefusalKind::Unavailable,
                format!(
                    "As many calls to `{name}` are under way as its `concurrency_max` allows. Try again in a moment."
                ),
            )
        }
    }
}

/// A provider closes kept connections as it likes: that says nothing of its health. A request that never left whole was
/// not carried out; one that did may have been.
fn stale(account: Account, whole: bool) -> Attempt {
    let detail = Arc::from("the provider closed a kept connection under the request");
    account.settle(match whole {
        true => Ending::Broken { outcome: Outcome::ProviderCut, detail },
        false => Ending::NotSent { detail },
    });
    Attempt::Failed { failure: Failure::Stale { whole }, pause: None }
}

/// There is no key to call it with: another provider may have one.
fn keyless(account: Account, why: &str) -> Attempt {
    account.settle(Ending::NotSent { detail: Arc::from(why) });
    Attempt::Failed { failure: Failure::NotConnected(why.to_owned()), pause: None }
}

/// How long the provider asks to be left alone.
fn retry_after(response: &ResponseHead) -> Option<Duration> {
    let seconds = response.headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Why sending stopped.
enum Stop {
    ClientGone,
    TooSlow,
    Failed(Failure),
}

/// OpenAI-dialect streams of chat and completions report usage only when asked; we ask on the caller's behalf.
pub fn asks_for_usage(arrived: &Arrived, asked: &Asked, target: &Target) -> bool {
    let streams = matches!(arrived.endpoint.operation, Operation::Chat | Operation::Completion) && asked.facts.stream;
    arrived.dialect == Dialect::OpenAi
        && streams
        && !asked.facts.asked_for_usage
        && target.provider.settings.ask_for_usage
        && asked.facts.splice.members.is_some()
}

fn streaming_framing(session: &mut Session) -> Framing {
    match downstream::content_length(session) {
        Some(bytes) => Framing::Length(bytes),
        None if session.head().headers.contains_key(http::header::TRANSFER_ENCODING)
            || session.is_http2() && !session.is_body_empty() =>
        {
            Framing::Chunked
        }
        None => Framing::Nothing,
    }
}
