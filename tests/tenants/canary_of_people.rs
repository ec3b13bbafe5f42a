//! The same for what lets people in: passwords, tokens, invitations, sessions, second factors, and what an identity
//! provider knows Farebox by. Each is in the one answer that gives it, and nowhere else.

use super::canary::{assert_free_of, files_with};
use super::{done, keyed};
use crate::support::collector::{Collector, Manner, collector};
use crate::support::{Asking, Shop};
use serde_json::{Value, json};

const ADMIN: &str = "canary-admin-token-77aa02";
const CLIENT: &str = "canary-client-secret-20b7";
const PASSWORD: &str = "canary password of four words";
const WRONG: &str = "canary password that is wrong";
const CODE: &str = "canary-code-of-a-provider";
/// Of a text's first letters, which are shown.
const PREFIX: usize = 12;

async fn opened(traces: &Collector) -> Shop {
    // Nobody is there; that the secret is not in what is told of it is what counts.
    let login =
        "login: {oidc: [{name: corp, issuer: 'http://127.0.0.1:1', client_id: farebox, client_secret: 'env:CORP'}]}";
    keyed()
        .with_variable("FAREBOX_ADMIN_TOKEN", ADMIN)
        .with_variable("CORP", CLIENT)
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &traces.url)
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "20")
        .with_setting(login)
        .with_setting("log: {level: trace}")
        .open()
        .await
}

fn asking(shop: &Shop, method: &str, path: &str, body: &Value) -> Asking {
    let url = format!("http://{}{path}", shop.admin_address());
    let asking = crate::support::asking(method, &url);
    if method == "GET" { asking } else { asking.json(body) }
}

/// By the admin token; what came back.
async fn by_admin(shop: &Shop, method: &str, path: &str, body: Value) -> Value {
    let asking = asking(shop, method, path, &body).with("authorization", &format!("Bearer {ADMIN}"));
    let answered = asking.with("idempotency-key", path).answered().await;
    assert!(answered.status.is_success(), "{method} {path}: {}", answered.text());
    answered.json()
}

/// Everything that opens something, as its answers gave it; the session's cookie and CSRF token last.
async fn ways_in(shop: &Shop) -> Vec<String> {
    let text = |answer: &Value, member: &str| answer[member].as_str().unwrap().to_owned();
    by_admin(shop, "POST", "/api/v1/users", json!({"name": "ann@acme.example"})).await;
    by_admin(shop, "POST", "/api/v1/service-accounts", json!({"name": "bot"})).await;
    let token = by_admin(shop, "POST", "/api/v1/users/bot/tokens", json!({"label": "job"})).await;
    let invitation = by_admin(shop, "POST", "/api/v1/users/ann@acme.example/invitation", json!({})).await;
    let invited = text(&invitation, "link").split_once('#').unwrap().1.to_owned();
    let accepted = json!({"token": invited, "password": PASSWORD});
    let accepted = asking(shop, "POST", "/api/v1/invitations/accept", &accepted).answered().await;
    assert_eq!(accepted.status, 200, "{}", accepted.text());

    let login = json!({"user": "ann@acme.example", "password": PASSWORD});
    let opened = asking(shop, "POST", "/api/v1/sessions", &login).answered().await;
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let csrf = text(&opened.json(), "csrf_token");
    let begun =
        asking(shop, "POST", "/api/v1/users/ann@acme.example/second-factor", &json!({"current_password": PASSWORD}))
            .with("cookie", &cookie)
            .with("x-csrf-token", &csrf)
            .answered()
            .await;
    assert_eq!(begun.status, 201, "{}", begun.text());
    let of_command = done(shop, &["token", "create", "ann@acme.example"]).trim().to_owned();
    let link = done(shop, &["user", "invite", "ann@acme.example"]);
    let again = link.trim().strip_prefix("/join#").unwrap().to_owned();
    let of_cookie = cookie.split_once('=').unwrap().1.to_owned();
    vec![text(&token, "token"), invited, text(&begun.json(), "secret"), of_command, again, of_cookie, csrf]
}

/// Attempts that fail, and pages that are about people.
async fn told(shop: &Shop, ways: &[String]) -> Vec<String> {
    let [token, invited, _, _, _, cookie, csrf] = ways else { panic!("{ways:?}") };
    let session = |asking: Asking| asking.with("cookie", &format!("farebox_session={cookie}"));
    let by_token =
        |path: &str| asking(shop, "GET", path, &Value::Null).with("authorization", &format!("Bearer {token}"));
    let login = json!({"user": "ann@acme.example", "password": WRONG});
    let of_ann = "/api/v1/users/ann@acme.example";
    let code = asking(shop, "PUT", &format!("{of_ann}/second-factor"), &json!({"code": "000000"}));
    let callback = format!("/login/corp/callback?state=canary-state&code={CODE}");
    let admin = |path: &str| asking(shop, "GET", path, &Value::Null).with("authorization", &format!("Bearer {ADMIN}"));
    let mut told = Vec::new();
    for asking in [
        asking(shop, "POST", "/api/v1/sessions", &login),
        asking(shop, "POST", "/api/v1/invitations/accept", &json!({"token": invited, "password": PASSWORD})),
        session(code).with("x-csrf-token", csrf),
        session(asking(shop, "POST", "/api/v1/teams", &json!({"name": "a"}))),
        session(asking(shop, "GET", &format!("{of_ann}/sessions"), &Value::Null)),
        by_token("/api/v1/me"),
        by_token("/api/v1/audit"),
        asking(shop, "GET", &format!("/api/v1/me?token={token}"), &Value::Null),
        asking(shop, "GET", "/login/corp", &Value::Null),
        asking(shop, "GET", &callback, &Value::Null),
        admin("/metrics"),
        admin("/api/v1/audit?limit=100"),
        admin(&format!("{of_ann}/tokens")),
        admin(&format!("{of_ann}/second-factor")),
        admin("/api/v1/users/bot/tokens"),
    ] {
        let answered = asking.answered().await;
        told.push(format!("{} {:?}\n{}", answered.status, answered.headers, answered.text()));
    }
    for arguments in [&["audit", "list", "--json"][..], &["token", "list", "bot"], &["user", "list"]] {
        told.push(done(shop, arguments));
    }
    told
}

#[tokio::test]
async fn what_lets_people_in_is_in_the_answer_that_gives_it_and_nowhere_else() {
    let traces = collector(Manner::Takes).await;
    let mut shop = opened(&traces).await;
    let ways = ways_in(&shop).await;
    let mut told = told(&shop, &ways).await;
    assert!(told[8].starts_with("503") && told[9].starts_with("401"), "{} {}", told[8], told[9]);
    assert!(told[11].contains("open_session") && told[11].contains("invite"), "{}", told[11]);
    told.push(shop.log());
    told.push(shop.stdout());
    assert!(shop.log().contains("an identity provider cannot be asked"));
    shop.kill();
    told.push(String::from_utf8_lossy(&traces.bytes()).into_owned());
    let secrets = ways.iter().map(|way| &way[PREFIX..]).chain([ADMIN, CLIENT, PASSWORD, WRONG, CODE]);
    let secrets: Vec<&str> = secrets.collect();
    for text in &told {
        assert_free_of(text, &secrets);
    }
    let found = files_with(&shop.data_dir(), &secrets);
    assert!(found.is_empty(), "{found:?}");
}
