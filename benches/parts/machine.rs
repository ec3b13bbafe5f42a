//! What a bench says of its own process and of the machine at that moment.

use std::time::Duration;

/// The load average of the last minute: above the number of cores, wall-clock figures are too high.
pub fn now() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) { "debug assertions on" } else { "as released" };
    format!("load {} on {cores} cores, {profile}", load.split(' ').next().unwrap_or("unknown"))
}

/// User and system time of this process so far.
pub fn cpu_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The same of this thread alone.
pub fn thread_cpu_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Not `getrusage`, which counts in ticks of 4 ms on some kernels.
fn clock(which: libc::clockid_t) -> Duration {
    // SAFETY: a zeroed `timespec` is a valid one, and the call only writes into it.
    #[expect(unsafe_code, reason = "the standard library does not tell what a process used")]
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(which, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The largest resident size so far.
pub fn memory_peak_kib() -> u64 {
    status_kib("VmHWM:")
}

pub fn memory_kib() -> u64 {
    status_kib("VmRSS:")
}

fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Shares of some lengths, in microseconds.
pub fn percentiles(lengths: &mut [Duration]) -> String {
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1_000.0;
    format!("p50 {:.2} µs, p99 {:.1}, p99.9 {:.1}, max {:.0}", at(0.5), at(0.99), at(0.999), at(1.0))
}
