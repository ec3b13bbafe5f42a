//! The fuzz targets (`fuzz/src`) on any compiler: every seed and everything that was kept in `fuzz/corpus`, and a number
//! of mutations of them that is the same in every run. `FAREBOX_FUZZ_ROUNDS` makes it more (`make fuzz`);
//! `FAREBOX_FUZZ_SEEDS=<folder>` writes the seeds for cargo-fuzz. An input that breaks a law is kept in `target/fuzz`.

mod mutate;
mod seeds;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use mutate::Mutations;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use targets::TARGETS;

/// Of each target in `make test`.
const ROUNDS: u64 = 400;
/// A mutation grows no longer: an unoptimised build has to read it many times.
const INPUT_BYTES_MAX: usize = 8 << 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Seeds and corpus, in an order that is always the same.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut inputs = seeds::of(target, root());
    let mut kept: Vec<PathBuf> = std::fs::read_dir(root().join("fuzz/corpus").join(target))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    kept.sort();
    inputs.extend(kept.into_iter().map(|path| std::fs::read(path).unwrap()));
    inputs
}

fn holds(target: &str) {
    let run = TARGETS.iter().find(|known| known.name == target).expect("a target").run;
    let tried = |input: &[u8]| {
        if let Err(broken) = catch_unwind(AssertUnwindSafe(|| run(input))) {
            let path = kept_aside(target, input);
            eprintln!("the input is {}", path.display());
            std::panic::resume_unwind(broken);
        }
    };
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{target} has no seeds");
    inputs.iter().for_each(|input| tried(input));
    let short: Vec<Vec<u8>> = inputs.into_iter().filter(|input| input.len() <= INPUT_BYTES_MAX).collect();
    let rounds = std::env::var("FAREBOX_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut mutations = Mutations::of(&short, target);
    for _ in 0..rounds {
        tried(&mutations.next(INPUT_BYTES_MAX));
    }
}

fn kept_aside(target: &str, input: &[u8]) -> PathBuf {
    let folder = root().join("target/fuzz").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("broken-{:08x}", crc32fast::hash(input)));
    std::fs::write(&path, input).unwrap();
    path
}

macro_rules! each_holds {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            holds(stringify!($target));
        })*

        #[test]
        fn every_target_is_tried() {
            let tried = [$(stringify!($target)),*];
            assert_eq!(TARGETS.map(|target| target.name), tried);
        }
    };
}

each_holds!(sse, filters, json, requests, splice, bounds, responses, rules, config, catalog, journal, heads);

#[test]
fn seeds_are_written_where_cargo_fuzz_finds_them() {
    let folder = std::env::var_os("FAREBOX_FUZZ_SEEDS").map(PathBuf::from);
    let own = tempfile::tempdir().unwrap();
    let folder = folder.unwrap_or_else(|| own.path().to_owned());
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        for input in seeds::of(target.name, root()) {
            std::fs::write(folder.join(format!("seed-{:08x}", crc32fast::hash(&input))), input).unwrap();
        }
        assert!(std::fs::read_dir(folder).unwrap().count() > 0);
    }
}
