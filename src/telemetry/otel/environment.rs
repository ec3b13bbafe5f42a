//! The standard `OTEL_*` variables (OpenTelemetry: SDK environment variables, OTLP exporter), also those that the Rust
//! SDK leaves to its user. Headers, compression and the size of export batches are read by the SDK itself.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Spans that may wait for their export (the SDK's own default).
const SPAN_QUEUE_MAX: usize = 2_048;

type Variables = BTreeMap<String, String>;

/// What is sent where.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelSettings {
    /// `None`: no spans are made.
    pub traces: Option<Collector>,
    /// Where the `gen_ai.*` metrics are pushed to; `None`: they are only on `/metrics`.
    pub metrics: Option<Collector>,
    pub sampler: Sampling,
    /// A caller's `traceparent` is believed.
    pub reads_context: bool,
    /// Of the resource: `service.name` and what `OTEL_RESOURCE_ATTRIBUTES` adds.
    pub resource: Vec<(String, String)>,
    pub span_queue_max: usize,
}

impl Default for OtelSettings {
    fn default() -> Self {
        OtelSettings {
            traces: None,
            metrics: None,
            sampler: Sampling::default(),
            reads_context: true,
            resource: resource(&Variables::new()),
            span_queue_max: SPAN_QUEUE_MAX,
        }
    }
}

/// One collector's endpoint for one signal, OTLP over HTTP with protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The whole URL: `http://localhost:4318/v1/traces`.
    pub url: String,
    pub timeout: Duration,
    /// PEM files: whom to trust instead of the system's authorities, and certificate and key of ours.
    pub authority: Option<PathBuf>,
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Which traces are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// A caller that says whether his trace is sampled decides.
    pub parent_based: bool,
    /// Of the others, this share.
    pub ratio: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { parent_based: true, ratio: 1.0 }
    }
}

/// A variable that cannot be what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub variable: String,
    pub what: String,
    pub remedy: String,
}

#[derive(Clone, Copy)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As variables name it.
    fn name(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        }
    }
}

/// Reads them all, and what is wrong with them.
pub fn read(variables: &Variables) -> (OtelSettings, Vec<Unfit>) {
    let mut reading = Reading { variables, unfit: Vec::new() };
    let disabled = reading.said("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let settings = OtelSettings {
        traces: if disabled { None } else { reading.collector(Signal::Traces) },
        metrics: if disabled { None } else { reading.collector(Signal::Metrics) },
        sampler: reading.sampler(),
        reads_context: reading.propagators(),
        resource: resource(variables),
        span_queue_max: reading.number("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(SPAN_QUEUE_MAX),
    };
    (settings, reading.unfit)
}

/// `service.name` is `farebox` where nobody says otherwise.
fn resource(variables: &Variables) -> Vec<(String, String)> {
    let written = variables.get("OTEL_RESOURCE_ATTRIBUTES").map(String::as_str).unwrap_or_default();
    let pairs = written.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
        Some((decoded(key), decoded(value))).filter(|(key, _)| !key.is_empty())
    });
    let mut resource: Vec<(String, String)> = pairs.collect();
    let named = variables.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()).cloned();
    let among = resource.iter().any(|(key, _)| key == "service.name");
    if let Some(name) = named.or_else(|| (!among).then(|| "farebox".to_owned())) {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name));
    }
    resource
}

struct Reading<'a> {
    variables: &'a Variables,
    unfit: Vec<Unfit>,
}

impl Reading<'_> {
    /// An empty variable is one that is not set (the specification).
    fn said(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The signal's own variable before the one for all; and which it was.
    fn exporter(&self, signal: Signal, what: &str) -> Option<(String, &str)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name());
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all].into_iter().find_map(|name| self.said(&name).map(|value| (name.clone(), value)))
    }

    fn fault(&mut self, variable: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.unfit.push(Unfit { variable: variable.to_owned(), what: what.into(), remedy: remedy.into() });
    }

    /// Nothing is sent unless somebody names a collector or asks for OTLP.
    fn collector(&mut self, signal: Signal) -> Option<Collector> {
        let chooses = format!("OTEL_{}_EXPORTER", signal.name());
        let chosen = self.said(&chooses).map(str::to_owned);
        let words: Vec<&str> = chosen.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        if let Some(other) = words.iter().find(|word| !["otlp", "none", "prometheus"].contains(word)) {
            let remedy = "write `otlp` or `none`; /metrics is always there for Prometheus";
            self.fault(&chooses, format!("`{other}` is no exporter of Farebox's"), remedy);
        }
        let wanted =
            if words.is_empty() { self.exporter(signal, "ENDPOINT").is_some() } else { words.contains(&"otlp") };
        if !wanted {
            return None;
        }
        self.refuse_other_protocols(signal);
        Some(Collector {
            url: self.url(signal),
            timeout: self.timeout(signal),
            authority: self.exporter(signal, "CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
            client: self.client(signal),
        })
    }

    fn url(&mut self, signal: Signal) -> String {
        let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name());
        let (variable, url) = match (self.said(&own), self.said("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(url), _) => (own.clone(), url.to_owned()),
            (None, all) => {
                let base = all.unwrap_or(DEFAULT_ENDPOINT).trim_end_matches('/');
                ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("{base}{}", signal.path()))
            }
        };
        let parsed = url.parse::<http::Uri>().ok();
        let good = parsed.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        if !good {
            self.fault(&variable, "it is no URL of a collector", "write `http://HOST:4318`, or https");
        }
        url
    }

    fn refuse_other_protocols(&mut self, signal: Signal) {
        let Some((variable, protocol)) = self.exporter(signal, "PROTOCOL") else { return };
        if protocol != "http/protobuf" {
            let what = format!("Farebox sends `http/protobuf`, not `{protocol}`");
            let own = format!("OTEL_EXPORTER_OTLP_{}", signal.name());
            let remedy = format!(
                "set {own}_PROTOCOL=http/protobuf and {own}_ENDPOINT to the collector's HTTP port (4318), or OTEL_{}_EXPORTER=none",
                signal.name()
            );
            self.fault(&variable, what, remedy);
        }
    }

    fn timeout(&mut self, signal: Signal) -> Duration {
        let Some((variable, written)) = self.exporter(signal, "TIMEOUT") else { return DEFAULT_TIMEOUT };
        match written.parse() {
            Ok(millis) if (1..=600_000).contains(&millis) => Duration::from_millis(millis),
            _ => {
                let what = format!("`{written}` is no time in milliseconds");
                self.fault(&variable, what, "write `10000` for ten seconds");
                DEFAULT_TIMEOUT
            }
        }
    }

    fn client(&mut self, signal: Signal) -> Option<(PathBuf, PathBuf)> {
        let certificate = self.exporter(signal, "CLIENT_CERTIFICATE").map(|(name, path)| (name, PathBuf::from(path)));
        let key = self.exporter(signal, "CLIENT_KEY").map(|(name, path)| (name, PathBuf::from(path)));
        match (certificate, key) {
            (Some((_, certificate)), Some((_, key))) => Some((certificate, key)),
            (None, None) => None,
            (Some((name, _)), None) => {
                self.fault(&name, "a certificate without its key", "set OTEL_EXPORTER_OTLP_CLIENT_KEY as well");
                None
            }
            (None, Some((name, _))) => {
                self.fault(&name, "a key without its certificate", "set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE as well");
                None
            }
        }
    }

    fn sampler(&mut self) -> Sampling {
        let Some(name) = self.said("OTEL_TRACES_SAMPLER").map(str::to_owned) else { return Sampling::default() };
        let (parent_based, plain) = match name.strip_prefix("parentbased_") {
            Some(plain) => (true, plain),
            None => (false, name.as_str()),
        };
        let ratio = match plain {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.sampled_share(),
            _ => {
                let remedy = "write `always_on`, `always_off`, `traceidratio`, or one of them behind `parentbased_`";
                self.fault("OTEL_TRACES_SAMPLER", format!("`{name}` is no sampler of Farebox's"), remedy);
                1.0
            }
        };
        Sampling { parent_based, ratio }
    }

    fn sampled_share(&mut self) -> f64 {
        let Some(written) = self.said("OTEL_TRACES_SAMPLER_ARG").map(str::to_owned) else { return 1.0 };
        match written.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                let what = format!("`{written}` is no share");
                self.fault("OTEL_TRACES_SAMPLER_ARG", what, "write a number from 0 to 1: `0.1` for every tenth trace");
                1.0
            }
        }
    }

    fn propagators(&self) -> bool {
        self.said("OTEL_PROPAGATORS").is_none_or(|list| list.split(',').any(|word| word.trim() == "tracecontext"))
    }

    fn number(&mut self, variable: &str) -> Option<usize> {
        let written = self.said(variable)?.to_owned();
        let number = written.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        if number.is_none() {
            self.fault(variable, format!("`{written}` is no number of spans"), "write one from 1 to 1000000");
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> (OtelSettings, Vec<Unfit>) {
        read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn good(pairs: &[(&str, &str)]) -> OtelSettings {
        let (settings, unfit) = settings(pairs);
        assert_eq!(unfit, Vec::new());
        settings
    }

    fn url(collector: &Option<Collector>) -> Option<&str> {
        collector.as_ref().map(|collector| collector.url.as_str())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        assert_eq!(good(&[]), OtelSettings::default());
        let both = good(&[ENDPOINT]);
        assert_eq!(url(&both.traces), Some("http://collector:4318/v1/traces"));
        assert_eq!(url(&both.metrics), Some("http://collector:4318/v1/metrics"));
        let default = good(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!((url(&default.traces), url(&default.metrics)), (Some("http://localhost:4318/v1/traces"), None));
    }

    #[test]
    fn each_signal_can_be_sent_elsewhere_or_not_at_all() {
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in");
        let apart = good(&[ENDPOINT, own, ("OTEL_METRICS_EXPORTER", "none")]);
        assert_eq!((url(&apart.traces), url(&apart.metrics)), (Some("https://traces.example/in"), None));
        let off = good(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]);
        assert_eq!((off.traces, off.metrics), (None, None));
    }

    #[test]
    fn time_certificates_and_queue_are_taken_over() {
        let given = good(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "300"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ]);
        let (traces, metrics) = (given.traces.unwrap(), given.metrics.unwrap());
        assert_eq!((traces.timeout.as_millis(), metrics.timeout.as_millis()), (2_500, 300));
        assert_eq!(traces.authority, Some("/ca.pem".into()));
        assert_eq!(traces.client, Some(("/c.pem".into(), "/k.pem".into())));
        assert_eq!(given.span_queue_max, 64);
    }

    #[test]
    fn the_samplers_of_the_specification_are_known() {
        let sampler =
            |name: &str, arg: &str| good(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)]).sampler;
        assert_eq!(good(&[]).sampler, Sampling { parent_based: true, ratio: 1.0 });
        assert_eq!(sampler("always_off", ""), Sampling { parent_based: false, ratio: 0.0 });
        assert_eq!(sampler("traceidratio", "0.25"), Sampling { parent_based: false, ratio: 0.25 });
        assert_eq!(sampler("parentbased_traceidratio", "0.5"), Sampling { parent_based: true, ratio: 0.5 });
        assert_eq!(sampler("parentbased_always_off", ""), Sampling { parent_based: true, ratio: 0.0 });
    }

    #[test]
    fn the_service_is_farebox_unless_it_is_called_otherwise() {
        let named = |pairs: &[(&str, &str)]| good(pairs).resource;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(named(&[]), [pair("service.name", "farebox")]);
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod%2Ceu, service.name=gateway");
        assert_eq!(named(&[attributes]), [pair("deployment.environment", "prod,eu"), pair("service.name", "gateway")]);
        let last = named(&[attributes, ("OTEL_SERVICE_NAME", "llm")]);
        assert_eq!(last, [pair("deployment.environment", "prod,eu"), pair("service.name", "llm")]);
    }

    #[test]
    fn what_cannot_be_is_said_with_its_variable_and_a_remedy() {
        let unfit = |pairs: &[(&str, &str)]| {
            let (_, unfit) = settings(pairs);
            unfit.into_iter().map(|one| format!("{}: {}; {}", one.variable, one.what, one.remedy)).collect::<Vec<_>>()
        };
        let grpc = unfit(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_METRICS_EXPORTER", "none")]);
        assert!(grpc.len() == 1 && grpc[0].contains("not `grpc`") && grpc[0].contains("4318"), "{grpc:?}");
        assert!(unfit(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_empty(), "nothing is sent: no matter");
        assert_eq!(unfit(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]).len(), 2, "once a signal");
        assert!(unfit(&[("OTEL_TRACES_SAMPLER", "xray")])[0].starts_with("OTEL_TRACES_SAMPLER: `xray`"));
        let share = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "7")];
        assert!(unfit(&share)[0].starts_with("OTEL_TRACES_SAMPLER_ARG: `7`"));
        assert!(unfit(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")])[0].contains("CLIENT_CERTIFICATE"));
        assert!(unfit(&[("OTEL_TRACES_EXPORTER", "zipkin")])[0].contains("`otlp` or `none`"));
    }
}
