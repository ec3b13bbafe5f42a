//! `login`: the identity providers that people may log in by, as written and as the admin port needs them.

use super::check::Variables;
use super::file::Written;
use super::receivers::{Found, called, is_address, look_up, secret, through};
use super::section::{Notes, Placed, Section};
use super::tree::Origin;
use super::values::{self, Read, Wrong};
use crate::api::{GroupRole, OidcSettings};
use crate::tenants::{Role, TenantKind, check_name};
use std::net::SocketAddr;
use std::sync::Arc;

/// An identity provider as written.
#[derive(Debug)]
pub struct WrittenProvider {
    origin: Origin,
    called: String,
    name: Written<String>,
    issuer: Written<String>,
    client_id: Written<String>,
    client_secret: Written<Found>,
    url: Written<String>,
    scopes: Option<Vec<Placed<String>>>,
    trusts_email: Written<bool>,
    user_claim: Written<String>,
    groups_claim: Written<String>,
    organisation: Written<String>,
    roles: Vec<WrittenRole>,
}

#[derive(Debug)]
struct WrittenRole {
    origin: Origin,
    group: Written<String>,
    role: Written<Role>,
    organisation: Written<String>,
    team: Written<String>,
    project: Written<String>,
}

const ROLES: [(&str, Role); 4] =
    [("viewer", Role::Viewer), ("manager", Role::Manager), ("admin", Role::Admin), ("owner", Role::Owner)];

/// `login.oidc`.
pub fn read(mut login: Section<'_>, notes: &Notes) -> Vec<WrittenProvider> {
    let items = login.items("oidc").unwrap_or_default();
    let each = items.iter().enumerate().filter_map(|(place, item)| {
        let called = called(item, ("name", "corp"), place, "login.oidc", notes)?;
        Some(read_one(login.item("oidc", &called, Some(item)), called, notes))
    });
    let written = each.collect();
    login.close();
    written
}

fn read_one(mut section: Section<'_>, called_so: String, notes: &Notes) -> WrittenProvider {
    let items = section.items("roles").unwrap_or_default();
    let each = items.iter().enumerate().filter_map(|(place, item)| {
        let called = called(item, ("group", "leads"), place, &format!("login.oidc.{called_so}.roles"), notes)?;
        Some(read_role(section.item("roles", &called, Some(item))))
    });
    let roles = each.collect();
    let written = WrittenProvider {
        origin: section.origin(),
        name: section.value("name", values::provider_name),
        issuer: section.value("issuer", web_address),
        client_id: section.value("client_id", values::text),
        client_secret: section.secret("client_secret", secret),
        url: section.value("url", web_address),
        scopes: section.list("scopes", values::text),
        trusts_email: section.value("trust_email", values::boolean),
        user_claim: section.value("user_claim", values::text),
        groups_claim: section.value("groups_claim", values::text),
        organisation: section.value("organisation", tenant),
        roles,
        called: called_so,
    };
    section.close();
    written
}

fn read_role(mut section: Section<'_>) -> WrittenRole {
    let written = WrittenRole {
        origin: section.origin(),
        group: section.value("group", values::text),
        role: section.value("role", values::one_of(&ROLES)),
        organisation: section.value("organisation", tenant),
        team: section.value("team", tenant),
        project: section.value("project", tenant),
    };
    section.close();
    written
}

fn web_address(text: &str) -> Read<String> {
    if is_address(text) {
        return Ok(text.to_owned());
    }
    let remedy = "write it with its scheme: `https://accounts.example.com`".to_owned();
    Err(Wrong { what: "is no address".to_owned(), remedy })
}

fn tenant(text: &str) -> Read<String> {
    let wrong = |error: crate::tenants::NotAName| Wrong { what: "is no name".to_owned(), remedy: error.to_string() };
    check_name(text).map(|()| text.to_owned()).map_err(wrong)
}

/// What the admin port, which listens there, needs; what is missing or wrong goes into the notes.
pub fn settings(
    written: &[WrittenProvider],
    admin: SocketAddr,
    variables: &Variables,
    notes: &Notes,
) -> Vec<OidcSettings> {
    let mut providers: Vec<OidcSettings> = Vec::new();
    for provider in written {
        let Some(settings) = settings_of(provider, admin, variables, notes) else { continue };
        if providers.iter().any(|known| known.name == settings.name) {
            let what = format!("there are two identity providers `{}`", settings.name);
            notes.fault(&provider.origin, what, "give each a name of its own");
            continue;
        }
        providers.push(settings);
    }
    providers
}

fn settings_of(
    written: &WrittenProvider,
    admin: SocketAddr,
    variables: &Variables,
    notes: &Notes,
) -> Option<OidcSettings> {
    let path = format!("login.oidc.{}", written.called);
    let missing = |key: &str, remedy: &str| {
        notes.fault(&written.origin, format!("`{path}` has no `{key}`"), remedy);
    };
    if written.url.is_none() && !admin.ip().to_canonical().is_loopback() {
        missing("url", "write where people reach the admin port: `url: https://farebox.example.com`");
    }
    let (Some(name), Some(issuer), Some(client_id)) = (&written.name, &written.issuer, &written.client_id) else {
        for (is_there, key, remedy) in [
            (written.name.is_some(), "name", "write `name: corp`, which is a part of its address here"),
            (
                written.issuer.is_some(),
                "issuer",
                "write the provider's address: `issuer: https://accounts.example.com`",
            ),
            (written.client_id.is_some(), "client_id", "write the name that the provider knows Farebox by"),
        ] {
            if !is_there {
                missing(key, remedy);
            }
        }
        return None;
    };
    let secret = written.client_secret.as_ref();
    let text =
        |written: &Written<String>, usual: &str| written.as_ref().map_or(usual.to_owned(), |it| it.value.clone());
    Some(OidcSettings {
        name: Arc::from(name.value.as_str()),
        issuer: issuer.value.clone(),
        client_id: client_id.value.clone(),
        client_secret: secret.and_then(|found| look_up(&format!("{path}.client_secret"), found, variables, notes)),
        url: written.url.as_ref().map(|url| url.value.clone()),
        scopes: match &written.scopes {
            Some(scopes) => scopes.iter().map(|scope| scope.value.clone()).collect(),
            None => vec!["email".to_owned(), "profile".to_owned()],
        },
        trusts_email: written.trusts_email.as_ref().is_some_and(|trusts| trusts.value),
        user_claim: text(&written.user_claim, "email"),
        groups_claim: text(&written.groups_claim, "groups"),
        organisation: written.organisation.as_ref().map(|name| Arc::from(name.value.as_str())),
        roles: written.roles.iter().filter_map(|role| group_role(role, &path, notes)).collect(),
        egress: through(&issuer.value, variables, notes),
    })
}

fn group_role(written: &WrittenRole, path: &str, notes: &Notes) -> Option<GroupRole> {
    let (Some(group), Some(role)) = (&written.group, &written.role) else {
        let what = format!("a role of `{path}.roles` has no `group` or no `role`");
        notes.fault(&written.origin, what, "write `- {group: leads, role: manager, team: research}`");
        return None;
    };
    let places = [
        (TenantKind::Organisation, &written.organisation),
        (TenantKind::Team, &written.team),
        (TenantKind::Project, &written.project),
    ];
    let mut named =
        places.into_iter().filter_map(|(kind, name)| Some((kind, Arc::from(name.as_ref()?.value.as_str()))));
    let place = named.next();
    if named.next().is_some() {
        let what = format!("the role of `{}` in `{path}.roles` names more than one place", group.value);
        notes.fault(&written.origin, what, "name the innermost place only: a name is unique in the installation");
        return None;
    }
    Some(GroupRole { group: group.value.clone(), role: role.value, place })
}
