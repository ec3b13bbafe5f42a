//! The catalog as people write it (`config/catalog.yaml`, and a user's own file over it). Reading collects every fault
//! with its place; a catalog with any fault is not used. No file is opened here: texts go in, a [`Catalog`] comes out.

use super::model::{Catalog, Clash, Provider};
use super::read::Reader;
pub use crate::yaml::Fault;
use crate::yaml::{Entry, Node, Place, parse, told};
use std::sync::Arc;

/// The catalog that is compiled in.
pub const SHIPPED: &str = include_str!("../../config/catalog.yaml");
pub const SHIPPED_PATH: &str = "config/catalog.yaml";

/// Reads the shipped catalog.
pub fn shipped() -> Result<Catalog, Vec<Fault>> {
    load(SHIPPED, &[])
}

/// Reads the shipped text with the overlays (path, text) laid over it in order, field by field.
pub fn load(shipped: &str, overlays: &[(&str, &str)]) -> Result<Catalog, Vec<Fault>> {
    load_files(&std::iter::once((SHIPPED_PATH, shipped)).chain(overlays.iter().copied()).collect::<Vec<_>>())
}

/// Reads files (path, text) laid over each other in order; the first need not be the shipped one.
pub fn load_files(files: &[(&str, &str)]) -> Result<Catalog, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut root: Option<Node> = None;
    for (place, (_, text)) in files.iter().enumerate() {
        let read = parse(text, u16::try_from(place).unwrap_or(u16::MAX), &mut faults);
        match (&mut root, read) {
            (_, None) => {}
            (Some(root), Some(over)) => root.overlay(over),
            (None, Some(first)) => root = Some(first),
        }
    }
    let catalog = match root {
        Some(root) => read_catalog(&root, files, &mut faults),
        None => {
            if faults.is_empty() {
                faults.push(Fault::at(
                    Place { file: 0, line: 1, column: 1 },
                    "the catalog is empty".to_owned(),
                    "write `version: 1`, `date:` and `models:`",
                ));
            }
            Catalog::default()
        }
    };
    if faults.is_empty() { Ok(catalog) } else { Err(told(faults, files)) }
}

const ROOT_KEYS: [&str; 6] = ["version", "date", "currency", "sources", "providers", "models"];

fn read_catalog(root: &Node, files: &[(&str, &str)], faults: &mut Vec<Fault>) -> Catalog {
    let mut reader = Reader { faults };
    reader.keys(root, &ROOT_KEYS, "a catalog");
    match root.find("version").map(|node| (node, reader.integer(node))) {
        Some((_, Some(1))) => {}
        Some((node, _)) => reader.fault(node.place, "this Farebox reads version 1", "write `version: 1`"),
        None => reader.fault(root.place, "no `version`", "write `version: 1` at the top"),
    }
    if let Some(currency) = root.find("currency")
        && reader.text(currency).as_deref() != Some("USD")
    {
        reader.fault(currency.place, "only USD is known", "write prices in US dollars");
    }
    let date = match root.find("date") {
        Some(node) => reader.date(node).map(|(_, text)| text),
        None => {
            reader.fault(root.place, "no `date`", "write the day of the prices: `date: 2026-11-21`");
            None
        }
    };
    let version: Arc<str> = format!("{}-{}", date.as_deref().unwrap_or("undated"), hash(files)).into();
    let providers = read_providers(root, &version, &mut reader);
    Catalog::new(version, providers)
}

fn read_providers(root: &Node, version: &Arc<str>, reader: &mut Reader<'_>) -> Vec<Provider> {
    let listed = root.find("providers").map(|node| reader.mapping(node, "providers")).unwrap_or_default();
    let models = root.find("models").map(|node| reader.mapping(node, "models")).unwrap_or_default();
    let mut providers: Vec<(Provider, Option<&Node>)> = Vec::new();
    for entry in listed {
        let provider = reader.provider(entry);
        let own = models.iter().find(|models| models.key == entry.key).map(|models| &models.node);
        providers.push((provider, own));
    }
    for entry in models.iter().filter(|entry| listed.iter().all(|listed| listed.key != entry.key)) {
        providers.push((Provider::named(&entry.key), Some(&entry.node)));
    }
    let names: Vec<Arc<str>> = providers.iter().map(|(provider, _)| provider.name.clone()).collect();
    for (provider, place) in providers.iter().map(|(provider, _)| provider).zip(listed.iter().map(|entry| entry.place))
    {
        let others = provider.like.iter().chain(provider.vendors.iter().map(|(_, provider)| provider));
        for other in others.filter(|other| !names.contains(other)) {
            reader.fault(
                place,
                &format!("`{}` refers to provider `{other}`, of which there are no models", provider.name),
                "name a provider of this file",
            );
        }
    }
    providers.into_iter().map(|(provider, own)| with_models(provider, own, version, reader)).collect()
}

fn with_models(provider: Provider, own: Option<&Node>, version: &Arc<str>, reader: &mut Reader<'_>) -> Provider {
    let entries: &[Entry] = own.map(|node| reader.mapping(node, "a provider's models")).unwrap_or_default();
    let models = entries.iter().map(|entry| {
        let mut model = reader.model(&provider.name, entry);
        model.catalog = version.clone();
        model.default_service_tier = provider.default_service_tier.clone();
        Arc::new(model)
    });
    let models = models.collect();
    let (provider, clashes) = provider.with_models(models);
    for Clash { name, first, second } in clashes {
        let place = entries.iter().find(|entry| entry.key == second).map(|entry| entry.place).unwrap_or_default();
        reader.fault(
            place,
            &format!("`{name}` is a name of `{first}` and of `{second}` at {}", provider.name),
            "write it once: as an id or as an alias of one model",
        );
    }
    provider
}

/// The first 8 letters of BLAKE3 over all texts, each with its length before it.
fn hash(files: &[(&str, &str)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (_, text) in files {
        hasher.update(&text.len().to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(8).collect()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
