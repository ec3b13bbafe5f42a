//! Deterministic simulation: book, records, replay and the arithmetic of leases, on a disk and a store that die in every
//! way, from seeds. The oracles are equations between what the world saw and what the store says; seeded mistakes show
//! that they see.
//!
//! `make test` runs 200 seeds, `make torture` 10,000 (`FAREBOX_SEEDS=10000`); a failing one is run again alone with
//! `FAREBOX_SEED=<it>`.

mod dice;
mod disk;
mod shelf;
mod world;

use dice::Dice;
use proptest::prelude::*;
use world::World;

/// What is done to the world.
#[derive(Clone, Debug)]
pub enum Act {
    /// A bit each for the budgets.
    Call {
        budgets: u8,
        amount: u64,
    },
    TopUp {
        at: usize,
        amount: u64,
    },
    /// 0 percent: released.
    Settle {
        at: usize,
        percent: u64,
    },
    Sync,
    Fold,
    Sweep,
    Reload {
        budget: usize,
        percent: u64,
    },
    Clock {
        seconds: i64,
    },
    Kill,
    PowerCut,
    Close,
}

/// A mistake that the oracles must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// The call leaves before its record is written.
    ForwardFirst,
    /// The store takes what the disk may still forget.
    FoldAhead,
    /// The position is committed before the events.
    PositionFirst,
    /// After a power cut, the journal is believed to be whole.
    TrustAfterPowerLoss,
    /// A slice is given back because its process seems dead.
    SliceReturnedByTimeOut,
    /// After a power cut, a hold is charged whole although its settlement, which is lost, had passed it on to others.
    HoldsChargedTwice,
}

const STEPS: u64 = 400;

fn draw(dice: &mut Dice) -> Act {
    let most = if dice.one_in(10) { 900 } else { 120 };
    match dice.below(100) {
        0..40 => Act::Call { budgets: 1 + dice.below(7) as u8, amount: 1 + dice.below(most) },
        40..47 => Act::TopUp { at: dice.below(1_000) as usize, amount: 1 + dice.below(60) },
        47..76 => Act::Settle { at: dice.below(1_000) as usize, percent: dice.below(10) },
        76..83 => Act::Sync,
        83..89 => Act::Fold,
        89..91 => Act::Sweep,
        91..93 => Act::Reload { budget: dice.below(3) as usize, percent: 60 + dice.below(90) },
        93..97 => Act::Clock { seconds: dice.below(400) as i64 - 60 },
        97 => Act::Kill,
        98 => Act::PowerCut,
        _ if dice.one_in(2) => Act::Close,
        _ => Act::Clock { seconds: 1_500 },
    }
}

fn run(seed: u64, mutation: Mutation) -> Result<(u64, u64), String> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut world = World::new(seed, mutation);
    for step in 0..STEPS {
        let act = draw(&mut dice);
        world.act(&act).map_err(|fault| format!("seed {seed}, step {step}, {act:?}: {fault}"))?;
    }
    world.end().map_err(|fault| format!("seed {seed}, at the end: {fault}"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_dies_the_sums_hold_and_nothing_is_lost() {
    let (first, seeds) = match number("FAREBOX_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("FAREBOX_SEEDS").unwrap_or(200)),
    };
    let (mut admitted, mut refused) = (0, 0);
    for seed in first..first + seeds {
        let (yes, no) = run(seed, Mutation::None).unwrap();
        (admitted, refused) = (admitted + yes, refused + no);
    }
    eprintln!("{seeds} seeds: {admitted} admitted, {refused} refused");
    assert!(seeds == 1 || (admitted > seeds * 20 && refused > seeds), "{admitted} admitted, {refused} refused");
}

fn caught(mutation: Mutation) -> u64 {
    (0..100).filter(|seed| run(*seed, mutation).is_err()).count() as u64
}

#[test]
fn every_mistake_that_is_put_in_is_seen() {
    for mutation in [
        Mutation::ForwardFirst,
        Mutation::FoldAhead,
        Mutation::PositionFirst,
        Mutation::TrustAfterPowerLoss,
        Mutation::SliceReturnedByTimeOut,
        Mutation::HoldsChargedTwice,
    ] {
        let caught = caught(mutation);
        eprintln!("{mutation:?}: {caught} of 100 seeds");
        assert!(caught >= 20, "{mutation:?} is seen by {caught} of 100 seeds");
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => (1u8..8, 1u64..900).prop_map(|(budgets, amount)| Act::Call { budgets, amount }),
        2 => (any::<usize>(), 1u64..200).prop_map(|(at, amount)| Act::TopUp { at, amount }),
        7 => (any::<usize>(), 0u64..10).prop_map(|(at, percent)| Act::Settle { at, percent }),
        2 => Just(Act::Sync),
        2 => Just(Act::Fold),
        1 => Just(Act::Sweep),
        1 => (any::<usize>(), 50u64..200).prop_map(|(budget, percent)| Act::Reload { budget, percent }),
        1 => (-100i64..4_000).prop_map(|seconds| Act::Clock { seconds }),
        1 => Just(Act::Kill),
        1 => Just(Act::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Admitted is what a serial book without leases admits, no hold is lost, and the replay of the ledger is the book.
    #[test]
    fn any_interleaving_keeps_the_limits(acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new(1, Mutation::None);
        for act in &acts {
            let done = world.act(act);
            prop_assert!(done.is_ok(), "{act:?}: {done:?}");
        }
        let ended = world.end();
        prop_assert!(ended.is_ok(), "{ended:?}");
    }
}
