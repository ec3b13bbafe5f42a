//! The matrix of roles: every endpoint, as every role on every kind of place, about one's own team, another team and
//! another organisation. What is expected stands here once more, by hand; an endpoint without its row fails.

use super::house::{ADMIN, Answer, FIRST_OWNER, House, PASSWORD, PLACES, calls, invitation_of};
use crate::api::v1::{Endpoint, endpoints};
use crate::tenants::{Role, Scope};
use serde_json::{Value, json};

/// Where the authority over something lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Everybody asks, and gets what is his.
    Own,
    Installation,
    Organisation,
    Team,
    Project,
    /// Whoever has the role anywhere.
    Anywhere,
    Never,
}

/// The least role for each endpoint, and where it must be held. A new endpoint comes with its row.
const EXPECTED: [(&str, Role, At); 81] = {
    use At::{Anywhere, Installation, Never, Organisation, Own, Project, Team};
    use Role::{Admin, Manager, Owner, Viewer};
    [
        ("list_organisations", Viewer, Own),
        ("create_organisation", Owner, Installation),
        ("show_organisation", Viewer, Organisation),
        ("change_organisation", Owner, Organisation),
        ("delete_organisation", Owner, Organisation),
        ("list_teams", Viewer, Own),
        ("create_team", Admin, Organisation),
        ("show_team", Viewer, Team),
        ("change_team", Admin, Team),
        ("delete_team", Admin, Team),
        ("list_projects", Viewer, Own),
        ("create_project", Manager, Team),
        ("show_project", Viewer, Project),
        ("change_project", Manager, Project),
        ("delete_project", Manager, Project),
        ("list_users", Viewer, Own),
        ("create_user", Admin, Organisation),
        ("show_user", Viewer, Organisation),
        ("change_user", Admin, Organisation),
        ("delete_user", Admin, Organisation),
        ("list_service_accounts", Viewer, Own),
        ("create_service_account", Admin, Organisation),
        ("show_service_account", Viewer, Organisation),
        ("change_service_account", Admin, Organisation),
        ("delete_service_account", Admin, Organisation),
        ("list_tokens", Admin, Organisation),
        ("create_token", Admin, Organisation),
        ("revoke_token", Admin, Organisation),
        ("show_me", Viewer, Own),
        ("list_keys", Viewer, Own),
        ("create_key", Manager, Team),
        ("show_key", Viewer, Team),
        ("change_key", Manager, Team),
        ("delete_key", Manager, Team),
        ("rotate_key", Manager, Team),
        ("list_installation_members", Viewer, Installation),
        ("grant_installation_role", Admin, Installation),
        ("take_installation_role", Admin, Installation),
        ("list_organisation_members", Viewer, Organisation),
        ("grant_organisation_role", Admin, Organisation),
        ("take_organisation_role", Admin, Organisation),
        ("list_team_members", Viewer, Team),
        ("grant_team_role", Admin, Team),
        ("take_team_role", Admin, Team),
        ("list_project_members", Viewer, Project),
        ("grant_project_role", Admin, Project),
        ("take_project_role", Admin, Project),
        ("track_usage", Manager, Team),
        // A password of somebody else's opens what is his, whoever sends it.
        ("open_session", Viewer, Own),
        // Nobody any more, once somebody has a role: not even with the token.
        ("make_first_owner", Owner, Never),
        ("list_sessions", Viewer, Own),
        ("end_session", Viewer, Own),
        ("list_user_sessions", Admin, Organisation),
        ("end_user_session", Admin, Organisation),
        ("set_password", Admin, Organisation),
        ("invite_user", Admin, Organisation),
        ("end_invitation", Admin, Organisation),
        // Whoever has it is the invited one, whatever else he is.
        ("accept_invitation", Viewer, Own),
        ("show_second_factor", Admin, Organisation),
        // Only its person's; the test of second factors shows him.
        ("begin_second_factor", Owner, Never),
        ("confirm_second_factor", Owner, Never),
        ("end_second_factor", Admin, Organisation),
        ("usage_stats", Viewer, Own),
        ("usage_events", Viewer, Own),
        ("show_exchange", Viewer, Team),
        ("show_budget_shortly", Viewer, Team),
        ("put_budget", Manager, Team),
        ("list_budgets", Viewer, Own),
        ("create_budget", Manager, Team),
        ("show_budget", Viewer, Team),
        ("change_budget", Manager, Team),
        ("delete_budget", Manager, Team),
        ("list_alerts", Viewer, Own),
        ("acknowledge_alert", Manager, Team),
        ("list_rules_versions", Viewer, Installation),
        ("check_rules", Viewer, Installation),
        ("test_rules", Viewer, Installation),
        ("explain_rules", Viewer, Installation),
        ("list_audit", Admin, Anywhere),
        ("verify_audit", Admin, Installation),
        ("openapi", Viewer, Own),
    ]
};

/// What a request is about.
struct Target {
    organisation: &'static str,
    team: &'static str,
    project: &'static str,
    of: &'static str,
}

const TARGETS: [Target; 3] = [
    Target { organisation: "acme-x7", team: "research-x7", project: "ranker-x7", of: "acme" },
    Target { organisation: "acme-x7", team: "sales-x7", project: "crm-x7", of: "acme" },
    Target { organisation: "other-x7", team: "field-x7", project: "scout-x7", of: "other" },
];
/// Names that nothing has.
const NOTHING: Target = Target { organisation: "no-org", team: "no-team", project: "no-project", of: "nothing" };

impl Target {
    fn scope(&self, at: At) -> Scope {
        match at {
            At::Own | At::Installation | At::Anywhere | At::Never => Scope::installation(),
            At::Organisation => Scope::organisation(self.organisation),
            At::Team => Scope::team(self.organisation, self.team),
            At::Project => Scope::project(self.organisation, self.team, self.project),
        }
    }

    /// Path and body of a request about this.
    fn request(&self, endpoint: &Endpoint) -> (String, String) {
        let kind = endpoint.path.split('/').nth(3).unwrap_or_default();
        let name = match kind {
            "organisations" => self.organisation.to_owned(),
            "teams" => self.team.to_owned(),
            "projects" => self.project.to_owned(),
            "keys" => format!("key-of-{}", self.team),
            "budgets" => format!("budget-of-{}", self.team),
            "service-accounts" => format!("bot-of-{}", self.of),
            _ if endpoint.path.contains("tokens") => format!("bot-of-{}", self.of),
            _ => format!("maud-of-{}", self.of),
        };
        let member = if endpoint.method == "DELETE" { "mila" } else { "maud" };
        let token = if self.of == "other" { "2" } else { "1" };
        let path = endpoint
            .path
            .replace("{name}", &name)
            .replace("{user}", &format!("{member}-of-{}", self.of))
            .replace("{token}", token)
            .replace("{session}", "1")
            .replace("{id}", &self.exchange())
            .replace("{alert}", &format!("{:016x}-8000", self.alert()));
        let path =
            if endpoint.name == "show_budget_shortly" { format!("{path}?name=budget-of-{}", self.team) } else { path };
        (path, endpoint.body.map(|schema| self.body(schema).to_string()).unwrap_or_default())
    }

    fn exchange(&self) -> String {
        let call = calls().into_iter().find(|call| call.opening.caller.team.as_deref() == Some(self.team));
        call.map_or("fbx_0000000000000".to_owned(), |call| call.opening.exchange.to_string())
    }

    /// The account of an alert of its team's budget.
    fn alert(&self) -> u8 {
        ["research-x7", "sales-x7", "field-x7"].iter().position(|team| *team == self.team).map_or(9, |at| at as u8 + 1)
    }

    fn body(&self, schema: &str) -> Value {
        match schema {
            "NewOrganisation" => json!({ "name": "new-thing" }),
            "NewTeam" | "NewUser" => json!({ "name": "new-thing", "organisation": self.organisation }),
            "NewProject" => json!({ "name": "new-thing", "team": self.team }),
            "NewKey" => json!({ "name": "new-thing", "team": self.team }),
            "ChangeTenant" | "ChangeUser" | "ChangeKey" => json!({ "disabled": true }),
            "RotateKey" => json!({ "overlap_seconds": 60 }),
            "NewRole" => json!({ "role": "viewer" }),
            "NewToken" => json!({ "label": "matrix" }),
            "NewUsage" => json!({ "id": "call-1", "provider": "openai", "model": "gpt-4o",
                "usage": { "input_tokens": 10, "output_tokens": 5 }, "team": self.team }),
            "FirstOwner" => json!({ "token": FIRST_OWNER, "user": "new-thing", "password": PASSWORD }),
            "NewPassword" => json!({ "password": "another long password" }),
            "NewInvitation" | "NewSecondFactor" | "MaybeCode" => json!({}),
            "Code" => json!({ "code": "000000" }),
            "AcceptInvitation" => json!({ "token": invitation_of(self.of).expose(), "password": PASSWORD }),
            "NewSession" => json!({ "user": format!("maud-of-{}", self.of), "password": PASSWORD }),
            "NewBudget" => {
                json!({ "name": "new-thing", "window": "month", "limit": "5 USD", "scope": { "team": self.team } })
            }
            "ChangeBudget" => json!({ "limit": "7 USD" }),
            "RulesText" => json!({ "text": "version: 1\n" }),
            "RulesQuestion" => {
                json!({ "text": "version: 1\n", "caller": { "user": "ann" }, "request": { "model": "gpt-4o" } })
            }
            other => panic!("the matrix knows no body for {other}"),
        }
    }
}

/// The place of each of the principals' grants.
fn granted_on(place: usize) -> Scope {
    TARGETS[0].scope([At::Installation, At::Organisation, At::Team, At::Project][place])
}

/// Names that somebody with a role on this place must never be shown unless he said them.
fn hidden_from(place: usize) -> Vec<&'static str> {
    let other = ["other-x7", "field-x7", "scout-x7", "maud-of-other", "bot-of-other"];
    let sales = ["sales-x7", "crm-x7", "maud-of-acme", "bot-of-acme"];
    match place {
        0 => vec![],
        1 => other.to_vec(),
        2 => [&other[..], &sales].concat(),
        _ => [&other[..], &sales, &["key-of-research-x7"]].concat(),
    }
}

fn assert_hidden(place: usize, said: &str, answer: &Answer) {
    let shown = format!("{}{:?}", answer.body, answer.headers);
    for name in hidden_from(place).into_iter().filter(|name| !said.contains(name)) {
        assert!(!shown.contains(name), "{said} as one of place {place} shows {name}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_as_every_role_on_every_place_does_what_the_matrix_says() {
    let template = House::furnished().await;
    let nothing = template.copied().await;
    let mut house = template.copied().await;
    let mut tried = 0;
    for endpoint in endpoints() {
        let row = EXPECTED.iter().find(|(name, ..)| *name == endpoint.name);
        let (_, least, at) = *row.unwrap_or_else(|| panic!("{} is not in the matrix", endpoint.name));
        for (place, role, target) in all() {
            let (path, body) = target.request(endpoint);
            let said = format!("{} {path} {body}", endpoint.method);
            let token = house.token(role, place);
            let answer = house.ask(endpoint.method, &token, &path, &[], &body).await;
            tried += 1;
            let granted = at != At::Never && granted_on(place).contains(&target.scope(at));
            let holds = at == At::Own || at == At::Anywhere || granted;
            let allowed = role >= least && holds;
            let told = format!("{said} as {} on {:?}: {} {}", role.name(), PLACES[place], answer.status, answer.body);
            assert_eq!(allowed, is_done(endpoint, answer.status), "{told}");
            assert!(allowed || matches!(answer.status, 400 | 401 | 403 | 404), "{told}");
            // Of the highest role, which is refused least.
            if role == Role::Owner && !holds && at != At::Never {
                // What one may not see is as what is not there.
                let (path, body) = NOTHING.request(endpoint);
                let absent = nothing.ask(endpoint.method, &token, &path, &[], &body).await;
                assert!(
                    absent.status == answer.status && absent.body == answer.body,
                    "{told} but {} {}",
                    absent.status,
                    absent.body
                );
            }
            // Whoever has an invitation is the invited one, and is told who that is.
            if endpoint.name != "accept_invitation" {
                assert_hidden(place, &said, &answer);
            }
            if answer.status < 300 && endpoint.method != "GET" {
                house = template.copied().await;
            }
        }
        let (path, body) = TARGETS[0].request(endpoint);
        for stranger in ["", "fbt0000000000000000000000000000000000000000000000000000", "wrong"] {
            let answer = house.ask(endpoint.method, stranger, &path, &[], &body).await;
            let for_strangers = matches!(endpoint.name, "open_session" | "accept_invitation");
            assert_eq!(answer.status < 300, for_strangers, "{path} {}", answer.body);
            assert!(for_strangers || answer.status == 401, "{path} {}", answer.body);
            if for_strangers {
                house = template.copied().await;
            }
        }
        let answer = house.ask(endpoint.method, ADMIN, &path, &[], &body).await;
        assert_eq!(
            at != At::Never,
            is_done(endpoint, answer.status),
            "the admin token may all: {path} {}",
            answer.body
        );
        house = template.copied().await;
    }
    assert_eq!(EXPECTED.len(), endpoints().count(), "a row of the matrix belongs to nothing");
    assert_eq!(tried, EXPECTED.len() * 4 * 4 * 3);
}

/// Done, or only refused because something still belongs to it.
fn is_done(endpoint: &Endpoint, status: u16) -> bool {
    status < 300 || (endpoint.method == "DELETE" && status == 409)
}

fn all() -> impl Iterator<Item = (usize, Role, &'static Target)> {
    let roles = (0..PLACES.len()).flat_map(|place| Role::ALL.map(|role| (place, role)));
    roles.flat_map(|(place, role)| TARGETS.iter().map(move |target| (place, role, target)))
}
