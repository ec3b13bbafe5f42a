//! What a virtual key may be used for.

use super::Network;
use crate::dialects::Operation;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Operations that need to be allowed by name. They reach into what the provider keeps for its account, which all keys
/// share (one team could list or delete another's files), or are paths that Farebox does not know.
pub const GUARDED_OPERATIONS: [Operation; 4] =
    [Operation::Files, Operation::Batches, Operation::StoredResponse, Operation::Other];

/// Operations that need no model.
const WITHOUT_MODEL: [Operation; 3] = [Operation::Models, Operation::Files, Operation::StoredResponse];

/// Each list empty: no bound, but for [`GUARDED_OPERATIONS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// Globs (`gpt-4o*`): of the model's name as it goes to the provider, of its name in the catalog, or of
    /// `provider/model`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Arc<str>>,
    /// Where calls may come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
}

/// What a key may not be used for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("may not be used from this address")]
    Network,
    #[error("may not be used for `{}` calls (allow it with `--operation {}`)", .0.name(), .0.name())]
    Operation(Operation),
    #[error("may not be used with the provider `{0}`")]
    Provider(String),
    #[error("may not be used with the model `{0}`")]
    Model(String),
    #[error("may be used with some models only, and this call names none")]
    NoModel,
}

impl Permissions {
    /// Before the body is read: from where, and for what. An address that is not known is in no network.
    pub fn may_call(&self, operation: Operation, from: Option<IpAddr>) -> Result<(), Forbidden> {
        let inside = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        if !self.networks.is_empty() && !from.is_some_and(inside) {
            return Err(Forbidden::Network);
        }
        let listed = self.operations.contains(&operation);
        let usual = self.operations.is_empty() && !GUARDED_OPERATIONS.contains(&operation);
        if listed || usual { Ok(()) } else { Err(Forbidden::Operation(operation)) }
    }

    /// Whether a call may go to this model at this provider: the one that was asked for, a fallback, or the target of a
    /// swap. `catalog_name` is what the catalog calls the model, so that an allowed model's dated snapshots are allowed.
    pub fn may_use(
        &self,
        operation: Operation,
        provider: &str,
        model: Option<&str>,
        catalog_name: Option<&str>,
    ) -> Result<(), Forbidden> {
        if !self.providers.is_empty() && !self.providers.iter().any(|allowed| **allowed == *provider) {
            return Err(Forbidden::Provider(short(provider)));
        }
        if self.models.is_empty() {
            return Ok(());
        }
        let Some(model) = model else {
            return if WITHOUT_MODEL.contains(&operation) { Ok(()) } else { Err(Forbidden::NoModel) };
        };
        let qualified = |glob: &str, model: &str| {
            glob.split_once('/').is_some_and(|(at, glob)| matches_glob(at, provider) && matches_glob(glob, model))
        };
        let allows = |glob: &str, model: &str| matches_glob(glob, model) || qualified(glob, model);
        let names = [Some(model), catalog_name];
        let allowed = names.iter().flatten().any(|name| self.models.iter().any(|glob| allows(glob, name)));
        if allowed { Ok(()) } else { Err(Forbidden::Model(short(model))) }
    }
}

/// `*` stands for any letters, also none. Never more than the product of both lengths in steps.
pub fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut place) = (0, 0);
    // Where the last star stood, and how far its letters go.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        if glob.get(place) == Some(&b'*') {
            star = Some((place, at));
            place += 1;
        } else if glob.get(place) == Some(&text[at]) {
            (at, place) = (at + 1, place + 1);
        } else if let Some((stood, reached)) = star {
            star = Some((stood, reached + 1));
            (at, place) = (reached + 1, stood + 1);
        } else {
            return false;
        }
    }
    glob[place..].iter().all(|letter| *letter == b'*')
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(models: &[&str]) -> Permissions {
        Permissions { models: models.iter().map(|glob| Arc::from(*glob)).collect(), ..Permissions::default() }
    }

    fn chat(permissions: &Permissions, provider: &str, model: &str) -> bool {
        permissions.may_use(Operation::Chat, provider, Some(model), None).is_ok()
    }

    #[test]
    fn stars_stand_for_any_letters() {
        for (glob, text) in [("*", ""), ("*", "x"), ("gpt-4o*", "gpt-4o"), ("*mini", "gpt-5-mini"), ("a*b*c", "aXbYbc")]
        {
            assert!(matches_glob(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("", "x"), ("gpt-4o", "gpt-4o-mini"), ("*mini", "mini-x"), ("a*b", "a"), ("A", "a")] {
            assert!(!matches_glob(glob, text), "{glob} {text}");
        }
        assert!(!matches_glob(&"*a".repeat(40), &"a".repeat(39)));
    }

    #[test]
    fn a_key_for_some_models_is_not_one_for_others_at_any_provider() {
        let mini = only(&["gpt-*-mini", "anthropic/claude-haiku*"]);
        assert!(chat(&mini, "openai", "gpt-5-mini"));
        assert!(!chat(&mini, "openai", "gpt-5"));
        assert!(chat(&mini, "anthropic", "claude-haiku-4-5"));
        assert!(!chat(&mini, "openrouter", "claude-haiku-4-5"), "the provider is part of the permission");
        assert!(chat(&only(&["openai/gpt-4o"]), "openrouter", "openai/gpt-4o"), "a router's own name");
    }

    #[test]
    fn a_dated_snapshot_of_an_allowed_model_is_allowed_by_its_name_in_the_catalog() {
        let permissions = only(&["gpt-4o"]);
        let dated = Some("gpt-4o-2024-08-06");
        assert!(permissions.may_use(Operation::Chat, "openai", dated, Some("gpt-4o")).is_ok());
        assert!(permissions.may_use(Operation::Chat, "openai", dated, None).is_err());
    }

    #[test]
    fn a_call_that_names_no_model_does_not_slip_past_a_list_of_models() {
        let permissions = only(&["gpt-4o"]);
        let nameless = |operation| permissions.may_use(operation, "openai", None, None);
        assert_eq!(nameless(Operation::Chat), Err(Forbidden::NoModel));
        assert_eq!(nameless(Operation::Batches), Err(Forbidden::NoModel), "a batch names its models inside");
        assert_eq!(nameless(Operation::Other), Err(Forbidden::NoModel));
        assert_eq!(nameless(Operation::Models), Ok(()));
        assert!(Permissions::default().may_use(Operation::Chat, "openai", None, None).is_ok());
    }

    #[test]
    fn what_the_providers_account_keeps_is_shared_and_must_be_allowed_by_name() {
        let usual = Permissions::default();
        assert!(usual.may_call(Operation::Chat, None).is_ok());
        for operation in GUARDED_OPERATIONS {
            assert_eq!(usual.may_call(operation, None), Err(Forbidden::Operation(operation)));
        }
        let files = Permissions { operations: vec![Operation::Files], ..Permissions::default() };
        assert!(files.may_call(Operation::Files, None).is_ok() && files.may_call(Operation::Chat, None).is_err());
    }

    #[test]
    fn an_address_outside_of_its_networks_or_unknown_is_refused() {
        let office = Permissions { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Permissions::default() };
        assert!(office.may_call(Operation::Chat, Some("10.1.2.3".parse().unwrap())).is_ok());
        assert_eq!(office.may_call(Operation::Chat, Some("11.1.2.3".parse().unwrap())), Err(Forbidden::Network));
        assert_eq!(office.may_call(Operation::Chat, None), Err(Forbidden::Network));
    }

    #[test]
    fn permissions_that_a_newer_farebox_wrote_are_not_read_as_fewer() {
        let kept = serde_json::to_string(&only(&["gpt-4o"])).unwrap();
        assert_eq!(kept, r#"{"models":["gpt-4o"]}"#);
        assert_eq!(serde_json::from_str::<Permissions>(&kept).unwrap(), only(&["gpt-4o"]));
        assert!(serde_json::from_str::<Permissions>(r#"{"hours":["9-17"]}"#).is_err());
    }
}
