//! What is kept of a person, handed out and erased, while the node runs.

use super::{chat, done, key, keyed, me};
use serde_json::Value;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_erased_persons_name_leaves_the_running_nodes_keyring_too() {
    let shop = keyed().open().await;
    done(&shop, &["user", "create", "ann"]);
    let app = key(&shop, &["app", "--user", "ann"]).await;
    assert_eq!(chat(&shop, &app).answered().await.status, 200);
    shop.rows(1).await;

    let told = done(&shop, &["privacy", "export", "--user", "ann"]);
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "her key and her call: {told}");
    assert_eq!((&lines[0]["name"], &lines[1]["user"]), (&"app".into(), &"ann".into()));

    done(&shop, &["privacy", "erase", "--user", "ann"]);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let told = me(&shop, &app).answered().await.text();
        if !told.contains("ann") {
            break;
        }
        assert!(Instant::now() < until, "still {told}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(chat(&shop, &app).answered().await.status, 200, "the key opens as before");
    let rows = shop.rows(2).await;
    assert!(rows.iter().all(|row| row.user.as_deref() != Some("ann")), "{rows:?}");
    let log = done(&shop, &["audit", "list"]);
    assert!(log.contains("export") && log.contains("erase") && !log.contains("ann"), "{log}");
    assert!(done(&shop, &["audit", "verify"]).contains("each line follows"));
}
