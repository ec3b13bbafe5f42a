//! Keys mode: who comes in, for what, and what one team may know of another.

mod canary;
mod canary_of_people;
mod document;
mod first_start;
mod isolation;
mod own;
mod permissions;
mod privacy;
mod provider_keys;

use crate::support::shop::Furnishing;
use crate::support::{Asking, Shop, shop};
use std::time::{Duration, Instant};

/// A Farebox in keys mode, before it is opened.
fn keyed() -> Furnishing {
    shop().with_setting("access: keys")
}

/// Runs a command that must go well; what it wrote to standard output.
fn done(shop: &Shop, arguments: &[&str]) -> String {
    let output = shop.command(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Makes a key, and waits until the running node knows it.
async fn key(shop: &Shop, arguments: &[&str]) -> String {
    let key = done(shop, &[&["key", "create"], arguments].concat()).trim().to_owned();
    until_me(shop, &key, |status| status == 200).await;
    key
}

/// Asks `/farebox/me` until its status is as it should be. Changes take effect within a second; a machine under load
/// gets more.
async fn until_me(shop: &Shop, key: &str, enough: impl Fn(u16) -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let status = me(shop, key).answered().await.status.as_u16();
        if enough(status) {
            return;
        }
        assert!(Instant::now() < until, "/farebox/me still answers {status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn me(shop: &Shop, key: &str) -> Asking {
    shop.ask("GET", "/farebox/me").with("authorization", &format!("Bearer {key}"))
}

/// A chat with this key.
fn chat(shop: &Shop, key: &str) -> Asking {
    shop.chat("Hello").with("authorization", &format!("Bearer {key}"))
}
