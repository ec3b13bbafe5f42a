//! A provider's bill as CSV: OpenAI's exports of usage and of costs, or a plain table. Columns are found by their names;
//! lines are summed by day and model.
//!
//! OpenAI does not document its exports. Their columns are those of exports that people published (October 2025 and
//! September 2026, looked up on 2026-11-28): a line for each day also where nothing was used, with nothing in it; amounts
//! of up to thirty decimals; `line_item` empty unless the costs were grouped by it.

use crate::money::round_half_even;
use std::collections::BTreeMap;

/// Longer files are no bills.
pub const BYTES_MAX: usize = 64 << 20;
/// Decimals of a pico-dollar.
const DECIMALS: u32 = 12;

/// Names of columns, the plain one first; the others are those of OpenAI's exports.
const DAY: &[&str] = &["day", "date", "start_time_iso", "start_time"];
const MODEL: &[&str] = &["model", "line_item"];
const COST: &[&str] = &["cost_usd", "amount_value"];
const CURRENCY: &[&str] = &["currency", "amount_currency"];
const INPUT: &[&str] = &["input_tokens"];
const CACHED: &[&str] = &["cached_input_tokens", "input_cached_tokens"];
const OUTPUT: &[&str] = &["output_tokens"];
const REQUESTS: &[&str] = &["requests", "num_model_requests"];

/// What a bill says of one model on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// Pico-dollars; `None`: the file tells usage and no costs.
    pub cost: Option<i128>,
    pub tokens: Option<Tokens>,
    pub requests: u64,
    pub lines: u64,
    /// The last place of its amounts: 2 for cents. Of the line that has most.
    pub decimals: u32,
}

/// `input` holds `cached`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    pub line: usize,
    pub what: String,
}

/// By day (`2026-11-21`) and model, as the bill calls it.
pub type Bill = BTreeMap<(String, String), Billed>;

/// Reads a bill.
///
/// # Errors
/// The first line that is no line of a bill, and why.
pub fn read(text: &str) -> Result<Bill, Unreadable> {
    let mut records = records(text.trim_start_matches('\u{feff}'));
    let (_, header) = records.next().unwrap_or_default();
    let columns = Columns::of(&header)?;
    let mut bill = Bill::new();
    for (line, record) in records.filter(|(_, record)| record.iter().any(|cell| !cell.trim().is_empty())) {
        columns.add(&record, &mut bill).map_err(|what| Unreadable { line, what })?;
    }
    Ok(bill)
}

struct Columns {
    day: usize,
    model: usize,
    cost: Option<usize>,
    currency: Option<usize>,
    input: Option<usize>,
    cached: Option<usize>,
    output: Option<usize>,
    requests: Option<usize>,
}

impl Columns {
    fn of(header: &[String]) -> Result<Columns, Unreadable> {
        let find = |names: &[&str]| {
            names.iter().find_map(|name| header.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name)))
        };
        let needed = |names: &[&str]| {
            find(names)
                .ok_or_else(|| Unreadable { line: 1, what: format!("no column is called {}", names.join(" or ")) })
        };
        let columns = Columns {
            day: needed(DAY)?,
            model: needed(MODEL)?,
            cost: find(COST),
            currency: find(CURRENCY),
            input: find(INPUT),
            cached: find(CACHED),
            output: find(OUTPUT),
            requests: find(REQUESTS),
        };
        if columns.cost.is_none() && columns.input.is_none() {
            let what = format!("no column is called {}, and none {}", COST.join(" or "), INPUT.join(" or "));
            return Err(Unreadable { line: 1, what });
        }
        Ok(columns)
    }

    fn add(&self, record: &[String], bill: &mut Bill) -> Result<(), String> {
        let cell = |place: usize| record.get(place).map_or("", |cell| cell.trim());
        let filled = |place: Option<usize>| place.map(cell).filter(|text| !text.is_empty());
        if let Some(currency) = filled(self.currency).filter(|currency| !currency.eq_ignore_ascii_case("usd")) {
            return Err(format!("the amount is in {currency}; only US dollars can be compared"));
        }
        let told = [self.cost, self.input, self.output, self.requests];
        if told.iter().all(|place| filled(*place).is_none()) {
            // A day on which nothing was used.
            return Ok(());
        }
        let day = day(cell(self.day))?;
        // `gpt-4o-2024-08-06, cached input`: a line of the costs for each kind of token.
        let model = cell(self.model).split(',').next().unwrap_or_default().trim().to_owned();
        if model.is_empty() {
            return Err("it names no model: export costs grouped by line item, and usage by model".to_owned());
        }
        let count = |place: Option<usize>| filled(place).map(count).transpose();
        let (input, cached, output) = (count(self.input)?, count(self.cached)?, count(self.output)?);
        let billed = bill.entry((day, model)).or_default();
        billed.lines += 1;
        billed.requests = billed.requests.saturating_add(count(self.requests)?.unwrap_or(0));
        if let Some(text) = filled(self.cost) {
            let (pico, decimals) = amount(text)?;
            billed.cost = Some(billed.cost.unwrap_or(0).saturating_add(pico));
            billed.decimals = billed.decimals.max(decimals);
        }
        if input.is_some() || output.is_some() {
            let tokens = billed.tokens.get_or_insert_default();
            tokens.input = tokens.input.saturating_add(input.unwrap_or(0));
            tokens.cached = tokens.cached.saturating_add(cached.unwrap_or(0));
            tokens.output = tokens.output.saturating_add(output.unwrap_or(0));
        }
        Ok(())
    }
}

/// `2026-11-21`, `2026-11-21T00:00:00+00:00`, or seconds since 1970.
fn day(text: &str) -> Result<String, String> {
    let fault = || format!("`{}` is no day: write 2026-11-21", text.chars().take(40).collect::<String>());
    if let Ok(seconds) = text.parse::<i64>() {
        let moment = jiff::Timestamp::from_second(seconds).map_err(|_| fault())?;
        return Ok(moment.strftime("%Y-%m-%d").to_string());
    }
    let date = text.get(..10).ok_or_else(fault)?;
    date.parse::<jiff::civil::Date>().map(|date| date.to_string()).map_err(|_| fault())
}

fn count(text: &str) -> Result<u64, String> {
    // Spreadsheets write whole numbers as 12.0, too.
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole.parse().map_err(|_| format!("`{}` is no whole number", text.chars().take(40).collect::<String>()))
}

/// Pico-dollars, and how many decimals it had: `12.34`, `-0.5`, `1.2e-05`. What is finer is rounded, half to even.
fn amount(text: &str) -> Result<(i128, u32), String> {
    let fault = || format!("`{}` is no amount: write 12.34", text.chars().take(40).collect::<String>());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| fault())?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let written = format!("{whole}{fraction}");
    let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    let places = i32::try_from(fraction.len()).map_err(|_| fault())?;
    let fraction = fraction.trim_end_matches('0');
    let all = format!("0{whole}{fraction}");
    if !is_number || all.len() > 31 || exponent.abs() > 30 {
        return Err(fault());
    }
    let number: i128 = all.parse().map_err(|_| fault())?;
    // number × 10^(exponent − fraction), in units of 10^−12.
    let scale = exponent + i32::try_from(DECIMALS).unwrap_or(0) - i32::try_from(fraction.len()).unwrap_or(0);
    let power = 10i128.checked_pow(scale.unsigned_abs()).ok_or_else(fault)?;
    let pico = if scale >= 0 { number.checked_mul(power) } else { round_half_even(number, power) };
    let pico = pico.ok_or_else(fault)?;
    let decimals = places.saturating_sub(exponent).clamp(0, 12);
    Ok((if negative { -pico } else { pico }, decimals.unsigned_abs()))
}

/// Lines of CSV (RFC 4180) with their number; a quoted cell may hold commas, quotes and line ends.
fn records(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    let mut letters = text.chars().peekable();
    let mut line = 1;
    std::iter::from_fn(move || {
        letters.peek()?;
        let (first, mut record, mut cell, mut quoted) = (line, Vec::new(), String::new(), false);
        while let Some(letter) = letters.next() {
            match letter {
                '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => record.push(std::mem::take(&mut cell)),
                '\n' => {
                    line += 1;
                    if !quoted {
                        break;
                    }
                    cell.push(letter);
                }
                '\r' if !quoted => {}
                _ => cell.push(letter),
            }
        }
        record.push(cell);
        Some((first, record))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bill: &Bill, day: &str, model: &str) -> Billed {
        bill[&(day.to_owned(), model.to_owned())]
    }

    #[test]
    fn a_plain_table_is_summed_by_day_and_model() {
        let bill = read("day,model,cost_usd,input_tokens,output_tokens\r\n2026-11-20,gpt-4o,1.25,100,10\r\n2026-11-20,gpt-4o,0.255,1,1\n\n").unwrap();
        let billed = of(&bill, "2026-11-20", "gpt-4o");
        assert_eq!((billed.cost, billed.lines, billed.decimals), (Some(1_505_000_000_000), 2, 3));
        assert_eq!(billed.tokens, Some(Tokens { input: 101, cached: 0, output: 11 }));
    }

    #[test]
    fn openais_exports_are_read_by_their_own_columns() {
        let costs = "start_time,start_time_iso,amount_value,amount_currency,line_item,project_id\n\
            1795132800,2026-11-20T00:00:00+00:00,1.2e-05,usd,\"gpt-4o-2024-08-06, cached input\",p\n\
            1795132800,2026-11-20T00:00:00+00:00,0.10000000000000000555,usd,\"gpt-4o-2024-08-06, output\",p\n";
        let billed = of(&read(costs).unwrap(), "2026-11-20", "gpt-4o-2024-08-06");
        assert_eq!((billed.cost, billed.tokens), (Some(100_012_000_000), None));
        let long = "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item\n\
            1795046400,1795132800,2026-11-19T00:00:00+00:00,2026-11-20T00:00:00+00:00,,,,,\n\
            1795132800,1795219200,2026-11-20T00:00:00,2026-11-21T00:00:00,0.003835980000000000000000000000,usd,9,tokens,\"gpt-5-nano, input\"\n";
        let bill = read(long).unwrap();
        assert_eq!((bill.len(), of(&bill, "2026-11-20", "gpt-5-nano").cost), (1, Some(3_835_980_000)));
        let usage = "start_time,end_time,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n\
            1795132800,1795219200,3,gpt-4o,300,30,100\n";
        let billed = of(&read(usage).unwrap(), "2026-11-20", "gpt-4o");
        assert_eq!((billed.cost, billed.requests), (None, 3));
        assert_eq!(billed.tokens, Some(Tokens { input: 300, cached: 100, output: 30 }));
    }

    #[test]
    fn what_is_no_bill_is_told_by_its_line() {
        for (text, line, what) in [
            ("", 1, "day"),
            ("day,model\n", 1, "cost_usd"),
            ("day,model,cost_usd\n2026-11-20,a,1\nyesterday,a,1\n", 3, "yesterday"),
            ("day,model,cost_usd\n2026-11-20,a,1.2.3\n", 2, "amount"),
            ("day,model,cost_usd,currency\n2026-11-20,a,1,EUR\n", 2, "EUR"),
            ("day,model,cost_usd\n2026-11-20,,1\n", 2, "line item"),
            ("day,model,cost_usd\n2026-11-20,a,.\n", 2, "amount"),
            ("day,model,input_tokens\n2026-11-20,a,-1\n", 2, "whole number"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.line == line && fault.what.contains(what), "{text:?}: {fault}");
        }
    }
}
