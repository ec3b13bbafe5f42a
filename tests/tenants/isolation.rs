//! What one team can know of another: nothing.

use super::{chat, done, key, keyed, me};

#[tokio::test]
async fn one_teams_key_sees_none_of_anothers_exchanges() {
    let shop = keyed().open().await;
    for team in ["research", "sales"] {
        done(&shop, &["team", "create", team]);
    }
    let research = key(&shop, &["research-app", "--team", "research"]).await;
    let sales = key(&shop, &["sales-app", "--team", "sales"]).await;
    let answered = chat(&shop, &research).answered().await;
    shop.rows(1).await;
    let path = format!("/farebox/exchanges/{}", answered.header("x-farebox-exchange-id").unwrap());
    let ask = |key: &str| shop.ask("GET", &path).with("authorization", &format!("Bearer {key}")).answered();
    assert_eq!(ask(&research).await.status, 200);
    let unknown = ask(&sales).await;
    assert_eq!(unknown.status, 404);
    let never = path.replace(answered.header("x-farebox-exchange-id").unwrap(), "fbx_0000000000001");
    let never = shop.ask("GET", &never).with("authorization", &format!("Bearer {sales}")).answered().await;
    assert_eq!(never.status, 404, "an exchange of another team is as unknown as one that never was");

    let told = me(&shop, &sales).answered().await.text();
    assert!(told.contains("sales") && !told.contains("research"), "{told}");
    // Headers say nothing about who asks.
    let dressed = me(&shop, &sales).with("x-farebox-team", "research").answered().await.text();
    assert!(!dressed.contains("research"), "{dressed}");
}

#[tokio::test]
async fn names_are_never_given_out_twice_so_that_nobody_inherits_a_history() {
    let shop = keyed().open().await;
    let first = key(&shop, &["app"]).await;
    let answered = chat(&shop, &first).answered().await;
    shop.rows(1).await;
    done(&shop, &["key", "delete", "app"]);
    let again = shop.command(&["key", "create", "app"]);
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("choose another"), "{said}");
    let other = key(&shop, &["app-2"]).await;
    let path = format!("/farebox/exchanges/{}", answered.header("x-farebox-exchange-id").unwrap());
    let asked = shop.ask("GET", &path).with("authorization", &format!("Bearer {other}")).answered().await;
    assert_eq!(asked.status, 404);
}

#[tokio::test]
async fn a_teams_budget_is_drawn_on_by_its_own_keys_only() {
    let rules = "version: 1\nbudgets:\n  - {name: research-month, scope: {team: research}, window: month, limit: 0.000001 USD}\n";
    let shop = keyed().with_rules(rules).open().await;
    for team in ["research", "sales"] {
        done(&shop, &["team", "create", team]);
    }
    let research = key(&shop, &["research-app", "--team", "research"]).await;
    let sales = key(&shop, &["sales-app", "--team", "sales"]).await;
    let over = chat(&shop, &research).with("x-farebox-team", "sales").answered().await;
    assert_eq!(over.status, 429, "a header does not lead out of one's budget: {}", over.text());
    let free = chat(&shop, &sales).with("x-farebox-team", "research").answered().await;
    assert_eq!(free.status, 200, "nor into another's: {}", free.text());
    assert_eq!(shop.row().await.team.as_deref(), Some("sales"));
}
