//! Sums by group, ordered and cut for people.

use super::csv::Line;
use super::view::Pico;
use crate::store::{Group, GroupBy, Reader, StoreError, Sums, TimeRange, UsageQuery};
use crate::tokens::usage::Kind;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Groups in an answer when nothing is said.
pub const GROUPS_DEFAULT: usize = 100;
/// Groups that one answer may have.
pub const GROUPS_MAX: usize = 10_000;

/// What is asked, and how many groups are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsQuestion {
    pub query: UsageQuery,
    pub limit: usize,
}

/// The answer: groups by time, then by cost, the dearest first; totals over everything asked for, also what the limit
/// cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub range: TimeRange,
    pub group_by: Vec<GroupBy>,
    pub groups: Vec<Group>,
    /// Groups beyond the limit.
    pub groups_more: usize,
    pub totals: Sums,
}

pub fn stats(reader: &Reader, question: &StatsQuestion) -> Result<Stats, StoreError> {
    let usage = reader.usage(&question.query)?;
    let mut groups = usage.groups;
    let group_by = question.query.group_by.clone();
    let time = group_by.iter().position(|by| matches!(by, GroupBy::Time(_)));
    groups.sort_by(|a, b| {
        let by_time = time.map(|place| a.key[place].cmp(&b.key[place])).unwrap_or(std::cmp::Ordering::Equal);
        by_time
            .then(b.sums.cost_pico.cmp(&a.sums.cost_pico))
            .then(b.sums.calls.cmp(&a.sums.calls))
            .then_with(|| a.key.cmp(&b.key))
    });
    let groups_more = groups.len().saturating_sub(question.limit);
    groups.truncate(question.limit);
    Ok(Stats { range: question.query.range, group_by, groups, groups_more, totals: usage.totals })
}

impl Stats {
    /// One line per group.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut header = Line::new(&mut buffer);
        for by in &self.group_by {
            header.plain(by.name());
        }
        for name in ["calls", "failed_calls", "unpriced_calls", "unmetered_calls", "adjustments"] {
            header.plain(name);
        }
        for name in ["input_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "output_tokens"] {
            header.plain(name);
        }
        header.plain("reasoning_output_tokens");
        header.plain("cost_usd");
        header.plain("withheld_usd");
        for kind in Kind::ALL {
            header.plain(format_args!("units_{}", kind.name()));
        }
        header.end();
        for group in &self.groups {
            let mut line = Line::new(&mut buffer);
            for member in &group.key {
                line.text(member.as_deref());
            }
            let sums = &group.sums;
            for count in [sums.calls, sums.failed, sums.unpriced, sums.unmetered, sums.adjustments] {
                line.number(count);
            }
            line.number(sums.usage.input_tokens());
            line.number(sums.usage.cache_read_input_tokens());
            line.number(sums.usage.cache_write_input_tokens());
            line.number(sums.usage.output_tokens());
            line.number(sums.usage.reasoning_output_tokens());
            line.money(Some(sums.cost_pico));
            line.money(Some(sums.withheld_pico));
            for kind in Kind::ALL {
                line.number(sums.usage[kind]);
            }
            line.end();
        }
        buffer
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Row<'a>(&'a [GroupBy], &'a Group);
        impl Serialize for Row<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                for (by, member) in self.0.iter().zip(&self.1.key) {
                    map.serialize_entry(&by.name(), &member.as_deref())?;
                }
                write_sums(&mut map, &self.1.sums)?;
                map.end()
            }
        }
        struct Total<'a>(&'a Sums);
        impl Serialize for Total<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                write_sums(&mut map, self.0)?;
                map.end()
            }
        }
        let rows: Vec<Row<'_>> = self.groups.iter().map(|group| Row(&self.group_by, group)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("from", &self.range.from.map(|moment| moment.to_rfc3339()))?;
        map.serialize_entry("to", &self.range.to.map(|moment| moment.to_rfc3339()))?;
        map.serialize_entry("group_by", &self.group_by.iter().map(GroupBy::name).collect::<Vec<_>>())?;
        map.serialize_entry("groups", &rows)?;
        map.serialize_entry("groups_more", &self.groups_more)?;
        map.serialize_entry("totals", &Total(&self.totals))?;
        map.end()
    }
}

fn write_sums<M: SerializeMap>(map: &mut M, sums: &Sums) -> Result<(), M::Error> {
    map.serialize_entry("calls", &sums.calls)?;
    map.serialize_entry("failed_calls", &sums.failed)?;
    map.serialize_entry("unpriced_calls", &sums.unpriced)?;
    map.serialize_entry("unmetered_calls", &sums.unmetered)?;
    map.serialize_entry("adjustments", &sums.adjustments)?;
    map.serialize_entry("reported_calls", &sums.reported)?;
    map.serialize_entry("counted_calls", &sums.counted)?;
    map.serialize_entry("estimated_calls", &sums.estimated)?;
    map.serialize_entry("input_tokens", &sums.usage.input_tokens())?;
    map.serialize_entry("cache_read_input_tokens", &sums.usage.cache_read_input_tokens())?;
    map.serialize_entry("cache_write_input_tokens", &sums.usage.cache_write_input_tokens())?;
    map.serialize_entry("output_tokens", &sums.usage.output_tokens())?;
    map.serialize_entry("reasoning_output_tokens", &sums.usage.reasoning_output_tokens())?;
    map.serialize_entry("units", &super::view::Units(&sums.usage))?;
    map.serialize_entry("cost_usd", &Pico(sums.cost_pico))?;
    map.serialize_entry("withheld_usd", &Pico(sums.withheld_pico))
}
