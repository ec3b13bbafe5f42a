//! The `gen_ai.*` metrics of OpenTelemetry's conventions, pinned to 1.41, for those who have dashboards on them. What
//! Farebox itself is judged by are its own metrics.

use crate::catalog::Pricing;
use crate::dialects::{Dialect, Flavor, Operation};
use crate::event::{Event, Opening, Outcome};
use crate::telemetry::room::Room;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, MeterProvider};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use std::collections::HashMap;
use std::sync::Arc;

const OTHER: &str = "other";
/// Seconds (the conventions' own).
const DURATION: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Tokens (the conventions' own).
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Lines of the exposition that one histogram needs: its buckets, the last one, sum and count.
const HISTOGRAM_LINES: usize = DURATION.len() + 3;
/// The SDK's own limit is 2,000 attribute sets, silently. Ours comes first: it is never reached.
const SETS_MAX: usize = 100_000;

/// Which version of the conventions is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conventions {
    /// No `gen_ai.*` metrics.
    Off,
    #[default]
    V1_41,
}

/// A provider as the conventions name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `gen_ai.provider.name`
    pub provider: Arc<str>,
    pub address: Arc<str>,
    pub port: u16,
}

impl Served {
    pub fn new(name: &Arc<str>, (dialect, flavor): (Dialect, Flavor), (address, port): (&str, u16)) -> Served {
        Served { provider: provider(name, dialect, flavor), address: address.into(), port }
    }
}

/// The conventions' name of a provider, or else the one that it is configured by.
fn provider(name: &Arc<str>, dialect: Dialect, flavor: Flavor) -> Arc<str> {
    let known = match (dialect, flavor) {
        (Dialect::Anthropic, _) => "anthropic",
        (Dialect::Gemini, _) => "gcp.gemini",
        (_, Flavor::Azure) => "azure.ai.openai",
        (_, Flavor::Deepseek) => "deepseek",
        (_, Flavor::Groq) => "groq",
        (_, Flavor::Xai) => "x_ai",
        (_, Flavor::Mistral) => "mistral_ai",
        (_, Flavor::Perplexity) => "perplexity",
        (_, Flavor::Cohere) => "cohere",
        (Dialect::OpenAi, _) => return Arc::clone(name),
    };
    known.into()
}

/// `gen_ai.operation.name`; what the conventions do not name is called as Farebox calls it.
pub fn operation(opening: &Opening) -> &'static str {
    match (opening.dialect, opening.operation) {
        (Dialect::Gemini, Operation::Chat) => "generate_content",
        (_, Operation::Chat | Operation::Responses) => "chat",
        (_, Operation::Completion) => "text_completion",
        (_, other) => other.name(),
    }
}

/// Label values that series were made for: a new one needs room.
type Known = HashMap<(Arc<str>, &'static str, Arc<str>, Option<Outcome>), bool>;

pub struct GenAi {
    duration: Histogram<f64>,
    tokens: Histogram<u64>,
    known: Known,
    room: Arc<Room>,
}

/// No call uses more than the uppermost bound. The SDK adds in 64 bits and panics beyond: what a provider that lies says
/// must not get that far.
const TOKENS_MAX: u64 = 67_108_864;

impl GenAi {
    pub fn new(provider: &SdkMeterProvider, room: Arc<Room>) -> GenAi {
        let meter = provider.meter("farebox");
        let duration = meter
            .f64_histogram("gen_ai.client.operation.duration")
            .with_description("GenAI operation duration.")
            .with_unit("s")
            .with_boundaries(DURATION.to_vec());
        let tokens = meter
            .u64_histogram("gen_ai.client.token.usage")
            .with_description("Number of input and output tokens used.")
            .with_unit("{token}")
            .with_boundaries(TOKENS.to_vec());
        GenAi { duration: duration.build(), tokens: tokens.build(), known: Known::new(), room }
    }

    /// An attempt at a metered endpoint ended. `model`: the catalog's name of it.
    pub fn record(&mut self, event: &Event, model: &str, served: &Served) {
        let (opening, closing) = (&event.opening, &event.closing);
        let usage = &closing.usage;
        if matches!(closing.pricing, Pricing::Unmetered) && usage.is_zero() && closing.outcome == Outcome::Ok {
            return;
        }
        let operation = operation(opening);
        let failure = (closing.outcome != Outcome::Ok).then_some(closing.outcome);
        let has_room = self.has_room(&opening.provider, operation, model, failure);
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.provider.name", Arc::clone(&served.provider)),
            KeyValue::new("gen_ai.request.model", if has_room { model.to_owned() } else { OTHER.to_owned() }),
            KeyValue::new("server.address", Arc::clone(&served.address)),
            KeyValue::new("server.port", i64::from(served.port)),
        ];
        if !usage.is_zero() {
            for (kind, count) in [("input", usage.input_tokens()), ("output", usage.output_tokens())] {
                attributes.push(KeyValue::new("gen_ai.token.type", kind));
                self.tokens.record(count.min(TOKENS_MAX), &attributes);
                attributes.pop();
            }
        }
        if let Some(outcome) = failure {
            let error = if has_room { outcome.name() } else { "_OTHER" };
            attributes.push(KeyValue::new("error.type", error));
        }
        let micros = closing.upstream_micros.unwrap_or_else(|| closing.ended_at.micros_since(opening.started_at));
        #[expect(clippy::cast_precision_loss, reason = "a duration in a histogram")]
        self.duration.record(micros as f64 / 1e6, &attributes);
    }

    /// A set of labels needs its lines of the exposition: durations, and both token types where it is new in all but how
    /// it ended. Without room it is counted under `other`.
    fn has_room(
        &mut self,
        provider: &Arc<str>,
        operation: &'static str,
        model: &str,
        failure: Option<Outcome>,
    ) -> bool {
        let key = (Arc::clone(provider), operation, Arc::from(model), failure);
        if let Some(known) = self.known.get(&key).filter(|known| **known) {
            return *known;
        }
        let has_room = self.room.take(3 * HISTOGRAM_LINES);
        if has_room {
            self.known.insert(key, true);
        } else {
            self.room.overflowed();
        }
        has_room
    }
}

/// Ours in place of the SDK's silent limit.
pub fn limit(instrument: &Instrument) -> Option<Stream> {
    instrument.name().starts_with("gen_ai.").then(|| Stream::builder().with_cardinality_limit(SETS_MAX).build().ok())?
}
