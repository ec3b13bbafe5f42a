//! stub
use crate::clock::Timestamp;
use crate::dialects::*;
use crate::tokens::count::Count;
use crate::tokens::prompt::OutputCount;
use crate::tokens::usage::{TokenUsage, UsageSource};
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub usage: TokenUsage,
    pub source: UsageSource,
}
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub input: Option<Count>,
    pub output: Option<OutputCount>,
}
pub struct Metered {
    pub observation: Observation,
    pub first_content_at: Option<Timestamp>,
}
pub struct ResponseHead<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
}
pub struct ResponseMeter;
impl ResponseMeter {
    pub fn new(_: Dialect, _: &Endpoint, _: Flavor, _: &ResponseHead<'_>) -> Self {
        ResponseMeter
    }
    pub fn observe(&mut self, _: &[u8], _: Timestamp) {}
    pub fn output_tokens_so_far(&self) -> u64 {
        0
    }
    pub fn finish(self) -> Metered {
        Metered { observation: Observation::default(), first_content_at: None }
    }
}
pub fn reading(_: &Observation, _: &crate::tokens::facts::RequestFacts, _: &Counts) -> Reading {
    Reading { usage: TokenUsage::ZERO, source: UsageSource::None }
}
