//! TLS on both sides: a provider whose certificate is trusted or not, and a client that speaks HTTP/2.

use crate::support::egress::egress;
use crate::support::tls::{Certificates, certificates, over_http2};
use crate::support::{Shop, chat, shop, with};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

/// A Farebox that listens with TLS: the provider of another.
async fn far(certificates: &Certificates) -> Shop {
    shop().with_setting(&certificates.setting()).open().await
}

fn base_url(far: &Shop) -> String {
    format!("base_url: https://localhost:{}/v1", far.address().port())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_said_with_its_remedy_and_not_tried_again() {
    let (theirs, ours) = (certificates(), certificates());
    let far = far(&theirs).await;
    let lines = [base_url(&far), "retries: {max: 5, pause: 1ms}".to_owned()];
    let shop = shop().with_variable("SSL_CERT_FILE", &ours.certificate().display().to_string());
    let shop = shop.with_provider("far", "openai", &[&lines[0], &lines[1]]).open().await;
    let answered = shop.post("/far/v1/chat/completions", &chat("Hi")).answered().await;
    assert_eq!(answered.status, 502);
    let said = answered.text();
    assert!(said.contains("certificate is not trusted") && said.contains("`tls.ca_file` of `far`"), "{said}");
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.usage.is_zero()), (Some("provider_connection_failed"), true));
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_also_through_a_proxy() {
    let theirs = certificates();
    let far = far(&theirs).await;
    let egress = egress(200).await;
    egress.lead_to(far.address());
    let trusted = format!("tls: {{ca_file: {}}}", theirs.certificate().display());
    let proxy = format!("proxy: http://{}", egress.address);
    let shop = shop().with_provider("far", "openai", &[&base_url(&far), &trusted]).with_provider(
        "farther",
        "openai",
        &["base_url: https://localhost:1/v1", &trusted, &proxy],
    );
    let shop = shop.open().await;
    for path in ["/far/v1/chat/completions", "/farther/v1/chat/completions"] {
        let answered = shop.post(path, &chat("Hi")).answered().await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.text());
    }
    assert!(egress.heads()[0].starts_with("connect localhost:1 "), "{:?}", egress.heads());
    far.rows(2).await;
}

#[tokio::test]
async fn a_client_may_speak_http2() {
    let ours = certificates();
    let shop = shop().with_setting(&ours.setting()).open().await;
    for stream in [false, true] {
        let body = with(chat("Say something."), json!({"stream": stream}));
        let request = Request::post("https://localhost/v1/chat/completions").header("content-type", "application/json");
        let request =
            request.header("x-sim-output-tokens", "7").body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let answered = over_http2(shop.address(), &ours, request).await;
        assert_eq!((answered.status().as_u16(), answered.version()), (200, http::Version::HTTP_2));
        let text = String::from_utf8_lossy(answered.body());
        match stream {
            true => assert!(text.ends_with("data: [DONE]\n\n"), "{text}"),
            false => {
                let cost = answered.headers()["x-farebox-cost"].to_str().unwrap();
                let body: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((cost, &body["usage"]["completion_tokens"]), ("0.000095", &json!(7)));
            }
        }
    }
    for row in shop.rows(2).await {
        assert_eq!((row.usage.output_tokens(), row.outcome.as_deref()), (7, Some("ok")));
    }
}
