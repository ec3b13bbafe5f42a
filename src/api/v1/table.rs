//! Everything that can be asked under `/api/v1`, in the order of the description.

mod logins;

use super::Act::{Read, Write};
use super::{
    About, Act, Endpoint, alerts, audit, budgets, keys, members, openapi, rules, tenants, tokens, track, usage,
};
use crate::tenants::Action;
use crate::tenants::TenantKind::{Organisation, Project, Team, User};

pub(in crate::api) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let all: [&'static [Endpoint]; 9] =
        [&TENANTS, &PEOPLE, &KEYS, &MEMBERS, &logins::LOGINS, &USAGE, &STEERING, &RULES, &REST];
    all.into_iter().flatten()
}

const PAGED: &[&str] = &["limit", "cursor", "deleted"];
const PAGED_OF: &[&str] = &["limit", "cursor", "deleted", "of"];

/// A thing to ask, as a row of the table.
const fn row(method: &'static str, path: &'static str, name: &'static str, does: &'static str, act: Act) -> Endpoint {
    Endpoint {
        method,
        path,
        name,
        does,
        about: About::Installation,
        action: Action::See,
        parameters: &[],
        body: None,
        status: 200,
        answer: "",
        open: false,
        act,
    }
}

impl Endpoint {
    const fn about(self, about: About, action: Action) -> Endpoint {
        Endpoint { about, action, ..self }
    }

    const fn with(self, parameters: &'static [&'static str]) -> Endpoint {
        Endpoint { parameters, ..self }
    }

    const fn reads(self, body: &'static str) -> Endpoint {
        Endpoint { body: Some(body), ..self }
    }

    const fn answers(self, status: u16, answer: &'static str) -> Endpoint {
        Endpoint { status, answer, ..self }
    }

    /// For strangers too.
    const fn open(self) -> Endpoint {
        Endpoint { open: true, ..self }
    }
}

const ORGANISATION: About = About::Tenant(Organisation);
const TEAM: About = About::Tenant(Team);
const PROJECT: About = About::Tenant(Project);
const USER: About = About::Tenant(User);

/// The five things that can be done with a kind of tenant.
macro_rules! tenant_rows {
    (
        $path:literal, $name:literal, $about:expr, $action:expr, $listed:expr,
        $new:literal, $change:literal, $view:literal, $list:literal
    ) => {
        [
            row(
                "GET",
                concat!("/api/v1/", $path),
                concat!("list_", $name, "s"),
                "List them by name",
                Read(tenants::list),
            )
            .about($about, Action::See)
            .with($listed)
            .answers(200, $list),
            row("POST", concat!("/api/v1/", $path), concat!("create_", $name), "Make one", Write(tenants::create))
                .about($about, $action)
                .reads($new)
                .answers(201, $view),
            row("GET", concat!("/api/v1/", $path, "/{name}"), concat!("show_", $name), "Show one", Read(tenants::show))
                .about($about, Action::See)
                .answers(200, $view),
            row(
                "PATCH",
                concat!("/api/v1/", $path, "/{name}"),
                concat!("change_", $name),
                "Switch it off or on, with every key below it",
                Write(tenants::change),
            )
            .about($about, $action)
            .reads($change)
            .answers(200, $view),
            row(
                "DELETE",
                concat!("/api/v1/", $path, "/{name}"),
                concat!("delete_", $name),
                "Delete it for good; nothing may belong to it any more",
                Write(tenants::delete),
            )
            .about($about, $action)
            .answers(200, $view),
        ]
    };
}

static TENANTS: [Endpoint; 15] = {
    let [a, b, c, d, e] = tenant_rows!(
        "organisations",
        "organisation",
        ORGANISATION,
        Action::MakeOrganisations,
        PAGED,
        "NewOrganisation",
        "ChangeTenant",
        "Tenant",
        "TenantList"
    );
    let [f, g, h, i, j] = tenant_rows!(
        "teams",
        "team",
        TEAM,
        Action::MakeTeams,
        PAGED_OF,
        "NewTeam",
        "ChangeTenant",
        "Tenant",
        "TenantList"
    );
    let [k, l, m, n, o] = tenant_rows!(
        "projects",
        "project",
        PROJECT,
        Action::MakeProjects,
        PAGED_OF,
        "NewProject",
        "ChangeTenant",
        "Tenant",
        "TenantList"
    );
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o]
};

static PEOPLE: [Endpoint; 14] = {
    let [a, b, c, d, e] = tenant_rows!(
        "users",
        "user",
        USER,
        Action::MakeUsers,
        PAGED_OF,
        "NewUser",
        "ChangeUser",
        "Tenant",
        "TenantList"
    );
    let [f, g, h, i, j] = tenant_rows!(
        "service-accounts",
        "service_account",
        About::Program,
        Action::MakeUsers,
        PAGED_OF,
        "NewUser",
        "ChangeUser",
        "Tenant",
        "TenantList"
    );
    const TOKENS: &str = "/api/v1/users/{name}/tokens";
    let k = row("GET", TOKENS, "list_tokens", "A user's personal tokens, without their texts", Read(tokens::list))
        .about(USER, Action::MakeUsers)
        .answers(200, "TokenList");
    let l = row("POST", TOKENS, "create_token", "Make a token; its text is shown this once", Write(tokens::create))
        .about(USER, Action::MakeUsers)
        .reads("NewToken")
        .answers(201, "NewlyMadeToken");
    let m = row("DELETE", "/api/v1/users/{name}/tokens/{token}", "revoke_token", "End a token", Write(tokens::revoke))
        .about(USER, Action::MakeUsers)
        .answers(204, "");
    let n = row("GET", "/api/v1/me", "show_me", "Who you are, and your roles", Read(members::me)).answers(200, "Me");
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
};

static KEYS: [Endpoint; 6] = {
    const ALL: &str = "/api/v1/keys";
    const ONE: &str = "/api/v1/keys/{name}";
    const LISTED: &[&str] = &["limit", "cursor", "deleted", "organisation", "team", "project", "user"];
    [
        row("GET", ALL, "list_keys", "Virtual keys by name, without their texts", Read(keys::list))
            .about(About::Key, Action::See)
            .with(LISTED)
            .answers(200, "KeyList"),
        row("POST", ALL, "create_key", "Make a virtual key; its text is shown this once", Write(keys::create))
            .about(About::Key, Action::HandOutKeys)
            .reads("NewKey")
            .answers(201, "NewlyMadeKey"),
        row("GET", ONE, "show_key", "What it may do, and when it was used last", Read(keys::show))
            .about(About::Key, Action::See)
            .answers(200, "Key"),
        row("PATCH", ONE, "change_key", "Change what is named; the rest stays", Write(keys::change))
            .about(About::Key, Action::HandOutKeys)
            .reads("ChangeKey")
            .answers(200, "Key"),
        row("DELETE", ONE, "delete_key", "Revoke it for good", Write(keys::delete))
            .about(About::Key, Action::HandOutKeys)
            .answers(200, "Key"),
        row(
            "POST",
            "/api/v1/keys/{name}/rotate",
            "rotate_key",
            "A new text; the old one opens a while longer",
            Write(keys::rotate),
        )
        .about(About::Key, Action::HandOutKeys)
        .reads("RotateKey")
        .answers(200, "NewlyMadeKey"),
    ]
};

/// Roles on a kind of place.
macro_rules! member_rows {
    ($path:literal, $name:literal, $about:expr) => {
        [
            row(
                "GET",
                concat!("/api/v1/", $path, "members"),
                concat!("list_", $name, "_members"),
                "Who has a role on exactly this place",
                Read(members::list),
            )
            .about($about, Action::See)
            .answers(200, "MemberList"),
            row(
                "PUT",
                concat!("/api/v1/", $path, "members/{user}"),
                concat!("grant_", $name, "_role"),
                "Give a user a role here, at most your own",
                Write(members::grant),
            )
            .about($about, Action::GrantRoles)
            .reads("NewRole")
            .answers(200, "Member"),
            row(
                "DELETE",
                concat!("/api/v1/", $path, "members/{user}"),
                concat!("take_", $name, "_role"),
                "Take a user's role here away",
                Write(members::take),
            )
            .about($about, Action::GrantRoles)
            .answers(204, ""),
        ]
    };
}

static MEMBERS: [Endpoint; 12] = {
    let [a, b, c] = member_rows!("", "installation", About::Installation);
    let [d, e, f] = member_rows!("organisations/{name}/", "organisation", ORGANISATION);
    let [g, h, i] = member_rows!("teams/{name}/", "team", TEAM);
    let [j, k, l] = member_rows!("projects/{name}/", "project", PROJECT);
    [a, b, c, d, e, f, g, h, i, j, k, l]
};

/// What was used, for those who see a part of it.
static USAGE: [Endpoint; 3] = {
    const STATS: &[&str] =
        &["limit", "group_by", "from", "to", "organisation", "team", "project", "key", "user", "provider", "model"];
    const EVENTS: &[&str] = &[
        "limit",
        "cursor",
        "order",
        "from",
        "to",
        "organisation",
        "team",
        "project",
        "key",
        "user",
        "provider",
        "model",
    ];
    [
        row("GET", "/api/v1/usage/stats", "usage_stats", "Calls, tokens and cost by group", Read(usage::stats))
            .with(STATS)
            .answers(200, "Usage"),
        row("GET", "/api/v1/usage/events", "usage_events", "Calls, one by one, newest first", Read(usage::events))
            .with(EVENTS)
            .answers(200, "Usage"),
        row("GET", "/api/v1/usage/exchanges/{id}", "show_exchange", "A call and its attempts", Read(usage::exchange))
            .answers(200, "Usage"),
    ]
};

/// Budgets, and usage from outside.
static STEERING: [Endpoint; 8] = {
    const ALL: &str = "/api/v1/budgets";
    const ONE: &str = "/api/v1/budgets/{name}";
    const SHORT: &str = "/api/usage/budget";
    [
        row(
            "POST",
            "/api/usage/track",
            "track_usage",
            "Book a call that did not pass through Farebox; once for each id",
            Read(track::track),
        )
        .about(About::Installation, Action::TrackUsage)
        .reads("NewUsage")
        .answers(201, "TrackedUsage"),
        row("GET", SHORT, "show_budget_shortly", "How one budget stands", Read(budgets::short))
            .about(About::Budget, Action::See)
            .with(&["name"])
            .answers(200, "Budget"),
        row("PUT", SHORT, "put_budget", "Make a budget, or write it anew", Write(budgets::put))
            .about(About::Budget, Action::SetBudgets)
            .reads("NewBudget")
            .answers(200, "Budget"),
        row(
            "GET",
            ALL,
            "list_budgets",
            "Budgets of files, of keys and of the API, and how they stand",
            Read(budgets::list),
        )
        .about(About::Budget, Action::See)
        .with(&["limit", "cursor"])
        .answers(200, "BudgetList"),
        row(
            "POST",
            ALL,
            "create_budget",
            "Make one: as the rules write it, and checked with them",
            Write(budgets::create),
        )
        .about(About::Budget, Action::SetBudgets)
        .reads("NewBudget")
        .answers(201, "Budget"),
        row("GET", ONE, "show_budget", "How it stands, instance by instance", Read(budgets::show))
            .about(About::Budget, Action::See)
            .answers(200, "Budget"),
        row(
            "PATCH",
            ONE,
            "change_budget",
            "Change what is named; the rest, and what was spent, stays",
            Write(budgets::change),
        )
        .about(About::Budget, Action::SetBudgets)
        .reads("ChangeBudget")
        .answers(200, "Budget"),
        row("DELETE", ONE, "delete_budget", "Take one of the API's away", Write(budgets::delete))
            .about(About::Budget, Action::SetBudgets)
            .answers(204, ""),
    ]
};

/// Alerts and rules.
static RULES: [Endpoint; 6] = [
    row(
        "GET",
        "/api/v1/alerts",
        "list_alerts",
        "Thresholds that budgets of yours passed, newest first",
        Read(alerts::list),
    )
    .about(About::Budget, Action::See)
    .with(&["limit", "cursor", "budget", "acknowledged"])
    .answers(200, "AlertList"),
    row(
        "POST",
        "/api/v1/alerts/{alert}/acknowledge",
        "acknowledge_alert",
        "Note that you know of it",
        Write(alerts::acknowledge),
    )
    .about(About::Budget, Action::Acknowledge)
    .answers(200, "Alert"),
    row(
        "GET",
        "/api/v1/rules",
        "list_rules_versions",
        "What is in force, and every version before",
        Read(rules::versions),
    )
    .about(About::Installation, Action::SeeRules)
    .answers(200, "Rules"),
    row(
        "POST",
        "/api/v1/rules/check",
        "check_rules",
        "What is wrong with a text; nothing is written",
        Read(rules::check),
    )
    .about(About::Installation, Action::SeeRules)
    .reads("RulesText")
    .answers(200, "RulesCheck"),
    row("POST", "/api/v1/rules/test", "test_rules", "Run a text's own tests; nothing is written", Read(rules::test))
        .about(About::Installation, Action::SeeRules)
        .reads("RulesText")
        .answers(200, "RulesTest"),
    row(
        "POST",
        "/api/v1/rules/explain",
        "explain_rules",
        "What rules would do with a call, and why",
        Read(rules::explain),
    )
    .about(About::Installation, Action::SeeRules)
    .reads("RulesQuestion")
    .answers(200, "RulesExplanation"),
];

static REST: [Endpoint; 3] = [
    row(
        "GET",
        "/api/v1/audit",
        "list_audit",
        "Changes in the places whose log you may see, newest first",
        Read(audit::list),
    )
    .about(About::Installation, Action::SeeAuditLog)
    .with(&["limit", "cursor"])
    .answers(200, "AuditList"),
    row(
        "GET",
        "/api/v1/audit/verify",
        "verify_audit",
        "Whether each line follows from the one before",
        Read(audit::verify),
    )
    .about(About::Installation, Action::SeeAuditLog)
    .answers(200, "AuditReport"),
    row("GET", "/api/v1/openapi.json", "openapi", "This description", Read(openapi::show)).answers(200, "Description"),
];
