//! `farebox demo`: a simulated provider, a Farebox before it, and clients of every dialect that keep it busy; what they
//! use stands in a live table. Nothing leaves this machine and no key is needed.

mod clients;
mod node;
mod table;

use super::fault;
use crate::simulator::{self, Running, SimulatorSettings};
use node::Node;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const REDRAW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where Farebox listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End after so many calls; without it at Ctrl-C.
    #[arg(long, value_name = "NUMBER")]
    calls: Option<u64>,
    /// Calls under way at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Only the clients, against a Farebox that runs elsewhere (the compose file's demo).
    #[arg(long, value_name = "URL", conflicts_with_all = ["data_dir", "listen"])]
    against: Option<String>,
    /// Keep the ledger here; without it, it goes when the demo ends.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => return fault(format!("no threads to run on: {why}")),
    };
    if let Some(url) = &arguments.against {
        runtime.block_on(keep_busy(url.trim_end_matches('/'), arguments));
        return ExitCode::SUCCESS;
    }
    match runtime.block_on(demonstrate(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fault(why),
    }
}

/// The clients alone; until the calls are made, or somebody says stop.
async fn keep_busy(url: &str, arguments: &Arguments) {
    println!("Calls go to {url}; Ctrl-C ends it.");
    let mut clients = clients::start(
        u64::from(arguments.clients),
        url,
        &Arc::new(AtomicU64::new(0)),
        arguments.calls.unwrap_or(u64::MAX),
    );
    tokio::select! {
        () = clients.done() => {}
        () = asked_to_stop() => {}
    }
}

/// By Ctrl-C, by a supervisor, or by a terminal that was closed: the node that was started must not stay behind.
async fn asked_to_stop() {
    let (terminate, hangup) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut hangup)) = (terminate, hangup) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn demonstrate(arguments: &Arguments) -> Result<(), String> {
    let provider = simulator::start(SimulatorSettings {
        first_byte: Duration::from_millis(40),
        chunk_pause: Duration::from_millis(8),
        output_tokens: 10..=120,
        error_percent: 2,
        ..SimulatorSettings::default()
    });
    let provider = provider.await.map_err(|why| format!("the simulated provider cannot listen: {why}"))?;
    let mut node = Node::start(arguments.listen, arguments.data_dir.as_deref(), &provider.url()).await?;
    println!("{}", introduction(&provider, &node));
    let made = Arc::new(AtomicU64::new(0));
    let most = arguments.calls.unwrap_or(u64::MAX);
    let mut clients = clients::start(u64::from(arguments.clients), &node.url(), &made, most);
    let mut stop = std::pin::pin!(asked_to_stop());
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    let mut drawn_lines = 0;
    loop {
        tokio::select! {
            _ = redraw.tick() => drawn_lines = draw(&node, &made, drawn_lines),
            () = clients.done() => break,
            () = &mut stop => break,
            ended = node.ended() => return Err(ended),
        }
    }
    drop(clients);
    node.stop().await?;
    erase(drawn_lines);
    println!("{}", farewell(&provider, &node));
    Ok(())
}

fn introduction(provider: &Running, node: &Node) -> String {
    let (url, admin, provider) = (node.url(), node.admin_url(), provider.url());
    format!(
        "Farebox       {url}\n\
         its admin     {admin}\n\
         the provider  {provider} (simulated)\n\n\
         Try it:  OPENAI_BASE_URL={url}/v1  ANTHROPIC_BASE_URL={url}/anthropic  (any key; model gpt-4o, claude-sonnet-5-5)\n\
         Ctrl-C ends it.\n"
    )
}

/// Draws the table over the one before; only on a terminal, where one can.
fn draw(node: &Node, made: &AtomicU64, drawn_lines: usize) -> usize {
    if !std::io::stdout().is_terminal() {
        return 0;
    }
    let Ok(usage) = table::usage(node.data_dir()) else { return drawn_lines };
    let table = format!("{}\n{} calls made\n", table::render(&usage), made.load(Ordering::Relaxed));
    erase(drawn_lines);
    print!("{table}");
    let _ = std::io::stdout().flush();
    table.lines().count()
}

/// Takes the last lines of the terminal away.
fn erase(lines: usize) {
    if lines > 0 {
        print!("\x1b[{lines}A\x1b[J");
    }
}

/// The last table, and the proof: what the provider billed beside what the ledger has.
fn farewell(provider: &Running, node: &Node) -> String {
    let (usage, sources) = match (table::usage(node.data_dir()), table::by_source(node.data_dir())) {
        (Ok(usage), Ok(sources)) => (usage, sources),
        (Err(why), _) | (_, Err(why)) => return format!("the ledger cannot be read: {why}"),
    };
    let billed = provider.log.totals();
    let proof = format!(
        "The provider saw {} attempts; the ledger has {}.\n\
         Of answers that it sent to their end the provider billed {} tokens in and {} out.\n{sources}",
        billed.attempts, usage.totals.calls, billed.input_tokens, billed.output_tokens
    );
    let kept = match node.kept() {
        Some(data_dir) => format!("\nThe ledger is in {}; look at it: farebox usage", data_dir.display()),
        None => String::new(),
    };
    format!("{}\n{proof}{kept}", table::render(&usage))
}
