//! A Farebox of our own: the real binary as a child process on free ports, a data directory of its own, and a
//! simulated provider behind it.

use super::asking::{Asking, asking};
use farebox::simulator::{Attempt, Running, SimulatorSettings, start};
use farebox::store::{EventQuery, EventRow, Order, Reader};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Starting, stopping and folding take less on any machine that works.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A Farebox that is being furnished.
#[derive(Default)]
pub struct Furnishing {
    settings: String,
    /// Lines below each of the three usual providers.
    provider_lines: String,
    more_providers: String,
    variables: Vec<(String, String)>,
    simulator: SimulatorSettings,
    rules: Option<String>,
    catalog: Option<String>,
    limits: Limits,
}

/// What the machine grants a process: a resource of `setrlimit`, and how much of it.
type Limits = Vec<(libc::__rlimit_resource_t, u64)>;

/// A Farebox with three providers, `openai` (the default), `anthropic` and `gemini`, which are all one simulator.
pub fn shop() -> Furnishing {
    let simulator = SimulatorSettings { keep_bodies: true, ..SimulatorSettings::default() };
    Furnishing { simulator, ..Furnishing::default() }
}

impl Furnishing {
    /// A line of the configuration: `body_bytes_max: 1MiB`.
    pub fn with_setting(mut self, line: &str) -> Furnishing {
        writeln!(self.settings, "{line}").unwrap();
        self
    }

    /// A line in each provider's section: `on_client_gone: drain`.
    pub fn with_every_provider(mut self, line: &str) -> Furnishing {
        writeln!(self.provider_lines, "    {line}").unwrap();
        self
    }

    /// One more provider, the same simulator under another name; `lines` are further lines of its section.
    pub fn with_provider(mut self, name: &str, dialect: &str, lines: &[&str]) -> Furnishing {
        writeln!(self.more_providers, "  - name: {name}\n    dialect: {dialect}").unwrap();
        if !lines.iter().any(|line| line.starts_with("base_url:")) {
            writeln!(self.more_providers, "    base_url: SIMULATOR").unwrap();
        }
        for line in lines {
            writeln!(self.more_providers, "    {line}").unwrap();
        }
        if !lines.iter().any(|line| line.starts_with("key:")) {
            writeln!(self.more_providers, "    key: none").unwrap();
        }
        self
    }

    pub fn with_variable(mut self, name: &str, value: &str) -> Furnishing {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A rules file, `rules/house.yaml`.
    pub fn with_rules(mut self, yaml: &str) -> Furnishing {
        self.rules = Some(yaml.to_owned());
        self
    }

    /// A catalog of our own over the shipped one.
    pub fn with_catalog(mut self, yaml: &str) -> Furnishing {
        self.catalog = Some(yaml.to_owned());
        self
    }

    /// The node gets no more of this (`libc::RLIMIT_NOFILE`), until [`Shop::lift_limits`] and a start.
    pub fn with_limit(mut self, resource: libc::__rlimit_resource_t, most: u64) -> Furnishing {
        self.limits.push((resource, most));
        self
    }

    pub async fn open(mut self) -> Shop {
        let simulator = start(self.simulator.clone()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        if let Some(catalog) = &self.catalog {
            let path = directory.path().join("own-catalog.yaml");
            std::fs::write(&path, catalog).unwrap();
            writeln!(self.settings, "catalog: {{overlays: [{}]}}", path.display()).unwrap();
        }
        std::fs::write(directory.path().join("farebox.yaml"), self.configuration(&simulator.url())).unwrap();
        if let Some(rules) = &self.rules {
            write_rules(directory.path(), rules);
        }
        let variables = self.variables;
        let limits = self.limits;
        let mut shop = Shop { simulator, directory, variables, limits, running: None };
        shop.start();
        shop
    }

    fn configuration(&self, simulator: &str) -> String {
        let key = if self.provider_lines.contains("key:") { "" } else { "    key: none\n" };
        let default = if self.settings.contains("default_provider:") { "" } else { "default_provider: openai\n" };
        let mut text = format!("{}{default}providers:\n", self.settings);
        for (name, path) in [("openai", "/v1"), ("anthropic", ""), ("gemini", "")] {
            writeln!(text, "  - name: {name}\n    dialect: {name}\n    base_url: {simulator}{path}").unwrap();
            text.push_str(key);
            text.push_str(&self.provider_lines);
        }
        text.push_str(&self.more_providers.replace("SIMULATOR", simulator));
        text
    }
}

/// A Farebox that runs, or did.
pub struct Shop {
    pub simulator: Running,
    directory: TempDir,
    variables: Vec<(String, String)>,
    limits: Limits,
    running: Option<Process>,
}

struct Process {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    written: Arc<Mutex<String>>,
}

impl Shop {
    /// Starts it again on the same data directory.
    pub fn start(&mut self) {
        match self.launched() {
            Ok(process) => self.running = Some(process),
            Err((ended, log)) => panic!("farebox does not listen ({ended:?}):\n{log}"),
        }
    }

    /// A start that must not come to anything: how it ended, and what was logged.
    pub fn refused(&self) -> (ExitStatus, String) {
        self.launched().map(|mut process| process.child.kill()).expect_err("it does not start")
    }

    fn launched(&self) -> Result<Process, (ExitStatus, String)> {
        assert!(self.running.is_none(), "it runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        forget_surroundings(&mut command);
        let settings = [("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", "127.0.0.1:0"), ("LOG_FORMAT", "json")];
        command.envs(settings.map(|(name, value)| (format!("FAREBOX_{name}"), value)));
        command.env("FAREBOX_DATA_DIR", self.data_dir()).envs(self.variables.iter().cloned());
        command.arg("serve").arg("--config").arg(self.directory.path().join("farebox.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        bind(&mut command, self.limits.clone());
        let mut child = command.spawn().expect("the farebox binary");
        let written = kept_of(child.stdout.take().unwrap());
        let (log, (told, listening)) = (Arc::new(Mutex::new(String::new())), mpsc::channel());
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(addresses) = addresses_in(&line) {
                    let _ = told.send(addresses);
                }
                writeln!(kept.lock().unwrap(), "{line}").unwrap();
            }
        });
        match listening.recv_timeout(PATIENCE) {
            Ok((data, admin)) => Ok(Process { child, data, admin, log, written }),
            Err(why) => {
                if why == mpsc::RecvTimeoutError::Timeout {
                    let _ = child.kill();
                }
                let ended = child.wait().unwrap();
                let log = log.lock().unwrap().clone();
                Err((ended, log))
            }
        }
    }

    /// Adds a line to the configuration of the node, which runs on.
    pub fn amend_configuration(&self, line: &str) {
        let path = self.directory.path().join("farebox.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{line}\n{text}")).unwrap();
    }

    /// Writes the rules anew; the node notices by itself.
    pub fn rewrite_rules(&self, yaml: &str) {
        write_rules(self.directory.path(), yaml);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        self.process().data
    }

    pub fn admin(&self, path: &str) -> Asking {
        asking("GET", &format!("http://{}{path}", self.process().admin))
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.process().admin
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A request to the data port.
    pub fn ask(&self, method: &str, path: &str) -> Asking {
        asking(method, &self.url(path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Asking {
        self.ask("POST", path).json(body)
    }

    /// The same request to the simulator, without Farebox between.
    pub fn post_directly(&self, path: &str, body: &Value) -> Asking {
        asking("POST", &format!("{}{path}", self.simulator.url())).json(body)
    }

    /// A whole chat, one user message.
    pub fn chat(&self, text: &str) -> Asking {
        self.post("/v1/chat/completions", &chat(text))
    }

    /// The same, streamed.
    pub fn stream(&self, text: &str) -> Asking {
        self.post("/v1/chat/completions", &with(chat(text), json!({"stream": true})))
    }

    /// Every row of the ledger, oldest first, once there are so many.
    pub async fn rows(&self, count: usize) -> Vec<EventRow> {
        self.rows_once(|rows| rows.len() >= count, &format!("{count} rows")).await
    }

    /// The one row of the ledger.
    pub async fn row(&self) -> EventRow {
        let mut rows = self.rows(1).await;
        assert_eq!(rows.len(), 1, "one row is meant: {rows:#?}");
        rows.remove(0)
    }

    pub async fn rows_once(&self, enough: impl Fn(&[EventRow]) -> bool, what: &str) -> Vec<EventRow> {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = rows_in(&self.data_dir());
            if enough(&rows) {
                return rows;
            }
            assert!(Instant::now() < until, "{what} in time; there are {}: {rows:#?}\n{}", rows.len(), self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the simulator saw of an attempt.
    pub fn seen(&self, number: u64) -> Attempt {
        self.simulator.log.attempt(number).expect("an attempt of this number")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut process = self.running.take().expect("it runs");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// SIGTERM: asks it to finish what is under way.
    pub fn terminate(&self) {
        let id = i32::try_from(self.process().child.id()).unwrap();
        // SAFETY: a signal to a child of our own that was not waited for yet.
        #[expect(unsafe_code, reason = "the library has no other way to ask a child to stop")]
        let asked = unsafe { libc::kill(id, libc::SIGTERM) };
        assert_eq!(asked, 0);
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            let process = self.running.as_mut().expect("it ran");
            if let Some(status) = process.child.try_wait().unwrap() {
                self.running = None;
                return status;
            }
            assert!(Instant::now() < until, "farebox ends in time:\n{}", self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs another command of the same binary on the same data directory.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        forget_surroundings(&mut command);
        command.args(arguments).env("FAREBOX_DATA_DIR", self.data_dir()).current_dir(self.directory.path());
        command.output().unwrap()
    }

    pub fn log(&self) -> String {
        self.running.as_ref().map(|process| process.log.lock().unwrap().clone()).unwrap_or_default()
    }

    /// From the next start on, it gets what everybody gets.
    pub fn lift_limits(&mut self) {
        self.limits.clear();
    }

    /// From the next start on, it is as if nobody had said so.
    pub fn forget_variable(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    pub fn pid(&self) -> u32 {
        self.process().child.id()
    }

    /// The most that was ever resident, in bytes (Linux).
    pub fn memory_peak(&self) -> u64 {
        self.memory_of("VmHWM:")
    }

    /// What is resident now, in bytes (Linux).
    pub fn memory(&self) -> u64 {
        self.memory_of("VmRSS:")
    }

    fn memory_of(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Files and sockets that it has open (Linux).
    pub fn files_open(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        self.process().written.lock().unwrap().clone()
    }

    fn process(&self) -> &Process {
        self.running.as_ref().expect("it runs")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- farebox's log\n{}---", self.log());
        }
        if let Some(process) = &mut self.running {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// What the tests are told by (`FAREBOX_KILLS`) is no setting of the node's.
fn forget_surroundings(command: &mut Command) {
    let ours = |name: &str| name.starts_with("FAREBOX_") || name.starts_with("OTEL_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
}

/// Has the child take these limits upon itself. A write beyond a limit of size is an error then, and no signal.
fn bind(command: &mut Command, limits: Limits) {
    if limits.is_empty() {
        return;
    }
    // SAFETY: between fork and exec, both calls are plain system calls that touch no memory of ours.
    #[expect(unsafe_code, reason = "only the child can limit itself before it is another program")]
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            for (resource, most) in &limits {
                let limit = libc::rlimit { rlim_cur: *most, rlim_max: *most };
                if libc::setrlimit(*resource, &limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// All that comes of it, line by line.
fn kept_of(output: ChildStdout) -> Arc<Mutex<String>> {
    let written = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&written);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            writeln!(kept.lock().unwrap(), "{line}").unwrap();
        }
    });
    written
}

/// Written beside and renamed, as editors do: never half a file.
fn write_rules(directory: &Path, yaml: &str) {
    let folder = directory.join("rules");
    std::fs::create_dir_all(&folder).unwrap();
    let new = directory.join("rules.new");
    std::fs::write(&new, yaml).unwrap();
    std::fs::rename(&new, folder.join("house.yaml")).unwrap();
}

/// `{"model":"gpt-4o","messages":[…]}`
pub fn chat(text: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
}

/// An object with further members.
pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    body
}

/// All rows of a data directory's ledger, oldest first; none while there is no ledger.
pub fn rows_in(data_dir: &Path) -> Vec<EventRow> {
    let Ok(reader) = Reader::open(data_dir) else { return Vec::new() };
    let query = EventQuery { order: Order::OldestFirst, limit: 1_000_000, ..EventQuery::default() };
    reader.events(&query).unwrap_or_default()
}

/// The addresses in the log line that says `listening`.
fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let address = |name: &str| fields.get(name)?.as_str()?.parse().ok();
    (fields.get("message")?.as_str()? == "listening").then_some(())?;
    Some((address("data")?, address("admin")?))
}
