//! The syntax: what is wrong is told with its place, examples are true, the schema cannot lie, and no text harms.

use super::keys::TABLES;
use super::*;
use crate::catalog::file::shipped;
use crate::clock::Timestamp;
use crate::rules::selftest;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Every example and the shipped file, by name.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let paths = std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.chain([root.join("default.yaml")]).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

fn faults_of(text: &str) -> Vec<String> {
    let providers = ["openai".into(), "simulated".into()];
    let known = Known { catalog: None, providers: &providers, receivers: None };
    let faults = load(&[("rules/team.yaml", text)], &known).err().unwrap_or_default();
    faults
        .iter()
        .map(|fault| format!("{}:{}: {} / {}", fault.line, fault.column, fault.message, fault.remedy))
        .collect()
}

fn warnings_of(text: &str) -> Vec<String> {
    let catalog = shipped().unwrap();
    let known = Known { catalog: Some(&catalog), providers: &[], receivers: None };
    let loaded = load(&[("rules/team.yaml", text)], &known).unwrap_or_else(|faults| panic!("{faults:?}"));
    loaded.warnings.iter().map(|fault| format!("{}: {}", fault.line, fault.message)).collect()
}

#[test]
fn every_example_loads_without_a_warning_and_its_tests_pass() {
    let catalog = shipped().unwrap();
    let known = Known { catalog: Some(&catalog), providers: &[], receivers: None };
    let (mut files, mut tests) = (0, 0);
    for (name, text) in examples() {
        let loaded = load(&[(&name, &text)], &known).unwrap_or_else(|faults| panic!("{}", faults[0]));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings[0]);
        assert!(name.ends_with("default.yaml") || !loaded.tests.is_empty(), "{name} has no tests");
        for test in &loaded.tests {
            let outcome = selftest::run(&loaded.rules, test, &known);
            assert!(outcome.faults.is_empty(), "{}: {}: {:?}", test.place, test.name, outcome.faults);
        }
        (files, tests) = (files + 1, tests + loaded.tests.len());
    }
    assert!(files > 12 && tests > 40, "{files} files, {tests} tests");
}

#[test]
fn a_test_that_is_not_true_says_what_was_found() {
    let text = "version: 1\nblocks:\n  - name: b\n    when: {team: a}\ntests:\n  - name: t\n    given: {caller: {team: a}}\n    expect: {decision: admit}\n";
    let loaded = load(&[("f", text)], &Known::default()).unwrap();
    let outcome = selftest::run(&loaded.rules, &loaded.tests[0], &Known::default());
    assert_eq!(outcome.faults, ["decision: expected admit, found refuse"]);
}

#[test]
fn every_fault_is_told_at_once_with_its_place_and_a_remedy() {
    let text = r#"version: 1
budgts: []
budgets:
  - name: a
    scope: {tem: research}
    window: monthly
    limit: $500
    hardness: hrd
  - name: a
    window: {every: month, from: 32}
    limit: 5 USD
swaps:
  - name: s
    when: {budget: {name: b, used: 80}}
    from: [gpt-5]
    to: [gpt-5]
routes:
  - {name: r, to: openia}
limits:
  - name: nothing
blocks:
  - when: {operation: chatt}
"#;
    let expected = [
        "2:1: a rules file has no `budgts` / write `budgets`",
        "5:13: a scope has no `tem` / write `team`",
        "6:13: `window` is `monthly`, which is no window / write `hour`, `day`",
        "7:12: `limit` is `$500`, which has a sign for the currency / write `USD` behind the number",
        "8:15: `hardness` is `hrd`, which is not known here / write `hard`",
        "9:11: `a` is the name of an earlier rule / give this one another name",
        "10:34: `from` is `32`, which is no beginning of such a window / write the day of the month",
        "13:5: `s` swaps `gpt-5` for itself / name another target",
        "14:27: there is no budget `b` / write `a`",
        "14:36: `used` is `80`, which is no percentage / write it with its sign",
        "18:19: there is no provider `openia` / write `openai`",
        "20:5: the limit `nothing` limits nothing / add `requests_per_minute`",
        "22:5: a block needs `name` / add `name:`",
        "22:23: `operation` is never `chatt` / write `chat`",
    ];
    let found = faults_of(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nshould begin\n{expected}");
    }
}

#[test]
fn what_is_missing_at_the_end_is_told_behind_the_last_line() {
    for (torn, line) in [("version: 1\nblocks: [{name: a", 2), ("version: 1\ntests:\n  - name: a\n  -", 4)] {
        let faults = load(&[("f", torn)], &Known::default()).unwrap_err();
        let last = faults.last().unwrap();
        assert_eq!((last.line, last.excerpt.is_empty()), (line, false), "{last}");
    }
}

#[test]
fn a_fault_shows_its_line_with_a_mark() {
    let faults = load(&[("rules/team.yaml", "version: 1\nbudgets:\n  - name: a b\n")], &Known::default()).unwrap_err();
    let shown = faults.iter().find(|fault| fault.line == 3 && fault.column == 11).unwrap().to_string();
    let expected = "rules/team.yaml:3:11: `name` is `a b`, which is not a name\n      - name: a b\n              ^\n  mend: use letters";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn names_must_differ_across_files_and_a_fault_names_its_file() {
    let files = [
        ("rules/a.yaml", "version: 1\nblocks: [{name: x}]\n"),
        ("rules/b.yaml", "version: 1\nclamps: [{name: x, output_tokens: 5}]\n"),
    ];
    let faults = load(&files, &Known::default()).unwrap_err();
    assert_eq!((faults.len(), &*faults[0].file, faults[0].line), (1, "rules/b.yaml", 2));
}

#[test]
fn windows_and_references_that_cannot_be_are_faults() {
    let text = "version: 1\nbudgets:\n  - {name: p, window: lifetime, limit: 5 USD}\n  - {name: m, window: month, limit: 5 USD, top_ups: [{amount: 5 USD, on: 2026-01-01}]}\n  - {name: h, window: {every: hour, from: 3}, limit: 5 tokens}\nblocks:\n  - {name: x, when: {budget: {name: p, projected_to_run_out: true}}}\n  - {name: y, when: {budget: {name: h, remaining: \"< 5 USD\"}}}\n";
    let found = faults_of(text).join("\n");
    for expected in [
        "4:54: top-ups are for prepaid credit",
        "5:43: `from` is `3`",
        "7:37: `p` has no window that ends",
        "8:37: `remaining` counts something else",
    ] {
        assert!(found.contains(expected), "{expected} in\n{found}");
    }
}

#[test]
fn rules_that_never_act_are_warned_of() {
    let text = r#"version: 1
budgets:
  - {name: sales, scope: {team: sales}, window: month, limit: 5 USD}
  - {name: again, scope: {team: sales}, window: month, limit: 9 USD}
blocks:
  - {name: all-a, when: {team: "a*"}}
  - {name: only-ab, when: {team: ab, stream: true}}
  - {name: elsewhere, when: {team: legal, budget: {name: sales, used: 80%}}}
swaps:
  - {name: late, when: {budget: {name: sales, used: 80%}}, from: ["gpt-5*"], to: [gpt-4o]}
  - {name: later, when: {budget: {name: sales, used: 90%}}, from: [gpt-5-mini], to: [gpt-6-luna]}
limits:
  - {name: every, requests_per_minute: 5}
  - {name: other-sort, when: {team: a}, requests_per_minute: 5, concurrent: 2}
  - {name: same-sort, when: {team: a}, requests_per_minute: 5}
clamps:
  - {name: shade, output_tokens: 5, shadow: true}
  - {name: real, output_tokens: 5}
"#;
    let found = warnings_of(text);
    let about: Vec<&str> = ["again", "only-ab", "elsewhere", "later", "same-sort"]
        .into_iter()
        .filter(|name| found.iter().any(|warning| warning.contains(&format!("`{name}`"))))
        .collect();
    assert_eq!(about, ["again", "only-ab", "elsewhere", "later", "same-sort"], "{found:#?}");
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn swaps_in_a_circle_are_faults_unless_each_has_its_own_time() {
    let swaps = |first: &str, second: &str| {
        format!(
            "version: 1\nswaps:\n  - {{name: a, {first} from: gpt-5, to: gpt-5-mini}}\n  - {{name: b, {second} from: gpt-5-mini, to: gpt-5}}\n"
        )
    };
    assert!(faults_of(&swaps("", ""))[0].contains("swaps in a circle: a → b → a"));
    let apart = swaps("when: {time: weekend},", "when: {time: mon-fri},");
    assert_eq!(faults_of(&apart), [""; 0]);
    assert!(warnings_of(&apart).iter().any(|warning| warning.contains("swaps in a circle")));
    let chain = "version: 1\nswaps:\n  - {name: a, from: gpt-5, to: gpt-5.4-mini}\n  - {name: b, from: gpt-5.4-mini, to: gpt-6-luna}\n";
    assert_eq!(warnings_of(chain), [""; 0]);
}

#[test]
fn models_that_the_catalog_does_not_know_are_warned_of() {
    let found = warnings_of(
        "version: 1\nswaps:\n  - {name: a, from: gpt-5, to: [gpt-5-mni, openai/gpt-5-mini, openrouter/qwen/qwen3-max]}\n",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("the catalog knows no model `gpt-5-mni`"));
}

/// A retired target is passed over: what swaps only to such ones ends with them, and says so beforehand.
#[test]
fn a_swap_that_ends_with_its_targets_is_warned_of() {
    let found = warnings_of(
        "version: 1\nswaps:\n  - {name: ends, from: o3, to: [gpt-5-mini, gpt-5.1]}\n  - {name: stays, from: gpt-4, to: [gpt-5-mini, gpt-5.4-mini]}\n",
    );
    assert_eq!(found, ["3: the targets of `ends` are all retired by 2027-04-01: then it swaps nothing"]);
}

/// What the examples say must not end on a day: everything that they swap to is still there next summer.
#[test]
fn no_example_swaps_to_a_model_that_will_be_gone() {
    let catalog = shipped().unwrap();
    let summer = Timestamp("2027-06-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond());
    let mut targets = 0;
    for (name, text) in examples() {
        let loaded = load(&[(&name, &text)], &Known::default()).unwrap();
        for target in loaded.rules.rules().swaps.iter().flat_map(|swap| swap.to.iter()) {
            let (provider, id) = target.split_once('/').unwrap_or(("", target));
            let makers = catalog.providers_of(id);
            let maker = if provider.is_empty() { &*makers[0] } else { provider };
            let model = catalog.resolve(maker, id).unwrap_or_else(|| panic!("{name}: {target}")).model;
            assert!(!model.is_retired(summer), "{name}: {target} is retired on {:?}", model.retired);
            targets += 1;
        }
    }
    assert!(targets > 5, "{targets} targets");
}

/// What the tables list is what the reader asks for: no key is known and ignored.
#[test]
fn every_key_of_the_tables_is_read() {
    let mut asked = BTreeSet::new();
    let everything = "version: 1\nbudgets: [{name: a, window: {every: day}, limit: 1 USD, top_ups: [{amount: 1 USD, on: 2026-01-01}]}]\nroutes: [{name: r, to: x}]\nalerts: [{name: al, budget: a}]\nblocks: [{name: b, when: {budget: {used: 1%}}}]\n";
    for text in examples().into_iter().map(|(_, text)| text).chain([everything.to_owned()]) {
        let notes = Notes::default();
        let root = yaml::parse(&text, 0, &mut notes.faults.borrow_mut()).unwrap();
        read::files(&[("f".into(), root)], &notes);
        asked.extend(notes.asked.into_inner());
    }
    let listed = TABLES.iter().flat_map(|table| table.keys.iter().map(|key| (table.called, key.name)));
    let unread: Vec<_> = listed.filter(|key| !asked.contains(key)).collect();
    assert_eq!(unread, []);
}

#[test]
fn the_examples_fit_the_schema_and_what_they_misspell_would_not() {
    let schema = schema();
    for (name, text) in examples() {
        let value: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(misfit(&schema, &schema, &value, "$"), None, "{name}");
    }
    for text in [
        "version: 2",
        "budgets: []",
        "version: 1\nbudgts: []",
        "version: 1\nblocks: [{when: {team: a}}]",
        "version: 1\nclamps: [{name: a, output_tokens: {}}]",
        "version: 1\nbudgets: [{name: a, window: month, limit: 5 USD, hardness: hrd}]",
    ] {
        let value: Value = serde_yaml::from_str(text).unwrap();
        assert!(misfit(&schema, &schema, &value, "$").is_some(), "{text}");
    }
}

#[test]
fn the_schema_beside_the_rules_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/schema.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(kept, schema(), "run: farebox rules schema > rules/schema.json");
}

/// The parts of JSON Schema that ours is made of; patterns are left to the reader.
fn misfit(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return misfit(root, target, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|one| misfit(root, one, value, at).is_none());
        return (!fits).then(|| format!("{at}: none of the shapes fits {value}"));
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        return Some(format!("{at}: not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{at}: {value} is none of the words"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    if !types.is_empty() && !types.iter().any(|kind| is(kind)) {
        return Some(format!("{at}: {value} is no {types:?}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().find_map(|item| misfit(root, &schema["items"], item, at));
    }
    let members = value.as_object()?;
    let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(key) = missing.into_iter().find(|key| !members.contains_key(*key)) {
        return Some(format!("{at}: no {key}"));
    }
    members.iter().find_map(|(key, value)| {
        let at = format!("{at}.{key}");
        let own = &schema["properties"][key];
        let of_pattern = schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
        let free = &schema["additionalProperties"];
        match (own.is_null(), of_pattern.filter(|_| key.starts_with("tag.") || key.starts_with("metadata."))) {
            (false, _) => misfit(root, own, value, &at),
            (true, Some(pattern)) => misfit(root, pattern, value, &at),
            (true, None) if free.is_object() => misfit(root, free, value, &at),
            (true, None) => Some(format!("{at}: no such key")),
        }
    })
}

/// What a fuzzer does to a file: lines doubled, dropped, swapped or indented, bytes changed, ends cut off.
fn mutated(text: &str, steps: &[(u8, usize, u8)]) -> String {
    const LETTERS: [char; 16] =
        [':', '-', '[', ']', '{', '}', '"', '\'', '#', '&', '*', '!', '|', '>', '%', '\u{2028}'];
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (kind, place, more) in steps {
        if lines.is_empty() {
            break;
        }
        let at = place % lines.len();
        let other = usize::from(*more) % lines.len();
        match kind % 6 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3 => lines[at].insert_str(0, &" ".repeat(usize::from(more % 9))),
            4 => {
                let letter = LETTERS[usize::from(*more) % LETTERS.len()];
                let place = lines[at].char_indices().map(|(at, _)| at).nth(place % 40).unwrap_or(0);
                lines[at].insert(place, letter);
            }
            _ => lines.truncate(at + 1),
        }
    }
    lines.join("\n")
}

/// As many as `PROPTEST_CASES` says; `make fuzz` asks for more.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_mutated_file_harms(pick in 0usize..64, steps in prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..12)) {
        let examples = examples();
        let (name, text) = &examples[pick % examples.len()];
        let text = mutated(text, &steps);
        if let Ok(loaded) = load(&[(name, &text)], &Known::default()) {
            for test in &loaded.tests {
                selftest::run(&loaded.rules, test, &Known::default());
            }
        }
    }

    #[test]
    fn no_value_harms(text in ".{0,80}") {
        let quoted = text.replace('\'', "''").replace(char::is_control, " ");
        let file = format!("version: 1\nzone: '{quoted}'\nbudgets:\n- {{name: '{quoted}', scope: {{team: '{quoted}'}}, for_each: '{quoted}', window: '{quoted}', limit: '{quoted}', thresholds: '{quoted}'}}\nblocks:\n- {{name: b, when: {{time: '{quoted}', input_tokens: '{quoted}', budget: {{used: '{quoted}', remaining: '{quoted}'}}}}}}\ntests:\n- {{name: '{quoted}', given: {{at: '{quoted}'}}, expect: {{decision: '{quoted}'}}}}\n");
        let _ = load(&[("f", &file)], &Known::default());
    }
}

/// Texts on which parsers of YAML have come to grief.
#[test]
fn the_corpus_is_refused_and_harms_nobody() {
    let deep = format!("version: 1\nblocks: {}{}", "[".repeat(20_000), "]".repeat(20_000));
    let maps = "a: ".repeat(5_000);
    let long = format!("version: 1\nzone: {}\n", "x".repeat(1_000_000));
    let wide = format!("version: 1\nblocks:\n{}", "- {}\n".repeat(20_000));
    let corpus = [
        deep.as_str(),
        &maps,
        &long,
        &wide,
        "a: &a [*a, *a]",
        "&a : *a",
        "? [a]\n: b",
        "!!binary abc",
        "--- \n--- \n",
        "\u{feff}version: 1\nx: 1",
        "version: 1\n\tblocks: []",
        "\0",
        "%YAML 9.9\n---\n",
        "version: 1\nblocks: |\n  text",
        "version: 1\nblocks: {a: b}",
        "- 1",
        "text",
        "version:\n",
    ];
    for text in corpus {
        assert!(load(&[("f", text)], &Known::default()).is_err(), "{:.40}", text);
    }
}
