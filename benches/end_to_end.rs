//! `make bench`: what Farebox costs a call, beside a bare pingora pass-through and no proxy at all.
//!
//! Every contestant is a process of its own, pinned to one core; the upstream and the load share the other. The runs are
//! interleaved, so that the machine's moods fall on all alike, and the answer is a ratio. CPU is what the kernel charged
//! to the contestant's threads (`schedstat`), by thread name: the request threads apart from the folder's.
//!
//! `cargo bench --bench end_to_end` for all; `… -- json`, `… -- stream` or `… -- memory` for one.

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
    raise_open_files();
    let kinds: Vec<Kind> = match arguments.first().map(String::as_str) {
        Some("json") => vec![Kind::Json],
        Some("stream") => vec![Kind::Stream],
        Some("memory") => Vec::new(),
        _ => vec![Kind::Json, Kind::Stream],
    };
    let upstream = contestants::start_upstream();
    let contestants = contestants::start_all(&upstream.address);
    println!("# End to end, {} rounds of {} s each, interleaved\n", ROUNDS, ROUND.as_secs());
    println!("Machine: {}\n", contestants::machine());
    if arguments.first().is_none_or(|what| what == "memory") {
        memory::report(&contestants[contestants.len() - 1]);
    }
    for kind in kinds {
        table(kind, &contestants);
    }
}

/// 10,000 streams are 20,000 sockets; the children inherit the limit.
fn raise_open_files() {
    let limit = libc::rlimit { rlim_cur: 65_536, rlim_max: 65_536 };
    // SAFETY: the call only reads the struct.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
    if !raised {
        eprintln!("the limit of open files stays as it is; run as root, or raise `ulimit -Hn` to 65536");
    }
}

fn table(kind: Kind, contestants: &[Contestant]) {
    println!("## {}\n", kind.title());
    println!(
        "| connections | contestant | calls/s (median) | to pass | request-thread CPU µs/call (median) | to pass | other threads µs/call | p50 µs | p99 µs | first byte p50 µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for connections in CONNECTIONS {
        let runs = rounds(kind, connections, contestants);
        let pass = contestants.iter().position(|contestant| contestant.name == "pass");
        for (place, contestant) in contestants.iter().enumerate() {
            let row = Row::of(&runs[place]);
            let base = pass.map(|pass| (&runs[pass], &runs[place]));
            let speed = base.map_or(f64::NAN, |(pass, own)| paired(own, pass, |run| run.calls_per_second()));
            let cpu = base.map_or(f64::NAN, |(pass, own)| paired(own, pass, |run| run.request_cpu_micros()));
            println!(
                "| {connections} | {} | {:.0} | {speed:.2} | {:.1} | {cpu:.2} | {:.1} | {:.0} | {:.0} | {:.0} |",
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

/// The median of the ratios of runs of the same round.
fn paired(own: &[Measured], base: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    median(own.iter().zip(base).map(|(own, base)| of(own) / of(base)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
