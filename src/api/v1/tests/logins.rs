//! How people come in: passwords, sessions, the first owner, invitations, second factors.

use super::house::{ADMIN, FIRST_OWNER, House, PASSWORD, invitation_of};
use crate::api::Guesses;
use crate::store::{StoreError, pepper};
use crate::tenants::{Role, TenantKind};
use serde_json::json;

#[tokio::test]
async fn a_session_is_kept_by_its_cookie_and_writes_with_its_csrf_token_only() {
    let house = House::furnished().await;
    house.change(|changes| changes.grant("maud-of-acme", Some((TenantKind::Team, "research-x7")), Role::Manager));
    let login = json!({ "user": "maud-of-acme", "password": PASSWORD });
    let opened = house.post("", "/api/v1/sessions", login).await;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let set = opened.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let csrf = opened.json()["csrf_token"].as_str().unwrap().to_owned();
    assert!(!opened.body.contains(cookie.split_once('=').unwrap().1));
    let me = house.ask("GET", "", "/api/v1/me", &[("cookie", cookie)], "").await;
    assert_eq!((&me.json()["user"], &me.json()["csrf_token"]), (&"maud-of-acme".into(), &csrf.as_str().into()));
    let new = json!({ "name": "notebook", "team": "research-x7" }).to_string();
    let wrong = [("cookie", cookie), ("x-csrf-token", "guess")];
    for headers in [&wrong[..1], &wrong] {
        assert_eq!(house.ask("POST", "", "/api/v1/keys", headers, &new).await.status, 403);
    }
    let right = [("cookie", cookie), ("x-csrf-token", csrf.as_str())];
    assert_eq!(house.ask("POST", "", "/api/v1/keys", &right, &new).await.status, 201);
    assert_eq!(house.ask("DELETE", "", "/api/v1/sessions/current", &right, "").await.status, 204);
    assert_eq!(house.ask("GET", "", "/api/v1/me", &[("cookie", cookie)], "").await.status, 401);
}

#[tokio::test]
async fn a_reset_password_ends_the_sessions_and_is_told_to_nobody() {
    let house = House::furnished().await;
    let path = "/api/v1/users/maud-of-acme/password";
    let login = |password: &str| json!({ "user": "maud-of-acme", "password": password });
    let opened = house.post("", "/api/v1/sessions", login(PASSWORD)).await;
    let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let csrf = opened.json()["csrf_token"].as_str().unwrap().to_owned();
    let session = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let unproven = house.ask("PUT", "", path, &session, r#"{"password": "another long password"}"#).await;
    assert_eq!((unproven.status, &unproven.json()["field"]), (400, &"current_password".into()));
    let short = house.ask("PUT", ADMIN, path, &[], r#"{"password": "short"}"#).await;
    assert_eq!((short.status, &short.json()["field"]), (400, &"password".into()));
    let reset = house.ask("PUT", ADMIN, path, &[], r#"{"password": "another long password"}"#).await;
    assert_eq!(reset.status, 204, "{}", reset.body);
    assert_eq!(house.ask("GET", "", "/api/v1/me", &session, "").await.status, 401);
    let late = house.post("", "/api/v1/sessions", login(PASSWORD)).await;
    assert_eq!(late.status, 401, "the password before opens no more");
    let nobody = house.post("", "/api/v1/sessions", json!({ "user": "nobody", "password": PASSWORD })).await;
    let admin_of_other =
        house.post("", "/api/v1/sessions", json!({ "user": "bot-of-acme", "password": PASSWORD })).await;
    assert_eq!((nobody.status, nobody.body), (admin_of_other.status, admin_of_other.body), "names are not told");
    let audit = house.ask("GET", ADMIN, "/api/v1/audit", &[], "").await.body;
    assert!(audit.contains("set_password") && !audit.contains("another long password") && !audit.contains("argon2"));
}

#[tokio::test]
async fn guessing_is_slowed_down_by_name_and_by_address() {
    let house = House::furnished().await.guarded(Guesses { memory_kib: 8, passes: 1, ..Guesses::default() }).await;
    let mut statuses = Vec::new();
    for guess in ["wrong", "wrong", "wrong", "wrong", "wrong", PASSWORD] {
        let answer = house.post("", "/api/v1/sessions", json!({ "user": "maud-of-acme", "password": guess })).await;
        assert_eq!(answer.headers.contains_key("retry-after"), answer.status == 429);
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "not even the right one, for a while");
    let other = house.post("", "/api/v1/sessions", json!({ "user": "maud-of-other", "password": PASSWORD })).await;
    assert_eq!(other.status, 201, "{}", other.body);
    for n in 0..14 {
        house.post("", "/api/v1/sessions", json!({ "user": format!("user-{n}"), "password": "wrong" })).await;
    }
    let all = house.post("", "/api/v1/sessions", json!({ "user": "maud-of-other", "password": PASSWORD })).await;
    assert_eq!(all.status, 429, "twenty from one address");
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over_also_by_a_clock_that_went_back_and_forth() {
    let house = House::furnished().await;
    let login = json!({ "user": "maud-of-acme", "password": PASSWORD });
    let opened = house.post("", "/api/v1/sessions", login).await;
    let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    const TWELVE_HOURS: i64 = 12 * 3_600;
    for (after_noon, status) in [(-3_600, 200), (TWELVE_HOURS - 1, 200), (TWELVE_HOURS, 401), (0, 200)] {
        house.put_clock(after_noon);
        let me = house.ask("GET", "", "/api/v1/me", &[("cookie", &cookie)], "").await;
        assert_eq!(me.status, status, "{after_noon} s after noon");
    }
}

#[tokio::test]
async fn the_first_owner_is_made_once_with_the_token_of_the_start() {
    let house = House::loopback().await;
    let new = |token: &str, user: &str| json!({ "token": token, "user": user, "password": PASSWORD });
    let guessed = house.post("", "/api/v1/owner", new("guess", "ann")).await;
    assert_eq!(guessed.status, 401);
    let made = house.post("", "/api/v1/owner", new(FIRST_OWNER, "ann")).await;
    assert_eq!((made.status, &made.json()["name"]), (201, &"ann".into()), "{}", made.body);
    assert_eq!(house.post("", "/api/v1/owner", new(FIRST_OWNER, "eve")).await.status, 401);
    let opened = house.post("", "/api/v1/sessions", json!({ "user": "ann", "password": PASSWORD })).await;
    let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let csrf = opened.json()["csrf_token"].as_str().unwrap().to_owned();
    let session = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    let team = house.ask("POST", "", "/api/v1/organisations", &session, r#"{"name": "acme"}"#).await;
    assert_eq!(team.status, 201, "{}", team.body);
}

#[tokio::test]
async fn sessions_of_a_user_are_seen_and_ended_by_who_stands_above_him() {
    let house = House::furnished().await;
    let session = house.session_of("maud-of-acme").await;
    let path = "/api/v1/users/maud-of-acme/sessions";
    let listed = house.ask("GET", &house.token(Role::Admin, 1), path, &[], "").await;
    let id = listed.json()["items"][0]["id"].clone();
    assert_eq!(listed.json()["items"][0]["opened_from"], "127.0.0.1");
    assert!(!listed.body.contains(session.cookie().split_once('=').unwrap().1));
    let one = format!("{path}/{id}");
    let manager = house.token(Role::Manager, 1);
    assert_eq!(house.ask("DELETE", &manager, &one, &[], "").await.status, 403);
    assert_eq!(house.ask("GET", "", "/api/v1/me", &session.headers(), "").await.status, 200);
    assert_eq!(house.ask("DELETE", &house.token(Role::Admin, 1), &one, &[], "").await.status, 204);
    assert_eq!(house.ask("GET", "", "/api/v1/me", &session.headers(), "").await.status, 401);
}

#[tokio::test]
async fn an_invitation_is_shown_once_sets_a_password_once_and_is_over_after_a_week() {
    let house = House::furnished().await;
    house.change(|changes| changes.create_tenant(TenantKind::User, "ann", Some("acme-x7")));
    let admin = house.token(Role::Admin, 1);
    let path = "/api/v1/users/ann/invitation";
    let key = [("idempotency-key", "one")];
    let made = house.ask("POST", &admin, path, &key, "{}").await;
    assert_eq!(made.status, 201, "{}", made.body);
    let link = made.json()["link"].as_str().unwrap().to_owned();
    let token = link.strip_prefix("/join#").unwrap();
    assert!(house.ask("POST", &admin, path, &key, "{}").await.json()["link"].is_null(), "shown once");
    let accept = |password: &str| json!({ "token": token, "password": password });
    let short = house.post("", "/api/v1/invitations/accept", accept("short")).await;
    assert_eq!((short.status, &short.json()["field"]), (400, &"password".into()));
    house.put_clock(7 * 24 * 3_600);
    let late = house.post("", "/api/v1/invitations/accept", accept(PASSWORD)).await;
    assert_eq!((late.status, &late.json()["field"]), (401, &"token".into()));
    house.put_clock(7 * 24 * 3_600 - 1);
    let accepted = house.post("", "/api/v1/invitations/accept", accept(PASSWORD)).await;
    assert_eq!((accepted.status, &accepted.json()["name"]), (200, &"ann".into()), "{}", accepted.body);
    assert_eq!(house.post("", "/api/v1/invitations/accept", accept("another long password")).await.status, 401);
    let session = house.session_of("ann").await;
    assert_eq!(house.ask("GET", "", "/api/v1/me", &session.headers(), "").await.json()["user"], "ann");
    let audit = house.ask("GET", ADMIN, "/api/v1/audit", &[], "").await.body;
    assert!(audit.contains("\"invite\"") && !audit.contains(token) && !audit.contains(PASSWORD));
}

#[tokio::test]
async fn an_invitation_that_is_taken_back_or_replaced_opens_nothing_and_some_get_none() {
    let house = House::furnished().await;
    let path = "/api/v1/users/maud-of-acme/invitation";
    let first = json!({ "token": invitation_of("acme").expose(), "password": PASSWORD });
    let second = house.post(ADMIN, path, json!({})).await.json()["link"].as_str().unwrap().to_owned();
    assert_eq!(house.post("", "/api/v1/invitations/accept", first).await.status, 401, "the second replaced it");
    assert_eq!(house.ask("DELETE", ADMIN, path, &[], "").await.status, 204);
    let taken_back = json!({ "token": second.strip_prefix("/join#"), "password": PASSWORD });
    assert_eq!(house.post("", "/api/v1/invitations/accept", taken_back).await.status, 401);
    let admin = house.token(Role::Admin, 1);
    for (user, status) in [("bot-of-acme", 409), ("admin-1", 409), ("owner-0", 403), ("maud-of-other", 404)] {
        let refused = house.post(&admin, &format!("/api/v1/users/{user}/invitation"), json!({})).await;
        assert_eq!(refused.status, status, "{user} {}", refused.body);
    }
}

#[tokio::test]
async fn with_a_second_factor_a_password_alone_opens_nothing_and_a_code_opens_once() {
    let house = House::furnished().await;
    let path = "/api/v1/users/maud-of-acme/second-factor";
    let session = house.session_of("maud-of-acme").await;
    let proof = json!({ "current_password": PASSWORD }).to_string();
    let unproven = house.ask("POST", "", path, &session.headers(), "{}").await;
    assert_eq!((unproven.status, &unproven.json()["field"]), (400, &"current_password".into()));
    let begun = house.ask("POST", "", path, &session.headers(), &proof).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let shown = begun.json()["secret"].as_str().unwrap().to_owned();
    assert!(begun.json()["uri"].as_str().unwrap().contains(&shown));
    // It is not asked for before it is confirmed: the app may never have got it.
    house.session_of("maud-of-acme").await;
    let kept = house.reader().register(|register| register.second_factor("maud-of-acme"));
    let secret = kept.map_err(|error: StoreError| error).unwrap().unwrap().secret(&pepper(house.dir.path()).unwrap());
    assert_eq!(secret.base_32().expose(), &shown);
    let step = crate::store::fixtures::NOON.as_micros() / 30_000_000;
    let code = |steps_after_noon: i64| json!({ "code": secret.code(step + steps_after_noon) }).to_string();
    let wrong = house.ask("PUT", "", path, &session.headers(), &code(7)).await;
    assert_eq!((wrong.status, &wrong.json()["field"]), (400, &"code".into()));
    assert_eq!(house.ask("PUT", "", path, &session.headers(), &code(0)).await.status, 200);
    assert!(house.ask("GET", "", path, &session.headers(), "").await.json()["confirmed_at"].is_string());
    assert_eq!(house.ask("POST", "", path, &session.headers(), &proof).await.status, 409);

    let login = |steps_after_noon: Option<i64>| {
        let code = steps_after_noon.map(|after| secret.code(step + after));
        json!({ "user": "maud-of-acme", "password": PASSWORD, "code": code })
    };
    house.put_clock(60);
    for (code, status) in [(None, 401), (Some(0), 401), (Some(2), 201), (Some(2), 401), (Some(1), 401), (Some(3), 201)]
    {
        let answer = house.post("", "/api/v1/sessions", login(code)).await;
        assert_eq!(answer.status, status, "{code:?} {}", answer.body);
        assert!(status == 201 || answer.json()["field"] == "code");
    }
    let unproven = house.ask("DELETE", "", path, &session.headers(), "{}").await;
    assert_eq!((unproven.status, &unproven.json()["field"]), (400, &"code".into()));
    let audit = house.ask("GET", ADMIN, "/api/v1/audit", &[], "").await.body;
    assert!(audit.contains("confirm_second_factor") && !audit.contains(&shown));
    // The app is lost: who stands above ends it.
    assert_eq!(house.ask("DELETE", &house.token(Role::Admin, 1), path, &[], "{}").await.status, 204);
    house.session_of("maud-of-acme").await;
}

#[tokio::test]
async fn codes_are_guessed_five_times_and_then_wait_longer_than_passwords() {
    let house = House::furnished().await;
    let few_codes = Guesses { codes: Guesses::default().codes, ..super::house::CHEAP };
    let session = house.session_of("maud-of-acme").await;
    let path = "/api/v1/users/maud-of-acme/second-factor";
    let proof = json!({ "current_password": PASSWORD }).to_string();
    assert_eq!(house.ask("POST", "", path, &session.headers(), &proof).await.status, 201);
    let kept = house.reader().register(|register| register.second_factor("maud-of-acme"));
    let secret = kept.map_err(|error: StoreError| error).unwrap().unwrap().secret(&pepper(house.dir.path()).unwrap());
    let step = crate::store::fixtures::NOON.as_micros() / 30_000_000;
    let confirm = json!({ "code": secret.code(step) }).to_string();
    assert_eq!(house.ask("PUT", "", path, &session.headers(), &confirm).await.status, 200);

    let house = house.guarded(few_codes).await;
    let login = |code: Option<&str>| json!({ "user": "maud-of-acme", "password": PASSWORD, "code": code });
    let mut statuses = Vec::new();
    for code in [None, Some("1"), Some("2"), Some("3"), Some("4"), Some("5"), Some(&*secret.code(step + 1))] {
        statuses.push(house.post("", "/api/v1/sessions", login(code)).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429], "not even the right one, for a while");
    let late = house.post("", "/api/v1/sessions", login(Some("6"))).await;
    assert!(late.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 12, "{:?}", late.headers);
    let wrong = json!({ "user": "maud-of-acme", "password": "wrong" });
    assert_eq!(house.post("", "/api/v1/sessions", wrong).await.status, 401, "passwords are counted apart");
}
