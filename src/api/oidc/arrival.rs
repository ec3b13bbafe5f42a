//! Somebody for whom an identity provider vouches comes in: as the user that he was before, or as a new one, with the
//! roles that his groups have.

use super::super::Shared;
use super::super::problem::Problem;
use super::super::v1::session_end;
use super::provider::Person;
use super::{GroupRole, OidcSettings};
use crate::store::{ChangeError, Changes, Place, Store, drawn, pepper};
use crate::tenants::{Digest, KeyText, Role, TenantKind};

/// Opens his session, in one transaction with all that has to change for it. `logged_in` is the user in whose session the
/// login was begun: it is he who says that he is this person too.
pub(super) fn session_of(
    shared: &Shared,
    settings: &OidcSettings,
    person: &Person,
    logged_in: Option<&str>,
    from: &str,
) -> Result<KeyText, Problem> {
    let now = shared.state.clock.now();
    let (text, digest) = drawn(shared.data_dir(), KeyText::token_from_random)?;
    let identity = pepper(shared.data_dir())?.digest(&person.identity);
    let mut store = Store::open(shared.data_dir(), now)?;
    let actor = format!("identity provider {}, from {from}", settings.name);
    store.change_or(now, &actor, |changes| {
        let user = match (changes.register().identified(&identity)?, logged_in) {
            (Some((_, false)), _) => {
                return Err(Problem::forbidden("this user or his organisation is switched off", "ask an admin"));
            }
            (Some((known, true)), Some(other)) if known != other => {
                return Err(Problem::conflict("this person is another user here than the one who is logged in")
                    .at("user", "end that session first"));
            }
            (Some((known, true)), _) => known,
            (None, asking) => {
                let user = asking.map_or_else(|| newcomer(changes, settings, person), |user| Ok(user.to_owned()))?;
                changes.identify(&user, &identity)?;
                user
            }
        };
        give_roles(changes, settings, &user, &person.groups, &identity)?;
        changes.open_session(&user, &digest, from, session_end(now))?;
        Ok::<_, Problem>(())
    })?;
    Ok(text)
}

/// A user of that name who is there already is not him because an address says so, unless the configuration trusts the
/// provider with that: whoever may choose his address there could otherwise choose somebody else's here.
fn newcomer(changes: &Changes<'_>, settings: &OidcSettings, person: &Person) -> Result<String, Problem> {
    if !person.is_verified {
        return Err(Problem::forbidden(
            "the identity provider does not say that this e-mail address is verified",
            "verify it there",
        ));
    }
    let register = changes.register();
    if let Some((there, scope)) = register.tenant(TenantKind::User, &person.name)? {
        let same = settings.organisation.as_ref().is_none_or(|ours| scope.organisation.as_ref() == Some(ours));
        let is_open = there.disabled_at.is_none() && there.deleted_at.is_none();
        if settings.trusts_email && same && is_open && !register.is_program(&person.name)? {
            return Ok(person.name.clone());
        }
        return Err(Problem::conflict("there is another user of this name, or there was")
            .at("user", "if that is you: log in by your password, and come by this way again in that session"));
    }
    let has_role = settings.roles.iter().any(|rule| person.groups.contains(&rule.group));
    if !settings.roles.is_empty() && !has_role {
        return Err(Problem::forbidden("no group of yours has a role here", "ask for a group that has one"));
    }
    changes.create_tenant(TenantKind::User, &person.name, settings.organisation.as_deref())?;
    Ok(person.name.clone())
}

/// On each place the highest role of his groups'; those that groups gave before and give no more are taken away. A place
/// that is not there is passed over: its role would help nobody, and the other roles should come.
fn give_roles(
    changes: &Changes<'_>,
    settings: &OidcSettings,
    user: &str,
    groups: &[String],
    identity: &Digest,
) -> Result<(), Problem> {
    let mut given = Vec::new();
    for rule in settings.roles.iter().filter(|rule| groups.contains(&rule.group)) {
        let place: Place<'_> = rule.place.as_ref().map(|(kind, name)| (*kind, &**name));
        if given.contains(&place) {
            continue;
        }
        match changes.grant_by_group(user, place, highest(settings, rule, groups), identity) {
            Ok(()) => given.push(place),
            Err(ChangeError::Store(error)) => return Err(error.into()),
            Err(error) => {
                let (provider, group) = (&*settings.name, &*rule.group);
                tracing::warn!(provider, group, %error, "a group's role cannot be given");
            }
        }
    }
    changes.take_other_group_roles(identity, &given)?;
    Ok(())
}

/// The highest role of these groups on this rule's place.
fn highest(settings: &OidcSettings, of: &GroupRole, groups: &[String]) -> Role {
    let matching = settings.roles.iter().filter(|rule| rule.place == of.place && groups.contains(&rule.group));
    matching.map(|rule| rule.role).max().unwrap_or(of.role)
}
