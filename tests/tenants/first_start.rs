//! The first start of a node in keys mode, as the compose file has it.

use super::{chat, done, keyed, until_me};
use crate::support::Shop;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// The word behind this, once it was printed.
fn printed(shop: &Shop, before: &str) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let said = shop.stdout();
        if let Some(word) = said.lines().find_map(|line| line.trim().strip_prefix(before)) {
            return word.trim().to_owned();
        }
        assert!(Instant::now() < until, "`{before}` in: {said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn the_first_start_prints_an_owners_token_and_a_key_once_and_keeps_them() {
    let mut shop = keyed().with_variable("FAREBOX_MINT_ON_FIRST_START", "yes").open().await;
    let (token, key) = (printed(&shop, "admin port, owner:"), printed(&shop, "data port, virtual key:"));
    until_me(&shop, &key, |status| status == 200).await;
    assert_eq!(chat(&shop, &key).answered().await.status, 200);
    let people = shop.admin("/api/v1/users").with("authorization", &format!("Bearer {token}")).answered().await;
    assert_eq!(people.status, 200, "{}", people.text());
    let kept = shop.data_dir().join("first-start");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.contains(&token) && text.contains(&key), "{text}");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!shop.log().contains(&token) && !shop.log().contains(&key), "{}", shop.log());

    shop.kill();
    shop.start();
    assert_eq!(chat(&shop, &key).answered().await.status, 200, "the same key after a restart");
    assert!(!shop.stdout().contains("fb"), "shown once: {}", shop.stdout());

    // Who deletes the key and has a member left, or had a key once, is given no other.
    done(&shop, &["key", "delete", "first"]);
    shop.kill();
    shop.start();
    let keys: Value = serde_json::from_str(&done(&shop, &["key", "list", "--json"])).unwrap();
    assert_eq!((keys.as_array().map(Vec::len), shop.stdout().as_str()), (Some(0), ""));
}
