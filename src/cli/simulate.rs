//! `farebox simulate`: the simulated provider by itself.

use super::fault;
use crate::simulator::{self, SimulatorSettings};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// Tokens a second of a streamed answer; without it as fast as can be.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    speed: Option<u32>,
    /// Milliseconds before the first byte of an answer.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    first_byte_ms: u64,
    /// Tokens of an answer where the request wishes no number.
    #[arg(long, value_name = "TOKENS", default_value_t = 32)]
    output_tokens: u64,
    /// So many requests of a hundred fail with 429, 500 or 503.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    error_percent: u8,
    /// Refuse requests without a key.
    #[arg(long)]
    require_key: bool,
    /// Other words and other faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
}

impl Arguments {
    fn settings(&self) -> SimulatorSettings {
        SimulatorSettings {
            listen: self.listen,
            seed: self.seed,
            require_key: self.require_key,
            first_byte: Duration::from_millis(self.first_byte_ms),
            chunk_pause: self.speed.map_or(Duration::ZERO, |speed| Duration::from_secs(1) / speed),
            output_tokens: self.output_tokens..=self.output_tokens,
            error_percent: self.error_percent,
            attempts_kept_max: 10_000,
            ..SimulatorSettings::default()
        }
    }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => return fault(format!("no threads to run on: {why}")),
    };
    runtime.block_on(async {
        let running = match simulator::start(arguments.settings()).await {
            Ok(running) => running,
            Err(why) => return fault(format!("cannot listen on {}: {why}; name another --listen", arguments.listen)),
        };
        println!("{}", introduction(&running.url()));
        let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return fault("SIGTERM cannot be listened for");
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        let totals = running.log.totals();
        println!(
            "\n{} requests; {} tokens in and {} out were reported, {} were sent.",
            totals.attempts, totals.input_tokens, totals.output_tokens, totals.sent_output_tokens
        );
        ExitCode::SUCCESS
    })
}

fn introduction(url: &str) -> String {
    format!(
        "A simulated provider listens on {url}; Ctrl-C ends it.\n\n\
         OpenAI, Azure   OPENAI_BASE_URL={url}/v1\n\
         Anthropic       ANTHROPIC_BASE_URL={url}\n\
         Gemini          GOOGLE_GEMINI_BASE_URL={url}\n\n\
         Any key will do. What reached it: {url}/simulator/attempts and {url}/simulator/totals\n\
         Wishes are headers: x-sim-output-tokens: 5, x-sim-status: 429, x-sim-cut-after: 3,\n\
         x-sim-stall-after: 2, x-sim-first-byte-ms: 2000, x-sim-encoding: gzip, x-sim-reset: yes …\n\n\
         curl {url}/v1/chat/completions -H 'x-sim-output-tokens: 5' \\\n\
         \x20 -d '{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    )
}
