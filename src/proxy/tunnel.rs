//! A websocket upgrade: a tunnel, recorded as unmetered. What flows in it is not read.

use super::Proxy;
use super::account::{Account, Ending};
use super::attempt::Run;
use super::client::{Length, Marks, Session};
use super::decide::{Admitted, Errand};
use super::deliver::{self, Delivery};
use super::exchange::{Arrived, Asked, AskedBody, refuse};
use super::limits::Passes;
use super::offer::targets;
use super::purse::Carried;
use super::refusal;
use super::upstream::{Connection, Failure, Framing, HeadPlan, Line, head};
use crate::dialects::{Refusal, RefusalKind};
use crate::event::Outcome;
use crate::tokens::facts::RequestFacts;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora_http::RequestHeader;
use std::sync::Arc;
use std::time::Instant;

/// Connects client and provider until one of them leaves.
pub async fn run(proxy: &Arc<Proxy>, session: &mut Session, arrived: &Arrived) {
    let catalog = proxy.catalog.load_full();
    let model =
        arrived.query.as_deref().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("model=")));
    let facts =
        RequestFacts { requested_model: model.map(Arc::from), stream: true, choices: 1, ..RequestFacts::default() };
    let attribution = Arc::new(arrived.attribution(proxy, &facts, b""));
    let body = AskedBody::Streaming { prefix: Bytes::new() };
    let asked = Asked { facts: Arc::new(facts), attribution, body, read: Instant::now() };
    let targets = match targets(proxy, &catalog, arrived, model) {
        Ok(targets) => targets,
        Err(refused) => return refuse(proxy, session, arrived, refused).await,
    };
    let run = Run {
        proxy,
        arrived,
        asked: &asked,
        target: &targets[0],
        number: 1,
        can_retry: false,
        more_targets: false,
        keys_tried: &[],
        fresh: false,
    };
    if let Err(refused) = tunnel(&run, session).await {
        refuse(proxy, session, arrived, refused).await;
    }
}

async fn tunnel(run: &Run<'_>, session: &mut Session) -> Result<(), Refusal> {
    let provider = &run.target.provider;
    let name = &provider.settings.name;
    let mut passes = Passes::default();
    let asked = Instant::now();
    let admitted = run.decide(Errand::Attempt(&mut passes)).await.map_err(|refused| refused.refusal)?;
    let Admitted { course, held: Some(held) } = admitted else { return Ok(()) };
    let _slot = held.slot;
    let mut account = run.account(&course, held.reservation, (asked, held.asked));
    let line = match Line::open(provider, run.proxy.clock.now(), false).await {
        Ok(line) => line,
        Err(failure) => {
            account.settle(Ending::NotSent { detail: Arc::from(failure.in_words()) });
            return Err(refusal::no_response(name, &failure));
        }
    };
    let carried = match provider.purse.take(run.proxy.clock.now(), &[], false) {
        Ok(carried) => carried,
        Err(why) => {
            account.settle(Ending::NotSent { detail: Arc::from(why) });
            return Err(refusal::no_response(name, &Failure::NotConnected(why.to_owned())));
        }
    };
    let Some(head) = upgrade_head(run, &carried) else {
        account.settle(Ending::NotSent { detail: Arc::from("the upgrade cannot be written") });
        return Err(refusal::because(RefusalKind::InvalidRequest, "The upgrade cannot be passed on.".to_owned()));
    };
    account.sent(0);
    let timeouts = provider.settings.timeouts;
    let mut connection = match line.begin(head, timeouts.first_byte).await {
        Ok(connection) => connection,
        Err(failure) => return Err(broken(account, name, &failure)),
    };
    let response = match connection.response_head(timeouts.first_byte).await {
        Ok(response) => response,
        Err(failure) => return Err(broken(account, name, &failure)),
    };
    account.answered(&response);
    if let Carried::Own(key) = &carried {
        key.answered(response.status.as_u16(), None, run.proxy.clock.now());
    }
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        let delivery = Delivery {
            proxy: run.proxy,
            arrived: run.arrived,
            asked: run.asked,
            target: &course.target,
            course: &course,
        };
        deliver::deliver(delivery, session, connection, account, response).await;
        return Ok(());
    }
    if session.write_head(response, &Marks::default(), Length::AsItSays).await {
        pump(session, &mut connection, &mut account).await;
    }
    account.ended();
    account.settle(Ending::Finished);
    connection.release(false).await;
    Ok(())
}

fn broken(account: Account, name: &str, failure: &Failure) -> Refusal {
    account.settle(Ending::Broken { outcome: Outcome::ProviderCut, detail: Arc::from(failure.in_words()) });
    refusal::no_response(name, failure)
}

fn upgrade_head(run: &Run<'_>, carried: &Carried) -> Option<RequestHeader> {
    let plan = HeadPlan {
        original: &run.arrived.head,
        provider: &run.target.provider,
        rest: &run.arrived.rest,
        query: run.arrived.query.as_deref(),
        framing: Framing::Nothing,
        identity: false,
        caller_key_may_pass: run.target.caller_key_may_pass,
        traceparent: None,
        carried,
    };
    let mut head = head(&plan)?;
    head.insert_header(header::CONNECTION, "upgrade").ok()?;
    if let Some(protocol) = run.arrived.head.headers.get(header::UPGRADE) {
        head.insert_header(header::UPGRADE, protocol.clone()).ok()?;
    }
    Some(head)
}

async fn pump(session: &mut Session, connection: &mut Connection, account: &mut Account) {
    connection.set_idle_timeout(None);
    session.set_read_timeout(None);
    loop {
        tokio::select! {
            up = session.piece() => match up {
                Ok(Some(chunk)) => {
                    account.sent(chunk.len() as u64);
                    if !connection.write(chunk).await {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            },
            down = connection.piece() => match down {
                Ok(Some(chunk)) => {
                    account.observe(&chunk);
                    if !session.write_piece(chunk, false).await {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            },
        }
    }
}
