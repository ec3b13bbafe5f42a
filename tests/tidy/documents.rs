//! README and `docs/`: YAML is read as the configuration or the catalog, JSON as JSON, links lead to files.

use super::source::{House, SourceFile};
use farebox::catalog;
use farebox::config::{self, Surroundings};
use farebox::rules::{selftest, syntax};
use std::path::Path;

struct Block {
    /// What stands behind the fence: `yaml`, `json`, `sh` …
    language: String,
    line: usize,
    text: String,
}

pub fn untrue_examples(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    for file in documents(house) {
        for block in blocks(&file.text) {
            let fault = match block.language.as_str() {
                "yaml" if file.path == "docs/rules.md" || is_a_rules_file(&block.text) => rules_fault(&block.text),
                "yaml" if block.text.lines().any(|line| line.starts_with("models:")) => catalog_fault(&block.text),
                "yaml" => configuration_fault(&block.text),
                "json" => serde_json::from_str::<serde_json::Value>(&block.text).err().map(|error| error.to_string()),
                // What the document shows is what the tests run.
                "nginx" if block.text != house.file("tests/proxies/nginx.conf").text => {
                    Some("this is not tests/proxies/nginx.conf".to_owned())
                }
                // A language without a check would be one whose examples rot unseen.
                "sh" | "text" | "python" | "js" | "toml" | "nginx" | "sse" | "ini" | "rust" | "mermaid" => None,
                other => Some(format!("`{other}` is a language that tests/tidy/documents.rs does not know")),
            };
            faults.extend(fault.map(|fault| format!("{}:{}: {fault}", file.path, block.line)));
        }
    }
    faults
}

/// An example may name variables; they are taken as set.
fn configuration_fault(text: &str) -> Option<String> {
    let named = text.split("env:").skip(1);
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut around = Surroundings::default();
    around.variables.extend(named.map(|rest| (name(rest), "https://value.example.com/".to_owned())));
    around.variables.insert("FAREBOX_OPEN_ON_PUBLIC".to_owned(), "yes".to_owned());
    let mut faults = config::read(Some(Path::new("example.yaml")), text, &around).err()?;
    // Certificates and the like are not here.
    faults.faults.retain(|fault| !fault.what.contains("No such file"));
    (!faults.faults.is_empty()).then(|| faults.to_string())
}

fn is_a_rules_file(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("version: 1"))
}

/// An example of rules is a file, or the sections of one; its tests pass, and there is nothing to warn of.
fn rules_fault(text: &str) -> Option<String> {
    let margin = text.lines().next().map_or(0, |line| line.len() - line.trim_start().len());
    let text: String = text.lines().map(|line| line.get(margin..).unwrap_or_default().to_owned() + "\n").collect();
    let text = if text.contains("version:") { text } else { format!("version: 1\n{text}") };
    let shipped = catalog::file::shipped().unwrap();
    let known = syntax::Known { catalog: Some(&shipped), providers: &[], receivers: None };
    let loaded = match syntax::load(&[("example.yaml", &text)], &known) {
        Ok(loaded) => loaded,
        Err(faults) => return Some(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    };
    let warnings = loaded.warnings.iter().map(ToString::to_string);
    let failed = loaded.tests.iter().flat_map(|test| selftest::run(&loaded.rules, test, &known).faults);
    let faults: Vec<String> = warnings.chain(failed).collect();
    (!faults.is_empty()).then(|| faults.join("\n"))
}

/// An example of a catalog is an overlay on ours.
fn catalog_fault(text: &str) -> Option<String> {
    let faults = catalog::file::load(catalog::file::SHIPPED, &[("example.yaml", text)]).err()?;
    Some(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

pub fn broken_links(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    for file in documents(house) {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for (number, line) in file.text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap_or_default();
                let elsewhere = path.is_empty() || path.contains("://");
                if !elsewhere && !Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(path).exists() {
                    faults.push(format!("{}:{}: `{target}` leads nowhere", file.path, number + 1));
                }
            }
        }
    }
    faults
}

fn documents(house: &House) -> impl Iterator<Item = &SourceFile> {
    house.files.iter().filter(|file| file.path.ends_with(".md"))
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { language, line: number + 1, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn an_untrue_example_is_found() {
    assert!(configuration_fault("listen: 127.0.0.1:1\nproviders: [{name: openai, key: 'env:MINE'}]\n").is_none());
    assert!(configuration_fault("lisetn: 127.0.0.1:1\n").is_some());
    assert_eq!(blocks("a\n```yaml\nb: 1\n```\nc\n```json\n{}\n```\n").len(), 2);
}
