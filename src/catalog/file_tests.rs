use super::*;

#[test]
fn the_shipped_catalog_reads() {
    let catalog = shipped()
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()));
    assert!(catalog.models(None).len() >= 150);
}
