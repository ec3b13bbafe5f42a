//! The benches of single parts, one program: built at once, linked once. `benches/run NAME [WORDS]` runs one of them;
//! without a name all of them are run, one after the other.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

mod authenticate;
mod backtest;
mod budget;
mod count;
mod journal;
mod machine;
mod month;
mod record;
mod store;
mod telling;
mod usage;

/// As the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Bench = (&'static str, fn(&[String]));

const BENCHES: [Bench; 9] = [
    ("count", count::run),
    ("journal", journal::run),
    ("store", store::run),
    ("usage", usage::run),
    ("budget", budget::run),
    ("backtest", backtest::run),
    ("authenticate", authenticate::run),
    ("record", record::run),
    ("telling", telling::run),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (chosen, words): (Vec<Bench>, &[String]) = match words.split_first() {
        None => (BENCHES.to_vec(), &[]),
        Some((name, words)) => (BENCHES.into_iter().filter(|(known, _)| known == name).collect(), words),
    };
    if chosen.is_empty() {
        let names = BENCHES.map(|(name, _)| name).join(", ");
        eprintln!("there is no bench `{}`; one of: {names}", words.first().map_or("", String::as_str));
        std::process::exit(2);
    }
    for (name, run) in chosen {
        println!("## {name}: {}\n", machine::now());
        run(words);
        println!();
    }
}
