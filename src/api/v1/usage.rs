//! What was used, in the places that the asker sees.

use super::super::problem::Problem;
use super::fields::Asked;
use super::{Answer, Endpoint, PAGE_DEFAULT, PAGE_MAX, Seat};
use crate::ids::ExchangeId;
use crate::queries::{EventsPage, ExchangeView, Misasked, StatsQuestion, ask, stats as summed};
use crate::store::{Dimension, EventQuery, EventRow, Filter, UsageQuery};
use crate::tenants::{Scope, TenantKind};

const PLACES: [(Dimension, TenantKind); 3] = [
    (Dimension::Project, TenantKind::Project),
    (Dimension::Team, TenantKind::Team),
    (Dimension::Organisation, TenantKind::Organisation),
];

impl Seat<'_> {
    /// Keeps a question inside one place that the asker sees: the one that its filters name, else the only one that he
    /// has a role on. The filters that hold it there stand beside his own, and both must be met.
    fn hold(&self, filters: &mut Vec<Filter>) -> Result<(), Problem> {
        if self.sees(&Scope::installation()) {
            return Ok(());
        }
        let scope = match self.named(filters)? {
            Some(scope) => scope,
            None => self.only_place()?,
        };
        let names = [
            (Dimension::Organisation, scope.organisation),
            (Dimension::Team, scope.team),
            (Dimension::Project, scope.project),
        ];
        for (dimension, name) in names {
            filters.extend(name.map(|name| Filter { dimension, values: vec![name.to_string()] }));
        }
        Ok(())
    }

    /// The innermost place that the filters name.
    fn named(&self, filters: &[Filter]) -> Result<Option<Scope>, Problem> {
        for (dimension, kind) in PLACES {
            let Some(filter) = filters.iter().find(|filter| filter.dimension == dimension) else { continue };
            let [name] = filter.values.as_slice() else {
                return Err(Misasked::new(kind.name(), "several are named", "ask for one at a time").into());
            };
            let found = self.register.tenant(kind, name)?.filter(|(_, scope)| self.sees(scope));
            return found.map(|(_, scope)| Some(scope)).ok_or_else(|| {
                let problem = format!("there is no such {kind}, or it is not yours to see");
                Misasked::new(kind.name(), problem, format!("name a {kind} that you see")).into()
            });
        }
        Ok(None)
    }

    fn only_place(&self) -> Result<Scope, Problem> {
        let outermost = |scope: &Scope| self.principal.grants.iter().all(|grant| scope.contains(&grant.scope));
        let found = self.principal.grants.iter().map(|grant| &grant.scope).find(|scope| outermost(scope));
        match (found, self.principal.grants.is_empty()) {
            (Some(scope), _) => Ok(scope.clone()),
            (None, true) => {
                Err(Problem::forbidden("you have no role on any place", "ask for the role `viewer` on one"))
            }
            (None, false) => Err(Misasked::new(
                "team",
                "your roles are on several places",
                "say which is meant: `organisation`, `team` or `project`",
            )
            .into()),
        }
    }
}

fn known(endpoint: &Endpoint) -> &'static [&'static str] {
    endpoint.parameters
}

pub(super) fn stats(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let limit = asked.parameters.take("limit")?;
    let limit = ask::count("limit", limit.as_deref(), PAGE_DEFAULT, PAGE_MAX)?;
    let group_by = asked.parameters.group_by()?;
    let range = asked.parameters.range(seat.shared)?;
    let mut filters = asked.parameters.filters(known(seat.endpoint))?;
    seat.hold(&mut filters)?;
    let question = StatsQuestion { limit, query: UsageQuery { group_by, range, filters } };
    Ok(Answer::of(200, &summed(&seat.shared.state.reader, &question)?))
}

pub(super) fn events(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let limit = asked.parameters.take("limit")?;
    let mut query = EventQuery {
        order: asked.parameters.order()?,
        after: asked.parameters.cursor()?,
        limit: ask::count("limit", limit.as_deref(), PAGE_DEFAULT, PAGE_MAX)?,
        range: asked.parameters.range(seat.shared)?,
        filters: asked.parameters.filters(known(seat.endpoint))?,
    };
    seat.hold(&mut query.filters)?;
    let rows = seat.shared.state.reader.events(&query)?;
    Ok(Answer::of(200, &EventsPage::new(&rows, query.limit)))
}

pub(super) fn exchange(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let id: ExchangeId = asked.of_path("id").parse().map_err(|_| Problem::unknown("exchange"))?;
    let rows = seat.shared.state.reader.exchange(id)?;
    let place = |row: &EventRow| Scope {
        organisation: row.organisation.clone(),
        team: row.team.clone(),
        project: row.project.clone(),
    };
    if rows.is_empty() || !rows.iter().all(|row| seat.sees(&place(row))) {
        return Err(Problem::unknown("exchange"));
    }
    Ok(Answer::of(200, &ExchangeView::new(id, &rows)))
}
