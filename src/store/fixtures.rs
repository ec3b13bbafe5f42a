//! Events for tests.

use crate::budget::account::{Charge, Unit};
use crate::budget::book::Want;
use crate::budget::window::{Every, WindowRule};
use crate::budget::{BasisPoints, Budget, Hardness, Instance};
use crate::catalog::{Cost, Pricing, Unpriced};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::event::{Closing, Event, EventKind, Opening, Outcome};
use crate::ids::{EventId, ExchangeId, id_at};
use crate::money::{Rate, Usd};
use crate::tenants::{Attribution, Caller};
use crate::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::sync::Arc;

/// 2026-11-21T12:00:00Z
pub(crate) const NOON: Timestamp = Timestamp(1_795_262_400_000_000);

pub(crate) fn later(seconds: i64) -> Timestamp {
    Timestamp(NOON.as_micros() + seconds * 1_000_000)
}

/// A chat call of alice's to gpt-4o at this moment: 1,000 tokens in, 100 out, 0.0035 USD. `sequence` tells apart events
/// of one millisecond.
pub(crate) fn call(at: Timestamp, sequence: u64) -> Event {
    Event {
        kind: EventKind::Attempt,
        opening: Opening {
            id: EventId(id_at(at) + 2 * sequence + 1),
            exchange: ExchangeId(id_at(at) + 2 * sequence),
            attempt: 1,
            started_at: at,
            caller: Arc::new(Caller {
                organisation: Some("acme".into()),
                team: Some("search".into()),
                project: Some("ranker".into()),
                key: Some("caller-alice".into()),
                user: Some("alice".into()),
            }),
            attribution: Arc::new(Attribution {
                environment: Some("prod".into()),
                tags: vec![("feature".into(), "answers".into())],
                ..Attribution::default()
            }),
            provider: "openai".into(),
            dialect: Dialect::OpenAi,
            operation: Operation::Chat,
            requested_model: Some("gpt-4o".into()),
            upstream_model: Some("gpt-4o".into()),
            stream: true,
            client_request_id: None,
            decision: "admit".into(),
            rule: None,
            ceiling: Some(Usd::from_pico(9_000_000_000)),
            estimate: Some(Usd::from_pico(4_000_000_000)),
            estimated_usage: TokenUsage::ZERO,
            estimated_input_cost: None,
            cost_per_1k_output: None,
        },
        closing: Closing {
            ended_at: Timestamp(at.as_micros() + 1_500_000),
            response_model: Some("gpt-4o-2024-08-06".into()),
            status: Some(200),
            outcome: Outcome::Ok,
            complete: true,
            usage: TokenUsage::ZERO.with(Kind::Input, 1_000).with(Kind::Output, 100),
            usage_source: UsageSource::Reported,
            pricing: priced(2_500_000_000, 1_000_000_000),
            service_tier: Some("default".into()),
            provider_cost: None,
            provider_request_id: Some("req_1".into()),
            finish_reason: Some("stop".into()),
            overhead_micros: Some(80),
            first_token_micros: Some(300_000),
            upstream_micros: Some(1_400_000),
            request_bytes: 4_096,
            response_bytes: 900,
            withheld: Usd::ZERO,
            deferred: None,
        },
        charges: Vec::new(),
    }
}

pub(crate) fn priced(input_pico: i64, output_pico: i64) -> Pricing {
    Pricing::Priced(Box::new(Cost {
        total: Usd::from_pico(input_pico + output_pico),
        by_kind: vec![(Kind::Input, Usd::from_pico(input_pico)), (Kind::Output, Usd::from_pico(output_pico))],
        rates: vec![(Kind::Input, Rate::from_femto(2_500_000_000)), (Kind::Output, Rate::from_femto(10_000_000_000))],
        catalog: "2026-11-21-abcd1234".into(),
        terms: Vec::new(),
    }))
}

/// What a ledger looks like that another version wrote.
pub(crate) fn set_schema_version(data_dir: &std::path::Path, version: i64) {
    let connection = rusqlite::Connection::open(data_dir.join(super::FILE_NAME)).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
}

impl Event {
    pub(crate) fn by(mut self, user: &str, key: &str) -> Event {
        let caller = Arc::make_mut(&mut self.opening.caller);
        (caller.user, caller.key) = (Some(user.into()), Some(key.into()));
        self
    }

    pub(crate) fn of_model(mut self, provider: &str, model: &str) -> Event {
        self.opening.provider = provider.into();
        (self.opening.requested_model, self.opening.upstream_model) = (Some(model.into()), Some(model.into()));
        self
    }

    pub(crate) fn costing(mut self, pico: i64) -> Event {
        self.closing.pricing = priced(pico, 0);
        self
    }

    pub(crate) fn unpriced(mut self) -> Event {
        self.closing.pricing = Pricing::Unpriced(Unpriced::UnknownModel);
        self
    }

    pub(crate) fn ending(mut self, outcome: Outcome) -> Event {
        self.closing.outcome = outcome;
        self
    }

    pub(crate) fn charged_to(mut self, instance: &Instance, pico: i64) -> Event {
        self.charges.push(Charge { account: instance.account, amount: pico });
        self
    }

    /// Booked at this moment: another event's cost changes by so much.
    pub(crate) fn adjusted(&self, at: Timestamp, by_pico: i64) -> Event {
        let mut adjustment = self.clone().costing(by_pico);
        adjustment.kind = EventKind::Adjustment { of: self.opening.id };
        adjustment.opening.id = EventId(id_at(at));
        adjustment.closing.usage = TokenUsage::ZERO;
        adjustment
    }
}

/// A daily budget of this many pico-dollars that tells half and four fifths, for one scope.
pub(crate) fn daily(name: &str, scope: &str, limit: u128) -> Arc<Instance> {
    let window = WindowRule::Calendar { every: Every::Day, zone: jiff::tz::TimeZone::UTC, from: 0 };
    instance(name, scope, limit, window, NOON)
}

pub(crate) fn instance(name: &str, scope: &str, limit: u128, window: WindowRule, now: Timestamp) -> Arc<Instance> {
    let at = window.at(now);
    let budget = Budget {
        name: name.into(),
        unit: Unit::PicoUsd,
        limit,
        hardness: Hardness::Hard,
        window,
        thresholds: vec![BasisPoints(5_000), BasisPoints(8_000)],
        is_rate_limit: false,
        clamp: true,
        show_amounts: false,
        message: None,
    };
    Arc::new(Instance::new(Arc::new(budget), scope.into(), at))
}

/// Opens these accounts, as a lease of nothing does.
pub(crate) fn open_accounts(data_dir: &std::path::Path, instances: &[&Arc<Instance>]) {
    let want =
        |instance: &&Arc<Instance>| (Want { instance: Arc::clone(instance), amount: 0 }, Arc::clone(&instance.budget));
    let wants: Vec<_> = instances.iter().map(want).collect();
    let mut leases = super::Leases::open(data_dir, NOON).unwrap();
    leases.exchange(1, &[], &[], &wants, NOON).unwrap();
}
