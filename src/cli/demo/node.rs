//! The Farebox of the demo: this same program, run as `farebox serve` with settings of its own. A process of its own,
//! so that it starts, logs and stops as it would anywhere.

use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Mutex;

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(40);
/// Of its log, so many last lines are shown when it fails.
const LOG_LINES_SHOWN: usize = 12;

pub struct Node {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
    directory: Directory,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

/// The configuration and the ledger; removed with the node unless they are to stay.
struct Directory {
    path: PathBuf,
    stays: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.stays {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Node {
    pub async fn start(listen: SocketAddr, data_dir: Option<&Path>, provider: &str) -> Result<Node, String> {
        let path = match data_dir {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("farebox-demo-{}", std::process::id())),
        };
        let directory = Directory { path, stays: data_dir.is_some() };
        let configuration = directory.path.join("farebox.yaml");
        let written = std::fs::create_dir_all(&directory.path)
            .and_then(|()| std::fs::write(&configuration, configuration_text(provider)));
        written.map_err(|why| format!("{}: {why}", configuration.display()))?;
        let program = std::env::current_exe().map_err(|why| format!("where this program is, is not known: {why}"))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
            command.env_remove(name);
        }
        command.arg("serve").arg("--config").arg(&configuration);
        command.env("FAREBOX_LISTEN", listen.to_string()).env("FAREBOX_ADMIN_LISTEN", "127.0.0.1:0");
        command.env("FAREBOX_DATA_DIR", directory.path.join("data")).env("FAREBOX_LOG_FORMAT", "json");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for us: we stop it when we are done with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|why| format!("farebox serve cannot be started: {why}"))?;
        let stderr = child.stderr.take().ok_or("its log cannot be read")?;
        let mut lines = BufReader::new(stderr).lines();
        let last_lines = Arc::default();
        let (data, admin) = listening(&mut lines, &last_lines).await?;
        tokio::spawn(keep_last(lines, Arc::clone(&last_lines)));
        Ok(Node { child, data, admin, directory, last_lines })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.data)
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path.join("data")
    }

    /// Where the ledger stays.
    pub fn kept(&self) -> Option<PathBuf> {
        self.directory.stays.then(|| self.data_dir())
    }

    /// Ends when the node does, which it should not.
    pub async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        let status = status.map_or_else(|why| why.to_string(), |status| status.to_string());
        let lines = self.last_lines.lock().await;
        format!("farebox ended by itself ({status}):\n{}", lines.iter().cloned().collect::<Vec<_>>().join("\n"))
    }

    /// Lets it finish what is under way and fold its ledger.
    pub async fn stop(&mut self) -> Result<(), String> {
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return Ok(()) };
        // SAFETY: a signal to our own child, which was not waited for yet.
        #[expect(unsafe_code, reason = "the library has no other way to ask a child to stop")]
        let asked = unsafe { libc::kill(id, libc::SIGTERM) };
        if asked != 0 {
            return Err("farebox cannot be asked to stop".to_owned());
        }
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err("farebox does not stop".to_owned()),
        }
    }
}

fn configuration_text(provider: &str) -> String {
    let of = |(name, path): (&str, &str)| {
        format!("  - name: {name}\n    dialect: {name}\n    base_url: {provider}{path}\n    key: none\n")
    };
    let providers: String = [("openai", "/v1"), ("anthropic", ""), ("gemini", "")].map(of).concat();
    let teams = super::clients::TEAMS.join(", ");
    format!("default_provider: openai\nmetrics: {{teams: [{teams}]}}\nproviders:\n{providers}")
}

/// Waits for the log line that tells the addresses.
async fn listening(
    lines: &mut Lines<BufReader<ChildStderr>>,
    last_lines: &Mutex<VecDeque<String>>,
) -> Result<(SocketAddr, SocketAddr), String> {
    let told = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(addresses) = addresses_in(&line) {
                return Some(addresses);
            }
            remember(last_lines, line).await;
        }
        None
    };
    let told = tokio::time::timeout(START_MAX, told).await.ok().flatten();
    let lines = last_lines.lock().await;
    told.ok_or_else(|| format!("farebox did not start:\n{}", lines.iter().cloned().collect::<Vec<_>>().join("\n")))
}

fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let address = |name: &str| fields.get(name)?.as_str()?.parse().ok();
    (fields.get("message")?.as_str()? == "listening").then_some(())?;
    Some((address("data")?, address("admin")?))
}

async fn keep_last(mut lines: Lines<BufReader<ChildStderr>>, last_lines: Arc<Mutex<VecDeque<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        remember(&last_lines, line).await;
    }
}

async fn remember(last_lines: &Mutex<VecDeque<String>>, line: String) {
    let mut lines = last_lines.lock().await;
    if lines.len() >= LOG_LINES_SHOWN {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_from_the_line_that_tells_them() {
        let line = r#"{"level":"INFO","fields":{"message":"listening","data":"127.0.0.1:1","admin":"127.0.0.1:2"}}"#;
        let expected = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert_eq!(addresses_in(line), Some(expected));
        assert_eq!(addresses_in(&line.replace("listening", "stopped")), None);
        assert_eq!(addresses_in("text"), None);
    }

    #[test]
    fn the_configuration_is_one_that_farebox_reads() {
        let text = configuration_text("http://127.0.0.1:9");
        let read = crate::config::read(None, &text, &crate::config::Surroundings::default());
        assert_eq!(read.map(|settings| settings.proxy.providers.len()).map_err(|faults| faults.to_string()), Ok(3));
    }
}
