//! A swap's target: where its name leads, and whether the model there can serve the call. One judgement, for the proxy,
//! for a replay of the past and for the tests that stand in a file.

use crate::catalog::{Catalog, Model};
use crate::clock::Timestamp;
use crate::tokens::facts::Needs;
use std::sync::Arc;

/// A target that is named and may be gone to.
#[derive(Clone, Debug)]
pub struct Place {
    pub provider: Arc<str>,
    /// As it is asked for there.
    pub name: Arc<str>,
}

/// Where a target's name leads: `provider/model` there; a bare name to where the call goes now, if that has it, else to
/// the first provider that has it and that the call `may_go` to.
pub fn place(
    catalog: &Catalog,
    here: &Arc<str>,
    name: &Arc<str>,
    is_provider: impl Fn(&str) -> bool,
    may_go: impl Fn(&Arc<str>) -> bool,
) -> Option<Place> {
    let known_here = catalog.resolve(here, name).is_some();
    let named = name.split_once('/').filter(|(provider, model)| !model.is_empty() && is_provider(provider));
    match named {
        // A router's own names hold a slash too.
        Some((provider, model)) if !known_here => Some(Place { provider: provider.into(), name: model.into() }),
        _ if known_here => Some(Place { provider: Arc::clone(here), name: Arc::clone(name) }),
        _ => {
            let provider = catalog.providers_of(name).into_iter().find(may_go)?;
            Some(Place { provider, name: Arc::clone(name) })
        }
    }
}

/// The call that a target is to serve.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub now: Timestamp,
    /// The model that it goes to without the swap; `None`: the catalog does not know it.
    pub before: Option<&'a Model>,
    pub needs: &'a Needs,
}

/// Why a model cannot serve the call, in half a sentence. Its context window is a question of its own
/// ([`has_room`]): only that one may need a count.
pub fn objection(model: &Model, wanted: &Wanted<'_>) -> Option<String> {
    if let Some(retired) = model.retired.as_ref().filter(|_| model.is_retired(wanted.now)) {
        return Some(format!("it was retired on {retired}"));
    }
    if let Some(before) = wanted.before.filter(|before| before.mode != model.mode) {
        return Some(format!("it is for {}, not for {}", model.mode.name(), before.mode.name()));
    }
    let lacks = model.capabilities.lacks(wanted.needs);
    (!lacks.is_empty()).then(|| format!("it lacks {}", lacks.join(" and ")))
}

/// Input and the output that was asked for go into the model's context window.
pub fn has_room(model: &Model, input_tokens: u64, output_limit: Option<u64>) -> bool {
    let output = output_limit.unwrap_or(0).min(model.max_output_tokens.unwrap_or(u64::MAX));
    model.context_window.is_none_or(|window| input_tokens.saturating_add(output) <= window)
}

/// What is said of a target without room.
pub fn too_small(model: &Model) -> String {
    format!("its context window of {} tokens is too small", model.context_window.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::file;
    use std::sync::LazyLock;

    /// 2026-06-01
    const NOW: Timestamp = Timestamp(1_780_272_000_000_000);

    fn catalog() -> &'static Catalog {
        static SHIPPED: LazyLock<Catalog> = LazyLock::new(|| file::load(file::SHIPPED, &[]).unwrap());
        &SHIPPED
    }

    fn model(name: &str) -> Arc<Model> {
        catalog().resolve("openai", name).unwrap().model
    }

    fn leads(name: &str) -> Option<(String, String)> {
        let configured = |name: &str| ["openai", "azure", "anthropic"].contains(&name);
        let may_go = |name: &Arc<str>| configured(name);
        let place = place(catalog(), &"openai".into(), &name.into(), configured, may_go)?;
        Some((place.provider.to_string(), place.name.to_string()))
    }

    #[test]
    fn a_name_leads_here_first_then_to_whom_it_names_then_to_whoever_has_it() {
        let to = |provider: &str, name: &str| Some((provider.to_owned(), name.to_owned()));
        assert_eq!(leads("gpt-4o-mini"), to("openai", "gpt-4o-mini"));
        assert_eq!(leads("azure/gpt-4o-mini"), to("azure", "gpt-4o-mini"));
        assert_eq!(leads("claude-haiku-4-5"), to("anthropic", "claude-haiku-4-5"));
        assert_eq!(leads("groq/llama"), None, "nobody has it, and there is no such provider here");
    }

    #[test]
    fn each_reason_is_said() {
        let gpt = model("gpt-4o");
        let said =
            |name: &str, needs: Needs| objection(&model(name), &Wanted { now: NOW, before: Some(&gpt), needs: &needs });
        assert_eq!(said("gpt-4o-mini", Needs::default()), None);
        assert!(said("text-embedding-3-small", Needs::default()).is_some_and(|why| why.starts_with("it is for")));
        let sees = Needs { vision: true, ..Needs::default() };
        assert_eq!(said("gpt-3.5-turbo", sees).as_deref(), Some("it lacks vision"));
        let later = Wanted { now: Timestamp(NOW.0 * 2), before: Some(&gpt), needs: &sees };
        assert!(objection(&model("gpt-4"), &later).is_some_and(|why| why.starts_with("it was retired on")));
    }

    #[test]
    fn a_window_holds_the_input_and_what_was_asked_for_but_not_more_than_the_model_can_say() {
        let mini = model("gpt-4o-mini");
        let (window, most) = (mini.context_window.unwrap(), mini.max_output_tokens.unwrap());
        assert!(has_room(&mini, window, None) && !has_room(&mini, window + 1, None));
        assert!(has_room(&mini, window - most, Some(u64::MAX)));
        assert!(!has_room(&mini, window - 9, Some(10)));
    }
}
