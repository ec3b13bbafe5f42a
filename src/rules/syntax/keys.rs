//! Every key of a rules file: one table, which the reader obeys and the JSON Schema is written from.

use super::scalar::Scalar;

/// A key that may be written.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub needed: bool,
    pub says: &'static str,
}

/// What may stand behind a key.
#[derive(Debug)]
pub enum Shape {
    One(Scalar),
    /// One or a list.
    Some(Scalar),
    Section(&'static Table),
    /// One section, or a list of alternatives.
    Sections(&'static Table),
    /// A list of sections.
    List(&'static Table),
    /// A word or a section.
    Either(Scalar, &'static Table),
    /// The author's own names with values.
    Free(Scalar),
}

/// The keys of one kind of section.
#[derive(Debug)]
pub struct Table {
    /// `a budget`, for sentences; also its name in the schema.
    pub called: &'static str,
    pub keys: &'static [Key],
    /// Fields of the call are keys too: `team`, `tag.cost-centre` …
    pub fields: bool,
}

const fn key(name: &'static str, shape: Shape, says: &'static str) -> Key {
    Key { name, shape, needed: false, says }
}

const fn needed(name: &'static str, shape: Shape, says: &'static str) -> Key {
    Key { name, shape, needed: true, says }
}

const NAME: Key = needed("name", Shape::One(Scalar::Name), "What it is called in reports, headers and refusals.");
const WHEN: Key = key("when", Shape::Sections(&CONDITIONS), "When the rule applies: all of a section, any of a list.");
const EXCEPT: Key = key("except", Shape::Sections(&CONDITIONS), "When it does not apply although `when` holds.");
const SHADOW: Key = key("shadow", Shape::One(Scalar::Yes), "Only record what it would have done.");
const MESSAGE: Key = key("message", Shape::One(Scalar::Text), "What a refused caller is told.");
const HARDNESS: Key = key(
    "hardness",
    Shape::One(Scalar::Hardness),
    "`hard` refuses, `soft` warns, `shadow` only records what a hard one would have done.",
);
const FOR_EACH: Key = key("for_each", Shape::Some(Scalar::Field), "A separate count for each value of these fields.");

pub const FILE: Table = Table {
    called: "a rules file",
    fields: false,
    keys: &[
        needed("version", Shape::One(Scalar::Version), "Of this syntax: 1."),
        key("zone", Shape::One(Scalar::Zone), "The time zone of windows and hours in this file; UTC by default."),
        key("budgets", Shape::List(&BUDGET), "How much may be spent, by whom, in which window. All that match count."),
        key(
            "limits",
            Shape::List(&LIMIT),
            "Rates, and the size of a single call. The first match of each sort counts.",
        ),
        key("swaps", Shape::List(&SWAP), "Models that are replaced. The first match counts."),
        key("blocks", Shape::List(&BLOCK), "Calls that are refused. The first match counts."),
        key("clamps", Shape::List(&CLAMP), "Output limits that are lowered. The first match counts."),
        key("routes", Shape::List(&ROUTE), "Providers that calls are sent to. The first match counts."),
        key("alerts", Shape::List(&ALERT), "Who is told of which thresholds."),
        key("tests", Shape::List(&TEST), "What these rules are meant to do; run by `farebox rules test`."),
    ],
};

pub const BUDGET: Table = Table {
    called: "a budget",
    fields: false,
    keys: &[
        NAME,
        key("scope", Shape::Section(&SCOPE), "Whose calls it counts; everybody's without."),
        FOR_EACH,
        needed("window", Shape::Either(Scalar::Window, &WINDOW), "For how long the limit is."),
        needed("limit", Shape::One(Scalar::Amount), "How much: `500 USD`, `2M tokens`, `1000 requests`."),
        HARDNESS,
        key(
            "thresholds",
            Shape::Some(Scalar::Percent),
            "Shares of the limit that are told once each; 80% and 100% by default.",
        ),
        key("except", Shape::Sections(&SCOPE), "Whose calls are counted but never refused."),
        key(
            "strict",
            Shape::One(Scalar::Yes),
            "Refuse what only the context window bounds: stored conversations, server tools, files.",
        ),
        key(
            "unmetered",
            Shape::One(Scalar::AdmitOrRefuse),
            "Paths that cannot be metered: `refuse` (default) or `admit`.",
        ),
        key(
            "unpriced",
            Shape::One(Scalar::AdmitOrRefuse),
            "Models without a known price: `refuse` (default) or `admit`.",
        ),
        key(
            "clamp",
            Shape::One(Scalar::Yes),
            "Lower the output limit of a call to what is left, instead of refusing it; true by default.",
        ),
        key("top_ups", Shape::List(&TOP_UP), "Prepaid credit: sums that are added to the limit."),
        key("show_amounts", Shape::One(Scalar::Yes), "Tell refused callers how much was spent."),
        MESSAGE,
    ],
};

pub const WINDOW: Table = Table {
    called: "a window",
    fields: false,
    keys: &[
        needed("every", Shape::One(Scalar::Every), "`hour`, `day`, `week`, `month` or `year`."),
        key("from", Shape::One(Scalar::From), "Its beginning: `15` of a month, `monday`, `06:00`, `april`."),
        key("zone", Shape::One(Scalar::Zone), "Its time zone, if not the file's."),
    ],
};

pub const TOP_UP: Table = Table {
    called: "a top-up",
    fields: false,
    keys: &[
        needed("amount", Shape::One(Scalar::Amount), "What is added."),
        needed("on", Shape::One(Scalar::Date), "From which day on."),
        key("note", Shape::One(Scalar::Text), "For those who read it: an invoice's number."),
    ],
};

pub const LIMIT: Table = Table {
    called: "a limit",
    fields: false,
    keys: &[
        NAME,
        WHEN,
        EXCEPT,
        FOR_EACH,
        key("requests_per_minute", Shape::One(Scalar::Whole), "Counted on arrival, refused calls included."),
        key(
            "tokens_per_minute",
            Shape::One(Scalar::Whole),
            "Input and output, held on arrival and settled to what was used.",
        ),
        key("concurrent", Shape::One(Scalar::Whole), "Calls at a time."),
        key("input_tokens_per_call", Shape::One(Scalar::Whole), "Larger calls are refused."),
        key(
            "output_tokens_per_call",
            Shape::One(Scalar::Whole),
            "Calls that ask for more are refused; those that name none get this limit.",
        ),
        key("cost_per_call", Shape::One(Scalar::Dollars), "What a single call may cost at most."),
        key(
            "clamp",
            Shape::One(Scalar::Yes),
            "Lower the output limit of a call that is too dear, instead of refusing it; true by default.",
        ),
        HARDNESS,
        MESSAGE,
    ],
};

pub const SWAP: Table = Table {
    called: "a swap",
    fields: false,
    keys: &[
        NAME,
        WHEN,
        EXCEPT,
        key("from", Shape::Some(Scalar::Pattern), "Models that are replaced; every one without."),
        needed("to", Shape::Some(Scalar::Model), "What replaces them: the first that can and may serve the call."),
        key(
            "caller_may_refuse",
            Shape::One(Scalar::Yes),
            "`x-farebox-no-swap: true` gets a refusal instead; true by default.",
        ),
        key(
            "otherwise",
            Shape::One(Scalar::AdmitOrRefuse),
            "If no target can serve: `admit` (default) the call as it is, or `refuse` it.",
        ),
        SHADOW,
    ],
};

pub const BLOCK: Table = Table { called: "a block", fields: false, keys: &[NAME, WHEN, EXCEPT, MESSAGE, SHADOW] };

pub const CLAMP: Table = Table {
    called: "a clamp",
    fields: false,
    keys: &[
        NAME,
        WHEN,
        EXCEPT,
        needed("output_tokens", Shape::One(Scalar::Whole), "The highest output limit."),
        SHADOW,
    ],
};

pub const ROUTE: Table = Table {
    called: "a route",
    fields: false,
    keys: &[NAME, WHEN, EXCEPT, needed("to", Shape::One(Scalar::Provider), "The provider."), SHADOW],
};

pub const ALERT: Table = Table {
    called: "an alert",
    fields: false,
    keys: &[
        NAME,
        needed("budget", Shape::Some(Scalar::Pattern), "Names of budgets, with `*` for several."),
        key("thresholds", Shape::Some(Scalar::Percent), "Told besides the budget's own."),
        key("receivers", Shape::Some(Scalar::Text), "Who is told; senders are configured elsewhere."),
    ],
};

/// Fields alone: who calls, and for what.
pub const SCOPE: Table = Table { called: "a scope", fields: true, keys: &[] };

pub const CONDITIONS: Table = Table {
    called: "a condition",
    fields: true,
    keys: &[
        key("stream", Shape::One(Scalar::Yes), "The answer is streamed."),
        key("needs", Shape::Some(Scalar::Need), "What the call needs of its model."),
        key("time", Shape::Some(Scalar::Time), "Days and hours: `mon-fri 09:00-18:00`, `weekend`, `22:00-06:00`."),
        key("estimated_cost", Shape::One(Scalar::ComparedDollars), "What the call will probably cost."),
        key("greatest_cost", Shape::One(Scalar::ComparedDollars), "What the call can cost at most."),
        key("input_tokens", Shape::One(Scalar::ComparedTokens), "The size of the input."),
        key("output_tokens", Shape::One(Scalar::ComparedTokens), "How much output the call may have."),
        key("budget", Shape::Sections(&BUDGET_STATE), "How a budget that counts the call stands."),
    ],
};

pub const BUDGET_STATE: Table = Table {
    called: "a budget's state",
    fields: false,
    keys: &[
        key("name", Shape::One(Scalar::Name), "Which budget; any that counts the call without."),
        key("used", Shape::One(Scalar::Share), "Spent of the limit: `80%` means at least."),
        key("committed", Shape::One(Scalar::Share), "Spent and held of the limit."),
        key("remaining", Shape::One(Scalar::ComparedAmount), "What is left: `< 10 USD`."),
        key(
            "projected_to_run_out",
            Shape::One(Scalar::Yes),
            "At the pace so far, the limit is reached before the window ends.",
        ),
        key("fits", Shape::One(Scalar::Yes), "`false`: the call was tried and there is no room for it."),
    ],
};

pub const TEST: Table = Table {
    called: "a test",
    fields: false,
    keys: &[
        NAME_OF_TEST,
        key("given", Shape::Section(&GIVEN), "Who asks for what, and how things stand."),
        needed("expect", Shape::Section(&EXPECT), "What must come of it."),
    ],
};

const NAME_OF_TEST: Key = needed("name", Shape::One(Scalar::Text), "What it shows, in a sentence.");

pub const GIVEN: Table = Table {
    called: "a test's given",
    fields: false,
    keys: &[
        key("caller", Shape::Section(&CALLER), "Who calls: `team`, `user`, `key`, `tag.…`."),
        key("request", Shape::Section(&REQUEST), "What is asked for."),
        key("spent", Shape::Free(Scalar::Amount), "What was spent of budgets before, by their names."),
        key("at", Shape::One(Scalar::Moment), "When: `2026-11-21 14:30`. Noon of 2026-06-17 without."),
    ],
};

pub const CALLER: Table = Table { called: "a test's caller", fields: true, keys: &[] };

pub const REQUEST: Table = Table {
    called: "a test's request",
    fields: false,
    keys: &[
        key("model", Shape::One(Scalar::Model), "`gpt-5.4`, or `provider/model`."),
        key("provider", Shape::One(Scalar::Provider), "If not the first that has the model."),
        key("operation", Shape::One(Scalar::Operation), "`chat` by default."),
        key("stream", Shape::One(Scalar::Yes), "The answer is streamed."),
        key("input_tokens", Shape::One(Scalar::Whole), "1000 by default."),
        key("output_limit", Shape::One(Scalar::Whole), "What the call asks for; the model's maximum without."),
        key("choices", Shape::One(Scalar::Whole), "How many answers; 1 by default."),
        key("needs", Shape::Some(Scalar::Need), "What it needs of its model."),
        key("no_swap", Shape::One(Scalar::Yes), "`x-farebox-no-swap: true`."),
        key("bounded", Shape::One(Scalar::Yes), "`false`: the body does not show how much goes in."),
        key("metered", Shape::One(Scalar::Yes), "`false`: a path that cannot be metered."),
    ],
};

pub const EXPECT: Table = Table {
    called: "a test's expectation",
    fields: false,
    keys: &[
        needed("decision", Shape::One(Scalar::Expected), "`admit`, `swap`, `clamp`, `reroute` or `refuse`."),
        key("rule", Shape::One(Scalar::Name), "Which rule made it."),
        key("model", Shape::One(Scalar::Model), "The model that serves the call."),
        key("provider", Shape::One(Scalar::Provider), "The provider that serves it."),
        key("output_tokens", Shape::One(Scalar::Whole), "The output limit in the end."),
        key("says", Shape::One(Scalar::Text), "Words that the reason or the message has in it."),
        key("warns", Shape::Some(Scalar::Name), "Rules that warn: soft and shadow ones."),
    ],
};

/// Every table, for the schema.
pub const TABLES: [&Table; 18] = [
    &FILE,
    &BUDGET,
    &WINDOW,
    &TOP_UP,
    &LIMIT,
    &SWAP,
    &BLOCK,
    &CLAMP,
    &ROUTE,
    &ALERT,
    &SCOPE,
    &CONDITIONS,
    &BUDGET_STATE,
    &TEST,
    &GIVEN,
    &CALLER,
    &REQUEST,
    &EXPECT,
];
