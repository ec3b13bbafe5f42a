//! What rules tell calls apart by: who calls, and for what.

use super::Question;
use crate::catalog;
use std::borrow::Cow;
use std::sync::Arc;

/// The tag that is written like a field of its own.
const DEPARTMENT: &str = "department";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Key,
    User,
    EndUser,
    Session,
    Run,
    Project,
    Team,
    Organisation,
    Environment,
    Tag(Arc<str>),
    Metadata(Arc<str>),
    Prompt,
    /// What the attempt would go to: by the name that is sent and by the catalog's own.
    Model,
    /// As the caller wrote it.
    RequestedModel,
    Provider,
    Operation,
    Dialect,
}

impl Field {
    /// All that have a name of their own, with what they mean.
    pub const NAMED: [(&'static str, Field, &'static str); 15] = [
        ("organisation", Field::Organisation, "The organisation that calls."),
        ("team", Field::Team, "The team that calls."),
        ("project", Field::Project, "The project that the call is for."),
        ("key", Field::Key, "The public name of the caller's key."),
        ("user", Field::User, "The person or service that holds the key."),
        ("end_user", Field::EndUser, "Whom the caller acts for: the body's `user`, or a header."),
        ("session", Field::Session, "The conversation, by header."),
        ("run", Field::Run, "One run of an agent or job, by header."),
        ("environment", Field::Environment, "`production`, `staging` …, by header."),
        ("prompt", Field::Prompt, "The name of the prompt template."),
        ("model", Field::Model, "The model that the call goes to: its name there, or the catalog's own name for it."),
        ("requested_model", Field::RequestedModel, "The model as the caller wrote it."),
        ("provider", Field::Provider, "The provider that the call goes to."),
        ("operation", Field::Operation, "What is asked for: `chat`, `responses`, `embeddings` …"),
        ("dialect", Field::Dialect, "`openai`, `anthropic` or `gemini`."),
    ];

    pub fn named(name: &str) -> Option<Field> {
        if name == DEPARTMENT {
            return Some(Field::Tag(DEPARTMENT.into()));
        }
        if let Some((_, field, _)) = Field::NAMED.iter().find(|(known, ..)| *known == name) {
            return Some(field.clone());
        }
        match name.split_once('.') {
            Some(("tag", tag)) if !tag.is_empty() => Some(Field::Tag(tag.into())),
            Some(("metadata", member)) if !member.is_empty() => Some(Field::Metadata(member.into())),
            _ => None,
        }
    }

    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Field::Tag(tag) if **tag == *DEPARTMENT => Cow::Borrowed(DEPARTMENT),
            Field::Tag(tag) => Cow::Owned(format!("tag.{tag}")),
            Field::Metadata(member) => Cow::Owned(format!("metadata.{member}")),
            named => match Field::NAMED.iter().find(|(_, field, _)| field == named) {
                Some((name, ..)) => Cow::Borrowed(name),
                None => Cow::Borrowed("?"),
            },
        }
    }

    /// It changes when a call is swapped or rerouted.
    pub fn is_of_the_target(&self) -> bool {
        matches!(self, Field::Model | Field::Provider)
    }

    /// It is not known before there is a request.
    pub fn is_of_the_request(&self) -> bool {
        let of_the_body =
            matches!(self, Field::RequestedModel | Field::Operation | Field::Dialect | Field::Metadata(_));
        of_the_body || self.is_of_the_target()
    }

    /// Whether one of the call's values fits; `None` is asked where it says none.
    pub fn any(&self, question: &Question<'_>, mut fits: impl FnMut(Option<&str>) -> bool) -> bool {
        match self {
            Field::Tag(_) | Field::Metadata(_) => {
                let mut said = false;
                for (name, value) in self.pairs(question) {
                    if name == self.pair_name() {
                        said = true;
                        if fits(Some(value)) {
                            return true;
                        }
                    }
                }
                !said && fits(None)
            }
            Field::Model => {
                let id = question.model.map(|model| &*model.id);
                match (question.upstream_model.or(question.facts.requested_model.as_deref()), id) {
                    (Some(sent), Some(id)) => fits(Some(sent)) || (sent != id && fits(Some(id))),
                    (sent, id) => fits(sent.or(id)),
                }
            }
            single => fits(single.first(question)),
        }
    }

    /// The one value that stands for the call: of the model, the catalog's own name.
    pub fn first<'q>(&self, question: &Question<'q>) -> Option<&'q str> {
        let (caller, said) = (question.caller, question.attribution);
        match self {
            Field::Organisation => caller.organisation.as_deref(),
            Field::Team => caller.team.as_deref(),
            Field::Project => caller.project.as_deref(),
            Field::Key => caller.key.as_deref(),
            Field::User => caller.user.as_deref(),
            Field::EndUser => said.end_user.as_deref(),
            Field::Session => said.session.as_deref(),
            Field::Run => said.run.as_deref(),
            Field::Environment => said.environment.as_deref(),
            Field::Prompt => said.prompt_name.as_deref(),
            Field::Tag(_) | Field::Metadata(_) => {
                let mine = self.pairs(question).find(|(name, _)| *name == self.pair_name());
                mine.map(|(_, value)| value)
            }
            Field::Model => question
                .model
                .map(|model| &*model.id)
                .filter(|id| !id.contains('*'))
                .or(question.upstream_model)
                .or(question.facts.requested_model.as_deref()),
            Field::RequestedModel => question.facts.requested_model.as_deref(),
            Field::Provider => Some(question.provider),
            Field::Operation => Some(question.operation.name()),
            Field::Dialect => Some(question.dialect.name()),
        }
    }

    fn pairs<'q>(&self, question: &Question<'q>) -> impl Iterator<Item = (&'q str, &'q str)> + use<'q> {
        let pairs = match self {
            Field::Metadata(_) => &question.facts.metadata,
            _ => &question.attribution.tags,
        };
        pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    fn pair_name(&self) -> &str {
        match self {
            Field::Tag(name) | Field::Metadata(name) => name,
            _ => "",
        }
    }
}

/// What a value must look like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    Exact(Arc<str>),
    /// With `*`, which stands for any run of letters.
    Glob(Arc<str>),
    /// None was said: `~`.
    Unsaid,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        if text.contains('*') { Pattern::Glob(text.into()) } else { Pattern::Exact(text.into()) }
    }

    pub fn fits(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Pattern::Exact(wanted), Some(value)) => **wanted == *value,
            (Pattern::Glob(glob), Some(value)) => catalog::matches(glob, value),
            (Pattern::Unsaid, None) => true,
            _ => false,
        }
    }

    /// Everything that the other fits, this one fits too. Says no where it cannot tell.
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::Glob(glob), Pattern::Exact(value) | Pattern::Glob(value)) => catalog::matches(glob, value),
            _ => self == other,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Pattern::Exact(text) | Pattern::Glob(text) => text,
            Pattern::Unsaid => "~",
        }
    }
}

/// `team=research user=ann`: what an account is named by, so it must never change its spelling. A call that says no
/// user shares an account with all such calls, and pays for it.
pub fn scope_of(fields: &[Field], question: &Question<'_>) -> Arc<str> {
    // Room for a name of usual length each.
    let mut scope = String::with_capacity(fields.len() * 32);
    for field in fields {
        crate::budget::scope::push(&mut scope, &field.name(), field.first(question).unwrap_or_default());
    }
    scope.into()
}
