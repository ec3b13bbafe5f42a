//! Organisations, teams, projects, users and accounts of programs: one shape for all five.

use super::super::problem::Problem;
use super::fields::{Asked, fault};
use super::{About, Answer, Endpoint, Seat, etag};
use crate::queries::{Misasked, TenantView};
use crate::store::{Changes, KEEP_DAYS_MAX, Named, Page};
use crate::tenants::{Action, Scope, Tenant, TenantKind};
use std::sync::Arc;

impl Endpoint {
    pub(super) fn kind(&self) -> TenantKind {
        match self.about {
            About::Tenant(kind) => kind,
            _ => TenantKind::User,
        }
    }

    fn programs(&self) -> Option<bool> {
        (self.kind() == TenantKind::User).then_some(self.about == About::Program)
    }

    /// What one is called.
    pub(super) fn noun(&self) -> &'static str {
        if self.about == About::Program { "service account" } else { self.kind().name() }
    }
}

impl Seat<'_> {
    /// Whether a tenant is shown. A user is shown to whoever sees his organisation, and to himself.
    fn shows(&self, tenant: &Tenant, scope: &Scope) -> bool {
        let himself = tenant.kind == TenantKind::User && self.principal.user.as_ref() == Some(&tenant.name);
        himself || self.sees(scope)
    }

    pub(super) fn view(&self, tenant: &Tenant) -> TenantView {
        let view = TenantView::from(tenant);
        if self.endpoint.about == About::Program { TenantView { object: "service_account", ..view } } else { view }
    }

    /// One that is there and may be seen.
    pub(super) fn tenant(&self, name: &str) -> Result<(Tenant, Scope), Problem> {
        let (kind, noun) = (self.endpoint.kind(), self.endpoint.noun());
        let found = self.register.tenant(kind, name)?.filter(|(tenant, scope)| self.shows(tenant, scope));
        let found = found.ok_or_else(|| Problem::unknown(noun))?;
        match self.endpoint.programs() {
            Some(program) if program != self.register.is_program(name)? => Err(Problem::unknown(noun)),
            _ => Ok(found),
        }
    }

    /// One that is there, may be changed, and is as its editor saw it.
    fn to_change(&self, asked: &Asked) -> Result<(Tenant, Scope), Problem> {
        let name = asked.of_path("name");
        let (tenant, scope) = self.tenant(name)?;
        self.allow(&scope, self.endpoint.noun())?;
        if tenant.deleted_at.is_some() {
            return Err(Problem::unknown(self.endpoint.noun()));
        }
        if tenant.kind == TenantKind::User {
            self.stands_above(name)?;
        }
        asked.expect(&etag(&serde_json::to_value(self.view(&tenant)).unwrap_or_default()))?;
        Ok((tenant, scope))
    }

    /// Who changes a user, or acts in his stead, has every role that he has.
    pub(super) fn stands_above(&self, user: &str) -> Result<(), Problem> {
        if self.principal.covers(&self.register.grants(user)?) {
            return Ok(());
        }
        Err(Problem::forbidden("this user has a higher role than you", "ask somebody who has that role"))
    }

    fn answer(&self, status: u16, name: &str) -> Result<Answer, Problem> {
        let (tenant, _) = self.tenant(name)?;
        Ok(Answer::one(status, &self.view(&tenant)))
    }

    /// The organisation that is named, or the only one in which this may be done.
    fn organisation(&self, named: Option<String>) -> Result<Option<String>, Problem> {
        if named.is_some() {
            return Ok(named);
        }
        let page = Page { after: "", limit: 2, deleted: false };
        let may = |_: &Tenant, scope: &Scope| self.principal.may(self.endpoint.action, scope);
        let found = self.register.tenants(TenantKind::Organisation, None, &page, &may)?;
        match found.as_slice() {
            [one] => Ok(Some(one.name.to_string())),
            // The first one is made with what needs it, by whoever could make it himself.
            [] if self.principal.may(Action::MakeOrganisations, &Scope::installation()) => Ok(None),
            [] => Err(Problem::forbidden(
                format!("no role of yours allows to {}", self.endpoint.action.name()),
                "ask for a role on an organisation",
            )),
            _ => Err(Misasked::new("organisation", "there are several", "say which").into()),
        }
    }
}

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (limit, after) = seat.page(asked)?;
    let deleted = yes_or_no(asked, "deleted")?;
    let of: Option<Arc<str>> =
        if seat.endpoint.parameters.contains(&"of") { asked.parameters.take("of")?.map(Arc::from) } else { None };
    let page = Page { after: &after, limit: limit + 1, deleted };
    let keep = |tenant: &Tenant, scope: &Scope| seat.shows(tenant, scope) && (of.is_none() || tenant.parent == of);
    let found = seat.register.tenants(seat.endpoint.kind(), seat.endpoint.programs(), &page, &keep)?;
    let views: Vec<TenantView> = found.iter().map(|tenant| seat.view(tenant)).collect();
    Ok(Answer::page(views, limit, |view| view.name.to_string()))
}

pub(super) fn show(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    seat.answer(200, asked.of_path("name"))
}

pub(super) fn create(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let name = asked.fields.needed("name")?;
    let kind = seat.endpoint.kind();
    let above = kind.parent();
    let parent = match above {
        None => None,
        Some(TenantKind::Organisation) => seat.organisation(asked.fields.text("organisation")?)?,
        Some(above) => Some(asked.fields.needed(above.name())?),
    };
    let place = match (above, &parent) {
        (Some(above), Some(parent)) => living(seat, above, parent)?,
        _ => Scope::installation(),
    };
    seat.allow(&place, above.map_or("installation", TenantKind::name))?;
    match seat.endpoint.about {
        About::Program => changes.create_program(&name, parent.as_deref())?,
        _ => changes.create_tenant(kind, &name, parent.as_deref())?,
    }
    seat.answer(201, &name)
}

/// The place of a tenant that a body names, if the asker may see it.
pub(super) fn living(seat: &Seat<'_>, kind: TenantKind, name: &str) -> Result<Scope, Problem> {
    let found = seat.register.tenant(kind, name)?;
    let seen = found.filter(|(tenant, scope)| tenant.deleted_at.is_none() && seat.sees(scope));
    seen.map(|(_, scope)| scope).ok_or_else(|| {
        let problem = format!("there is no such {kind}, or it is not yours to see");
        Misasked::new(kind.name(), problem, format!("name a {kind} that you see")).into()
    })
}

pub(super) fn change(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let (tenant, scope) = seat.to_change(asked)?;
    let days = tenant.kind != TenantKind::User && asked.fields.has("keep_days");
    let days = days.then(|| keep_days(seat, asked, &scope)).transpose()?;
    let disabled = asked.fields.flag("disabled")?;
    if disabled.is_none() && days.is_none() {
        return Err(Misasked::new("disabled", "it is missing", "write true or false").into());
    }
    if let Some(disabled) = disabled.filter(|disabled| tenant.disabled_at.is_some() != *disabled) {
        changes.set_disabled(Named::Tenant(tenant.kind), &tenant.name, disabled)?;
    }
    if let Some(days) = days.filter(|days| tenant.keep_days != *days) {
        changes.keep_days(tenant.kind, &tenant.name, days)?;
    }
    seat.answer(200, &tenant.name)
}

/// Days after which events are dropped; `None`: as those of all. Who may drop what was used may do more than whoever
/// hands out keys.
fn keep_days(seat: &Seat<'_>, asked: &mut Asked, scope: &Scope) -> Result<Option<u32>, Problem> {
    if !seat.principal.may(Action::SetRetention, scope) {
        let detail = format!("no role of yours here allows to {}", Action::SetRetention.name());
        return Err(Problem::forbidden(detail, "ask for the role of an admin"));
    }
    match asked.fields.count("keep_days", u64::from(KEEP_DAYS_MAX))? {
        Some(0) => Err(fault("keep_days", "no days are too few", "write 1 or more, or null")),
        days => Ok(days.and_then(|days| u32::try_from(days).ok())),
    }
}

pub(super) fn delete(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let (tenant, _) = seat.to_change(asked)?;
    changes.delete(Named::Tenant(tenant.kind), &tenant.name)?;
    let view = seat.register.tenant(tenant.kind, &tenant.name)?.map(|(tenant, _)| seat.view(&tenant));
    Ok(Answer::one(200, &view))
}

/// A parameter that is yes or no; no when it is not given.
pub(super) fn yes_or_no(asked: &mut Asked, name: &str) -> Result<bool, Problem> {
    match asked.parameters.take(name)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Misasked::new(name, "this is no yes or no", "write `true` or `false`").into()),
    }
}
