//! Virtual keys.

use super::super::problem::Problem;
use super::fields::{Asked, check_list};
use super::tenants::{living, yes_or_no};
use super::tokens::{drawn, shown};
use super::{Answer, Seat, etag};
use crate::clock::Timestamp;
use crate::queries::{KeyView, Misasked};
use crate::rules::syntax::made::allowance;
use crate::store::{Changes, Dimension, EventQuery, Filter, Named, NewKey, Page};
use crate::tenants::{KeyLimits, KeyText, Permissions, Scope, TenantKind, VirtualKey};
use std::sync::Arc;

/// A glob has at most so many letters.
const GLOB_LETTERS_MAX: usize = 200;
/// The text before a rotation opens at most so long.
const OVERLAP_SECONDS_MAX: u64 = 90 * 86_400;
const OVERLAP_SECONDS: u64 = 86_400;

pub(super) fn place(key: &VirtualKey) -> Scope {
    Scope { organisation: Some(Arc::clone(&key.organisation)), team: key.team.clone(), project: key.project.clone() }
}

impl Seat<'_> {
    fn key(&self, name: &str) -> Result<VirtualKey, Problem> {
        let found = self.register.key(name)?.filter(|key| self.sees(&place(key)));
        found.ok_or_else(|| Problem::unknown("key"))
    }

    /// One that may be changed, and is as its editor saw it.
    fn key_to_change(&self, asked: &Asked) -> Result<VirtualKey, Problem> {
        let key = self.key(asked.of_path("name"))?;
        self.allow(&place(&key), "key")?;
        if key.deleted_at.is_some() {
            return Err(Problem::unknown("key"));
        }
        asked.expect(&etag(&serde_json::to_value(KeyView::new(&key, self.now)).unwrap_or_default()))?;
        Ok(key)
    }

    fn key_view(&self, name: &str) -> Result<KeyView, Problem> {
        Ok(KeyView::new(&self.key(name)?, self.now))
    }
}

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (limit, after) = seat.page(asked)?;
    let deleted = yes_or_no(asked, "deleted")?;
    let mut named = |name: &str| asked.parameters.take(name);
    let [organisation, team, project, user] =
        [named("organisation")?, named("team")?, named("project")?, named("user")?];
    let is = |wanted: &Option<String>, its: Option<&Arc<str>>| {
        wanted.is_none() || wanted.as_deref() == its.map(|name| &**name)
    };
    let keep = |key: &VirtualKey| {
        seat.sees(&place(key))
            && is(&organisation, Some(&key.organisation))
            && is(&team, key.team.as_ref())
            && is(&project, key.project.as_ref())
            && is(&user, key.user.as_ref())
    };
    let found = seat.register.keys(&Page { after: &after, limit: limit + 1, deleted }, &keep)?;
    let views: Vec<KeyView> = found.iter().map(|key| KeyView::new(key, seat.now)).collect();
    Ok(Answer::page(views, limit, |view| view.name.to_string()))
}

pub(super) fn show(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let view = seat.key_view(asked.of_path("name"))?;
    let filters = vec![Filter { dimension: Dimension::Key, values: vec![view.name.to_string()] }];
    let last = seat.shared.state.reader.events(&EventQuery { filters, limit: 1, ..EventQuery::default() })?;
    let last_used_at = last.first().map(|row| row.started_at.to_rfc3339());
    Ok(Answer::one(200, &KeyView { last_used_at, ..view }))
}

pub(super) fn create(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let name = asked.fields.needed("name")?;
    let (holder, scope) = holder(seat, asked)?;
    seat.allow(&scope, "place")?;
    let user = asked.fields.text("user")?;
    if let Some(user) = &user {
        let found = seat.register.tenant(TenantKind::User, user)?;
        let same =
            found.is_some_and(|(found, his)| found.deleted_at.is_none() && his.organisation == scope.organisation);
        if !same {
            return Err(Misasked::new("user", "there is no such user in this organisation", "name one of it").into());
        }
    }
    let permissions = permissions(asked, &Permissions::default())?;
    let tags = asked.fields.pairs("tags")?.unwrap_or_default();
    let not_after = asked.fields.moment("expires_at", seat.now)?;
    let (text, digest) = drawn(seat.shared.data_dir(), KeyText::from_random)?;
    changes.create_key(&NewKey {
        name: &name,
        holder: Some((holder.0, &holder.1)),
        user: user.as_deref(),
        permissions: &permissions,
        limits: &limits(asked, &KeyLimits::default())?,
        tags: &tags,
        not_after,
        digest,
        prefix: text.prefix(),
    })?;
    Ok(Answer::one(201, &shown(&seat.key_view(&name)?, "key")).with_secret("key", text.expose().to_owned()))
}

/// What the key is to belong to: exactly one of project, team and organisation is named.
fn holder(seat: &Seat<'_>, asked: &mut Asked) -> Result<((TenantKind, String), Scope), Problem> {
    let mut named = Vec::new();
    for kind in [TenantKind::Project, TenantKind::Team, TenantKind::Organisation] {
        named.extend(asked.fields.text(kind.name())?.map(|name| (kind, name)));
    }
    match named.as_slice() {
        [(kind, name)] => Ok(((*kind, name.clone()), living(seat, *kind, name)?)),
        [] => {
            Err(Misasked::new("team", "nothing says whose the key is", "name a project, a team or an organisation")
                .into())
        }
        _ => Err(Misasked::new("team", "several say whose the key is", "name one; what is above it follows").into()),
    }
}

/// Those that are written, in the stead of those before; checked as the command line checks its flags.
fn permissions(asked: &mut Asked, before: &Permissions) -> Result<Permissions, Problem> {
    let Some(value) = asked.fields.take("permissions") else { return Ok(before.clone()) };
    let read: Permissions = serde_json::from_value(value).map_err(|error| {
        Misasked::new("permissions", error.to_string(), "give lists: models, operations, providers, networks")
    })?;
    let is_glob = |text: &str| {
        !text.is_empty()
            && text.len() <= GLOB_LETTERS_MAX
            && text.chars().all(|letter| letter.is_ascii_graphic() && letter != ',')
    };
    const REMEDY: &str = "write one name, with `*` for any letters";
    check_list("permissions.models", read.models.iter().map(|text| &**text), is_glob, REMEDY)?;
    check_list("permissions.providers", read.providers.iter().map(|text| &**text), is_glob, REMEDY)?;
    check_list("permissions.operations", read.operations.iter().map(|_| ""), |_| true, "")?;
    check_list("permissions.networks", read.networks.iter().map(|_| ""), |_| true, "")?;
    Ok(read)
}

/// Those that are written, in the stead of those before.
fn limits(asked: &mut Asked, before: &KeyLimits) -> Result<KeyLimits, Problem> {
    const REMEDY: &str = "requests_per_minute, tokens_per_minute, concurrent: whole numbers; budget: `50 USD/month`";
    let Some(value) = asked.fields.take("limits") else { return Ok(before.clone()) };
    let read: KeyLimits =
        serde_json::from_value(value).map_err(|error| Misasked::new("limits", error.to_string(), REMEDY))?;
    let zero = [
        ("limits.requests_per_minute", read.requests_per_minute == Some(0)),
        ("limits.tokens_per_minute", read.tokens_per_minute == Some(0)),
        ("limits.concurrent", read.concurrent == Some(0)),
    ];
    if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
        return Err(Misasked::new(field, "0 allows nothing", "disable the key instead, or leave it out").into());
    }
    if let Some(Err((what, remedy))) = read.budget.as_deref().map(allowance) {
        return Err(Misasked::new("limits.budget", what, remedy).into());
    }
    Ok(read)
}

pub(super) fn change(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let key = seat.key_to_change(asked)?;
    let bounds = ["permissions", "limits", "tags", "expires_at"];
    if bounds.iter().any(|name| asked.fields.has(name)) {
        let ends = asked.fields.has("expires_at");
        let permissions = permissions(asked, &key.permissions)?;
        let tags = asked.fields.pairs("tags")?.unwrap_or_else(|| key.tags.clone());
        let not_after = asked.fields.moment("expires_at", seat.now)?;
        let limits = limits(asked, &key.limits)?;
        changes.change_key(&key.name, &permissions, &limits, &tags, if ends { not_after } else { key.not_after })?;
    }
    if let Some(disabled) = asked.fields.flag("disabled")?
        && disabled != key.disabled_at.is_some()
    {
        changes.set_disabled(Named::Key, &key.name, disabled)?;
    }
    Ok(Answer::one(200, &seat.key_view(&key.name)?))
}

pub(super) fn delete(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let key = seat.key_to_change(asked)?;
    changes.delete(Named::Key, &key.name)?;
    Ok(Answer::one(200, &seat.key_view(&key.name)?))
}

pub(super) fn rotate(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let overlap = asked.fields.count("overlap_seconds", OVERLAP_SECONDS_MAX)?.unwrap_or(OVERLAP_SECONDS);
    let key = seat.key_to_change(asked)?;
    let micros = i64::try_from(overlap * 1_000_000).unwrap_or(i64::MAX);
    let until = Timestamp(seat.now.as_micros().saturating_add(micros));
    let (text, digest) = drawn(seat.shared.data_dir(), KeyText::from_random)?;
    changes.rotate_key(&key.name, &digest, text.prefix(), until)?;
    Ok(Answer::one(200, &shown(&seat.key_view(&key.name)?, "key")).with_secret("key", text.expose().to_owned()))
}
