//! Decisions: who is claimed by what, in which order rules act, and that the explanation is the decision.

use super::syntax::{Known, load};
use super::*;
use crate::budget::{Balance, Instance};
use crate::catalog::file::shipped;
use crate::catalog::{Catalog, Model, Terms};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation, RefusalKind};
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::RequestFacts;
use crate::tokens::usage::{Kind as Used, TokenUsage};
use std::fmt::Write;

const NOW: Timestamp = Timestamp(1_781_697_600_000_000);

fn rules(text: &str) -> RuleSet {
    load(&[("rules/team.yaml", &format!("version: 1\n{text}"))], &Known::default())
        .unwrap_or_else(|faults| panic!("{}", faults[0]))
        .rules
}

/// What a question borrows from.
struct Asked {
    caller: Caller,
    attribution: Attribution,
    facts: RequestFacts,
    terms: Terms,
    model: Option<Arc<Model>>,
    bound: TokenUsage,
}

fn asked(catalog: &Catalog, team: &str, input: u64, output: u64) -> Asked {
    Asked {
        caller: Caller { team: Some(team.into()), key: Some("k-1".into()), ..Caller::default() },
        attribution: Attribution::default(),
        facts: RequestFacts { requested_model: Some("gpt-5".into()), choices: 1, ..RequestFacts::default() },
        terms: Terms::default(),
        model: catalog.resolve("openai", "gpt-5").map(|offer| offer.model),
        bound: TokenUsage::ZERO.with(Used::Input, input).with(Used::Output, output),
    }
}

impl Asked {
    fn question(&self) -> Question<'_> {
        Question {
            caller: &self.caller,
            attribution: &self.attribution,
            facts: &self.facts,
            operation: Operation::Chat,
            dialect: Dialect::OpenAi,
            metered: true,
            reads_only: false,
            provider: "openai",
            upstream_model: Some("gpt-5"),
            model: self.model.as_deref(),
            bound: self.bound,
            input_is_counted: false,
            terms: &self.terms,
            ceiling: self.model.as_ref().and_then(|model| model.ceiling(&self.bound, &self.terms, NOW)),
            estimate: None,
            bounded_by_context: false,
            refuses_swaps: false,
            does_not_fit: false,
            applied: &[],
            now: NOW,
        }
    }
}

fn untouched(instances: &[Arc<Instance>]) -> Vec<(Arc<Instance>, Balance)> {
    let one = |instance: &Arc<Instance>| {
        (Arc::clone(instance), Balance { limit: instance.budget.limit, ..Balance::default() })
    };
    instances.iter().map(one).collect()
}

#[test]
fn of_ten_thousand_budgets_a_call_looks_at_its_own() {
    let mut text = "budgets:\n".to_owned();
    for team in 0..10_000 {
        writeln!(text, "  - {{name: b-{team}, scope: {{team: t-{team}}}, window: month, limit: 5 USD}}").unwrap();
    }
    text.push_str("  - {name: all, window: month, limit: 5 USD}\n  - {name: tagged, scope: {tag.a: b}, window: month, limit: 5 USD}\n");
    let rules = rules(&text);
    let catalog = shipped().unwrap();
    let mut asked = asked(&catalog, "t-77", 10, 10);
    asked.attribution.tags.push(("a".into(), "b".into()));
    assert_eq!(rules.index.candidates(&asked.question()).len(), 3);
    let names: Vec<String> =
        rules.instances(&asked.question()).iter().map(|instance| instance.budget.name.to_string()).collect();
    assert_eq!(names, ["b-77", "all", "tagged"]);
}

#[test]
fn a_call_claims_every_budget_that_counts_it_in_its_unit() {
    let rules = rules(
        "budgets:\n  - {name: usd, for_each: [team, user], window: day, limit: 5 USD}\n  - {name: tokens, scope: {model: 'gpt-5*'}, window: day, limit: 5k tokens}\n  - {name: calls, window: day, limit: 5 requests, except: {key: k-1}}\n  - {name: others, scope: {team: b}, window: day, limit: 5 USD}\n",
    );
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a b", 1_000, 500);
    let question = asked.question();
    let decision = rules.decide(&question, &untouched(&rules.instances(&question)));
    assert_eq!(decision.verdict, Verdict::Admit);
    let claims: Vec<(&str, &str, u64, bool)> = decision
        .demands
        .iter()
        .map(|demand| (&*demand.instance.budget.name, &*demand.instance.scope, demand.amount, demand.binds))
        .collect();
    let ceiling = u64::try_from(question.ceiling.unwrap().as_pico()).unwrap();
    assert_eq!(
        claims,
        [("usd", "team=a%20b user=", ceiling, true), ("tokens", "", 1_500, true), ("calls", "", 1, false)]
    );
}

#[test]
fn an_instance_keeps_its_account_when_the_limit_changes_and_not_when_the_window_ends() {
    let of = |limit: &str| rules(&format!("budgets:\n  - {{name: a, window: day, limit: {limit}}}\n"));
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1, 1);
    let account =
        |rules: &RuleSet, now: i64| rules.instances(&Question { now: Timestamp(now), ..asked.question() })[0].account;
    let day = 86_400_000_000;
    let before = of("5 USD");
    assert_eq!(account(&before, NOW.0), account(&of("9 USD"), NOW.0));
    assert_eq!(account(&before, NOW.0), account(&before, NOW.0 + day / 4));
    assert_ne!(account(&before, NOW.0), account(&before, NOW.0 + day));
    assert_eq!(account(&before, NOW.0), account(&before, NOW.0), "the kept instance is not of another day");
}

#[test]
fn what_turns_on_the_exact_input_is_counted_first_and_only_then() {
    let rules = rules("limits:\n  - {name: small, input_tokens_per_call: 100}\n");
    let catalog = shipped().unwrap();
    let verdict = |input: u64, counted: bool| {
        let asked = asked(&catalog, "a", input, 10);
        rules.decide(&Question { input_is_counted: counted, ..asked.question() }, &[]).verdict
    };
    assert_eq!(verdict(100, false), Verdict::Admit, "a bound within it needs no count");
    assert_eq!(verdict(101, false), Verdict::Count);
    assert!(matches!(verdict(101, true), Verdict::Refuse(Refused { kind: RefusalKind::InvalidRequest, .. })));
}

#[test]
fn a_call_that_is_too_dear_gets_the_longest_answer_that_is_not() {
    let rules = rules("limits:\n  - {name: dear, cost_per_call: 0.10 USD}\n");
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1_000, 100_000);
    let question = Question { input_is_counted: true, ..asked.question() };
    let Verdict::Clamp { output_tokens } = rules.decide(&question, &[]).verdict else { panic!() };
    let cost = |output: u64| {
        let bound = question.bound.with(Used::Output, output);
        asked.model.as_ref().unwrap().ceiling(&bound, &asked.terms, NOW).unwrap()
    };
    let most = "0.10".parse().unwrap();
    assert!(cost(output_tokens) <= most && cost(output_tokens + 1) > most, "{output_tokens}");
}

#[test]
fn a_hard_money_budget_refuses_what_it_cannot_keep_count_of() {
    let of = |more: &str| rules(&format!("budgets:\n  - {{name: m, window: day, limit: 5 USD{more}}}\n"));
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1, 1);
    let is_refused =
        |rules: &RuleSet, question: &Question<'_>| matches!(rules.decide(question, &[]).verdict, Verdict::Refuse(_));
    let unmetered = Question { metered: false, ceiling: None, model: None, ..asked.question() };
    let unpriced = Question { ceiling: None, model: None, ..asked.question() };
    let stored = Question { bounded_by_context: true, ..asked.question() };
    let hard = of("");
    assert!(is_refused(&hard, &unmetered) && is_refused(&hard, &unpriced) && !is_refused(&hard, &stored));
    assert!(!is_refused(&hard, &Question { reads_only: true, ..unmetered }), "reading is free");
    assert!(is_refused(&of(", strict: true"), &stored));
    assert!(!is_refused(&of(", unmetered: admit"), &unmetered) && !is_refused(&of(", unpriced: admit"), &unpriced));
    for soft in [", hardness: soft", ", hardness: shadow"] {
        let decision = of(soft).decide(&unpriced, &[]);
        assert_eq!((decision.verdict, decision.warnings.len()), (Verdict::Admit, 1));
    }
    assert!(!is_refused(&of(", except: {key: k-1}"), &unpriced));
}

#[test]
fn the_first_rule_of_its_kind_acts_and_each_acts_once() {
    let rules = rules(
        "swaps:\n  - {name: a, from: gpt-5, to: gpt-5-mini}\n  - {name: b, from: gpt-5, to: gpt-5-nano}\nroutes:\n  - {name: r, to: azure}\n",
    );
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1, 1);
    let names = |applied: &[&str]| {
        let applied: Vec<Arc<str>> = applied.iter().map(|name| Arc::from(*name)).collect();
        let decision = rules.decide(&Question { applied: &applied, ..asked.question() }, &[]);
        (decision.name(), decision.rule.as_deref().map(str::to_owned))
    };
    assert_eq!(names(&[]), ("reroute", Some("r".to_owned())), "routes come before swaps");
    assert_eq!(names(&["r"]), ("swap", Some("a".to_owned())));
    assert_eq!(names(&["r", "a"]), ("swap", Some("b".to_owned())), "the first had no target that can serve");
    assert_eq!(names(&["r", "a", "b"]), ("admit", None));
}

#[test]
fn a_swap_that_waits_for_no_room_acts_when_there_is_none() {
    let rules = rules(
        "budgets:\n  - {name: m, window: day, limit: 0.000001 USD}\nswaps:\n  - {name: s, when: {budget: {name: m, fits: false}}, to: gpt-5-nano}\n",
    );
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1_000, 1_000);
    let question = asked.question();
    let balances = untouched(&rules.instances(&question));
    assert_eq!(rules.decide(&question, &balances).verdict, Verdict::Admit, "room is the book's word");
    assert_eq!(rules.decide(&Question { does_not_fit: true, ..question }, &balances).name(), "swap");
}

#[test]
fn the_explanation_is_the_decision() {
    let catalog = shipped().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/examples");
    let mut decided = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let rules = load(&[("f", &text)], &Known::default()).unwrap().rules;
        for (team, counted, share) in
            [("research", true, 0), ("research", false, 9), ("support", true, 9), ("design", true, 10)]
        {
            let asked = asked(&catalog, team, 60_000, 100_000);
            // The one that the examples are about.
            let model = catalog.resolve("openai", "gpt-5.4").unwrap().model;
            let question = Question {
                input_is_counted: counted,
                upstream_model: Some("gpt-5.4"),
                model: Some(&model),
                ..asked.question()
            };
            let mut balances = untouched(&rules.instances(&question));
            balances.iter_mut().for_each(|(_, balance)| balance.spent = balance.limit / 10 * share);
            let (explained, tried) = rules.explain(&question, &balances);
            assert_eq!(explained, rules.decide(&question, &balances));
            if let Some(rule) = &explained.rule {
                assert!(
                    tried.iter().any(|tried| tried.rule == *rule && tried.matched)
                        || explained.verdict == Verdict::Count,
                    "{rule}"
                );
                decided += 1;
            }
        }
    }
    assert!(decided > 8, "{decided}");
}

#[test]
fn rates_are_listed_and_tokens_a_minute_are_a_budget_of_the_minute() {
    let rules = rules(
        "limits:\n  - {name: pace, for_each: key, requests_per_minute: 5, concurrent: 2, tokens_per_minute: 9k}\n",
    );
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1_000, 500);
    let question = asked.question();
    let decision = rules.decide(&question, &untouched(&rules.instances(&question)));
    let listed: Vec<(&str, CallBound)> =
        decision.call_limits.iter().map(|limit| (&*limit.scope, limit.bound)).collect();
    assert_eq!(listed, [("key=k-1", CallBound::PerMinute(5)), ("key=k-1", CallBound::Concurrent(2))]);
    let demand = &decision.demands[0];
    assert!(demand.instance.budget.is_rate_limit && demand.amount == 1_500);
    assert_eq!(demand.instance.window.end.0 - demand.instance.window.start.0, 60_000_000);
    assert_eq!(rules.budgets(NOW).len(), 1);
}

#[test]
fn a_top_up_raises_the_limit_at_its_date() {
    let rules = rules(
        "zone: Europe/Berlin\nbudgets:\n  - {name: p, window: lifetime, limit: 1 USD, top_ups: [{amount: 2 USD, on: 2026-06-02}, {amount: 4 USD, on: 2026-06-01}]}\n",
    );
    let limit = |at: &str| {
        rules.budgets(Timestamp(at.parse::<jiff::Timestamp>().unwrap().as_microsecond()))[0].limit / 1_000_000_000_000
    };
    assert_eq!(limit("2026-05-31T21:59:59Z"), 1);
    assert_eq!(limit("2026-05-31T22:00:00Z"), 5, "midnight in Berlin");
    assert_eq!(limit("2026-06-02T00:00:00Z"), 7);
}

/// A line from the window's beginning through now to its end, in whole numbers; in the first twentieth nobody can tell.
#[test]
fn a_budget_is_projected_to_run_out_when_its_pace_reaches_the_limit_before_its_end() {
    let rules = rules(
        "budgets:\n  - {name: june, window: month, limit: 300 USD}\nblocks:\n  - {name: slower, when: {budget: {name: june, projected_to_run_out: true}}}\n",
    );
    let catalog = shipped().unwrap();
    let asked = asked(&catalog, "a", 1, 1);
    let runs_out = |at: &str, milli_usd: u128| {
        let now = Timestamp(at.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        let question = Question { now, ..asked.question() };
        let mut balances = untouched(&rules.instances(&question));
        balances[0].1.spent = milli_usd * 1_000_000_000;
        rules.decide(&question, &balances).rule.as_deref() == Some("slower")
    };
    // Half of June: half of the limit lasts exactly.
    assert!(!runs_out("2026-06-16T00:00:00Z", 150_000) && runs_out("2026-06-16T00:00:00Z", 150_001));
    // A tenth: 30 dollars.
    assert!(!runs_out("2026-06-04T00:00:00Z", 30_000) && runs_out("2026-06-04T00:00:00Z", 30_001));
    // The first twentieth is a day and a half; what is gone by then has run out all the same.
    assert!(!runs_out("2026-06-02T11:59:59Z", 299_000) && runs_out("2026-06-02T12:00:00Z", 299_000));
    assert!(runs_out("2026-06-01T00:00:00Z", 300_000));
    // The last moment: only what is above the limit already.
    assert!(!runs_out("2026-06-30T23:59:59Z", 299_990) && runs_out("2026-06-30T23:59:59Z", 300_000));
    // Once it holds, more spent at the same moment does not end it, and a later moment with as much spent may.
    for at in ["2026-06-02T12:00:00Z", "2026-06-10T07:00:00Z", "2026-06-29T00:00:00Z"] {
        let first = (0..300_000).step_by(500).find(|spent| runs_out(at, *spent)).unwrap();
        assert!((first..300_000).step_by(5_000).all(|spent| runs_out(at, spent)), "{at} from {first}");
    }
}

#[test]
fn a_difference_names_what_was_added_removed_changed_and_moved() {
    let before = rules(
        "budgets:\n  - {name: a, window: day, limit: 5 USD}\n  - {name: b, window: day, limit: 5 tokens}\nblocks:\n  - {name: x, when: {team: a}}\n  - {name: y, when: {team: b}}\n",
    );
    let after = rules(
        "budgets:\n  - {name: a, window: day, limit: 6 USD, scope: {team: q}}\n  - {name: c, window: day, limit: 5 USD}\nblocks:\n  - {name: y, when: {team: b}}\n  - {name: x, when: {team: a}}\n",
    );
    let found: Vec<(ChangeKind, String, String)> = changes(&before, &after)
        .into_iter()
        .map(|change| (change.what, change.rule.to_string(), change.details.join("; ")))
        .collect();
    assert_eq!(
        found[0],
        (ChangeKind::Changed, "a".into(), "limit: 5.00 USD → 6.00 USD; scope: nothing → team: q".into())
    );
    assert_eq!(found[1].0, ChangeKind::Added);
    assert_eq!(found[2], (ChangeKind::Removed, "b".into(), String::new()));
    assert_eq!(found[3..].iter().map(|(what, ..)| *what).collect::<Vec<_>>(), [ChangeKind::Moved, ChangeKind::Moved]);
    assert_eq!(changes(&after, &after), []);
}

#[test]
fn a_caller_is_told_what_may_act_on_him() {
    let rules = rules(
        "budgets:\n  - {name: mine, scope: {team: a}, window: day, limit: 5 USD}\n  - {name: by-model, for_each: model, window: day, limit: 5 USD}\n  - {name: not-mine, scope: {team: b}, window: day, limit: 5 USD}\nswaps:\n  - {name: now, when: {team: a, budget: {name: mine, used: 80%}}, from: gpt-5, to: gpt-5-mini}\n  - {name: never, when: {team: b}, from: gpt-5, to: gpt-5-mini}\n",
    );
    let (caller, said) = (Caller { team: Some("a".into()), ..Caller::default() }, Attribution::default());
    let instances = rules.standing(&caller, &said, NOW);
    assert_eq!(instances.iter().map(|instance| &*instance.budget.name).collect::<Vec<_>>(), ["mine"]);
    let at = |spent: u128| {
        let balances: Vec<_> = untouched(&instances)
            .into_iter()
            .map(|(instance, balance)| (instance, Balance { spent, ..balance }))
            .collect();
        rules.in_force(&caller, &said, NOW, &balances).into_iter().map(|rule| rule.text).collect::<Vec<_>>()
    };
    assert_eq!(at(0), [""; 0]);
    assert_eq!(at(4_000_000_000_000), ["gpt-5 → gpt-5-mini"]);
}
