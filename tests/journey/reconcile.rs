//! A provider's bill against what really flowed.

use crate::support::{chat, shop, with};
use serde_json::{Value, json};

#[tokio::test]
async fn a_bill_is_compared_with_the_ledger_and_each_difference_has_its_reason() {
    let shop = shop().open().await;
    let body = with(chat("Say something."), json!({ "max_tokens": 100 }));
    for _ in 0..2 {
        let call = shop.post("/v1/chat/completions", &body).wishing("output-tokens", 100);
        assert_eq!(call.answered().await.status, 200);
    }
    let rows = shop.rows(2).await;
    let pico: i64 = rows.iter().filter_map(|row| row.cost).map(farebox::money::Usd::as_pico).sum();
    let input: u64 = rows.iter().map(|row| row.usage.input_tokens()).sum();
    let day = &rows[0].started_at.to_rfc3339()[..10];
    // One call more was billed than passed through Farebox, and a model of which it knows nothing.
    let (input, output) = (input / 2 * 3, 300);
    let billed = farebox::money::Usd::from_pico(pico / 2 * 3);
    let bill = format!(
        "day,model,cost_usd,input_tokens,output_tokens\n{day},gpt-4o-2024-08-06,{billed},{input},{output}\n{day},gpt-4o-mini,1.00,,\n"
    );
    let path = shop.data_dir().join("bill.csv");
    std::fs::write(&path, bill).unwrap();
    let ran = shop.command(&["reconcile", "--invoice", path.to_str().unwrap(), "--json"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let one = farebox::money::Usd::from_pico(pico / 2).to_string();
    assert_eq!(told["lines"][0]["reasons"], json!([{ "reason": "tokens", "usd": one }]), "{told:#}");
    assert_eq!(told["lines"][1]["reasons"], json!([{ "reason": "missing_here", "usd": "1.00" }]), "{told:#}");
    let table = shop.command(&["reconcile", "--invoice", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("missing here 1.00"), "{table:?}");
    std::fs::write(&path, "day,model\n").unwrap();
    let refused = shop.command(&["reconcile", "--invoice", path.to_str().unwrap()]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("line 1"), "{refused:?}");
}

/// The commands and the table of `docs/budgets.md`, as they stand there.
#[tokio::test]
async fn the_bill_of_the_documents_is_read_as_they_say() {
    let shop = shop().open().await;
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    shop.rows(1).await;
    let document = include_str!("../../docs/budgets.md");
    let section = document.split("## A provider's bill").nth(1).unwrap().split("\n## ").next().unwrap();
    let block = |kind: &str| {
        let opened = section.split(&format!("```{kind}\n")).nth(1).expect("a block");
        opened.split("```").next().unwrap().to_owned()
    };
    let directory = shop.data_dir().parent().unwrap().to_owned();
    std::fs::write(directory.join("bill.csv"), block("text")).unwrap();
    // The columns that are named for OpenAI's export of costs.
    let named = section.split("export of costs (").nth(1).unwrap().split(')').next().unwrap();
    let columns: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    let cell = |column: &&str| match *column {
        "start_time" => "1795132800",
        "amount_value" => "1.5",
        "amount_currency" => "usd",
        "line_item" => "\"gpt-4o-2024-08-06, output\"",
        other => panic!("what stands in `{other}`?"),
    };
    let costs = format!("{}\n{}\n", columns.join(","), columns.iter().map(cell).collect::<Vec<_>>().join(","));
    std::fs::write(directory.join("costs.csv"), costs).unwrap();
    let commands = block("sh");
    let mut ran = 0;
    for command in commands.lines() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let told = shop.command(&words[1..]);
        assert!(told.status.success(), "{command}: {}", String::from_utf8_lossy(&told.stderr));
        assert!(String::from_utf8_lossy(&told.stdout).contains("gpt-4o"), "{command}: {told:?}");
        ran += 1;
    }
    assert_eq!(ran, 2);
}
