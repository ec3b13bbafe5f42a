//! Whole files and whole environments, as a user would write them.

use super::*;
use crate::dialects::{Dialect, Flavor};
use crate::proxy::settings::{OnClientGone, ProviderKey, ProviderSettings};
use std::time::Duration;

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings { variables: owned.collect() }
}

fn settings(text: &str, variables: &[(&str, &str)]) -> Settings {
    read(Some(Path::new("farebox.yaml")), text, &around(variables)).unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(text: &str, variables: &[(&str, &str)]) -> String {
    read(Some(Path::new("farebox.yaml")), text, &around(variables)).expect_err("it is well").to_string()
}

fn provider<'a>(settings: &'a Settings, name: &str) -> &'a ProviderSettings {
    settings.proxy.providers.iter().find(|provider| &*provider.name == name).expect(name)
}

fn own_key(provider: &ProviderSettings) -> Option<&str> {
    match &provider.key {
        ProviderKey::Own(key) => Some(key.expose()),
        _ => None,
    }
}

#[test]
fn it_starts_with_no_file_at_all() {
    let settings = read(None, "", &Surroundings::default()).unwrap();
    assert_eq!(settings.proxy.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:4001");
    assert_eq!(settings.data_dir, Path::new("farebox-data"));
    assert_eq!(&*settings.proxy.default_provider, "openai");
    let anthropic = provider(&settings, "anthropic");
    assert_eq!(anthropic.dialect, Dialect::Anthropic);
    assert_eq!((&*anthropic.base_url.host, &*anthropic.base_url.path), ("api.anthropic.com", ""));
    assert!(matches!(anthropic.key, ProviderKey::FromCaller));
    assert!(matches!(provider(&settings, "ollama").key, ProviderKey::Nothing));
    assert!(settings.proxy.providers.iter().all(|provider| &*provider.name != "azure"), "azure has no URL of its own");
}

#[test]
fn keys_in_the_environment_are_used_only_when_told() {
    let quiet = settings("", &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(own_key(provider(&quiet, "openai")), None);
    let told = settings("", &[("OPENAI_API_KEY", "sk-1"), ("FAREBOX_USE_ENV_KEYS", "yes")]);
    assert_eq!(own_key(provider(&told, "openai")), Some("sk-1"));
    assert_eq!(own_key(provider(&told, "groq")), None);
    let named = settings("providers: [{name: openai, key: env:MINE}]", &[("MINE", " sk-2\n")]);
    assert_eq!(own_key(provider(&named, "openai")), Some("sk-2"));
}

#[test]
fn a_file_that_names_providers_names_all_of_them() {
    let text = "providers:\n  - name: openai\n  - {name: eu, preset: openai, base_url: https://eu.example/v1}\n";
    let settings = settings(text, &[]);
    let names: Vec<&str> = settings.proxy.providers.iter().map(|provider| &*provider.name).collect();
    assert_eq!(names, ["openai", "eu"]);
    assert_eq!(provider(&settings, "eu").base_url.host, "eu.example");
}

#[test]
fn everything_written_arrives() {
    let text = "
listen: localhost:0
path_prefix: /llm/
trusted_proxies: [10.0.0.0/8, '::1']
body_bytes_max: 1MiB
default_provider: azure-eu
log: {format: json, level: farebox=debug}
providers:
  - name: azure-eu
    preset: azure
    base_url: https://my-resource.openai.azure.com
    key: none
    headers: {X-Team: a, x-from: 'env:FROM'}
    timeouts: {connect: 1s, idle: 90s}
    retries: {max: 1, statuses: [503, 429]}
    circuit: {failures: 0, window: 1m}
    on_client_gone: drain
    fallbacks: [spare/gpt-5]
    concurrency_max: 8
    ask_for_usage: no
  - {name: spare, base_url: 'http://127.0.0.1:9'}
";
    let settings = settings(text, &[("FROM", "here")]);
    let azure = provider(&settings, "azure-eu");
    assert_eq!((azure.flavor, azure.on_client_gone), (Flavor::Azure, OnClientGone::Drain));
    assert_eq!(azure.timeouts.connect, Duration::from_secs(1));
    assert_eq!(azure.timeouts.first_byte, Duration::from_secs(600));
    assert_eq!(azure.retries.statuses, [429, 503]);
    assert_eq!((azure.circuit.failures, azure.circuit.calls_min), (0, 20));
    assert_eq!((azure.concurrency_max, azure.ask_for_usage), (Some(8), false));
    let headers: Vec<(&str, &str)> = azure.headers.iter().map(|(name, value)| (&**name, &**value.expose())).collect();
    assert_eq!(headers, [("x-team", "a"), ("x-from", "here")]);
    assert_eq!(azure.fallbacks[0].model.as_deref(), Some("gpt-5"));
    assert_eq!((&*settings.proxy.path_prefix, settings.proxy.trusted_proxies.len()), ("/llm", 2));
    assert_eq!(settings.log.level, "farebox=debug");
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = settings(
        "listen: 127.0.0.1:1\nlog: {level: warn}\nproviders: [{name: openai}]\n",
        &[
            ("FAREBOX_LISTEN", "127.0.0.1:2"),
            ("FAREBOX_DATA_DIR", "elsewhere"),
            ("FAREBOX_LOG_LEVEL", "error"),
            ("FAREBOX_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2"),
            ("FAREBOX_PROVIDERS__OPENAI__BASE_URL", "http://127.0.0.1:9/v1"),
            ("FAREBOX_PROVIDERS__OPENAI__HEADERS__X_TEAM", "a"),
            ("FAREBOX_PROVIDERS__GROQ__TIMEOUTS__CONNECT", "2s"),
            ("FAREBOX_ADMIN_LISTEN", ""),
            ("FAREBOX_ADMIN_TOKEN", "open sesame"),
        ],
    );
    assert_eq!(settings.proxy.listen.port(), 2);
    assert_eq!(settings.data_dir, Path::new("elsewhere"));
    assert_eq!(settings.log.level, "error");
    assert_eq!(settings.proxy.trusted_proxies.len(), 2);
    assert_eq!(provider(&settings, "openai").base_url.port, 9);
    assert_eq!(provider(&settings, "openai").headers[0].0, "x-team");
    assert_eq!(provider(&settings, "groq").timeouts.connect, Duration::from_secs(2));
    assert_eq!(settings.proxy.providers.len(), 2);
    assert_eq!(settings.admin_listen.port(), 4001, "an empty variable is not set");
    assert_eq!(format!("{:?}", settings.admin_token), "Some(***)");
}

#[test]
fn variables_alone_change_one_preset_and_leave_the_others() {
    let settings = settings("", &[("FAREBOX_PROVIDERS__ANTHROPIC__BASE_URL", "http://127.0.0.1:9")]);
    assert_eq!(provider(&settings, "anthropic").base_url.port, 9);
    assert_eq!(provider(&settings, "anthropic").dialect, Dialect::Anthropic);
    assert!(settings.proxy.providers.len() > 10);
}

#[test]
fn what_kubernetes_sets_beside_a_service_called_farebox_is_not_ours() {
    let links = [
        ("FAREBOX_PORT", "tcp://10.0.0.7:4000"),
        ("FAREBOX_SERVICE_HOST", "10.0.0.7"),
        ("FAREBOX_SERVICE_PORT_HTTP", "4000"),
        ("FAREBOX_PORT_4000_TCP_ADDR", "10.0.0.7"),
    ];
    settings("", &links);
}

#[test]
fn all_faults_are_shown_at_once_with_place_excerpt_and_remedy() {
    let text = "\
listen: 127.0.0.1
lisetn: 127.0.0.1:4000
body_wait_max: 10
providers:
  - name: openai
    kee: sk-live-aaaaaaaaaaaaaaaa1111
    timeouts: {conect: 5s}
    fallbacks: [grok]
  - name: groq
    key: sk-live-2
    fallbacks: [anthropic]
  - name: anthropic
  - name: groq
  - name: mine
  - base_url: http://x
";
    let shown = faults(text, &[("FAREBOX_THRAEDS", "4")]);
    for expected in [
        "farebox.yaml:1:9: `listen` is `127.0.0.1`, which is not an address and a port\n  1 | listen: 127.0.0.1\n",
        "farebox.yaml:2:1: `lisetn` is not a setting\n",
        "  = write `listen`\n",
        "farebox.yaml:3:16: `body_wait_max` is `10`, which is not a duration\n",
        "farebox.yaml:6:5: `providers.openai.kee` is not a setting\n  6 |     kee: ***\n    |     ^\n  = write `key`\n",
        "farebox.yaml:7:16: `providers.openai.timeouts.conect` is not a setting\n",
        "farebox.yaml:8:17: the fallback `grok` is no provider here\n",
        "  = write `groq`\n",
        "farebox.yaml:10:10: `providers.groq.key` is no place where a key is found\n  10 |     key: ***\n",
        "farebox.yaml:11:17: the fallback `anthropic` speaks another dialect (anthropic)\n",
        "farebox.yaml:13:11: a provider called `groq` is there already\n",
        "farebox.yaml:14:5: the provider `mine` has no `base_url`\n",
        "farebox.yaml:15:5: this provider has no `name`\n",
        "FAREBOX_THRAEDS: there is no such setting\n  = write FAREBOX_THREADS\n",
        "\n12 faults",
    ] {
        assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
    }
    assert!(!shown.contains("sk-live"), "{shown}");
}

#[test]
fn rules_between_settings_are_told_where_they_are_broken() {
    let one = |text: &str, variables: &[(&str, &str)], expected: &str| {
        let shown = faults(text, variables);
        assert!(shown.contains(expected) && shown.ends_with("1 fault"), "{expected}\nis not in\n{shown}");
    };
    one("listen: 0.0.0.0:4000", &[], "FAREBOX_OPEN_ON_PUBLIC=yes");
    one("listen: 0.0.0.0:4000", &[("FAREBOX_OPEN_ON_PUBLIC", "no")], "FAREBOX_OPEN_ON_PUBLIC=yes");
    settings("listen: 0.0.0.0:4000", &[("FAREBOX_OPEN_ON_PUBLIC", "yes")]);
    one("", &[("FAREBOX_MINT_ON_FIRST_START", "yes")], "nobody needs one");
    let minting = settings("listen: 0.0.0.0:4000\naccess: keys", &[("FAREBOX_MINT_ON_FIRST_START", "yes")]);
    assert!(minting.mints_on_first_start);
    one("", &[("FAREBOX_OPEN_ON_PUBLIC", "sure")], "FAREBOX_OPEN_ON_PUBLIC: it is neither yes nor no");
    one("listen: 127.0.0.1:4001", &[], "farebox.yaml:1:9: `listen` and `admin_listen` are the same");
    one("bodies_bytes_max: 1MiB", &[], "farebox.yaml:1:19: `bodies_bytes_max` is smaller");
    one("default_provider: opnai", &[], "write `openai`");
    one("providers: []", &[], "`providers` is empty");
    one("providers: [{name: v1}]", &[], "the beginning of Farebox's own paths");
    one("providers: [{name: a, preset: opnai}]", &[], "write `openai`");
    one("providers: [{name: openai, key: 'env:NOT_SET'}]", &[], "NOT_SET, which is not set");
    one("providers: [{name: openai, key: 'file:not/there'}]", &[], "cannot be read from not/there");
    one("providers: [{name: openai, fallbacks: [openai]}]", &[], "falls back on itself");
    one("providers: [{name: openai, headers: {host: a}}]", &[], "belongs to the connection");
    one("tls: {certificate: Cargo.toml}", &[], "`tls` has no `key`");
    one("catalog: {overlays: [not-there.yaml]}", &[], "`catalog.overlays` is `not-there.yaml`");
    one("ledger: {power_loss_window: 5ms}", &[], "shorter than `ledger.sync_interval`");
    one("log: {level: 'farebox=loud'}", &[], "which is no level");
    one("providers: openai", &[], "`providers` is a single value");
    one("- listen", &[], "the file is a list");
    one("listen: [", &[], "not YAML");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let shown = load(Some("not/there.yaml".into()), &Surroundings::default()).unwrap_err().to_string();
    assert!(shown.starts_with("not/there.yaml: "), "{shown}");
    let shown = load(None, &around(&[("FAREBOX_CONFIG", "nor/here.yaml")])).unwrap_err().to_string();
    assert!(shown.starts_with("nor/here.yaml: "), "{shown}");
}

/// The annotated file with every setting switched on: a `#` right before a word is taken away.
fn switched_on(text: &str) -> String {
    let line = |line: &str| {
        let setting = line.strip_prefix('#').filter(|rest| {
            let words = rest.trim_start();
            let depth = rest.len() - words.len();
            depth.is_multiple_of(2)
                && words.starts_with(|c: char| c.is_ascii_lowercase() || c == '-')
                && rest.contains(':')
        });
        setting.unwrap_or(line).to_owned() + "\n"
    };
    text.lines().map(line).collect()
}

#[test]
fn the_annotated_file_shows_every_setting_with_its_default() {
    let text = include_str!("../../config/farebox.yaml");
    let (plain, on) = (settings(text, &[]), switched_on(text));
    let tree = tree::read(&on).unwrap_or_else(|fault| panic!("{fault:?}"));
    for key in file::keys() {
        let mut node = Some(&tree);
        for part in key.split('.') {
            node = node
                .and_then(|node| match &node.shape {
                    tree::Shape::List(items) => items.first()?.entry(part),
                    _ => node.entry(part),
                })
                .map(|entry| &entry.value);
        }
        assert!(node.is_some(), "`{key}` is not in config/farebox.yaml");
    }
    // The certificates that it names are not there; the rest is what Farebox does without a file.
    let files = ["tls", "client", "ca_file", "certificate", "key"];
    let without: String = on
        .lines()
        .filter(|line| !files.contains(&line.split(':').next().unwrap_or_default().trim()) || line.contains("caller"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let mut spelled = settings(&without, &[]);
    assert_eq!(
        format!("{:?}", provider(&spelled, "openai").timeouts),
        format!("{:?}", provider(&plain, "openai").timeouts)
    );
    assert_eq!(provider(&spelled, "openai").concurrency_max, Some(1000));
    let mut expected = plain.clone();
    let mut openai = provider(&plain, "openai").clone();
    openai.concurrency_max = Some(1000);
    expected.proxy.providers = vec![openai];
    (spelled.threads, expected.threads) = (0, 0);
    assert_eq!(format!("{spelled:#?}"), format!("{expected:#?}"));
}

#[test]
fn both_readers_of_yaml_read_every_file_alike() {
    let texts = [
        include_str!("../../config/farebox.yaml").to_owned(),
        switched_on(include_str!("../../config/farebox.yaml")),
        "a: 'it''s'\nb: \"x\\ty\"\nc: >\n  folded\n  text\nd: |\n  kept\n  text\ne: [1, 2.50, ~, yes, 0x1f]\nf: {g: h}"
            .to_owned(),
        "list:\n- a: 1\n  b: 2\n- - nested\n".to_owned(),
    ];
    for text in texts {
        let ours = tree::read(&text).unwrap_or_else(|fault| panic!("{fault:?}"));
        let theirs: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_same(&ours, &theirs, "the file");
    }
}

fn assert_same(ours: &Node, theirs: &serde_yaml::Value, path: &str) {
    use serde_yaml::Value;
    match (&ours.shape, theirs) {
        (tree::Shape::Nothing, Value::Null) => {}
        (tree::Shape::Section(entries), Value::Null) => assert!(entries.is_empty(), "{path}"),
        (tree::Shape::Scalar(text), Value::String(other)) => assert_eq!(text, other, "{path}"),
        // Ours keeps the spelling; read as a value it is theirs.
        (tree::Shape::Scalar(text), other) => {
            assert_eq!(&serde_yaml::from_str::<Value>(text).unwrap(), other, "{path}");
        }
        (tree::Shape::List(items), Value::Sequence(others)) => {
            assert_eq!(items.len(), others.len(), "{path}");
            items.iter().zip(others).for_each(|(item, other)| assert_same(item, other, &format!("{path}[]")));
        }
        (tree::Shape::Section(entries), Value::Mapping(others)) => {
            assert_eq!(entries.len(), others.len(), "{path}");
            for entry in entries {
                let other = others.get(entry.key.as_str()).unwrap_or_else(|| panic!("{path}.{}", entry.key));
                assert_same(&entry.value, other, &format!("{path}.{}", entry.key));
            }
        }
        (ours, theirs) => panic!("{path}: {ours:?} is not {theirs:?}"),
    }
}
