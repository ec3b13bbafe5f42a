//! `farebox catalog …`: look at the catalog, price a call by hand, check one's own file, take over another's catalogue.

use super::EXIT_FAULT;
use crate::catalog::file::{self, Fault};
use crate::catalog::import::{self, Imported, RemarkKind, Source};
use crate::catalog::sheet::{self, Change, Difference};
use crate::catalog::{Catalog, Cost, Model, Pricing, Terms};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::tokens::usage::{Kind, TokenUsage};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct CatalogArgs {
    #[command(subcommand)]
    command: Command,
    /// As one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// A file of one's own, laid over the shipped catalog (may be repeated).
    #[arg(long, global = true, value_name = "FILE")]
    overlay: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the shipped catalog with files laid over it; show all faults at once.
    Check {
        /// The files, one over the other.
        files: Vec<PathBuf>,
    },
    /// List models and their plain prices.
    List {
        /// Only this provider's.
        #[arg(long)]
        provider: Option<String>,
        /// Retired ones too.
        #[arg(long)]
        retired: bool,
    },
    /// Show all that is known of a model: `gpt-4o`, `openrouter/qwen/qwen3-max`.
    Show {
        /// Its name, with its provider or without.
        model: String,
    },
    /// Price a call by hand.
    Price(PriceArgs),
    /// Show what a catalog says otherwise than another; `shipped` stands for the shipped one.
    Diff {
        /// The one that is replaced.
        before: PathBuf,
        /// The one that replaces it.
        after: PathBuf,
    },
    /// Write a community catalogue as one of ours, to standard output; what cannot be taken over is told.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct PriceArgs {
    /// Its name, with its provider or without.
    model: String,
    /// Input tokens that were neither read from nor written to a cache.
    #[arg(long, default_value_t = 0)]
    input: u64,
    /// Output tokens, without reasoning.
    #[arg(long, default_value_t = 0)]
    output: u64,
    /// Input tokens that were read from a cache.
    #[arg(long, default_value_t = 0)]
    cache_read: u64,
    /// Output tokens of reasoning.
    #[arg(long, default_value_t = 0)]
    reasoning: u64,
    /// Any other kind, by its name: `--unit cache_write_1h=2000`, `--unit web_search=3` (may be repeated).
    #[arg(long, value_name = "KIND=N", value_parser = unit)]
    unit: Vec<(Kind, u64)>,
    /// flex, priority … as the response names it.
    #[arg(long)]
    service_tier: Option<String>,
    /// In a batch.
    #[arg(long)]
    batch: bool,
    /// us, eu, where that is billed.
    #[arg(long)]
    region: Option<String>,
    /// fast, where that is billed.
    #[arg(long)]
    speed: Option<String>,
    /// 1024x1024, where images are billed by it.
    #[arg(long)]
    image_size: Option<String>,
    /// low, medium, high, where images are billed by it.
    #[arg(long)]
    image_quality: Option<String>,
    /// The moment of the call (RFC 3339); by default now.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Whose catalogue the file is.
    #[arg(long, value_name = "SOURCE")]
    from: From,
    /// The catalogue.
    file: PathBuf,
    /// The day of its prices; by default today.
    #[arg(long)]
    date: Option<jiff::civil::Date>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    Litellm,
    GenaiPrices,
}

/// Runs a command; faults go to standard error, what was asked for to standard output.
pub fn run(args: &CatalogArgs) -> ExitCode {
    let outcome = match &args.command {
        Command::Check { files } => check(args, files),
        Command::List { provider, retired } => list(args, provider.as_deref(), *retired),
        Command::Show { model } => show(args, model),
        Command::Price(price) => priced(args, price),
        Command::Diff { before, after } => diff(args, before, after),
        Command::Import(arguments) => imported(args, arguments),
    };
    match outcome {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(Failure::Faults(faults)) if args.json => {
            say(&json!({ "ok": false, "faults": faults.iter().map(fault_json).collect::<Vec<_>>() }).to_string());
            ExitCode::from(EXIT_FAULT)
        }
        Err(Failure::Faults(faults)) => {
            for fault in &faults {
                eprintln!("{fault}\n");
            }
            eprintln!("{} fault{}", faults.len(), if faults.len() == 1 { "" } else { "s" });
            ExitCode::from(EXIT_FAULT)
        }
        Err(Failure::Words(words)) => {
            eprintln!("farebox: {words}");
            ExitCode::from(EXIT_FAULT)
        }
    }
}

enum Failure {
    Faults(Vec<Fault>),
    Words(String),
}

fn check(args: &CatalogArgs, files: &[PathBuf]) -> Result<String, Failure> {
    let catalog = load(args.overlay.iter().chain(files))?;
    let (models, priced) =
        (catalog.models(None), catalog.models(None).iter().filter(|model| model.is_priced()).count());
    let providers = catalog.providers().iter().filter(|provider| !provider.models.is_empty()).count();
    if args.json {
        let version = catalog.version();
        return Ok(
            json!({ "ok": true, "version": version, "models": models.len(), "priced": priced, "providers": providers })
                .to_string(),
        );
    }
    Ok(format!(
        "catalog {}: {} models ({priced} with prices) of {providers} providers",
        catalog.version(),
        models.len()
    ))
}

fn list(args: &CatalogArgs, provider: Option<&str>, retired: bool) -> Result<String, Failure> {
    let catalog = load(&args.overlay)?;
    let today = today();
    let gone = |model: &Model| model.retired.as_deref().is_some_and(|date| date <= today.as_str());
    let models: Vec<_> = catalog.models(provider).into_iter().filter(|model| retired || !gone(model)).collect();
    if models.is_empty() {
        let names: Vec<&str> = catalog.providers().iter().map(|provider| &*provider.name).collect();
        return Err(Failure::Words(format!("no models; providers are {}", names.join(", "))));
    }
    if args.json {
        let models: Vec<Value> = models.iter().map(|model| model_json(model)).collect();
        return Ok(json!({ "version": catalog.version(), "models": models }).to_string());
    }
    let width = models.iter().map(|model| model.provider.len() + model.id.len() + 1).max().unwrap_or(0).min(60);
    let mut text = format!(
        "{:width$}  {:>10}  {:>10}  {:>10}  {:>9}\n",
        "model ($ per 1M tokens)", "input", "cache read", "output", "context"
    );
    for model in &models {
        let price = |kind: Kind| {
            let rates = model.prices.at(now()).and_then(|plan| plan.base()).map(|card| &card.rates);
            rates.and_then(|rates| rates.own(kind)).map_or("-".to_owned(), |rate| rate.to_decimal_per(1_000_000))
        };
        let context = model.context_window.map_or("-".to_owned(), |tokens| tokens.to_string());
        let name = format!("{}/{}", model.provider, model.id);
        let (input, read, output) = (price(Kind::Input), price(Kind::CacheRead), price(Kind::Output));
        text.push_str(&format!("{name:width$}  {input:>10}  {read:>10}  {output:>10}  {context:>9}\n"));
    }
    text.push_str(&format!("{} models, catalog {}", models.len(), catalog.version()));
    Ok(text)
}

fn show(args: &CatalogArgs, name: &str) -> Result<String, Failure> {
    let catalog = load(&args.overlay)?;
    let model = find(&catalog, name)?;
    if args.json {
        return Ok(model_json(&model).to_string());
    }
    let mut text = format!("{}/{}\n", model.provider, model.id);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<18}{value}\n"));
        }
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    fact("mode", model.mode.name().to_owned());
    fact("aliases", model.aliases.join(", "));
    fact("context window", number(model.context_window));
    fact("max output tokens", number(model.max_output_tokens));
    fact("can", model.capabilities.names().join(", "));
    fact("refuses", model.unsupported.join(", "));
    fact("retired", model.retired.as_deref().unwrap_or_default().to_owned());
    fact("source", model.source.join(", "));
    for disagreement in &model.disagreement {
        fact("disagreement", disagreement.to_string());
    }
    fact("note", model.note.as_deref().unwrap_or_default().to_owned());
    let mut terms = None;
    for line in sheet::lines(&model) {
        if terms.as_ref() != Some(&line.terms()) {
            terms = Some(line.terms());
            let words = if line.terms().is_empty() { "prices".to_owned() } else { line.terms() };
            text.push_str(&format!("  {words}\n"));
        }
        text.push_str(&format!("    {:<24}{:>12} per {}\n", line.what, line.price, line.per));
    }
    if !model.is_priced() {
        text.push_str("  no price: calls are unpriced until an overlay names one\n");
    }
    Ok(text.trim_end().to_owned())
}

fn priced(args: &CatalogArgs, price: &PriceArgs) -> Result<String, Failure> {
    let catalog = load(&args.overlay)?;
    let model = find(&catalog, &price.model)?;
    let mut usage = TokenUsage::ZERO
        .with(Kind::Input, price.input)
        .with(Kind::Output, price.output)
        .with(Kind::CacheRead, price.cache_read)
        .with(Kind::Reasoning, price.reasoning);
    for (kind, units) in &price.unit {
        usage[*kind] = usage[*kind].saturating_add(*units);
    }
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    let terms = Terms {
        service_tier: text(&price.service_tier),
        batch: price.batch,
        image_size: text(&price.image_size),
        image_quality: text(&price.image_quality),
        region: text(&price.region),
        speed: text(&price.speed),
        ..Terms::default()
    };
    let at = price.at.map_or_else(now, |at| Timestamp(at.as_microsecond()));
    match model.price(&usage, &terms, at) {
        Pricing::Priced(cost) if args.json => Ok(cost_json(&model, &usage, &cost).to_string()),
        Pricing::Priced(cost) => Ok(cost_words(&model, &usage, &cost)),
        Pricing::Unpriced(why) => {
            let why =
                serde_json::to_value(why).ok().and_then(|why| why.as_str().map(str::to_owned)).unwrap_or_default();
            Err(Failure::Words(format!("{}/{} is unpriced for this usage: {why}", model.provider, model.id)))
        }
        Pricing::Unmetered => Err(Failure::Words("nothing there is billed".to_owned())),
    }
}

fn diff(args: &CatalogArgs, before: &Path, after: &Path) -> Result<String, Failure> {
    let [before, after] = [before, after].map(|path| match path.to_str() {
        Some("shipped") => file::shipped().map_err(Failure::Faults),
        _ => {
            let text = read(path)?;
            file::load_files(&[(&path.display().to_string(), &text)]).map_err(Failure::Faults)
        }
    });
    let differences = sheet::diff(&before?, &after?);
    if args.json {
        return serde_json::to_string(&differences).map_err(|error| Failure::Words(error.to_string()));
    }
    let count =
        |change: fn(&Change) -> bool| differences.iter().filter(|difference| change(&difference.change)).count();
    let (added, removed) = (count(|change| *change == Change::Added), count(|change| *change == Change::Removed));
    let mut lines: Vec<String> = differences.iter().map(difference_words).collect();
    let changed = differences.len() - added - removed;
    lines.push(format!("{added} models added, {removed} removed, {changed} prices and facts changed"));
    Ok(lines.join("\n"))
}

fn difference_words(difference: &Difference) -> String {
    let name = format!("{}/{}", difference.provider, difference.model);
    match &difference.change {
        Change::Added => format!("+ {name}"),
        Change::Removed => format!("- {name}"),
        Change::Changed { terms, what, before, after } => {
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "none".to_owned());
            let terms = if terms.is_empty() { String::new() } else { format!(" ({terms})") };
            format!("~ {name}: {what}{terms}: {} → {}", side(before), side(after))
        }
    }
}

fn imported(args: &CatalogArgs, arguments: &ImportArgs) -> Result<String, Failure> {
    let source = match arguments.from {
        From::Litellm => Source::Litellm,
        From::GenaiPrices => Source::GenaiPrices,
    };
    let date = arguments.date.map_or_else(today, |date| date.to_string());
    let text = read(&arguments.file)?;
    let imported = import::import(source, &text, &date).map_err(|error| Failure::Words(error.to_string()))?;
    // What we write must be what we read.
    file::load_files(&[("imported", &imported.yaml)]).map_err(Failure::Faults)?;
    if args.json {
        let remarks = imported.remarks.iter();
        let remarks =
            remarks.map(|remark| json!({ "kind": remark.kind.name(), "model": remark.model, "what": remark.what }));
        let remarks: Vec<Value> = remarks.collect();
        return Ok(json!({ "models": imported.models, "yaml": imported.yaml, "remarks": remarks }).to_string());
    }
    tell_remarks(&imported);
    Ok(imported.yaml.trim_end().to_owned())
}

fn tell_remarks(imported: &Imported) {
    let mut counts: BTreeMap<RemarkKind, usize> = BTreeMap::new();
    for remark in &imported.remarks {
        eprintln!("{}: {}: {}", remark.kind.name(), remark.model, remark.what);
        *counts.entry(remark.kind).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    eprintln!("{} models taken over; not taken as they stood: {}", imported.models, counts.join(", "));
}

/// `gpt-4o` at the first provider that has it, or `provider/model`.
fn find(catalog: &Catalog, name: &str) -> Result<Arc<Model>, Failure> {
    let named = name.split_once('/').and_then(|(provider, model)| catalog.resolve(provider, model));
    let offer = named.or_else(|| catalog.resolve(catalog.providers_of(name).first()?, name));
    let unknown =
        || Failure::Words(format!("no model `{name}`; `farebox catalog list` shows all, `provider/model` names one"));
    offer.map(|offer| offer.model).ok_or_else(unknown)
}

fn load<'p>(overlays: impl IntoIterator<Item = &'p PathBuf>) -> Result<Catalog, Failure> {
    let mut texts = Vec::new();
    for path in overlays {
        texts.push((path.display().to_string(), read(path)?));
    }
    let overlays: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    file::load(file::SHIPPED, &overlays).map_err(Failure::Faults)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::Words(format!("{}: {error}", path.display())))
}

fn model_json(model: &Model) -> Value {
    json!({
        "provider": model.provider,
        "id": model.id,
        "aliases": model.aliases,
        "mode": model.mode.name(),
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "can": model.capabilities.names(),
        "unsupported": model.unsupported,
        "retired": model.retired,
        "source": model.source,
        "disagreement": model.disagreement,
        "note": model.note,
        "catalog": model.catalog,
        "prices": sheet::lines(model),
    })
}

fn cost_json(model: &Model, usage: &TokenUsage, cost: &Cost) -> Value {
    let parts = cost.by_kind.iter().zip(&cost.rates).map(|((kind, part), (_, rate))| {
        let (per, units) = sheet::unit(*kind);
        json!({ "kind": kind.name(), "units": usage[*kind], "usd": part.to_string(), "rate": rate.to_decimal_per(units), "per": per })
    });
    json!({
        "provider": model.provider,
        "model": model.id,
        "usd": cost.total.to_string(),
        "by_kind": parts.collect::<Vec<_>>(),
        "terms": cost.terms,
        "catalog": cost.catalog,
    })
}

fn cost_words(model: &Model, usage: &TokenUsage, cost: &Cost) -> String {
    let mut text = format!("{}/{}: ${}\n", model.provider, model.id, cost.total);
    for ((kind, part), (_, rate)) in cost.by_kind.iter().zip(&cost.rates) {
        let (per, units) = sheet::unit(*kind);
        text.push_str(&format!(
            "  {:<18}{:>12} × {} per {per} = ${part}\n",
            kind.name(),
            usage[*kind],
            rate.to_decimal_per(units)
        ));
    }
    for term in &cost.terms {
        text.push_str(&format!("  {term}\n"));
    }
    text.push_str(&format!("  catalog {}", cost.catalog));
    text
}

fn fault_json(fault: &Fault) -> Value {
    json!({
        "file": fault.file,
        "line": fault.line,
        "column": fault.column,
        "message": fault.message,
        "excerpt": fault.excerpt,
        "remedy": fault.remedy,
    })
}

fn unit(text: &str) -> Result<(Kind, u64), String> {
    let (kind, units) = text.split_once('=').ok_or("write KIND=N, such as web_search=3")?;
    let kind = Kind::named(kind)
        .ok_or_else(|| format!("no kind `{kind}`; one of {}", Kind::ALL.map(Kind::name).join(", ")))?;
    units.parse().map(|units| (kind, units)).map_err(|error| format!("`{units}`: {error}"))
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// `2026-11-21`, in UTC.
fn today() -> String {
    now().to_rfc3339().chars().take(10).collect()
}

/// A reader that has seen enough (`| head`) is no fault.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
