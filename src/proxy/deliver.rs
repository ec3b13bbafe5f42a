//! The response on its way to the client. A chunk goes to the client first, then to the meter; chunks that are already
//! waiting are written together, and none waits for another.

use super::Proxy;
use super::account::{Account, Ending, Made};
use super::attempt::asks_for_usage;
use super::client::{Length, Marks, Session};
use super::decide::Course;
use super::exchange::{Arrived, Asked};
use super::links;
use super::marks;
use super::offer::Target;
use super::settings::OnClientGone;
use super::slices::Slices;
use super::upstream::{Connection, Cut};
use crate::dialects::Operation;
use crate::dialects::curtail::Curtail;
use crate::dialects::withhold::UsageWithholder;
use crate::event::Outcome;
use bytes::{Bytes, BytesMut};
use http::header;
use http::response::Parts as ResponseHead;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Chunks that wait are joined up to this before they are written.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// What a delivery is about.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    pub proxy: &'a Arc<Proxy>,
    pub arrived: &'a Arrived,
    pub asked: &'a Asked,
    pub target: &'a Target,
    pub course: &'a Course<'a>,
}

/// What came next of the provider's response.
enum Next {
    Chunk(Bytes),
    End,
    ClientGone,
    Broken(Outcome, &'static str),
}

/// A response under way.
struct Flow<'a> {
    session: &'a mut Session,
    connection: &'a mut Connection,
    /// The client is still there (or we do not care that it is not).
    client: bool,
    /// The client was there when the dialect's own ending was written: SDKs leave at it, before the transport's end.
    told_all: bool,
    drain: bool,
    idle: Duration,
    deadline: Instant,
}

/// A stream that is held in slices; `curtail` where it can be ended by us with its dialect's own words.
struct Sliced<'a> {
    slices: Slices<'a>,
    curtail: Option<Curtail>,
}

/// Passes the response on and settles its account.
pub async fn deliver(
    delivery: Delivery<'_>,
    session: &mut Session,
    mut connection: Connection,
    account: Account,
    upstream: ResponseHead,
) {
    let settings = &delivery.target.provider.settings;
    let mut flow = Flow {
        session,
        connection: &mut connection,
        client: true,
        told_all: false,
        drain: settings.on_client_gone == OnClientGone::Drain,
        idle: settings.timeouts.idle,
        deadline: delivery.arrived.started + settings.timeouts.whole,
    };
    let whole = delivery.completes(&upstream);
    let ended = if whole {
        flow.whole(delivery, account, upstream).await
    } else {
        Box::pin(flow.stream(delivery, account, upstream, Bytes::new())).await
    };
    connection.release(ended).await;
}

impl Delivery<'_> {
    /// Whole JSON of metered calls up to a bound is completed before it is passed on, so that its cost is in a header; and
    /// what may hold a link.
    fn completes(&self, upstream: &ResponseHead) -> bool {
        let text = |name: header::HeaderName| upstream.headers.get(name).and_then(|value| value.to_str().ok());
        let json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let small = length.is_none_or(|length| length <= self.proxy.settings.cost_header_body_bytes_max);
        let wanted = self.arrived.endpoint.metered || links::may_stand_in(self.arrived);
        wanted && json && small && !self.asked.facts.stream
    }

    fn withholder(&self, upstream: &ResponseHead) -> Option<UsageWithholder> {
        let kind = upstream.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let plain = !upstream.headers.contains_key(header::CONTENT_ENCODING);
        (asks_for_usage(self.arrived, self.asked, self.target) && stream && plain).then(UsageWithholder::default)
    }

    /// A stream whose hold is topped up while it flows, and which we may have to end.
    fn sliced(&self, upstream: &ResponseHead) -> Option<Sliced<'_>> {
        let slices = Slices::of(*self)?;
        let kind = upstream.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let plain = !upstream.headers.contains_key(header::CONTENT_ENCODING);
        let curtail = (stream && plain).then(|| Curtail::new(self.arrived.dialect, self.arrived.endpoint.operation));
        Some(Sliced { slices, curtail })
    }

    /// What is known when a response's head leaves.
    fn marks(&self) -> Marks {
        let mut marks = Marks::new();
        marks.put("x-farebox-exchange-id", &self.arrived.id.to_string());
        if !self.arrived.endpoint.metered {
            return marks;
        }
        if let Some(model) = &self.target.model {
            marks.put("x-farebox-model", &marks::printable(model));
        }
        let foreseen = &self.course.foreseen;
        if let Some(cost) = foreseen.estimated_cost {
            marks.put("x-farebox-estimated-cost", &cost.to_string());
        }
        if let Some(cost) = foreseen.ceiling {
            marks.put("x-farebox-ceiling-cost", &cost.to_string());
        }
        if let Some(ruled) = self.course.ruled.as_deref() {
            marks::ruled(ruled, &mut |name, value| marks.put(name, &value));
        }
        marks
    }

    /// The input that was foreseen, where the answer is not waited for.
    fn mark_input(&self, marks: &mut Marks) {
        if self.arrived.endpoint.metered && self.arrived.endpoint.operation != Operation::CountTokens {
            marks.put_number("x-farebox-input-tokens", self.course.foreseen.estimate.input_tokens());
        }
    }
}

impl Flow<'_> {
    /// Collects the body up to the bound, settles, and writes it with its cost. True: the connection can be kept.
    async fn whole(&mut self, delivery: Delivery<'_>, mut account: Account, upstream: ResponseHead) -> bool {
        let bound = usize::try_from(delivery.proxy.settings.cost_header_body_bytes_max).unwrap_or(usize::MAX);
        // The common small answer is one chunk, which is not copied.
        let mut first = Bytes::new();
        let mut body = BytesMut::new();
        loop {
            match self.next().await {
                Next::Chunk(chunk) => {
                    account.observe(&chunk);
                    if first.is_empty() && body.is_empty() {
                        first = chunk;
                    } else {
                        body.extend_from_slice(&std::mem::take(&mut first));
                        body.extend_from_slice(&chunk);
                    }
                    if first.len().max(body.len()) > bound {
                        // Larger than it said it would be: it streams on, with the headers that streams have.
                        return Box::pin(self.stream(delivery, account, upstream, joined(first, body))).await;
                    }
                }
                Next::End => break,
                Next::ClientGone => {
                    account.settle(Ending::ClientGone);
                    return false;
                }
                Next::Broken(outcome, detail) => {
                    let why = (outcome, detail);
                    return Box::pin(self.broken_whole(delivery, account, upstream, joined(first, body), why)).await;
                }
            }
        }
        account.ended();
        let client_stayed = self.client;
        let made = account.settle_and_wait(if client_stayed { Ending::Finished } else { Ending::ClientGone }).await;
        if client_stayed {
            let mut marks = delivery.marks();
            let mut body = joined(first, body);
            if delivery.arrived.endpoint.metered {
                match made {
                    Some(made) => mark_settled(&mut marks, &made),
                    None => delivery.mark_input(&mut marks),
                }
            } else {
                body = links::made_ours(delivery.proxy, delivery.arrived, self.session, body);
            }
            self.write_whole(upstream, &marks, body).await;
        }
        true
    }

    async fn write_whole(&mut self, mut head: ResponseHead, marks: &Marks, body: Bytes) {
        let bodiless = matches!(head.status.as_u16(), 204 | 304) || self.session.head().method == http::Method::HEAD;
        if !bodiless {
            head.headers.insert(header::CONTENT_LENGTH, (body.len() as u64).into());
        }
        let body = if bodiless { Bytes::new() } else { body };
        self.session.write_whole(head, marks, body).await;
    }

    /// The provider's body ended too early: what came is passed on, and the connection is closed where its framing
    /// says that more was to come, as it would have been without us.
    async fn broken_whole(
        &mut self,
        delivery: Delivery<'_>,
        account: Account,
        upstream: ResponseHead,
        body: Bytes,
        (outcome, detail): (Outcome, &'static str),
    ) -> bool {
        account.settle(Ending::Broken { outcome, detail: Arc::from(detail) });
        let mut marks = delivery.marks();
        delivery.mark_input(&mut marks);
        self.session.close_after();
        let length = said_length(&upstream);
        if self.session.write_head(upstream, &marks, length).await {
            self.session.write_piece(body, false).await;
        }
        self.session.shutdown().await;
        false
    }

    /// Passes chunks on as they come. `before`: bytes that were collected and metered already.
    async fn stream(
        &mut self,
        delivery: Delivery<'_>,
        mut account: Account,
        upstream: ResponseHead,
        before: Bytes,
    ) -> bool {
        let mut withholder = delivery.withholder(&upstream);
        let mut sliced = delivery.sliced(&upstream);
        let mut marks = delivery.marks();
        delivery.mark_input(&mut marks);
        let changed = withholder.is_some() || sliced.is_some();
        let length = if changed { Length::Unknown } else { said_length(&upstream) };
        self.client = self.session.write_head(upstream, &marks, length).await;
        if !before.is_empty() {
            self.write(before).await;
        }
        let ending = loop {
            if !self.client && !self.drain {
                break Ending::ClientGone;
            }
            match self.next_joined().await {
                (Some(chunk), after) => {
                    let visible = match &mut withholder {
                        Some(withholder) => withholder.push(chunk.clone()),
                        None => chunk.clone(),
                    };
                    let visible = match sliced.as_mut().and_then(|sliced| sliced.curtail.as_mut()) {
                        Some(curtail) => curtail.push(&visible),
                        None => visible,
                    };
                    self.write(visible).await;
                    account.observe(&chunk);
                    self.told_all = self.told_all || self.client && account.has_heard_the_end();
                    if let Some(ending) = after.and_then(|after| self.ending(after)) {
                        break ending;
                    }
                    if let Some(sliced) = &mut sliced
                        && !account.has_heard_the_end()
                        && !sliced.slices.cover(&mut account).await
                    {
                        break Ending::Curtailed;
                    }
                }
                (None, Some(next)) => {
                    if let Some(ending) = self.ending(next) {
                        break ending;
                    }
                }
                (None, None) => {}
            }
        };
        self.finish(delivery, account, (withholder, sliced), ending).await
    }

    /// Writes what the stream's end leaves to write, and settles.
    async fn finish(
        &mut self,
        delivery: Delivery<'_>,
        mut account: Account,
        (withholder, sliced): (Option<UsageWithholder>, Option<Sliced<'_>>),
        ending: Ending,
    ) -> bool {
        account.ended();
        if let Some(Sliced { slices, curtail: Some(curtail) }) = sliced {
            self.write_ending(delivery, withholder, curtail, (ending == Ending::Curtailed).then_some(slices)).await;
        } else if let Some(mut withholder) = withholder {
            self.write(withholder.finish()).await;
        }
        let finished = ending == Ending::Finished;
        let curtailed = ending == Ending::Curtailed;
        let ending = match ending {
            Ending::Finished if !self.client && !self.told_all => Ending::ClientGone,
            Ending::ClientGone if self.told_all => Ending::Finished,
            other => other,
        };
        let wants_comment = self.session.header("x-farebox-trailer").is_some_and(|value| value == "comment");
        if finished && self.client && wants_comment {
            if let Some(made) = account.settle_and_wait(ending).await {
                self.write(Bytes::from(comment(delivery.arrived, &made))).await;
            }
        } else {
            account.settle(ending);
        }
        if (finished || curtailed) && self.client {
            self.session.write_piece(Bytes::new(), true).await;
        } else {
            // The client must see that the end is missing: no last chunk.
            self.session.close_after();
            self.session.shutdown().await;
        }
        finished
    }

    /// What a stream held in slices ends with: the rest that waited, or the ending that we write ourselves.
    async fn write_ending(
        &mut self,
        delivery: Delivery<'_>,
        withholder: Option<UsageWithholder>,
        mut curtail: Curtail,
        stopped: Option<Slices<'_>>,
    ) {
        match stopped {
            Some(slices) => {
                let notice = "the budget has no room for more output: the answer ends here";
                let ending = curtail.ending(&slices.used(), delivery.asked.facts.asked_for_usage, notice);
                self.write(Bytes::from(ending)).await;
            }
            None => {
                let rest = withholder.map(|mut withholder| withholder.finish()).unwrap_or_default();
                let visible = curtail.push(&rest);
                self.write(visible).await;
                self.write(curtail.finish()).await;
            }
        }
    }

    fn ending(&mut self, next: Next) -> Option<Ending> {
        match next {
            Next::Chunk(_) => None,
            Next::End => Some(Ending::Finished),
            Next::ClientGone => {
                self.client = false;
                (!self.drain).then_some(Ending::ClientGone)
            }
            Next::Broken(outcome, detail) => Some(Ending::Broken { outcome, detail: Arc::from(detail) }),
        }
    }

    async fn write(&mut self, bytes: Bytes) {
        if self.client && !bytes.is_empty() {
            self.client = self.session.write_piece(bytes, false).await;
        }
    }

    /// One chunk, with those that are already waiting behind it; and what came after them, when that was no chunk.
    async fn next_joined(&mut self) -> (Option<Bytes>, Option<Next>) {
        let first = match self.next().await {
            Next::Chunk(chunk) => chunk,
            other => return (None, Some(other)),
        };
        let mut joined: Option<BytesMut> = None;
        loop {
            let length = joined.as_ref().map_or(first.len(), BytesMut::len);
            if length >= JOINED_BYTES_MAX {
                break (Some(joined.map_or(first, BytesMut::freeze)), None);
            }
            match self.connection.piece_that_is_here() {
                None => break (Some(joined.map_or(first, BytesMut::freeze)), None),
                Some(read) => match classify(read) {
                    Next::Chunk(chunk) => {
                        joined.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&chunk)
                    }
                    other => break (Some(joined.map_or(first, BytesMut::freeze)), Some(other)),
                },
            }
        }
    }

    /// The next piece of the provider's response, unless the client leaves first.
    async fn next(&mut self) -> Next {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Next::Broken(Outcome::ProviderTimeout, "the `whole` timeout passed");
        }
        self.connection.set_idle_timeout(Some(self.idle.min(left)));
        if !self.client {
            return classify(self.connection.piece().await);
        }
        tokio::select! {
            biased;
            read = self.connection.piece() => classify(read),
            _gone = self.session.left() => {
                self.client = false;
                if self.drain { Next::Chunk(Bytes::new()) } else { Next::ClientGone }
            }
        }
    }
}

/// What was read: the only chunk, or all of them joined.
fn joined(first: Bytes, body: BytesMut) -> Bytes {
    if body.is_empty() { first } else { body.freeze() }
}

fn classify(read: Result<Option<Bytes>, Cut>) -> Next {
    match read {
        Ok(Some(chunk)) => Next::Chunk(chunk),
        Ok(None) => Next::End,
        Err(Cut::Idle) => Next::Broken(Outcome::ProviderTimeout, "the `idle` timeout passed between two chunks"),
        Err(Cut::Broken) => Next::Broken(Outcome::ProviderCut, "the provider cut its response off"),
    }
}

/// Whether the provider said how long its body is.
fn said_length(head: &ResponseHead) -> Length {
    if head.headers.contains_key(header::CONTENT_LENGTH) { Length::AsItSays } else { Length::Unknown }
}

/// What is known once an attempt is settled.
fn mark_settled(marks: &mut Marks, made: &Made) {
    if let Some(cost) = made.cost {
        marks.put("x-farebox-cost", &cost.to_string());
    }
    marks.put_number("x-farebox-input-tokens", made.usage.input_tokens());
    marks.put_number("x-farebox-output-tokens", made.usage.output_tokens());
    marks.put("x-farebox-usage-source", made.usage_source.name());
}

/// The last SSE comment of a stream whose caller asked for it.
fn comment(arrived: &Arrived, made: &Made) -> String {
    let cost = made.cost.map_or_else(|| "unknown".to_owned(), |cost| cost.to_string());
    format!(
        ": farebox exchange={} cost={cost} input_tokens={} output_tokens={} usage_source={}\n\n",
        arrived.id,
        made.usage.input_tokens(),
        made.usage.output_tokens(),
        made.usage_source.name(),
    )
}
