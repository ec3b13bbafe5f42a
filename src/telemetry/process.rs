//! The process as Prometheus customarily sees it (`process_*`), read from `/proc`; elsewhere it shows nothing.

use super::names::{self, Family, Kind};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use std::collections::HashMap;

const FAMILIES: [Family; 5] =
    [names::PROCESS_CPU, names::PROCESS_MEMORY, names::PROCESS_FILES, names::PROCESS_FILES_MAX, names::PROCESS_START];

/// Reads itself at every exposition.
pub struct Process {
    descs: Vec<Desc>,
}

impl Process {
    pub fn new() -> Result<Process, prometheus::Error> {
        let desc = |family: &Family| Desc::new(family.name.into(), family.help.into(), Vec::new(), HashMap::new());
        Ok(Process { descs: FAMILIES.iter().map(desc).collect::<Result<_, _>>()? })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = values().unwrap_or_default();
        FAMILIES.iter().zip(values).map(|(family, value)| shown(family, value)).collect()
    }
}

fn shown(family: &Family, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    let kind = if family.kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
        MetricType::COUNTER
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        MetricType::GAUGE
    };
    let mut shown = MetricFamily::default();
    shown.set_name(family.name.to_owned());
    shown.set_help(family.help.to_owned());
    shown.set_field_type(kind);
    shown.set_metric(vec![metric]);
    shown
}

/// In the order of [`FAMILIES`]; `None` where there is no `/proc`.
#[expect(clippy::cast_precision_loss, reason = "shown only")]
fn values() -> Option<Vec<f64>> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // proc(5): fields count from 1, the second (the name) is in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    // SAFETY: both calls only read a constant of the system.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    let (ticks, page) = (ticks.max(1) as f64, page.max(1) as f64);
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let files_max = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    Some(vec![
        (field(14)? + field(15)?) as f64 / ticks,
        field(24)? as f64 * page,
        std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        files_max?.parse().unwrap_or(f64::INFINITY),
        boot as f64 + field(22)? as f64 / ticks,
    ])
}
