//! What is fuzzed: each target is a function of bytes that panics where a law of the house is broken.
//!
//! They are used twice: by `tests/fuzz` in `make test`, which replays `corpus/` and seeds with a bounded number of
//! mutations on any compiler, and by cargo-fuzz (`make fuzz`), which looks for new ones for as long as one likes.
//!
//! An input is a byte that chooses among variants, a byte that chooses how the rest is cut into pieces, and the rest.

mod bodies;
mod heads;
mod journal;
mod streams;
mod texts;

/// A function that holds for every input.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: [Target; 12] = [
    Target { name: "sse", run: streams::splitter },
    Target { name: "filters", run: streams::filters },
    Target { name: "json", run: bodies::json },
    Target { name: "requests", run: bodies::requests },
    Target { name: "splice", run: bodies::splicing },
    Target { name: "bounds", run: bodies::bounds },
    Target { name: "responses", run: bodies::responses },
    Target { name: "rules", run: texts::rules },
    Target { name: "config", run: texts::config },
    Target { name: "catalog", run: texts::catalog },
    Target { name: "journal", run: journal::segment },
    Target { name: "heads", run: heads::response },
];

/// An input taken apart.
struct Input<'a> {
    variant: usize,
    cut: u8,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn of(bytes: &'a [u8]) -> Option<Input<'a>> {
        let [variant, cut, rest @ ..] = bytes else { return None };
        Some(Input { variant: usize::from(*variant), cut: *cut, rest })
    }

    fn choose<T: Copy>(&self, among: &[T]) -> T {
        among[self.variant % among.len()]
    }
}

/// `bytes` in pieces of 1 to 64 bytes, the same for the same `cut`.
fn pieces(bytes: &[u8], cut: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (bytes, u64::from(cut) * 0x9E37_79B9 + 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Small pieces more often than large ones.
        let longest = [1, 3, 9, 64][(state >> 32) as usize % 4];
        let (piece, after) = rest.split_at((1 + state as usize % longest).min(rest.len()));
        rest = after;
        Some(piece)
    })
}
