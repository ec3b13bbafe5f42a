//! A month of a ledger, made up: who and what are spread without a pattern, and the same each time.

use farebox::catalog::{Cost, Pricing};
use farebox::clock::Timestamp;
use farebox::dialects::{Dialect, Operation};
use farebox::event::{Closing, Event, EventKind, Opening, Outcome};
use farebox::ids::{EventId, ExchangeId, id_at};
use farebox::money::{Rate, Usd};
use farebox::tenants::{Attribution, Caller};
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::sync::Arc;

/// 2026-11-01T00:00:00Z
pub const START: Timestamp = Timestamp(1_793_491_200_000_000);
pub const DAYS: i64 = 30;
const KEYS: u64 = 2_000;
const USERS: u64 = 5_000;
const MODELS: u64 = 20;

/// The `n`th event; who and what are spread without a pattern.
pub fn event(n: u64, apart: i64, salt: u64) -> Event {
    let at = Timestamp(START.as_micros() + apart * n as i64 + apart.min(salt as i64));
    let draw = |below: u64, way: u64| (n ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(way as u32) % below;
    let (key, user, model) = (draw(KEYS, 7), draw(USERS, 19), draw(MODELS, 31));
    let (input, output) = (200 + draw(4_000, 11), 20 + draw(900, 23));
    let costs = [(Kind::Input, input * 2_500_000), (Kind::Output, output * 10_000_000)];
    let name: Arc<str> = format!("model-{model}").into();
    // Batch sizes and spacings tell the three runs apart.
    let run = u64::from(salt == 1_000) | u64::from(apart > 1_000) << 1;
    let id = id_at(at) + (run << 12) + 2 * (n % 1_000);
    Event {
        kind: EventKind::Attempt,
        opening: Opening {
            id: EventId(id + 1),
            exchange: ExchangeId(id),
            attempt: 1,
            started_at: at,
            caller: Arc::new(Caller {
                organisation: Some("acme".into()),
                team: Some(format!("team-{}", key % 40).into()),
                project: Some(format!("project-{}", key % 100).into()),
                key: Some(format!("caller-{key}").into()),
                user: Some(format!("user-{user}").into()),
            }),
            attribution: Arc::new(Attribution {
                environment: Some("prod".into()),
                tags: vec![("feature".into(), format!("f{}", key % 50).into())],
                ..Attribution::default()
            }),
            provider: if model % 2 == 0 { "openai" } else { "anthropic" }.into(),
            dialect: Dialect::OpenAi,
            operation: Operation::Chat,
            requested_model: Some(name.clone()),
            upstream_model: Some(name.clone()),
            stream: n.is_multiple_of(2),
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
            response_model: Some(name),
            status: Some(200),
            outcome: Outcome::Ok,
            complete: true,
            usage: TokenUsage::ZERO.with(Kind::Input, input).with(Kind::Output, output),
            usage_source: UsageSource::Reported,
            pricing: Pricing::Priced(Box::new(Cost {
                total: Usd::from_pico(costs.iter().map(|(_, pico)| *pico as i64).sum()),
                by_kind: costs.map(|(kind, pico)| (kind, Usd::from_pico(pico as i64))).to_vec(),
                rates: vec![
                    (Kind::Input, Rate::from_femto(2_500_000_000)),
                    (Kind::Output, Rate::from_femto(10_000_000_000)),
                ],
                catalog: "2026-11-21-abcd1234".into(),
                terms: Vec::new(),
            })),
            service_tier: Some("default".into()),
            provider_cost: None,
            provider_request_id: Some(format!("chatcmpl-{n:024x}").into()),
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
