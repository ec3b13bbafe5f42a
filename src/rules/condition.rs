//! Conditions: what a rule asks of a call. One evaluation serves decisions, which stop at the first no, and
//! explanations, which write down every value on the way.

use super::Question;
use super::field::{Field, Pattern};
use super::timing::TimeOfWeek;
use crate::budget::book::Unit;
use crate::budget::{Balance, BasisPoints, Instance};
use crate::money::pico_to_decimal;
use crate::tokens::facts::Needs;
use std::fmt;
use std::sync::Arc;

/// The answer of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    No,
    /// Turns on what is not known yet: the input's exact size, or balances.
    Open,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Truth {
        if holds { Truth::Yes } else { Truth::No }
    }
}

/// `when:` — alternatives, of each of which everything must hold. None: always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    pub any: Vec<Vec<Condition>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Field { field: Field, any: Vec<Pattern> },
    Stream(bool),
    Needs(Vec<Need>),
    Time(Vec<TimeOfWeek>),
    Estimate(Compare),
    Ceiling(Compare),
    InputTokens(Compare),
    OutputTokens(Compare),
    Budget(Vec<BudgetState>),
}

/// A capability that a request needs of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Vision,
    AudioInput,
    Files,
    Tools,
    JsonSchema,
    Reasoning,
}

impl Need {
    pub const NAMES: [(&'static str, Need); 6] = [
        ("vision", Need::Vision),
        ("audio_input", Need::AudioInput),
        ("files", Need::Files),
        ("tools", Need::Tools),
        ("json_schema", Need::JsonSchema),
        ("reasoning", Need::Reasoning),
    ];

    pub fn name(self) -> &'static str {
        Need::NAMES.iter().find(|(_, need)| *need == self).map_or("?", |(name, _)| name)
    }

    /// Marks a request as needing it.
    pub fn ask(self, needs: &mut Needs) {
        match self {
            Need::Vision => needs.vision = true,
            Need::AudioInput => needs.audio_input = true,
            Need::Files => needs.file_input = true,
            Need::Tools => needs.tools = true,
            Need::JsonSchema => needs.json_schema = true,
            Need::Reasoning => needs.reasoning = true,
        }
    }

    fn is_needed(self, question: &Question<'_>) -> bool {
        let needs = &question.facts.needs;
        match self {
            Need::Vision => needs.vision,
            Need::AudioInput => needs.audio_input,
            Need::Files => needs.file_input,
            Need::Tools => needs.tools,
            Need::JsonSchema => needs.json_schema,
            Need::Reasoning => needs.reasoning,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Above,
    AtLeast,
    AtMost,
    Below,
}

/// `>= 80%`, `< 10 USD`: a bound in hundredths of a percent, pico-dollars, tokens or requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    pub sign: Sign,
    pub bound: u128,
    pub measure: Measure,
}

/// What the number of a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Share,
    Of(Unit),
}

impl Compare {
    pub fn holds(self, value: u128) -> bool {
        match self.sign {
            Sign::Above => value > self.bound,
            Sign::AtLeast => value >= self.bound,
            Sign::AtMost => value <= self.bound,
            Sign::Below => value < self.bound,
        }
    }

    /// Of a value of which only an upper bound is known.
    fn holds_up_to(self, most: u128) -> Truth {
        match (self.sign, self.holds(most)) {
            (Sign::Above | Sign::AtLeast, false) => Truth::No,
            (Sign::AtMost | Sign::Below, true) => Truth::Yes,
            _ => Truth::Open,
        }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            Sign::Above => ">",
            Sign::AtLeast => ">=",
            Sign::AtMost => "<=",
            Sign::Below => "<",
        };
        write!(f, "{sign} {}", amount(self.measure, self.bound))
    }
}

/// `80%`, `12.50 USD`, `2000 tokens`
pub fn amount(measure: Measure, value: u128) -> String {
    match measure {
        Measure::Share if value.is_multiple_of(100) => format!("{}%", value / 100),
        Measure::Share => format!("{}.{:02}%", value / 100, value % 100).replace("0%", "%"),
        Measure::Of(Unit::PicoUsd) => format!("{} USD", pico_to_decimal(i128::try_from(value).unwrap_or(i128::MAX))),
        Measure::Of(Unit::Tokens) => format!("{value} tokens"),
        Measure::Of(Unit::Requests) => format!("{value} requests"),
    }
}

/// How a budget of the call's stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetState {
    /// `None`: any budget that the call claims.
    pub budget: Option<Arc<str>>,
    pub used: Option<Compare>,
    pub committed: Option<Compare>,
    pub remaining: Option<Compare>,
    pub runs_out: Option<bool>,
    pub fits: Option<bool>,
}

/// The call as conditions see it.
pub struct Call<'q, 'a> {
    pub question: &'q Question<'a>,
    /// Of the budgets that the call claims; `None` while they are not known.
    pub balances: Option<&'q [(Arc<Instance>, Balance)]>,
    /// `false`: only the caller is known, not yet a request of his; what turns on that is open.
    pub request_is_known: bool,
}

/// One condition, written down with what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    pub text: String,
    pub truth: Truth,
}

impl When {
    /// `notes`: every condition is tried and written down; without, the first no ends it.
    pub fn holds(&self, call: &Call<'_, '_>, mut notes: Option<&mut Vec<Tested>>) -> Truth {
        if self.any.is_empty() {
            return Truth::Yes;
        }
        let mut best = Truth::No;
        for all in &self.any {
            let mut worst = Truth::Yes;
            for condition in all {
                let truth = condition.holds(call);
                if let Some(notes) = notes.as_deref_mut() {
                    notes.push(Tested { text: condition.found(call), truth });
                } else if truth == Truth::No {
                    worst = Truth::No;
                    break;
                }
                worst = lesser(worst, truth);
            }
            best = greater(best, worst);
            if best == Truth::Yes && notes.is_none() {
                return best;
            }
        }
        best
    }

    /// Whether it can hold for the call, whatever budgets, time, cost and sizes say.
    pub fn may_hold(&self, call: &Call<'_, '_>) -> bool {
        let is_fixed = |condition: &Condition| {
            matches!(condition, Condition::Field { .. } | Condition::Stream(_) | Condition::Needs(_))
        };
        let may = |all: &Vec<Condition>| {
            all.iter().filter(|condition| is_fixed(condition)).all(|condition| condition.holds(call) != Truth::No)
        };
        self.is_always() || self.any.iter().any(may)
    }

    pub fn is_always(&self) -> bool {
        self.any.is_empty()
    }

    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.any.iter().flatten()
    }

    /// Whenever the other holds, this one holds too. Says no where it cannot tell.
    pub fn covers(&self, other: &When) -> bool {
        let covered = |theirs: &[Condition]| {
            self.any.iter().any(|mine| mine.iter().all(|mine| theirs.iter().any(|theirs| mine.covers(theirs))))
        };
        self.is_always() || (!other.is_always() && other.any.iter().all(|theirs| covered(theirs)))
    }
}

fn lesser(a: Truth, b: Truth) -> Truth {
    match (a, b) {
        (Truth::No, _) | (_, Truth::No) => Truth::No,
        (Truth::Open, _) | (_, Truth::Open) => Truth::Open,
        _ => Truth::Yes,
    }
}

fn greater(a: Truth, b: Truth) -> Truth {
    match (a, b) {
        (Truth::Yes, _) | (_, Truth::Yes) => Truth::Yes,
        (Truth::Open, _) | (_, Truth::Open) => Truth::Open,
        _ => Truth::No,
    }
}

impl Condition {
    fn holds(&self, call: &Call<'_, '_>) -> Truth {
        let question = call.question;
        if !call.request_is_known && self.is_of_the_request() {
            return Truth::Open;
        }
        match self {
            Condition::Field { field, any } => {
                field.any(question, |value| any.iter().any(|pattern| pattern.fits(value))).into()
            }
            Condition::Stream(wanted) => (question.facts.stream == *wanted).into(),
            Condition::Needs(any) => any.iter().any(|need| need.is_needed(question)).into(),
            Condition::Time(any) => any.iter().any(|time| time.holds(question.now)).into(),
            Condition::Estimate(compare) => {
                question.estimate.is_some_and(|usd| compare.holds(pico(usd.as_pico()))).into()
            }
            Condition::Ceiling(compare) => match question.ceiling {
                Some(usd) if question.input_is_counted => compare.holds(pico(usd.as_pico())).into(),
                Some(usd) => compare.holds_up_to(pico(usd.as_pico())),
                None => Truth::No,
            },
            Condition::InputTokens(_) if !question.metered => Truth::No,
            Condition::InputTokens(compare) => {
                let most = u128::from(question.bound.input_tokens());
                if question.input_is_counted { compare.holds(most).into() } else { compare.holds_up_to(most) }
            }
            Condition::OutputTokens(compare) => {
                (question.metered && compare.holds(u128::from(output_each(question)))).into()
            }
            Condition::Budget(any) => any.iter().map(|state| state.holds(call)).fold(Truth::No, greater),
        }
    }

    fn is_of_the_request(&self) -> bool {
        match self {
            Condition::Field { field, .. } => field.is_of_the_request(),
            Condition::Time(_) | Condition::Budget(_) => false,
            _ => true,
        }
    }

    /// What the condition wants, and what the call has.
    fn found(&self, call: &Call<'_, '_>) -> String {
        let question = call.question;
        match self {
            Condition::Field { field, any } => {
                let wanted: Vec<&str> = any.iter().map(Pattern::text).collect();
                let name = field.name();
                match field.first(question) {
                    Some(value) => format!("{name} is {value} (wanted {})", wanted.join(" or ")),
                    None => format!("{name} is not said (wanted {})", wanted.join(" or ")),
                }
            }
            Condition::Stream(wanted) => format!("stream is {} (wanted {wanted})", question.facts.stream),
            Condition::Needs(any) => {
                let needed = Need::NAMES.iter().filter(|(_, need)| need.is_needed(question)).map(|(name, _)| *name);
                let wanted: Vec<&str> = any.iter().map(|need| need.name()).collect();
                format!("needs {} (wanted {})", or_nothing(needed.collect()), wanted.join(" or "))
            }
            Condition::Time(any) => {
                let clock = any.first().map(|time| time.clock(question.now)).unwrap_or_default();
                let wanted: Vec<String> = any.iter().map(ToString::to_string).collect();
                format!("it is {clock} (wanted {})", wanted.join(" or "))
            }
            Condition::Estimate(compare) => money_found("estimated cost", question.estimate, *compare),
            Condition::Ceiling(compare) => money_found("greatest cost", question.ceiling, *compare),
            Condition::InputTokens(compare) => {
                let counted = if question.input_is_counted { "" } else { "at most " };
                format!("input is {counted}{} tokens (wanted {compare})", question.bound.input_tokens())
            }
            Condition::OutputTokens(compare) => {
                format!("output is at most {} tokens (wanted {compare})", output_each(question))
            }
            Condition::Budget(any) => any.iter().map(|state| state.found(call)).collect::<Vec<_>>().join("; "),
        }
    }

    fn covers(&self, other: &Condition) -> bool {
        match (self, other) {
            (Condition::Field { field, any }, Condition::Field { field: theirs, any: other }) => {
                field == theirs && other.iter().all(|other| any.iter().any(|mine| mine.covers(other)))
            }
            (Condition::Budget(mine), Condition::Budget(theirs)) => {
                theirs.iter().all(|theirs| mine.iter().any(|mine| mine.covers(theirs)))
            }
            (Condition::InputTokens(mine), Condition::InputTokens(theirs))
            | (Condition::OutputTokens(mine), Condition::OutputTokens(theirs))
            | (Condition::Estimate(mine), Condition::Estimate(theirs))
            | (Condition::Ceiling(mine), Condition::Ceiling(theirs)) => mine.covers(*theirs),
            (mine, theirs) => mine == theirs,
        }
    }
}

impl Compare {
    /// Whenever the other holds, this one holds too.
    fn covers(self, other: Compare) -> bool {
        let upward = |sign| matches!(sign, Sign::Above | Sign::AtLeast);
        upward(self.sign) == upward(other.sign)
            && (self.bound == other.bound
                && (self.sign == other.sign || matches!(self.sign, Sign::AtLeast | Sign::AtMost))
                || (upward(self.sign) && other.bound > self.bound)
                || (!upward(self.sign) && other.bound < self.bound))
    }
}

impl BudgetState {
    fn holds(&self, call: &Call<'_, '_>) -> Truth {
        let Some(balances) = call.balances else { return Truth::Open };
        balances
            .iter()
            .filter(|(instance, _)| self.is_about(instance))
            .any(|(instance, balance)| {
                let measures =
                    |compare: &Option<Compare>, value: u128| compare.is_none_or(|compare| compare.holds(value));
                measures(&self.used, u128::from(balance.used().0))
                    && measures(&self.committed, u128::from(balance.committed().0))
                    && measures(&self.remaining, balance.limit.saturating_sub(balance.spent))
                    && self.runs_out.is_none_or(|wanted| runs_out(instance, balance, call.question) == wanted)
                    && self.fits.is_none_or(|wanted| fits(instance, balance, call.question) == wanted)
            })
            .into()
    }

    fn is_about(&self, instance: &Instance) -> bool {
        match &self.budget {
            Some(name) => **name == *instance.budget.name,
            None => !instance.budget.is_rate_limit,
        }
    }

    fn found(&self, call: &Call<'_, '_>) -> String {
        let wanted = self.wanted();
        let name = self.budget.as_deref().unwrap_or("any");
        let Some(balances) = call.balances else { return format!("budget {name}: {wanted}") };
        let mine: Vec<String> = balances
            .iter()
            .filter(|(instance, _)| self.is_about(instance))
            .map(|(instance, balance)| {
                let unit = Measure::Of(instance.budget.unit);
                format!(
                    "budget {} is {} used, {} remain (wanted {wanted})",
                    instance.budget.name,
                    amount(Measure::Share, u128::from(balance.used().0)),
                    amount(unit, balance.limit.saturating_sub(balance.spent)),
                )
            })
            .collect();
        if mine.is_empty() {
            format!("the call does not count in budget {name} (wanted {wanted})")
        } else {
            mine.join("; ")
        }
    }

    pub fn wanted(&self) -> String {
        let compared = [("used", self.used), ("committed", self.committed), ("remaining", self.remaining)];
        let mut wanted: Vec<String> =
            compared.iter().filter_map(|(what, compare)| compare.map(|compare| format!("{what} {compare}"))).collect();
        wanted.extend(self.runs_out.map(|runs| if runs { "running out" } else { "not running out" }.to_owned()));
        wanted.extend(
            self.fits.map(|fits| if fits { "a call that fits" } else { "a call that does not fit" }.to_owned()),
        );
        wanted.join(" and ")
    }

    fn covers(&self, other: &BudgetState) -> bool {
        let covers = |mine: &Option<Compare>, theirs: &Option<Compare>| match (mine, theirs) {
            (None, _) => true,
            (Some(mine), Some(theirs)) => mine.covers(*theirs),
            _ => false,
        };
        (self.budget.is_none() || self.budget == other.budget)
            && covers(&self.used, &other.used)
            && covers(&self.committed, &other.committed)
            && covers(&self.remaining, &other.remaining)
            && (self.runs_out.is_none() || self.runs_out == other.runs_out)
            && (self.fits.is_none() || self.fits == other.fits)
    }
}

/// What one answer may have; several are billed.
pub fn output_each(question: &Question<'_>) -> u64 {
    question.bound.output_tokens().div_ceil(question.facts.choices.max(1))
}

/// At the pace since the window began, the limit is reached before it ends. In the first twentieth of a window nobody
/// can tell; what is spent already has run out.
fn runs_out(instance: &Instance, balance: &Balance, question: &Question<'_>) -> bool {
    let window = instance.window;
    if balance.used() >= BasisPoints(10_000) {
        return true;
    }
    let counted_from = window.counts_from;
    if window.resets_at().is_none() || window.is_rolling() {
        return false;
    }
    let elapsed = u128::from(question.now.micros_since(counted_from));
    let length = u128::from(window.end.micros_since(counted_from));
    elapsed.saturating_mul(20) >= length
        && elapsed > 0
        && balance.spent.saturating_mul(length) / elapsed > balance.limit
}

/// The book had no room, and this is a budget that is short of it.
fn fits(instance: &Instance, balance: &Balance, question: &Question<'_>) -> bool {
    let wanted = super::demand_of(instance.budget.unit, question);
    !(question.does_not_fit && wanted.is_none_or(|wanted| u128::from(wanted) > balance.available()))
}

fn money_found(what: &str, found: Option<crate::money::Usd>, compare: Compare) -> String {
    match found {
        Some(usd) => format!("{what} is {usd} USD (wanted {compare})"),
        None => format!("{what} is not known (wanted {compare})"),
    }
}

fn or_nothing(words: Vec<&str>) -> String {
    if words.is_empty() { "nothing special".to_owned() } else { words.join(", ") }
}

fn pico(pico: i64) -> u128 {
    u128::try_from(pico).unwrap_or(0)
}
