//! What a key opens and what not, in every dialect, and how soon a change is felt.

use super::{chat, done, key, keyed, until_me};
use crate::support::asking;
use serde_json::json;

#[tokio::test]
async fn without_a_key_nobody_comes_in_and_each_dialect_says_so_in_its_own_words() {
    let shop = keyed().open().await;
    let calls = [
        ("/v1/chat/completions", "invalid_request_error"),
        ("/anthropic/v1/messages", "authentication_error"),
        ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", "UNAUTHENTICATED"),
    ];
    for (path, word) in calls {
        for brought in ["", "sk-of-a-provider", "fb-0000000000000000000000000000000000000000000000000000"] {
            let answered = shop.post(path, &json!({})).with("x-api-key", brought).answered().await;
            assert_eq!(answered.status, 401, "{path} {}", answered.text());
            assert!(answered.text().contains(word), "{path} {}", answered.text());
            assert!(brought.is_empty() || !answered.text().contains(brought));
        }
    }
    for path in ["/farebox/me", "/farebox/exchanges/fbx_0000000000000"] {
        assert_eq!(shop.ask("GET", path).answered().await.status, 401);
    }
    assert_eq!(shop.post("/farebox/preview", &json!({})).answered().await.status, 401);
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_key_says_whose_a_call_is_whatever_the_headers_say() {
    let shop = keyed().open().await;
    done(&shop, &["team", "create", "research"]);
    done(&shop, &["project", "create", "ranker", "--team", "research"]);
    done(&shop, &["user", "create", "alice"]);
    let key = key(&shop, &["app", "--project", "ranker", "--user", "alice", "--tag", "app=search"]).await;
    let answered = chat(&shop, &key)
        .with("x-farebox-team", "sales")
        .with("x-farebox-organisation", "evil")
        .with("x-farebox-project", "evil")
        .with("x-farebox-user", "bob")
        .with("x-farebox-tag-app", "evil")
        .with("x-farebox-tag-feature", "answers")
        .with("x-farebox-session", "s-1");
    assert_eq!(answered.answered().await.status, 200);
    let row = shop.row().await;
    let names = [&row.organisation, &row.team, &row.project, &row.key, &row.user, &row.session];
    let names = names.map(|name| name.as_deref().unwrap_or_default());
    assert_eq!(names, ["default", "research", "ranker", "app", "alice", "s-1"]);
    let tags: serde_json::Value = serde_json::from_str(row.tags.as_deref().unwrap()).unwrap();
    assert_eq!(tags, json!({"app": "search", "feature": "answers"}));
}

#[tokio::test]
async fn a_virtual_key_is_read_wherever_sdks_put_one_and_never_goes_to_the_provider() {
    let own = "sk-fareboxs-own-key-0001";
    let shop = keyed().with_every_provider("key: env:UPSTREAM_KEY").with_variable("UPSTREAM_KEY", own).open().await;
    let key = key(&shop, &["app"]).await;
    for (name, value) in [
        ("authorization", format!("Bearer {key}")),
        ("x-api-key", key.clone()),
        ("api-key", key.clone()),
        ("x-goog-api-key", key.clone()),
    ] {
        let answered = shop.chat("Hello").with(name, &value).answered().await;
        assert_eq!(answered.status, 200, "{name} {}", answered.text());
        let seen = shop.seen(answered.attempt());
        let sent: Vec<&(String, String)> =
            seen.headers.iter().filter(|(name, _)| name.contains("key") || name == "authorization").collect();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert!(sent[0].0 == "authorization" && sent[0].1.ends_with("0001"), "{sent:?}");
    }
    let path = format!("/gemini/v1beta/models/gemini-2.5-flash:generateContent?key={key}");
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    let answered = asking("POST", &shop.url(&path)).json(&asked).answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    let seen = shop.seen(answered.attempt());
    assert!(!seen.query.unwrap_or_default().contains("fb-"));
}

#[tokio::test]
async fn a_key_is_good_for_its_models_operations_providers_and_networks_only() {
    let shop = keyed().with_provider("spare", "openai", &[]).open().await;
    let mini = key(&shop, &["mini", "--model", "gpt-4o-mini*"]).await;
    let refused = chat(&shop, &mini).answered().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("the key `mini`") || refused.text().contains("The key `mini`"),
        "{}",
        refused.text()
    );
    let asked = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]});
    let with = |key: &str| format!("Bearer {key}");
    let allowed = shop.post("/v1/chat/completions", &asked).with("authorization", &with(&mini)).answered().await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    // A body that is not read names no model, and does not slip past.
    let odd = shop.ask("POST", "/v1/fine_tuning/jobs").bytes("{}").with("authorization", &with(&mini)).answered().await;
    assert_eq!(odd.status, 403, "{}", odd.text());

    let embeds = key(&shop, &["embeds", "--operation", "embeddings"]).await;
    assert_eq!(chat(&shop, &embeds).answered().await.status, 403);
    let elsewhere = key(&shop, &["elsewhere", "--provider", "spare"]).await;
    assert_eq!(chat(&shop, &elsewhere).answered().await.status, 403);
    let there = shop.post("/spare/v1/chat/completions", &asked).with("authorization", &with(&elsewhere));
    assert_eq!(there.answered().await.status, 200);
    let usual = key(&shop, &["usual"]).await;
    let files = shop.ask("GET", "/v1/files").with("authorization", &with(&usual)).answered().await;
    assert!(files.status == 403 && files.text().contains("--operation files"), "{}", files.text());
    let office = done(&shop, &["key", "create", "office", "--network", "10.0.0.0/8"]);
    // It opens /farebox/me from anywhere; calls only from its network.
    until_me(&shop, office.trim(), |status| status == 200).await;
    assert_eq!(chat(&shop, office.trim()).answered().await.status, 403);
}

#[tokio::test]
async fn a_fallback_that_the_key_is_not_good_for_is_passed_over() {
    let shop = keyed()
        .with_provider("first", "openai", &["base_url: http://127.0.0.1:1/v1", "fallbacks: [openai]"])
        .open()
        .await;
    let wide = key(&shop, &["wide"]).await;
    let narrow = key(&shop, &["narrow", "--provider", "first"]).await;
    let asked = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]});
    let ask = |key: &str| {
        shop.post("/first/v1/chat/completions", &asked).with("authorization", &format!("Bearer {key}")).answered()
    };
    assert_eq!(ask(&wide).await.status, 200);
    let before = shop.simulator.log.totals().attempts;
    assert_eq!(ask(&narrow).await.status, 502);
    assert_eq!(shop.simulator.log.totals().attempts, before);
}

#[tokio::test]
async fn a_revoked_disabled_or_replaced_key_stops_opening_while_the_node_runs() {
    let shop = keyed().open().await;
    done(&shop, &["team", "create", "research"]);
    let app = key(&shop, &["app", "--team", "research"]).await;
    done(&shop, &["team", "disable", "research"]);
    until_me(&shop, &app, |status| status == 401).await;
    assert!(chat(&shop, &app).answered().await.text().contains("disabled with the team"));
    done(&shop, &["team", "enable", "research"]);
    until_me(&shop, &app, |status| status == 200).await;

    let rotated = done(&shop, &["key", "rotate", "app", "--overlap", "1h"]).trim().to_owned();
    until_me(&shop, &rotated, |status| status == 200).await;
    assert_eq!(chat(&shop, &app).answered().await.status, 200, "the overlap lasts an hour");
    let last = done(&shop, &["key", "rotate", "app", "--overlap", "0s"]).trim().to_owned();
    until_me(&shop, &last, |status| status == 200).await;
    for gone in [&app, &rotated] {
        assert_eq!(chat(&shop, gone).answered().await.status, 401);
    }
    done(&shop, &["key", "delete", "app"]);
    until_me(&shop, &last, |status| status == 401).await;
    let short = key(&shop, &["short", "--expires", "3s"]).await;
    until_me(&shop, &short, |status| status == 401).await;
    assert!(chat(&shop, &short).answered().await.text().contains("expired"));
}

#[tokio::test]
async fn in_open_mode_a_virtual_key_is_stopped_and_not_sent_on() {
    let shop = crate::support::shop().open().await;
    let key = done(&shop, &["key", "create", "app"]);
    let refused = chat(&shop, key.trim()).answered().await;
    assert!(refused.status == 401 && refused.text().contains("access: keys"), "{}", refused.text());
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_swap_to_a_model_that_the_key_is_not_good_for_is_passed_over() {
    let rules = "version: 1\nswaps:\n  - {name: save, when: {team: research}, from: [gpt-4o], to: [gpt-4o-mini]}\n";
    let shop = keyed().with_rules(rules).open().await;
    done(&shop, &["team", "create", "research"]);
    let wide = key(&shop, &["wide", "--team", "research"]).await;
    let narrow = key(&shop, &["narrow", "--team", "research", "--model", "gpt-4o"]).await;
    for (key, model) in [(&wide, "gpt-4o-mini"), (&narrow, "gpt-4o")] {
        let answered = chat(&shop, key).answered().await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        assert_eq!(shop.seen(answered.attempt()).model.as_deref(), Some(model));
    }
}
