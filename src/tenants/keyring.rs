//! All keys that open something, by the digests of their texts: immutable, swapped whole when the store changes.

use super::{Caller, Digest, Pepper, Permissions, Tags, looks_like_a_key};
use crate::clock::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// What a text opens.
#[derive(Clone, Debug)]
pub struct Credential {
    pub caller: Arc<Caller>,
    pub permissions: Arc<Permissions>,
    /// Written beside each of its calls.
    pub tags: Arc<Tags>,
    pub not_after: Option<Timestamp>,
    /// Why it opens nothing at present.
    pub closed: Option<Closed>,
}

/// What was disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Key,
    Project,
    Team,
    Organisation,
    User,
    /// Nothing was; a newer farebox wrote what the key may do, and this one cannot read it.
    Unreadable,
}

impl Closed {
    pub fn name(self) -> &'static str {
        match self {
            Closed::Key => "key",
            Closed::Project => "project",
            Closed::Team => "team",
            Closed::Organisation => "organisation",
            Closed::User => "user",
            Closed::Unreadable => "unreadable",
        }
    }
}

/// Why a call was not let in. Who does not hold a key's whole text learns nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    Missing,
    /// It is not written like one of our keys: a provider's, perhaps.
    NotOurs,
    Unknown,
    Expired {
        key: Arc<str>,
        at: Timestamp,
    },
    Disabled {
        key: Arc<str>,
        what: Closed,
    },
}

/// The keys of one moment.
#[derive(Clone, Debug)]
pub struct Keyring {
    pepper: Pepper,
    credentials: HashMap<Digest, Arc<Credential>>,
    /// Of the store that it was read from; grows with every change there.
    pub generation: u64,
}

impl Keyring {
    pub fn new(
        pepper: Pepper,
        credentials: impl IntoIterator<Item = (Digest, Arc<Credential>)>,
        generation: u64,
    ) -> Self {
        Keyring { pepper, credentials: credentials.into_iter().collect(), generation }
    }

    /// Who holds this text. Found by its keyed hash: how long the search takes tells nothing about other keys.
    pub fn authenticate(&self, text: &str, now: Timestamp) -> Result<&Arc<Credential>, NotAdmitted> {
        if !looks_like_a_key(text) {
            return Err(if text.is_empty() { NotAdmitted::Missing } else { NotAdmitted::NotOurs });
        }
        let found = self.credentials.get(&self.pepper.digest(text)).ok_or(NotAdmitted::Unknown)?;
        let key = || found.caller.key.clone().unwrap_or_default();
        if let Some(what) = found.closed {
            return Err(NotAdmitted::Disabled { key: key(), what });
        }
        match found.not_after {
            Some(at) if now >= at => Err(NotAdmitted::Expired { key: key(), at }),
            _ => Ok(found),
        }
    }

    /// How many texts it knows.
    pub fn len(&self) -> usize {
        self.credentials.len()
    }

    pub fn is_empty(&self) -> bool {
        self.credentials.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::KeyText;

    const NOON: Timestamp = Timestamp(1_795_262_400_000_000);

    fn ring(credential: Credential) -> (Keyring, KeyText) {
        let (pepper, text) = (Pepper::new([1; 32]), KeyText::from_random(&[2; 32]));
        let digest = pepper.digest(text.expose());
        (Keyring::new(pepper, [(digest, Arc::new(credential))], 1), text)
    }

    fn app() -> Credential {
        Credential {
            caller: Arc::new(Caller { key: Some("app".into()), ..Caller::default() }),
            permissions: Arc::default(),
            tags: Arc::default(),
            not_after: None,
            closed: None,
        }
    }

    #[test]
    fn a_key_opens_until_its_last_moment_and_not_in_it() {
        let (ring, text) = ring(Credential { not_after: Some(NOON), ..app() });
        let at = |micros: i64| ring.authenticate(text.expose(), Timestamp(NOON.as_micros() + micros)).map(|_| ());
        assert_eq!(at(-1), Ok(()));
        assert_eq!(at(0), Err(NotAdmitted::Expired { key: "app".into(), at: NOON }));
    }

    #[test]
    fn what_is_disabled_is_told_to_the_holder_and_to_nobody_else() {
        let (ring, text) = ring(Credential { closed: Some(Closed::Team), ..app() });
        let told = ring.authenticate(text.expose(), NOON).map(|_| ());
        assert_eq!(told, Err(NotAdmitted::Disabled { key: "app".into(), what: Closed::Team }));
        let guess = KeyText::from_random(&[3; 32]);
        assert_eq!(ring.authenticate(guess.expose(), NOON).map(|_| ()), Err(NotAdmitted::Unknown));
    }

    #[test]
    fn no_key_and_another_houses_key_are_told_apart() {
        let (ring, _) = ring(app());
        assert_eq!(ring.authenticate("", NOON).map(|_| ()), Err(NotAdmitted::Missing));
        assert_eq!(ring.authenticate("sk-proj-1", NOON).map(|_| ()), Err(NotAdmitted::NotOurs));
    }
}
