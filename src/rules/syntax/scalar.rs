//! The sorts of single values, and how the JSON Schema tells them to an editor. Patterns are a little wider than the
//! reader, which also says what is wrong.

use crate::dialects::Operation;
use crate::rules::condition::Need;
use crate::rules::field::Field;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Version,
    Name,
    Text,
    Yes,
    Whole,
    Dollars,
    Amount,
    Percent,
    Share,
    ComparedAmount,
    ComparedDollars,
    ComparedTokens,
    Window,
    Every,
    From,
    Zone,
    Time,
    Date,
    Moment,
    Hardness,
    AdmitOrRefuse,
    Need,
    Field,
    Pattern,
    Model,
    Provider,
    Operation,
    Expected,
}

pub const DECISIONS: [&str; 5] = ["admit", "swap", "clamp", "reroute", "refuse"];
pub const HARDNESSES: [&str; 3] = ["hard", "soft", "shadow"];

const NUMBER: &str = "[0-9][0-9_]*(\\.[0-9]+)? ?[kKMBG]?";

impl Scalar {
    /// In JSON Schema.
    pub fn schema(self) -> Value {
        let words = |words: &[&str]| json!({ "enum": words });
        let like = |pattern: String| json!({ "type": "string", "pattern": format!("^{pattern}$") });
        let names = |names: &[(&'static str, Need)]| names.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        match self {
            Scalar::Version => json!({ "const": 1 }),
            Scalar::Name => like("[A-Za-z0-9][A-Za-z0-9._-]{0,63}".to_owned()),
            Scalar::Text => json!({ "type": ["string", "number"], "minLength": 1, "maxLength": 500 }),
            Scalar::Yes => json!({ "type": "boolean" }),
            Scalar::Whole => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, like(NUMBER.to_owned())] }),
            Scalar::Dollars => like(format!("{NUMBER} +USD")),
            Scalar::Amount => like(format!("{NUMBER} +(USD|tokens?|requests?|calls?)")),
            Scalar::Percent => like("[0-9]+(\\.[0-9]{1,2})? ?%".to_owned()),
            Scalar::Share => like("(>=|<=|>|<)? *[0-9]+(\\.[0-9]{1,2})? ?%".to_owned()),
            Scalar::ComparedAmount => like(format!("(>=|<=|>|<) *{NUMBER} +(USD|tokens?|requests?|calls?)")),
            Scalar::ComparedDollars => like(format!("(>=|<=|>|<) *{NUMBER} +USD")),
            Scalar::ComparedTokens => like(format!("(>=|<=|>|<) *{NUMBER}( tokens)?")),
            Scalar::Window => {
                like("(hour|day|week|month|year|lifetime|rolling +[0-9]+ ?(m|min|minutes|h|hours|d|days))".to_owned())
            }
            Scalar::Every => words(&["hour", "day", "week", "month", "year"]),
            Scalar::From => json!({ "type": ["string", "integer"] }),
            Scalar::Zone => like("[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*".to_owned()),
            Scalar::Time => json!({ "type": "string" }),
            Scalar::Date => like("[0-9]{4}-[0-9]{2}-[0-9]{2}".to_owned()),
            Scalar::Moment => json!({ "type": "string" }),
            Scalar::Hardness => words(&HARDNESSES),
            Scalar::AdmitOrRefuse => words(&["admit", "refuse"]),
            Scalar::Need => words(&names(&Need::NAMES)),
            Scalar::Field => json!({ "anyOf": [words(&field_names()), like("(tag|metadata)\\..+".to_owned())] }),
            Scalar::Pattern => json!({ "type": ["string", "number", "boolean", "null"] }),
            Scalar::Model | Scalar::Provider => json!({ "type": "string", "minLength": 1 }),
            Scalar::Operation => words(&Operation::ALL.map(Operation::name)),
            Scalar::Expected => words(&DECISIONS),
        }
    }
}

/// `department` is a tag that is written like a field.
pub fn field_names() -> Vec<&'static str> {
    Field::NAMED.iter().map(|(name, ..)| *name).chain(std::iter::once("department")).collect()
}
