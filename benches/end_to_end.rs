//! `make bench`: what Farebox costs a call, beside a bare pingora pass-through and no proxy at all.
//!
//! Every contestant is a process of its own, the thread that carries its requests pinned to one core; the upstream, the
//! load and the contestants' other threads share the other. The runs are interleaved, so that the machine's moods fall on all alike, and the answer is a ratio. CPU is what the kernel charged
//! to the contestant's threads (`schedstat`), by thread name: the request threads apart from the folder's.
//!
//! `cargo bench --bench end_to_end` for all; `… -- json`, `stream`, `prompt` or `memory` for one. Behind it may stand
//! how many connections (`… -- json 32`). `FAREBOX_BENCH_BESIDE=path/of/another/farebox` measures that one as well.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops and says where")]

#[path = "end_to_end/contestants.rs"]
mod contestants;
#[path = "end_to_end/load.rs"]
mod load;
#[path = "end_to_end/memory.rs"]
mod memory;
#[path = "end_to_end/upstream.rs"]
mod upstream;

use contestants::Contestant;
use load::{Kind, Measured};
use std::time::Duration;

/// As Farebox itself: the pass-through beside it shall not differ in this.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);
const CONNECTIONS: [usize; 3] = [1, 32, 256];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => return upstream::run(),
        Some("pass") => return contestants::pass_through(&arguments[1]),
        _ => {}
    }
    let part = arguments.first().map(String::as_str);
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    let connections: Vec<usize> = match arguments.get(1).map(|number| number.parse().unwrap()) {
        Some(number) => vec![number],
        None => CONNECTIONS.to_vec(),
    };
    let open_files_max = raise_open_files();
    let upstream = contestants::start_upstream();
    let contestants = contestants::start_all(&upstream.address);
    println!("# End to end, {} rounds of {} s each, interleaved\n", ROUNDS, ROUND.as_secs());
    println!("Machine: {}\n", contestants::machine());
    if wanted("memory") {
        memory::report(&contestants[contestants.len() - 1], open_files_max);
    }
    if wanted("json") {
        table(Kind::Json, &connections, &contestants);
    }
    if wanted("stream") {
        table(Kind::Stream, &connections, &contestants);
    }
    if wanted("prompt") {
        table(Kind::LongPrompt, &[1], &contestants);
    }
}

/// Raises the limit of open files as far as it may be, for us and our children, and says how far that is.
fn raise_open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the struct that they are given.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    usize::try_from(limit.rlim_max).unwrap()
}

fn table(kind: Kind, connections: &[usize], contestants: &[Contestant]) {
    println!("## {}\n", kind.title());
    println!(
        "| connections | contestant | calls/s (median) | to pass | request-thread CPU µs/call (median) | to pass | other threads µs/call | p50 µs | p99 µs | first byte p50 µs | p50 µs above pass | first byte µs above pass |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for connections in connections {
        let runs = rounds(kind, *connections, contestants);
        let pass = contestants.iter().position(|contestant| contestant.name == "pass").unwrap();
        for (place, contestant) in contestants.iter().enumerate() {
            let (own, pass) = (&runs[place], &runs[pass]);
            let row = Row::of(own);
            let speed = median(paired(own, pass).map(|(own, pass)| own.calls_per_second() / pass.calls_per_second()));
            let cpu = median(paired(own, pass).map(|(own, pass)| own.request_cpu_micros() / pass.request_cpu_micros()));
            let later = median(paired(own, pass).map(|(own, pass)| own.percentile(50.0) - pass.percentile(50.0)));
            let first = median(paired(own, pass).map(|(own, pass)| own.first_byte_p50 - pass.first_byte_p50));
            println!(
                "| {connections} | {} | {:.0} | {speed:.2} | {:.1} | {cpu:.2} | {:.1} | {:.0} | {:.0} | {:.0} | {later:.0} | {first:.0} |",
                contestant.name, row.speed, row.cpu, row.other, row.p50, row.p99, row.first
            );
        }
    }
    println!();
}

/// `[contestant][round]`
fn rounds(kind: Kind, connections: usize, contestants: &[Contestant]) -> Vec<Vec<Measured>> {
    let mut runs: Vec<Vec<Measured>> = contestants.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (place, contestant) in contestants.iter().enumerate() {
            load::run(&contestant.address, kind, connections, WARM_UP, None);
            runs[place].push(load::run(&contestant.address, kind, connections, ROUND, contestant.process));
        }
    }
    runs
}

struct Row {
    speed: f64,
    cpu: f64,
    other: f64,
    p50: f64,
    p99: f64,
    first: f64,
}

impl Row {
    fn of(runs: &[Measured]) -> Row {
        Row {
            speed: median(runs.iter().map(Measured::calls_per_second)),
            cpu: median(runs.iter().map(Measured::request_cpu_micros)),
            other: median(runs.iter().map(Measured::other_cpu_micros)),
            p50: median(runs.iter().map(|run| run.percentile(50.0))),
            p99: median(runs.iter().map(|run| run.percentile(99.0))),
            first: median(runs.iter().map(|run| run.first_byte_p50)),
        }
    }
}

/// The runs of the same rounds, one beside the other.
fn paired<'a>(own: &'a [Measured], base: &'a [Measured]) -> impl Iterator<Item = (&'a Measured, &'a Measured)> {
    own.iter().zip(base)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
