//! Providers behind an egress proxy.

use crate::support::egress::egress;
use crate::support::{chat, shop};

/// A provider whose name only the proxy knows.
const FAR: [&str; 1] = ["base_url: http://models.far.invalid:8080/v1"];

#[tokio::test]
async fn a_provider_is_reached_through_its_proxy_and_the_tunnel_is_kept() {
    let egress = egress(200).await;
    let proxy = format!("proxy: http://{}", egress.address);
    let shop = shop().with_provider("far", "openai", &[FAR[0], &proxy]).open().await;
    egress.lead_to(shop.simulator.address);
    for _ in 0..3 {
        let answered = shop.post("/far/v1/chat/completions", &chat("Hi")).answered().await;
        assert_eq!(answered.status, 200, "{}", answered.text());
    }
    let heads = egress.heads();
    assert_eq!(heads.len(), 1, "one connection carries all three: {heads:#?}");
    assert!(heads[0].starts_with("connect models.far.invalid:8080 http/1.1\r\n"), "{}", heads[0]);
    assert_eq!(shop.rows(3).await[0].usage_source.as_deref(), Some("reported"));
}

#[tokio::test]
async fn the_customary_variable_names_the_proxy_and_its_password() {
    let egress = egress(200).await;
    let proxy = format!("http://ann:s%3Acret@{}", egress.address);
    let shop = shop().with_variable("HTTP_PROXY", &proxy).with_provider("far", "openai", &FAR).open().await;
    egress.lead_to(shop.simulator.address);
    assert_eq!(shop.post("/far/v1/chat/completions", &chat("Hi")).answered().await.status, 200);
    // `ann:s:cret`
    assert!(egress.heads()[0].contains("proxy-authorization: basic yw5uonm6y3jlda=="), "{:?}", egress.heads());
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    assert_eq!(egress.heads().len(), 1, "our own machine is reached straight");
}

#[tokio::test]
async fn a_proxy_that_says_no_is_named_and_nothing_is_charged() {
    let egress = egress(407).await;
    let proxy = format!("http://ann:hush@{}", egress.address);
    let shop = shop().with_variable("HTTP_PROXY", &proxy).with_provider("far", "openai", &FAR).open().await;
    let answered = shop.post("/far/v1/chat/completions", &chat("Hi")).answered().await;
    assert_eq!(answered.status, 502);
    let said = answered.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("the egress proxy http://{}", egress.address)) && said.contains("407"), "{said}");
    assert!(!said.contains("hush") && !shop.log().contains("hush"));
    let row = shop.rows(1).await.remove(0);
    assert_eq!((row.outcome.as_deref(), row.usage.is_zero()), (Some("provider_connection_failed"), true));
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let shop = shop().with_provider("far", "openai", &[FAR[0], "proxy: http://127.0.0.1:9"]).open().await;
    let said = shop.post("/far/v1/chat/completions", &chat("Hi")).answered().await.text();
    assert!(said.contains("the egress proxy http://127.0.0.1:9: connection refused"), "{said}");
}
