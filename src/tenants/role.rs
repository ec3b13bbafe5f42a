//! Who may do what where. One pure function answers: [`Principal::may`].
//!
//! A role is granted on a place and holds for all that is in it. Each role may do what those before it may:
//! *viewer* sees; *manager* hands out keys, makes projects and sets budgets; *admin* makes teams and users and grants
//! roles up to his own; *owner* does all, also to the place itself.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Manager,
    Admin,
    Owner,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Manager, Role::Admin, Role::Owner];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Manager => "manager",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    pub fn named(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == text)
    }
}

/// A place: the whole installation, or an organisation, a team or a project in it. What is further in has its outer
/// places filled too.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub organisation: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
}

impl Scope {
    pub fn installation() -> Scope {
        Scope::default()
    }

    pub fn organisation(name: impl Into<Arc<str>>) -> Scope {
        Scope { organisation: Some(name.into()), ..Scope::default() }
    }

    pub fn team(organisation: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Scope {
        Scope { team: Some(name.into()), ..Scope::organisation(organisation) }
    }

    pub fn project(organisation: impl Into<Arc<str>>, team: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Scope {
        Scope { project: Some(name.into()), ..Scope::team(organisation, team) }
    }

    /// Whether the other place is this one, or in it.
    pub fn contains(&self, other: &Scope) -> bool {
        let holds = |own: &Option<Arc<str>>, its: &Option<Arc<str>>| own.is_none() || own == its;
        holds(&self.organisation, &other.organisation)
            && holds(&self.team, &other.team)
            && holds(&self.project, &other.project)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub role: Role,
    pub scope: Scope,
}

/// What somebody wants to do; always with the place in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tenants, keys (never their texts), members, usage, budgets, alerts.
    See,
    /// Say that a person knows of it.
    Acknowledge,
    /// Tell of usage that did not pass through the proxy.
    TrackUsage,
    /// Make, change, rotate and revoke virtual keys.
    HandOutKeys,
    /// In a team.
    MakeProjects,
    /// In an organisation.
    MakeTeams,
    /// People and accounts of programs, in an organisation, and their ways in.
    MakeUsers,
    /// Give and take roles; never one above one's own.
    GrantRoles,
    SetBudgets,
    /// Say after how many days events are dropped.
    SetRetention,
    SeeAuditLog,
    /// Only in the whole installation.
    MakeOrganisations,
    /// Rules name tenants of all organisations: only in the whole installation.
    SeeRules,
}

impl Action {
    pub const ALL: [Action; 13] = [
        Action::See,
        Action::Acknowledge,
        Action::TrackUsage,
        Action::HandOutKeys,
        Action::MakeProjects,
        Action::MakeTeams,
        Action::MakeUsers,
        Action::GrantRoles,
        Action::SetBudgets,
        Action::SetRetention,
        Action::SeeAuditLog,
        Action::MakeOrganisations,
        Action::SeeRules,
    ];

    /// The least role for it.
    pub fn needs(self) -> Role {
        match self {
            Action::See | Action::SeeRules => Role::Viewer,
            Action::Acknowledge
            | Action::TrackUsage
            | Action::HandOutKeys
            | Action::MakeProjects
            | Action::SetBudgets => Role::Manager,
            Action::MakeTeams | Action::MakeUsers | Action::GrantRoles | Action::SetRetention | Action::SeeAuditLog => {
                Role::Admin
            }
            Action::MakeOrganisations => Role::Owner,
        }
    }

    /// What it is called where it is refused.
    pub fn name(self) -> &'static str {
        match self {
            Action::See => "see it",
            Action::Acknowledge => "acknowledge alerts",
            Action::TrackUsage => "track usage",
            Action::HandOutKeys => "make or change keys",
            Action::MakeProjects => "make or change projects",
            Action::MakeTeams => "make or change teams",
            Action::MakeUsers => "make or change users",
            Action::GrantRoles => "grant or take roles",
            Action::SetBudgets => "set budgets",
            Action::SetRetention => "say how long events are kept",
            Action::SeeAuditLog => "see the audit log",
            Action::MakeOrganisations => "make or change organisations",
            Action::SeeRules => "see the rules",
        }
    }
}

/// Who asks, and what he was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user; `None`: whoever has the admin token or reaches the loopback.
    pub user: Option<Arc<str>>,
    pub grants: Vec<Grant>,
}

impl Principal {
    /// Somebody who has this role in the whole installation.
    pub fn everywhere(role: Role) -> Principal {
        Principal { user: None, grants: vec![Grant { role, scope: Scope::installation() }] }
    }

    /// Whether this action is allowed in this place. The only answer there is to that question.
    pub fn may(&self, action: Action, scope: &Scope) -> bool {
        self.role_in(scope).is_some_and(|role| role >= action.needs())
    }

    /// Whether nothing in these grants is above one's own: only then may one act in their holder's stead.
    pub fn covers(&self, grants: &[Grant]) -> bool {
        grants.iter().all(|grant| self.role_in(&grant.scope) >= Some(grant.role))
    }

    /// The highest role in a place, by a grant there or further out.
    pub fn role_in(&self, scope: &Scope) -> Option<Role> {
        self.grants.iter().filter(|grant| grant.scope.contains(scope)).map(|grant| grant.role).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: Role, scope: Scope) -> Principal {
        Principal { user: Some("ann".into()), grants: vec![Grant { role, scope }] }
    }

    #[test]
    fn a_role_holds_in_its_place_and_inside_it_and_nowhere_else() {
        let lead = of(Role::Admin, Scope::team("acme", "research"));
        let inside = [Scope::team("acme", "research"), Scope::project("acme", "research", "ranker")];
        let outside = [
            Scope::installation(),
            Scope::organisation("acme"),
            Scope::team("acme", "sales"),
            Scope::project("acme", "sales", "ranker"),
            Scope::team("other", "research"),
        ];
        for action in Action::ALL {
            let enough = action.needs() <= Role::Admin;
            assert!(inside.iter().all(|scope| lead.may(action, scope) == enough), "{action:?}");
            assert!(!outside.iter().any(|scope| lead.may(action, scope)), "{action:?}");
        }
    }

    #[test]
    fn each_role_may_what_those_below_it_may_and_an_owner_all() {
        for action in Action::ALL {
            let allowed = Role::ALL.map(|role| Principal::everywhere(role).may(action, &Scope::team("a", "b")));
            assert!(allowed.is_sorted() && allowed[3], "{action:?}");
        }
        let nobody = Principal { user: Some("ann".into()), grants: Vec::new() };
        assert!(!nobody.may(Action::See, &Scope::organisation("acme")));
    }

    #[test]
    fn of_two_roles_the_higher_counts_where_both_hold() {
        let mut ann = of(Role::Viewer, Scope::organisation("acme"));
        ann.grants.push(Grant { role: Role::Manager, scope: Scope::team("acme", "research") });
        assert_eq!(ann.role_in(&Scope::team("acme", "research")), Some(Role::Manager));
        assert_eq!(ann.role_in(&Scope::team("acme", "sales")), Some(Role::Viewer));
        assert_eq!(ann.role_in(&Scope::installation()), None);
    }
}
