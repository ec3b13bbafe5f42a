//! The admin API, asked over a real socket.

mod house;
mod logins;
mod matrix;

use super::*;
use crate::tenants::Role;
use house::{ADMIN, House};
use serde_json::json;

/// The repository's copy of the description; `FAREBOX_BLESS=1` writes it anew.
#[test]
fn the_description_is_as_it_was_agreed() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/v1/openapi.json");
    let text = serde_json::to_string_pretty(&openapi::description()).unwrap() + "\n";
    if std::env::var_os("FAREBOX_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        kept == text,
        "the API changed: look at the difference after FAREBOX_BLESS=1, and commit it if it is meant"
    );
}

#[test]
fn every_schema_that_is_named_is_there_and_every_operation_has_its_own_name() {
    let description = openapi::description();
    let text = description.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(description["components"]["schemas"][name].is_object(), "{name}");
    }
    let mut names: Vec<&str> = endpoints().map(|endpoint| endpoint.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), endpoints().count());
}

#[tokio::test]
async fn a_team_made_over_the_port_is_in_the_register_and_in_the_audit_log() {
    let house = House::empty().await;
    let made = house.post(ADMIN, "/api/v1/teams", json!({ "name": "research" })).await;
    assert_eq!((made.status, &made.json()["parent"]), (201, &"default".into()), "{}", made.body);
    assert_eq!(house.reader().tenants(TenantKind::Team, None, false).unwrap()[0].name, "research".into());
    let audit = house.reader().audit(None, 1).unwrap();
    assert_eq!((audit[0].action.as_str(), audit[0].subject.as_str()), ("create", "research"));
    assert_eq!(audit[0].actor, "admin token, from 127.0.0.1");
    assert_eq!(house.reader().verify_audit().unwrap().broken_at, None);
    let again = house.post(ADMIN, "/api/v1/teams", json!({ "name": "research" })).await;
    assert_eq!((again.status, &again.json()["field"]), (409, &"name".into()));
}

#[tokio::test]
async fn a_key_is_made_shown_once_changed_rotated_and_revoked() {
    let house = House::furnished().await;
    let new = json!({ "name": "notebook", "team": "research-x7", "tags": {"app": "n"},
        "permissions": { "models": ["gpt-5*"] }, "expires_at": "2027-01-01T00:00:00Z" });
    let made = house.post(ADMIN, "/api/v1/keys", new).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let text = made.json()["key"].as_str().unwrap().to_owned();
    assert!(crate::tenants::looks_like_a_key(&text));
    let shown = house.ask("GET", ADMIN, "/api/v1/keys/notebook", &[], "").await;
    assert!(!shown.body.contains(&text) && shown.json()["secrets"][0]["prefix"] == text[..11]);
    let changed = house.ask("PATCH", ADMIN, "/api/v1/keys/notebook", &[], r#"{"disabled": true}"#).await;
    assert_eq!((&changed.json()["state"], &changed.json()["tags"]["app"]), (&"disabled".into(), &"n".into()));
    let rotated = house.post(ADMIN, "/api/v1/keys/notebook/rotate", json!({ "overlap_seconds": 0 })).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert!(rotated.json()["key"].as_str().unwrap() != text);
    assert_eq!(house.ask("DELETE", ADMIN, "/api/v1/keys/notebook", &[], "").await.json()["state"], "deleted");
    let audit = house.ask("GET", ADMIN, "/api/v1/audit", &[], "").await;
    assert!(!audit.body.contains(&text), "no key is in the log");
}

#[tokio::test]
async fn a_request_that_is_sent_twice_is_done_once_and_shows_no_secret_again() {
    let house = House::furnished().await;
    let key = [("idempotency-key", "one")];
    let new = json!({ "name": "notebook", "team": "research-x7" }).to_string();
    let first = house.ask("POST", ADMIN, "/api/v1/keys", &key, &new).await;
    let second = house.ask("POST", ADMIN, "/api/v1/keys", &key, &new).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(second.headers["idempotent-replayed"], "true");
    assert!(first.json()["key"].is_string() && second.json()["key"].is_null());
    let other = json!({ "name": "other", "team": "research-x7" }).to_string();
    assert_eq!(house.ask("POST", ADMIN, "/api/v1/keys", &key, &other).await.status, 422);
    assert!(house.reader().virtual_key("other").unwrap().is_none());
}

#[tokio::test]
async fn of_two_who_edit_the_same_the_second_is_told() {
    let house = House::furnished().await;
    let path = "/api/v1/teams/research-x7";
    let seen = house.ask("GET", ADMIN, path, &[], "").await;
    let etag = seen.headers["etag"].to_str().unwrap();
    let expects = [("if-match", etag)];
    assert_eq!(house.ask("GET", ADMIN, path, &[("if-none-match", etag)], "").await.status, 304);
    assert_eq!(house.ask("PATCH", ADMIN, path, &expects, r#"{"disabled": true}"#).await.status, 200);
    assert_eq!(house.ask("PATCH", ADMIN, path, &expects, r#"{"disabled": false}"#).await.status, 412);
    let state = house.ask("GET", ADMIN, path, &[], "").await.json()["state"].clone();
    assert_eq!(state, "disabled");
}

#[tokio::test]
async fn pages_go_on_where_the_one_before_ended() {
    let house = House::empty().await;
    for n in 0..5 {
        house.post(ADMIN, "/api/v1/teams", json!({ "name": format!("team-{n}") })).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/teams?limit=2".to_owned());
    loop {
        let page = house.ask("GET", ADMIN, &path, &[], "").await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|team| team["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/teams?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["team-0", "team-1", "team-2", "team-3", "team-4"]);
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_half_written() {
    let house = House::furnished().await;
    let lines = || house.reader().verify_audit().unwrap().lines;
    let before = lines();
    let many: Vec<String> = (0..101).map(|n| format!("m{n}")).collect();
    let long = "x".repeat(600);
    for (path, body, status, field) in [
        ("/api/v1/teams", json!({ "name": "a", "colour": "red" }), 400, "colour"),
        ("/api/v1/teams", json!({ "name": 7 }), 400, "name"),
        ("/api/v1/teams", json!({}), 400, "name"),
        ("/api/v1/teams", json!(["name"]), 400, "body"),
        ("/api/v1/teams", json!({ "name": "re\u{0455}earch", "organisation": "acme-x7" }), 400, "name"),
        ("/api/v1/teams", json!({ "name": "a'; DROP TABLE tenants; --", "organisation": "acme-x7" }), 400, "name"),
        ("/api/v1/teams", json!({ "name": "a\r\nx-evil: 1" }), 400, "name"),
        ("/api/v1/teams", json!({ "name": "a", "organisation": "nowhere" }), 400, "organisation"),
        ("/api/v1/projects", json!({ "name": "ranker-x7", "team": "research-x7" }), 409, "name"),
        ("/api/v1/projects", json!({ "name": "loop", "team": "loop" }), 400, "team"),
        ("/api/v1/keys", json!({ "name": "k", "team": "research-x7", "project": "ranker-x7" }), 400, "team"),
        (
            "/api/v1/keys",
            json!({ "name": "k", "team": "research-x7", "permissions": { "models": many } }),
            400,
            "permissions.models",
        ),
        (
            "/api/v1/keys",
            json!({ "name": "k", "team": "research-x7", "permissions": { "modles": [] } }),
            400,
            "permissions",
        ),
        (
            "/api/v1/keys",
            json!({ "name": "k", "team": "research-x7", "expires_at": "2020-01-01T00:00:00Z" }),
            400,
            "expires_at",
        ),
        ("/api/v1/keys", json!({ "name": "k", "team": "research-x7", "tags": { "a": long } }), 400, "tags.a"),
        ("/api/v1/keys", json!({ "name": "k", "team": "research-x7", "user": "maud-of-other" }), 400, "user"),
    ] {
        let answer = house.post(ADMIN, path, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (status, &field.into()), "{body} {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let whole = format!("{{\"name\": \"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    assert_eq!(house.ask("POST", ADMIN, "/api/v1/teams", &[], &whole).await.status, 413);
    assert_eq!(house.ask("POST", ADMIN, "/api/v1/teams", &[], "{").await.status, 400);
    let form = house.ask("POST", ADMIN, "/api/v1/teams", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(form.status, 415);
    assert_eq!(house.ask("GET", ADMIN, "/api/v1/teams?limt=1", &[], "").await.json()["field"], "limt");
    assert_eq!(house.ask("GET", ADMIN, "/api/v1/teams/%ff", &[], "").await.status, 404);
    assert_eq!(house.ask("PUT", ADMIN, "/api/v1/teams", &[], "{}").await.status, 405);
    assert_eq!(lines(), before, "nothing was written");
}

#[tokio::test]
async fn a_token_opens_until_it_is_revoked_or_its_user_is_switched_off() {
    let house = House::furnished().await;
    let manager = house.token(Role::Manager, 2);
    let me = house.ask("GET", &manager, "/api/v1/me", &[], "").await.json();
    assert_eq!((&me["user"], &me["roles"][0]["scope"]["team"]), (&"manager-2".into(), &"research-x7".into()));
    let made = house.post(&manager, "/api/v1/users/manager-2/tokens", json!({ "label": "laptop" })).await;
    let (own, id) = (made.json()["token"].as_str().unwrap().to_owned(), made.json()["id"].clone());
    assert_eq!(house.ask("GET", &own, "/api/v1/me", &[], "").await.status, 200);
    let gone = house.ask("DELETE", &manager, &format!("/api/v1/users/manager-2/tokens/{id}"), &[], "").await;
    assert_eq!(gone.status, 204, "{}", gone.body);
    assert_eq!(house.ask("GET", &own, "/api/v1/me", &[], "").await.status, 401);
    house.ask("PATCH", ADMIN, "/api/v1/users/manager-2", &[], r#"{"disabled": true}"#).await;
    assert_eq!(house.ask("GET", &manager, "/api/v1/me", &[], "").await.status, 401);
}

#[tokio::test]
async fn nobody_gets_a_role_above_his_own_by_himself_or_through_another() {
    let house = House::furnished().await;
    let admin = house.token(Role::Admin, 1);
    let owner = json!({ "role": "owner" });
    for path in ["/api/v1/organisations/acme-x7/members/admin-1", "/api/v1/organisations/acme-x7/members/maud-of-acme"]
    {
        assert_eq!(house.ask("PUT", &admin, path, &[], &owner.to_string()).await.status, 403);
    }
    // A program with a higher role would lend it to whoever has its token.
    let path = "/api/v1/organisations/acme-x7/members/bot-of-acme";
    assert_eq!(house.ask("PUT", ADMIN, path, &[], &owner.to_string()).await.status, 200);
    let tokens = "/api/v1/users/bot-of-acme/tokens";
    assert_eq!(house.post(&admin, tokens, json!({ "label": "mine" })).await.status, 403);
    assert_eq!(house.ask("DELETE", &admin, path, &[], "").await.status, 403);
    let others = house.post(&admin, "/api/v1/users/maud-of-acme/tokens", json!({ "label": "mine" })).await;
    assert_eq!(others.status, 403, "a person's token is that person's");
}

#[tokio::test]
async fn the_loopback_may_look_until_somebody_has_a_role() {
    let house = House::loopback().await;
    assert_eq!(house.ask("GET", "", "/api/v1/teams", &[], "").await.status, 200);
    let write = house.post("", "/api/v1/organisations", json!({ "name": "acme" })).await;
    assert_eq!(write.status, 403);
    house.change(|changes| {
        changes.create_tenant(TenantKind::User, "ann", None)?;
        changes.grant("ann", None, Role::Owner)
    });
    for path in ["/api/v1/teams", "/api/usage/stats"] {
        assert_eq!(house.ask("GET", "", path, &[], "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn usage_is_that_of_the_places_one_sees() {
    let house = House::furnished().await;
    let viewer = house.token(Role::Viewer, 2);
    let stats = house.ask("GET", &viewer, "/api/v1/usage/stats?group_by=team", &[], "").await.json();
    assert_eq!((&stats["totals"]["calls"], stats["groups"].as_array().unwrap().len()), (&1.into(), 1));
    let all = house.ask("GET", ADMIN, "/api/v1/usage/stats", &[], "").await.json();
    assert_eq!(all["totals"]["calls"], 3);
    let lead = house.token(Role::Viewer, 1);
    assert_eq!(house.ask("GET", &lead, "/api/v1/usage/stats", &[], "").await.json()["totals"]["calls"], 2);
    assert_eq!(
        house.ask("GET", &lead, "/api/v1/usage/stats?team=sales-x7", &[], "").await.json()["totals"]["calls"],
        1
    );
    for (path, field) in [
        ("/api/v1/usage/stats?team=sales-x7", "team"),
        ("/api/v1/usage/stats?team=*", "team"),
        ("/api/v1/usage/events?organisation=other-x7", "organisation"),
        ("/api/v1/usage/events?team=research-x7&team=sales-x7", "team"),
    ] {
        let refused = house.ask("GET", &viewer, path, &[], "").await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &field.into()), "{path}");
    }
    let sneaky = house.ask("GET", &viewer, "/api/v1/usage/events?key=key-of-sales-x7", &[], "").await.json();
    assert_eq!(sneaky["events"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn how_long_a_teams_events_are_kept_is_said_by_an_admin_and_written_down() {
    let house = House::furnished().await;
    let (team, project) = ("/api/v1/teams/research-x7", "/api/v1/projects/ranker-x7");
    let seen = house.ask("GET", ADMIN, team, &[], "").await.json();
    assert!(seen.as_object().unwrap().contains_key("keep_days") && seen["keep_days"].is_null(), "{seen}");
    let set = house.ask("PATCH", ADMIN, team, &[], r#"{"keep_days": 30}"#).await;
    assert_eq!((set.status, &set.json()["keep_days"], &set.json()["state"]), (200, &30.into(), &"active".into()));
    let off = house.ask("PATCH", ADMIN, team, &[], r#"{"disabled": true}"#).await;
    assert_eq!(off.json()["keep_days"], 30, "what is not named stays");
    let manager = house.token(Role::Manager, 1);
    let refused = house.ask("PATCH", &manager, project, &[], r#"{"keep_days": 30}"#).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    for body in [r#"{"keep_days": 0}"#, r#"{"keep_days": 40000}"#, r#"{"keep_days": "30"}"#, "{}"] {
        assert_eq!(house.ask("PATCH", ADMIN, team, &[], body).await.status, 400, "{body}");
    }
    let user = house.ask("PATCH", ADMIN, "/api/v1/users/maud-of-acme", &[], r#"{"keep_days": 30}"#).await;
    assert_eq!((user.status, &user.json()["field"]), (400, &"keep_days".into()));
    let ended = house.ask("PATCH", ADMIN, team, &[], r#"{"keep_days": null}"#).await;
    assert_eq!((ended.status, &ended.json()["keep_days"]), (200, &Value::Null));
    let lines = house.reader().audit(None, 10).unwrap();
    let told: Vec<&str> = lines.iter().filter(|l| l.action == "set_retention").map(|l| l.detail.as_str()).collect();
    assert_eq!(told, [r#"{"before_days":30,"days":null}"#, r#"{"before_days":null,"days":30}"#]);
}
