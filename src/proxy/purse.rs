//! The keys that a provider is called with: the caller's own, none, or Farebox's, of which there may be several.
//!
//! Calls are spread over the keys that are well by their weights. What a provider answers marks a key: 401 makes it
//! invalid, three 403 in a row too (one may be about the model), 429 and 402 let it cool. A mark never shuts a provider off: a
//! key that is marked is the last to be taken, not forbidden, so that a provider with one key answers for itself.

use super::settings::{ProviderKey, ProviderSettings};
use super::upstream::key_header;
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::tenants::KeyHealth;
use arc_swap::ArcSwap;
use http::header::HeaderValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

/// The name of the key that the configuration gives.
pub const CONFIGURED: &str = "configured";
/// So many 403 behind one another say that it is the key.
const FORBIDDEN_MAX: u8 = 3;
/// Without a word of the provider's, a key that met 429 rests for so long.
const COOL_FOR: Duration = Duration::from_secs(30);
/// And never longer, whatever the provider says.
const COOL_FOR_MAX: Duration = Duration::from_secs(3_600);

/// All keys of a provider.
pub struct Purse {
    configured: ProviderKey,
    keys: ArcSwap<Vec<Arc<HeldKey>>>,
    turn: AtomicU32,
}

/// One of Farebox's own keys.
pub struct HeldKey {
    pub name: Arc<str>,
    weight: u32,
    not_after: Option<Timestamp>,
    /// How it is sent; `None`: it cannot be written into a header.
    pub header: Option<(&'static str, HeaderValue)>,
    /// Which version of it this is: a changed one begins anew.
    version: u64,
    invalid: AtomicU8,
    /// When somebody else last asked its provider.
    judged_at: AtomicI64,
    cooling_until: AtomicI64,
}

/// A key as the store has it, opened.
pub struct OpenedKey {
    pub name: Arc<str>,
    pub secret: Secret<String>,
    pub weight: u32,
    pub not_after: Option<Timestamp>,
    /// What the store has of its provider's word on it.
    pub seen: Option<(KeyHealth, Timestamp)>,
    pub version: u64,
}

/// What a call is made with.
#[derive(Clone)]
pub enum Carried {
    /// The caller's key passes.
    Callers,
    /// The provider wants none; the caller's is cut out.
    Nothing,
    Own(Arc<HeldKey>),
}

impl Purse {
    pub fn new(settings: &ProviderSettings) -> Purse {
        let purse = Purse { configured: settings.key.clone(), keys: ArcSwap::default(), turn: AtomicU32::new(0) };
        purse.fill(settings, Vec::new());
        purse
    }

    /// Only callers bring one.
    pub fn is_callers(&self) -> bool {
        !matches!(self.configured, ProviderKey::Nothing | ProviderKey::Own(_)) && self.keys.load().is_empty()
    }

    /// These, and the configuration's. A key that did not change keeps its marks.
    pub fn fill(&self, settings: &ProviderSettings, opened: Vec<OpenedKey>) {
        let before = self.keys.load_full();
        let held = |key: OpenedKey| {
            let known = before.iter().find(|known| known.name == key.name && known.version == key.version);
            let held = known.map_or_else(|| Arc::new(HeldKey::new(settings, &key)), Arc::clone);
            held.judged_elsewhere(key.seen);
            held
        };
        let configured = match &self.configured {
            ProviderKey::Own(secret) => Some(OpenedKey {
                name: CONFIGURED.into(),
                secret: secret.clone(),
                weight: 1,
                not_after: None,
                seen: None,
                version: 0,
            }),
            _ => None,
        };
        self.keys.store(Arc::new(configured.into_iter().chain(opened).map(held).collect()));
    }

    /// The key for a call. `tried`: those that this call was refused with already. `steady`: always the same one while it
    /// is well, for what the provider keeps by account.
    ///
    /// # Errors
    /// Every key that there was is used up, in half a sentence.
    pub fn take(&self, now: Timestamp, tried: &[Arc<str>], steady: bool) -> Result<Carried, &'static str> {
        let keys = self.keys.load();
        if keys.is_empty() {
            return match self.configured {
                ProviderKey::FromCaller => Ok(Carried::Callers),
                ProviderKey::Nothing | ProviderKey::Own(_) => Ok(Carried::Nothing),
                ProviderKey::Sealed => Err("Farebox keeps no key for it (`farebox provider-key add`)"),
            };
        }
        if let ([only], true) = (keys.as_slice(), tried.is_empty()) {
            return if only.health(now) == KeyHealth::Expired { Err(EXPIRED) } else { Ok(Carried::Own(only.clone())) };
        }
        let usable = || keys.iter().filter(|key| !tried.contains(&key.name));
        let well: Vec<&Arc<HeldKey>> = usable().filter(|key| key.health(now) == KeyHealth::Valid).collect();
        if let Some(first) = well.first() {
            let chosen = if steady { first } else { self.by_weight(&well).unwrap_or(first) };
            return Ok(Carried::Own(Arc::clone(chosen)));
        }
        let least = usable().filter(|key| key.health(now) != KeyHealth::Expired).min_by_key(|key| key.rank(now));
        least.map(|key| Carried::Own(Arc::clone(key))).ok_or(EXPIRED)
    }

    /// Another key could be tried after this answer: the provider accepted nothing.
    pub fn has_another(&self, now: Timestamp, status: u16, tried: &[Arc<str>]) -> bool {
        let may = |health: KeyHealth| match status {
            402 | 429 => health == KeyHealth::Valid,
            401 | 403 => health == KeyHealth::Valid || health == KeyHealth::Cooling,
            _ => false,
        };
        self.keys.load().iter().any(|key| !tried.contains(&key.name) && may(key.health(now)))
    }

    /// Names and states, for metrics and the store.
    pub fn standing(&self, now: Timestamp) -> Vec<(Arc<str>, KeyHealth)> {
        self.keys.load().iter().map(|key| (Arc::clone(&key.name), key.health(now))).collect()
    }

    /// Each in turn as often as its weight says.
    fn by_weight<'k>(&self, well: &[&'k Arc<HeldKey>]) -> Option<&'k Arc<HeldKey>> {
        let total: u32 = well.iter().map(|key| key.weight).sum();
        // A step that shares no divisor with most totals mixes the turns.
        let mut place = self.turn.fetch_add(7_919, Ordering::Relaxed) % total.max(1);
        for key in well {
            if place < key.weight {
                return Some(key);
            }
            place -= key.weight;
        }
        None
    }
}

const EXPIRED: &str = "every key that Farebox has for it has expired";

impl HeldKey {
    fn new(settings: &ProviderSettings, key: &OpenedKey) -> HeldKey {
        let (name, value) = key_header(settings.dialect, settings.flavor, &key.secret);
        let header = HeaderValue::try_from(value).ok().map(|mut value| {
            value.set_sensitive(true);
            (name, value)
        });
        HeldKey {
            name: Arc::clone(&key.name),
            weight: key.weight.max(1),
            not_after: key.not_after,
            header,
            version: key.version,
            invalid: AtomicU8::new(0),
            judged_at: AtomicI64::new(i64::MIN),
            cooling_until: AtomicI64::new(i64::MIN),
        }
    }

    pub fn health(&self, now: Timestamp) -> KeyHealth {
        if self.not_after.is_some_and(|end| now >= end) {
            KeyHealth::Expired
        } else if self.invalid.load(Ordering::Relaxed) >= FORBIDDEN_MAX {
            KeyHealth::Invalid
        } else if self.cooling_until.load(Ordering::Relaxed) > now.as_micros() {
            KeyHealth::Cooling
        } else {
            KeyHealth::Valid
        }
    }

    /// What the provider answered to a call with it.
    pub fn answered(&self, status: u16, retry_after: Option<Duration>, now: Timestamp) {
        match status {
            401 => self.invalid.store(FORBIDDEN_MAX, Ordering::Relaxed),
            403 => {
                let seen = self.invalid.load(Ordering::Relaxed);
                self.invalid.store(seen.saturating_add(1).min(FORBIDDEN_MAX), Ordering::Relaxed);
            }
            // 402: its account is out of money, which somebody may mend.
            402 | 429 => {
                let pause = retry_after.unwrap_or(COOL_FOR).min(COOL_FOR_MAX);
                let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
                self.cooling_until.store(now.as_micros().saturating_add(micros), Ordering::Relaxed);
            }
            200..=499 if self.invalid.load(Ordering::Relaxed) != 0 => self.invalid.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// The store's word counts once, when it is new: a check by hand mends or refuses a key here too.
    fn judged_elsewhere(&self, seen: Option<(KeyHealth, Timestamp)>) {
        let Some((health, at)) = seen else { return };
        if self.judged_at.fetch_max(at.as_micros(), Ordering::Relaxed) >= at.as_micros() {
            return;
        }
        match health {
            KeyHealth::Invalid => self.invalid.store(FORBIDDEN_MAX, Ordering::Relaxed),
            KeyHealth::Valid => self.invalid.store(0, Ordering::Relaxed),
            KeyHealth::Cooling | KeyHealth::Expired => {}
        }
    }

    /// The least is taken when none is well.
    fn rank(&self, now: Timestamp) -> (KeyHealth, i64) {
        (self.health(now), self.cooling_until.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const NOW: Timestamp = Timestamp(1_795_262_400_000_000);

    fn purse(keys: &[(&str, u32, Option<Timestamp>)]) -> Purse {
        let settings = config::read(None, "providers: [{name: openai}]", &config::Surroundings::default()).unwrap();
        let provider = &settings.proxy.providers[0];
        let purse = Purse::new(provider);
        let opened = |(name, weight, not_after): &(&str, u32, Option<Timestamp>)| OpenedKey {
            name: Arc::from(*name),
            secret: Secret::new(format!("sk-{name}")),
            weight: *weight,
            not_after: *not_after,
            seen: None,
            version: 1,
        };
        purse.fill(provider, keys.iter().map(opened).collect());
        purse
    }

    fn name(carried: Result<Carried, &'static str>) -> Option<Arc<str>> {
        match carried {
            Ok(Carried::Own(key)) => Some(Arc::clone(&key.name)),
            _ => None,
        }
    }

    fn answered(purse: &Purse, name: &str, status: u16) {
        purse.keys.load().iter().filter(|key| *key.name == *name).for_each(|key| key.answered(status, None, NOW));
    }

    #[test]
    fn calls_are_spread_by_weight() {
        let purse = purse(&[("a", 3, None), ("b", 1, None)]);
        let of_a = (0..400).filter(|_| name(purse.take(NOW, &[], false)).as_deref() == Some("a")).count();
        assert_eq!(of_a, 300);
        assert!((0..50).all(|_| name(purse.take(NOW, &[], true)).as_deref() == Some("a")), "steady");
    }

    #[test]
    fn a_refused_or_resting_key_is_taken_last_and_a_good_answer_mends_it() {
        let purse = purse(&[("a", 1, None), ("b", 1, None)]);
        answered(&purse, "a", 401);
        assert!((0..20).all(|_| name(purse.take(NOW, &[], false)).as_deref() == Some("b")));
        answered(&purse, "b", 429);
        assert_eq!(name(purse.take(NOW, &[], false)).as_deref(), Some("b"), "resting before refused");
        assert!(!purse.has_another(NOW, 429, &["b".into()]) && purse.has_another(NOW, 401, &["a".into()]));
        answered(&purse, "a", 200);
        assert_eq!(name(purse.take(NOW, &[], false)).as_deref(), Some("a"));
    }

    #[test]
    fn one_403_may_be_about_the_model() {
        let purse = purse(&[("a", 1, None)]);
        answered(&purse, "a", 403);
        answered(&purse, "a", 403);
        assert_eq!(purse.standing(NOW), [("a".into(), KeyHealth::Valid)]);
        answered(&purse, "a", 403);
        assert_eq!(purse.standing(NOW), [("a".into(), KeyHealth::Invalid)]);
        assert!(purse.take(NOW, &[], false).is_ok(), "its provider says so itself");
    }

    #[test]
    fn an_expired_key_is_never_sent() {
        let purse = purse(&[("a", 1, Some(NOW)), ("b", 1, Some(NOW))]);
        assert!(purse.take(NOW, &[], false).is_err());
        assert!(!purse.is_callers(), "the caller's own key does not go in its place");
    }
}
