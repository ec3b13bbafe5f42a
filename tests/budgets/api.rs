//! Budgets that were made over the admin port: as those of files, within a second, also after a restart.

use super::bounded;
use crate::support::{Answered, Asking, Shop, asking, shop};
use serde_json::{Value, json};

const FILE: &str = "version: 1\nbudgets:\n  - {name: everybody, window: month, limit: 100 USD}\n";

fn admin(shop: &Shop, method: &str, path: &str) -> Asking {
    asking(method, &format!("http://{}{path}", shop.admin_address())).with("authorization", "Bearer the-admin-token")
}

async fn write(shop: &Shop, method: &str, path: &str, body: Value) -> Answered {
    admin(shop, method, path).json(&body).answered().await
}

async fn of_ann(shop: &Shop) -> u16 {
    bounded(shop, 1, false).with("x-farebox-user", "ann").answered().await.status.as_u16()
}

#[tokio::test]
async fn a_budget_made_over_the_port_holds_like_a_files_and_survives_a_restart_and_a_broken_file() {
    let mut shop = shop().with_rules(FILE).with_variable("FAREBOX_ADMIN_TOKEN", "the-admin-token").open().await;
    let new = json!({ "name": "ann-once", "scope": { "user": "ann" }, "window": "lifetime", "limit": "1 requests" });
    let made = write(&shop, "PUT", "/api/usage/budget", new).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let path = "/api/v1/budgets/ann-once";
    in_force(&shop, path).await;
    assert_eq!((of_ann(&shop).await, of_ann(&shop).await), (200, 429));
    assert_eq!(bounded(&shop, 1, false).with("x-farebox-user", "bob").answered().await.status, 200);
    let shown = settled(&shop, path).await;
    assert_eq!((&shown["origin"], &shown["instances"][0]["limit"]), (&"api".into(), &"1".into()));
    shop.kill();
    shop.rewrite_rules("version: 1\nbudgets: [{name: half");
    shop.start();
    assert_eq!(of_ann(&shop).await, 429, "neither the restart nor a broken file lets her through");
    let more = write(&shop, "PATCH", path, json!({ "limit": "2 requests" })).await;
    assert_eq!(more.status, 200, "{}", more.text());
    until_status(&shop, 200).await;
    assert_eq!(of_ann(&shop).await, 429, "the second was her last");
    assert_eq!(admin(&shop, "DELETE", path).answered().await.status, 204);
    until_status(&shop, 200).await;
}

/// What `farebox rules check` says of a file, beside the budgets that the database has.
fn checked(shop: &Shop, rules: &str) -> (bool, String) {
    let file = shop.data_dir().parent().unwrap().join("draft.yaml");
    std::fs::write(&file, rules).unwrap();
    let ran = shop.command(&["rules", "check", &file.display().to_string(), "--config", "farebox.yaml"]);
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn rules_are_checked_on_the_command_line_together_with_the_budgets_of_the_database() {
    let shop = shop().with_rules(FILE).with_variable("FAREBOX_ADMIN_TOKEN", "the-admin-token").open().await;
    let refers = "version: 1\nswaps:\n  - name: saves\n    when: {budget: {name: ann-once, used: '>= 80%'}}\n    from: [gpt-4o]\n    to: [gpt-4o-mini]\n";
    let clashes = "version: 1\nbudgets:\n  - {name: ann-once, window: day, limit: 1 USD}\n";
    let (well, said) = checked(&shop, refers);
    assert!(!well && said.contains("ann-once"), "it is not there yet: {said}");
    assert!(checked(&shop, clashes).0);
    let new = json!({ "name": "ann-once", "scope": { "user": "ann" }, "window": "lifetime", "limit": "1 requests" });
    assert_eq!(write(&shop, "PUT", "/api/usage/budget", new).await.status, 200);
    let (well, said) = checked(&shop, refers);
    assert!(well && said.contains("(1 budget of them made over the API)"), "{said}");
    let (well, said) = checked(&shop, clashes);
    assert!(
        !well && said.contains("database:") && said.contains("`ann-once` is the name of an earlier rule"),
        "{said}"
    );
}

#[tokio::test]
async fn what_a_file_would_be_told_of_is_told_by_its_member_and_a_files_budget_is_not_changed_here() {
    let shop = shop().with_rules(FILE).with_variable("FAREBOX_ADMIN_TOKEN", "the-admin-token").open().await;
    for (more, field) in [
        (json!({ "limit": "5 EUR" }), "limit"),
        (json!({ "window": "fortnight" }), "window"),
        (json!({ "scope": { "tema": "x" } }), "scope"),
        (json!({ "name": "everybody" }), "name"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let mut body = json!({ "name": "new", "window": "day", "limit": "5 USD" });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let refused = write(&shop, "POST", "/api/v1/budgets", body).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (400, &field.into()), "{}", refused.text());
    }
    let listed = admin(&shop, "GET", "/api/v1/budgets").answered().await.json();
    let names: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|budget| &budget["name"]).collect();
    assert_eq!(names, ["everybody"]);
    assert_eq!(listed["items"][0]["origin"], "file");
    let refused = write(&shop, "PATCH", "/api/v1/budgets/everybody", json!({ "limit": "1 USD" })).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("house.yaml:3"), "{}", refused.text());
}

async fn in_force(shop: &Shop, path: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while admin(shop, "GET", path).answered().await.json()["in_force"] != true {
        assert!(std::time::Instant::now() < until, "it comes into force");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The budget, once what was spent of it is one call.
async fn settled(shop: &Shop, path: &str) -> Value {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let shown = admin(shop, "GET", path).answered().await.json();
        if shown["instances"][0]["spent"] == "1" {
            return shown;
        }
        assert!(std::time::Instant::now() < until, "{shown:#}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Until a call of hers is answered so; changes take effect within a second, and a machine under load gets more.
async fn until_status(shop: &Shop, wanted: u16) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while of_ann(shop).await != wanted {
        assert!(std::time::Instant::now() < until, "a change takes effect");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
