//! Another model for a request: whether it can serve it, and what must be taken out or renamed for it.
//!
//! A swap never turns a request that works into an error. What the target cannot do passes it over; what it does not
//! take, by the catalog's facts, is taken out of the body, and the caller is told in a header.

use super::attempt::Run;
use super::decide::{Course, Step};
use super::exchange::AskedBody;
use super::offer::{self, Target};
use crate::catalog::Model;
use crate::dialects::splice::member_names;
use crate::dialects::{Dialect, Flavor, Operation};
use crate::rules;
use crate::rules::target::{Wanted, has_room, too_small};
use std::borrow::Cow;
use std::sync::Arc;

/// Members that limit the output of chats and completions in the OpenAI dialect.
const LIMITS: [&str; 3] = ["max_completion_tokens", "max_tokens", "n_predict"];

/// What was changed in a body for its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapted {
    pub remove: Vec<Arc<str>>,
    pub rename: Option<(Arc<str>, Arc<str>)>,
    /// For the caller: `x-farebox-swap-changes`.
    pub told: Vec<String>,
}

/// The course of a swap's target.
///
/// # Errors
/// Why this target is passed over, in half a sentence.
pub async fn course<'a>(
    run: &Run<'a>,
    base: &Course<'a>,
    name: &Arc<str>,
    rule: Option<&Arc<str>>,
    (why, passed_over): (&str, &[Step]),
) -> Result<Course<'a>, String> {
    let requested = run.asked.facts.requested_model.as_deref();
    let target = {
        let catalog = run.proxy.catalog.load();
        offer::named_target(run.proxy, &catalog, run.arrived, requested, &base.target, name)?
    };
    let Some(offer) = target.offer.clone() else { return Err("the catalog does not know it".to_owned()) };
    let model = offer.model;
    can_serve(run, &base.target, &target, &model)?;
    let mut ruled = base.ruled.clone().unwrap_or_default();
    ruled.steps.extend_from_slice(passed_over);
    ruled.swapped_from = ruled.swapped_from.or_else(|| base.target.model.clone());
    ruled.swap_rule = rule.cloned();
    ruled.adapted = adapted(run, &target, &model);
    ruled.blocked = None;
    ruled.slice = None;
    (ruled.known.input, ruled.known.saved) = (None, 0);
    if let (Some(asked), Some(max)) = (run.asked.facts.output_limit, model.max_output_tokens)
        && asked > max
    {
        ruled.known.output_max = Some(ruled.known.output_max.map_or(max, |lower| lower.min(max)));
        ruled.adapted.told.push(format!("output limit {asked} lowered to {max}"));
    }
    let mut course = Course { target: Cow::Owned(target), foreseen: base.foreseen.clone(), ruled: Some(ruled) };
    course.acted("swap", rule.cloned(), why.to_owned());
    run.foresee(&mut course);
    fits_the_window(run, &mut course, &model).await?;
    Ok(course)
}

pub fn can_serve(run: &Run<'_>, base: &Target, target: &Target, model: &Model) -> Result<(), String> {
    let same = target.model == base.model && Arc::ptr_eq(&target.provider, &base.provider);
    if same {
        return Err("it is the model that was asked for".to_owned());
    }
    let wanted = Wanted {
        now: run.proxy.clock.now(),
        before: base.offer.as_ref().map(|offer| &*offer.model),
        needs: &run.asked.facts.needs,
    };
    if let Some(why) = rules::target::objection(model, &wanted) {
        return Err(why);
    }
    if !matches!(run.asked.body, AskedBody::Whole(_)) {
        return Err("the request's body streams through and cannot be rewritten".to_owned());
    }
    if run.asked.facts.splice.model.is_none() && run.arrived.endpoint.model_in_path.is_none() {
        return Err("the request's body names no model that could be rewritten".to_owned());
    }
    Ok(())
}

/// Input and the asked-for output must fit into the target's window. Counted only where the bound alone does not fit.
async fn fits_the_window(run: &Run<'_>, course: &mut Course<'_>, model: &Model) -> Result<(), String> {
    let Some(window) = model.context_window else { return Ok(()) };
    let asked = run.asked.facts.output_limit;
    let fits = |course: &Course<'_>| has_room(model, course.foreseen.bound.input_tokens(), asked);
    if fits(course) {
        return Ok(());
    }
    run.count(course).await;
    // A count that is not exact is still a better guess than a token for every byte.
    let likely = course.foreseen.estimate.input_tokens().saturating_add(window / 10);
    if fits(course) || has_room(model, likely, asked) {
        return Ok(());
    }
    Err(too_small(model))
}

/// What of the body the target does not take.
pub fn adapted(run: &Run<'_>, target: &Target, model: &Model) -> Adapted {
    let mut adapted = Adapted::default();
    let AskedBody::Whole(body) = &run.asked.body else { return adapted };
    let names = member_names(&body.bytes);
    for name in names.iter().filter(|name| model.unsupported.iter().any(|gone| **gone == ***name)) {
        adapted.remove.push(name.as_str().into());
    }
    let present: Vec<&str> = LIMITS.into_iter().filter(|limit| names.iter().any(|name| name == limit)).collect();
    if run.arrived.endpoint.operation == Operation::Chat
        && run.arrived.dialect == Dialect::OpenAi
        && let Some(wanted) = chat_limit(target, model)
        && !present.is_empty()
    {
        let mut others = present.iter().filter(|name| **name != wanted);
        if !present.contains(&wanted)
            && let Some(old) = others.next()
        {
            adapted.rename = Some(((*old).into(), wanted.into()));
            adapted.told.push(format!("{old} renamed to {wanted}"));
        }
        adapted.remove.extend(others.map(|name| Arc::<str>::from(*name)));
    }
    adapted.told.extend(adapted.remove.iter().map(|name| format!("{name} removed")).collect::<Vec<_>>());
    adapted
}

/// The member that limits a chat's output at a target, where it takes only one.
fn chat_limit<'m>(target: &Target, model: &'m Model) -> Option<&'m str> {
    if let Some(limit) = &model.output_limit {
        return Some(limit);
    }
    match target.provider.settings.flavor {
        // These know the older name alone (their API references, read 2026-11).
        Flavor::Mistral | Flavor::Deepseek | Flavor::Perplexity | Flavor::Cohere | Flavor::Ollama => Some("max_tokens"),
        _ => None,
    }
}

/// The member to write an output limit to where the body has none; `None`: this operation has no such limit.
pub fn limit_member(dialect: Dialect, operation: Operation, target: &Target) -> Option<&str> {
    match (dialect, operation) {
        (Dialect::OpenAi, Operation::Chat) => {
            let known = target.offer.as_ref().and_then(|offer| chat_limit(target, &offer.model));
            let usual = match target.provider.settings.flavor {
                Flavor::Standard | Flavor::Azure => "max_completion_tokens",
                _ => "max_tokens",
            };
            Some(known.unwrap_or(usual))
        }
        (Dialect::OpenAi, Operation::Completion) => Some("max_tokens"),
        (Dialect::OpenAi, Operation::Responses) => Some("max_output_tokens"),
        (Dialect::Anthropic, Operation::Chat) => Some("max_tokens"),
        (Dialect::Gemini, Operation::Chat) => Some("generationConfig.maxOutputTokens"),
        _ => None,
    }
}
