//! `/api/usage/*`: the ledger, read.

use super::Shared;
use super::problem::Problem;
use crate::ids::{EventId, ExchangeId};
use crate::queries::{EventsPage, ExchangeView, Export, Misasked, StatsQuestion, ask, stats as summed};
use crate::store::{Dimension, EventQuery, Filter, GroupBy, Order, Reader, StoreError, TimeRange, UsageQuery};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 1_000;
/// A longer query string is refused.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// Pieces of an export that wait for a slow client; then the export waits.
const EXPORT_CHUNKS_MAX: usize = 2;
/// What a client refused for others' exports or questions is told to wait.
const RETRY_SECONDS: u32 = 10;
/// A question that others' questions keep from being asked for so long is refused.
const QUESTION_WAIT_MAX: Duration = Duration::from_secs(20);

pub(super) async fn events(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut asked = Asked::read(&uri)?;
    let query = EventQuery {
        order: asked.order()?,
        after: asked.cursor()?,
        limit: ask::count("limit", asked.take("limit")?.as_deref(), PAGE_DEFAULT, PAGE_MAX)?,
        range: asked.range(&shared)?,
        filters: asked.filters(&["order", "cursor", "limit", "from", "to"])?,
    };
    answer(&shared, move |reader| {
        let rows = reader.events(&query)?;
        Ok(json(&EventsPage::new(&rows, query.limit)))
    })
    .await
}

pub(super) async fn stats(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut asked = Asked::read(&uri)?;
    let limit = asked.take("limit")?;
    let question = StatsQuestion {
        limit: ask::count(
            "limit",
            limit.as_deref(),
            crate::queries::stats::GROUPS_DEFAULT,
            crate::queries::stats::GROUPS_MAX,
        )?,
        query: UsageQuery {
            group_by: asked.group_by()?,
            range: asked.range(&shared)?,
            filters: asked.filters(&["limit", "group_by", "from", "to"])?,
        },
    };
    answer(&shared, move |reader| Ok(json(&summed(reader, &question)?))).await
}

pub(super) async fn exchange(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: ExchangeId = id.parse().map_err(|fault: crate::ids::NotAnId| {
        Misasked::new("id", fault.to_string(), "take it from the response header `x-farebox-exchange-id`")
    })?;
    answer(&shared, move |reader| {
        let rows = reader.exchange(id)?;
        if rows.is_empty() {
            let detail = format!("no exchange {id} is in the ledger; it appears within a second of its end");
            return Ok(Problem::not_found(detail).into_response());
        }
        Ok(json(&ExchangeView::new(id, &rows)))
    })
    .await
}

pub(super) async fn export(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut asked = Asked::read(&uri)?;
    let range = asked.range(&shared)?;
    let filters = asked.filters(&["from", "to"])?;
    let Ok(permit) = shared.exports.clone().try_acquire_owned() else {
        return Err(Problem::busy("other exports are running; try again when one has ended", RETRY_SECONDS));
    };
    let mut export = Export::new(shared.state.reader.clone(), filters, range)?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, StoreError>>(EXPORT_CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        // A client that leaves drops the receiver, and that ends the export.
        loop {
            let sent = match export.next_chunk() {
                Ok(Some(chunk)) => sender.blocking_send(Ok(chunk.into())),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, rows = export.rows(), "an export broke off");
                    let _ = sender.blocking_send(Err(error));
                    break;
                }
            };
            if sent.is_err() {
                break;
            }
        }
        drop(permit);
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"farebox-usage.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// Asks the ledger on a blocking thread, one of a bounded number.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    question: impl FnOnce(&Reader) -> Result<Response, StoreError> + Send + 'static,
) -> Result<Response, Problem> {
    let permit = shared.turn().await?;
    let reader = shared.state.reader.clone();
    let answered = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        question(&reader)
    });
    match answered.await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::busy("the question was broken off", RETRY_SECONDS)),
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(value) {
        Ok(body) => (headers, body).into_response(),
        Err(error) => Problem::not_found(format!("the answer could not be written: {error}")).into_response(),
    }
}

impl Shared {
    /// Waits for one of the bounded number of questions.
    pub(super) async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let turn = tokio::time::timeout(QUESTION_WAIT_MAX, self.questions.clone().acquire_owned());
        let Ok(Ok(permit)) = turn.await else {
            return Err(Problem::busy("long questions are being answered; try again later", RETRY_SECONDS));
        };
        Ok(permit)
    }
}

/// The parameters of a question, taken one by one; what is left must be filters.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn read(uri: &Uri) -> Result<Asked, Misasked> {
        let length = uri.query().map_or(0, str::len);
        if length > QUERY_BYTES_MAX {
            let problem = format!("a query string of {length} bytes is too long");
            return Err(Misasked::new("query", problem, format!("give at most {QUERY_BYTES_MAX} bytes")));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
            Misasked::new("query", error.body_text(), "write name=value&name=value, percent-encoded")
        })?;
        Ok(Asked(pairs))
    }

    fn take_all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Misasked> {
        let mut values = self.take_all(name);
        let last = values.pop();
        if values.is_empty() { Ok(last) } else { Err(Misasked::new(name, "given more than once", "give it once")) }
    }

    pub(super) fn group_by(&mut self) -> Result<Vec<GroupBy>, Misasked> {
        ask::group_by("group_by", &self.take_all("group_by"))
    }

    pub(super) fn range(&mut self, shared: &Shared) -> Result<TimeRange, Misasked> {
        let (from, to) = (self.take("from")?, self.take("to")?);
        ask::range(("from", from.as_deref()), ("to", to.as_deref()), shared.state.clock.now())
    }

    pub(super) fn cursor(&mut self) -> Result<Option<EventId>, Misasked> {
        let read = |text: String| text.parse::<EventId>();
        self.take("cursor")?.map(read).transpose().map_err(|fault| {
            Misasked::new("cursor", fault.to_string(), "give `next_cursor` of the page before, or leave it out")
        })
    }

    pub(super) fn order(&mut self) -> Result<Order, Misasked> {
        match self.take("order")?.as_deref() {
            None | Some("desc") => Ok(Order::NewestFirst),
            Some("asc") => Ok(Order::OldestFirst),
            Some(other) => {
                let problem = format!("`{}` is not an order", other.chars().take(60).collect::<String>());
                Err(Misasked::new("order", problem, "write `desc` (newest first) or `asc`"))
            }
        }
    }

    /// `known`: the parameters of this path, for the remedy.
    pub(super) fn nothing_more(self, known: &[&str]) -> Result<(), Misasked> {
        self.check_nothing_more(known)
    }

    pub(super) fn check_nothing_more(&self, known: &[&str]) -> Result<(), Misasked> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let shown: String = name.chars().take(60).collect();
        Err(Misasked::new(shown, "there is no such parameter", format!("one of: {}", known.join(", "))))
    }

    /// `known`: the other parameters of this path, for the remedy.
    pub(super) fn filters(&mut self, known: &[&str]) -> Result<Vec<Filter>, Misasked> {
        let mut filters = Vec::new();
        for (name, value) in self.0.drain(..) {
            if Dimension::named(&name).is_none() {
                let shown: String = name.chars().take(60).collect();
                let dimensions: Vec<String> = Dimension::NAMED.iter().map(Dimension::name).collect();
                let remedy = format!("one of: {}; or a filter: {}, tag.NAME", known.join(", "), dimensions.join(", "));
                return Err(Misasked::new(shown, "there is no such parameter", remedy));
            }
            ask::add_filter(&mut filters, &name, &name, &value)?;
        }
        Ok(filters)
    }
}
