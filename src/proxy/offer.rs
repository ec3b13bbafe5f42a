//! Which provider and model a request goes to, and where next when that fails.

use super::Proxy;
use super::door;
use super::exchange::Arrived;
use super::provider::Provider;
use super::route;
use super::settings::Fallback;
use crate::catalog::{Catalog, Offer};
use crate::dialects::{Dialect, Refusal, RefusalKind};
use crate::rules;
use std::sync::Arc;

/// One place that a request may go to.
#[derive(Clone)]
pub struct Target {
    pub provider: Arc<Provider>,
    /// The model's name there; `None` where the request names none.
    pub model: Option<Arc<str>>,
    /// The name differs from what stands in the request: it is written into the body or the path.
    pub renamed: bool,
    pub offer: Option<Offer>,
    /// The caller's key was meant for this provider.
    pub caller_key_may_pass: bool,
}

/// Who chose the provider.
enum Choice<'a> {
    /// A path, a header or a `provider/model` name.
    Explicit(&'a str, Option<&'a str>),
    /// Nothing: the catalog or the default.
    Open,
}

/// The targets of a request, in order: the chosen one, then its fallbacks that can be used.
pub fn targets(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &Arrived,
    requested_model: Option<&str>,
) -> Result<Vec<Target>, Refusal> {
    let first = first(proxy, catalog, arrived, requested_model)?;
    let mut targets = vec![first];
    for fallback in targets[0].provider.settings.fallbacks.clone() {
        if let Some(target) = fallback_target(proxy, catalog, arrived, requested_model, &fallback) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn first(proxy: &Proxy, catalog: &Catalog, arrived: &Arrived, requested: Option<&str>) -> Result<Target, Refusal> {
    let (name, model) = match choice(proxy, catalog, arrived, requested)? {
        Choice::Explicit(name, model) => (Arc::from(name), model.or(requested)),
        Choice::Open => (open_choice(proxy, catalog, arrived, requested)?, requested),
    };
    let Some(provider) = proxy.providers.get(&name) else {
        return Err(unknown_provider(proxy, &name));
    };
    if provider.settings.dialect != arrived.dialect {
        return Err(wrong_dialect(&name, provider.settings.dialect, None));
    }
    let target = target(catalog, arrived, provider, requested, model.map(Arc::from));
    if !target.caller_key_may_pass && provider.purse.is_callers() {
        return Err(no_key(arrived, &name));
    }
    permitted(arrived, &target)?;
    Ok(target)
}

/// Nobody has a key for this provider that could be sent there.
fn no_key(arrived: &Arrived, name: &str) -> Refusal {
    let message = match &arrived.credential {
        Some(_) => format!(
            "Farebox has no key of its own for the provider `{name}`, and callers bring none: whoever runs this Farebox adds one (`farebox provider-key add`, or `key: env:…`)."
        ),
        None => format!(
            "A caller's own key goes only to the provider that the path names. Call `/{name}/…`, or give Farebox a key for `{name}` (`key: env:…`)."
        ),
    };
    super::refusal::because(RefusalKind::Unauthenticated, message)
}

/// In keys mode, whether the caller's key is good for this target.
fn permitted(arrived: &Arrived, target: &Target) -> Result<(), Refusal> {
    let Some(credential) = arrived.credential.as_deref() else { return Ok(()) };
    door::may_use(Some(credential), arrived.endpoint.operation, target).map_err(|why| door::forbidden(credential, &why))
}

/// The same for a target that the caller did not choose: why it is passed over.
fn permitted_too(arrived: &Arrived, target: Target) -> Result<Target, String> {
    match door::may_use(arrived.credential.as_deref(), arrived.endpoint.operation, &target) {
        Ok(()) => Ok(target),
        Err(why) => Err(format!("the caller's key {why}")),
    }
}

fn choice<'a>(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &'a Arrived,
    requested: Option<&'a str>,
) -> Result<Choice<'a>, Refusal> {
    if let Some(name) = arrived.provider_header.as_deref() {
        return if proxy.is_provider(name) {
            Ok(Choice::Explicit(name, None))
        } else {
            Err(unknown_provider(proxy, name))
        };
    }
    if let Some(name) = arrived.provider_in_path.as_deref() {
        return Ok(Choice::Explicit(name, None));
    }
    let prefixed = requested.and_then(|model| route::split_model(model, |name| proxy.is_provider(name)));
    Ok(match prefixed {
        // A router's own names hold a slash too (`openai/gpt-4o` at OpenRouter): what the default knows stays whole.
        Some((name, model)) if !default_knows(proxy, catalog, requested) => Choice::Explicit(name, Some(model)),
        _ => Choice::Open,
    })
}

fn default_knows(proxy: &Proxy, catalog: &Catalog, requested: Option<&str>) -> bool {
    requested.is_some_and(|model| catalog.resolve(&proxy.settings.default_provider, model).is_some())
}

/// The default provider, unless the catalog knows the model only elsewhere, at a provider of this dialect for which
/// Farebox has a key of its own.
///
/// # Errors
/// Only configured providers of another dialect have the model: the path to say instead.
fn open_choice(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &Arrived,
    requested: Option<&str>,
) -> Result<Arc<str>, Refusal> {
    let default = Arc::clone(&proxy.settings.default_provider);
    let Some(model) = requested.filter(|_| !default_knows(proxy, catalog, requested)) else { return Ok(default) };
    let having = catalog.providers_of(model);
    let mut configured = having.iter().filter_map(|name| proxy.providers.get(name)).peekable();
    // What a default that the catalog does not know (a gateway of one's own) has to offer, only it can say.
    let listed = catalog.providers().iter().any(|provider| provider.name == default);
    let speaks = |provider: &&Arc<Provider>| provider.settings.dialect == arrived.dialect;
    if listed
        && let Some(other) = configured.peek()
        && !having.iter().filter_map(|name| proxy.providers.get(name)).any(|provider| speaks(&provider))
    {
        return Err(wrong_dialect(&other.settings.name, other.settings.dialect, Some(model)));
    }
    let keyed = |provider: &&Arc<Provider>| !provider.purse.is_callers();
    Ok(configured
        .find(|provider| speaks(provider) && keyed(provider))
        .map_or(default, |p| Arc::clone(&p.settings.name)))
}

/// Another place for the same request, by a rule's word: `gpt-5-mini`, or `provider/model`. A bare name is looked for at
/// the provider that the request goes to now, then at whoever has it.
///
/// # Errors
/// Why it cannot go there, in half a sentence.
pub fn named_target(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &Arrived,
    requested: Option<&str>,
    now: &Target,
    name: &Arc<str>,
) -> Result<Target, String> {
    let here = &now.provider.settings.name;
    let may_go = |name: &Arc<str>| usable(proxy, arrived, name).is_ok();
    let led = rules::target::place(catalog, here, name, |name| proxy.is_provider(name), may_go);
    let rules::target::Place { provider, name: model } =
        led.ok_or_else(|| "no configured provider that this caller may use has it".to_owned())?;
    usable(proxy, arrived, &provider)?;
    let Some(found) = proxy.providers.get(&provider) else { return Err(format!("there is no provider `{provider}`")) };
    let target = target(catalog, arrived, found, requested, Some(model));
    if target.offer.is_none() {
        return Err(format!("the catalog does not know it at `{provider}`"));
    }
    permitted_too(arrived, target)
}

/// The same model at another provider, by a rule's word.
pub fn rerouted_target(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &Arrived,
    requested: Option<&str>,
    now: &Target,
    provider: &Arc<str>,
) -> Result<Target, String> {
    usable(proxy, arrived, provider)?;
    let Some(found) = proxy.providers.get(provider) else { return Err(format!("there is no provider `{provider}`")) };
    permitted_too(arrived, target(catalog, arrived, found, requested, now.model.clone()))
}

fn usable(proxy: &Proxy, arrived: &Arrived, name: &Arc<str>) -> Result<(), String> {
    let Some(provider) = proxy.providers.get(name) else {
        return Err(format!("there is no provider `{name}`"));
    };
    let settings = &provider.settings;
    if settings.dialect != arrived.dialect {
        return Err(format!("`{name}` speaks the {} API", settings.dialect.name()));
    }
    if !arrived.key_is_for(name) && provider.purse.is_callers() {
        return Err(format!("the caller's key is not for `{name}`, and Farebox has none of its own for it"));
    }
    if provider.health.lock().is_down(proxy.clock.now()) {
        return Err(format!("`{name}` is down"));
    }
    Ok(())
}

fn target(
    catalog: &Catalog,
    arrived: &Arrived,
    provider: &Arc<Provider>,
    requested: Option<&str>,
    model: Option<Arc<str>>,
) -> Target {
    let name = &provider.settings.name;
    let offer = model.as_deref().and_then(|model| catalog.resolve(name, model));
    Target {
        renamed: model.as_deref() != requested,
        caller_key_may_pass: arrived.key_is_for(name),
        provider: Arc::clone(provider),
        offer,
        model,
    }
}

/// A fallback that can be used: it speaks the dialect, and Farebox has a key for it.
fn fallback_target(
    proxy: &Proxy,
    catalog: &Catalog,
    arrived: &Arrived,
    requested: Option<&str>,
    fallback: &Fallback,
) -> Option<Target> {
    let provider = proxy.providers.get(&fallback.provider)?;
    let model = fallback.model.clone().or_else(|| requested.map(Arc::from));
    let target = target(catalog, arrived, provider, requested, model);
    let keyed = target.caller_key_may_pass || !provider.purse.is_callers();
    let possible = provider.settings.dialect == arrived.dialect && keyed && permitted(arrived, &target).is_ok();
    if !possible {
        tracing::debug!(
            provider = &*fallback.provider,
            "fallback skipped: another dialect, no key of Farebox's own, or the caller's key is not good for it"
        );
    }
    possible.then_some(target)
}

fn unknown_provider(proxy: &Proxy, name: &str) -> Refusal {
    let mut known: Vec<&str> = proxy.providers.keys().map(|name| &**name).collect();
    known.sort_unstable();
    super::refusal::because(
        RefusalKind::InvalidRequest,
        format!("There is no provider `{}` here. Configured are: {}.", short(name), known.join(", ")),
    )
}

/// `model`: the model led there, the request did not name the provider.
fn wrong_dialect(name: &str, dialect: Dialect, model: Option<&str>) -> Refusal {
    let path = match dialect {
        Dialect::OpenAi => format!("/{name}/v1/chat/completions"),
        Dialect::Anthropic => format!("/{name}/v1/messages"),
        Dialect::Gemini => format!("/{name}/v1beta/models/MODEL:generateContent"),
    };
    let dialect = dialect.name();
    let message = match model {
        Some(model) => format!(
            "The model `{}` is one of `{name}`, which speaks the {dialect} API: call `{path}` instead.",
            short(model)
        ),
        None => format!("The provider `{name}` speaks the {dialect} API: call `{path}` instead."),
    };
    super::refusal::because(RefusalKind::InvalidRequest, message)
}

fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
