//! A wire format.

use super::*;

pub fn recognise(_method: &str, _path: &str) -> Endpoint {
    Endpoint {
        operation: Operation::Other,
        model_in_path: None,
        stream_in_path: false,
        body: BodyShape::Opaque,
        metered: false,
    }
}

pub fn read_request(_endpoint: &Endpoint, _body: &[u8]) -> Result<RequestFacts, Malformed> {
    Ok(RequestFacts::default())
}

pub fn prompt_texts(_endpoint: &Endpoint, _body: &[u8], _sink: &mut dyn FnMut(PromptText<'_>)) {}

pub fn observe_event(_endpoint: &Endpoint, _flavor: Flavor, _event: sse::Event<'_>, _seen: &mut Observation) {}

pub fn observe_whole(_endpoint: &Endpoint, _flavor: Flavor, _body: &[u8], _seen: &mut Observation) {}

pub fn refusal(_refusal: &Refusal) -> RefusalBody {
    RefusalBody { status: 500, headers: Vec::new(), body: Vec::new() }
}
