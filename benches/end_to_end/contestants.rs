//! The contestants: no proxy, an empty pingora `ProxyHttp`, Farebox.

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A running contestant; killed when dropped.
pub struct Contestant {
    pub name: &'static str,
    pub address: String,
    pub process: Option<Process>,
    _child: Option<Killed>,
    _dir: Option<tempfile::TempDir>,
}

/// Whose CPU is charged to its calls.
#[derive(Clone, Copy)]
pub struct Process {
    pub pid: u32,
    /// How the names of the threads that carry requests begin.
    pub request_threads: &'static str,
}

impl Process {
    /// What does not carry requests (Farebox's folder, its log, its syncs) may run beside the load: it would anywhere
    /// but here, where there are two cores, and its CPU is reported apart.
    fn pin_other_threads(self) {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if !name.starts_with(self.request_threads) {
                // One that has ended meanwhile needs none.
                taskset(&["-c", "-p", &LOAD_CORE.to_string(), &task.file_name().to_string_lossy()]);
            }
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Core of the threads that carry requests; everything else runs on the other.
const CONTESTANT_CORE: usize = 0;
const LOAD_CORE: usize = 1;

pub fn start_upstream() -> Contestant {
    pin(std::process::id(), LOAD_CORE);
    let mut child = own(&["upstream"], LOAD_CORE);
    let address = first_line(child.stdout.take().unwrap());
    Contestant { name: "direct", address, process: None, _child: Some(Killed(child)), _dir: None }
}

/// Ledger, metrics and logs are on in both; the second has budgets, a request limit and a swap to decide about besides.
const METERED: &str = "farebox, metering";
const RULED: &str = "farebox, budgets and rules";
const RULES: &str = include_str!("rules.yaml");

/// Another build of Farebox, to be measured beside this one.
const OTHER_BUILD: &str = "FAREBOX_BENCH_BESIDE";

pub fn start_all(upstream: &str) -> Vec<Contestant> {
    let direct = Contestant { name: "direct", address: upstream.to_owned(), process: None, _child: None, _dir: None };
    let mut contestants = vec![direct, pass(upstream)];
    if let Ok(other) = std::env::var(OTHER_BUILD) {
        contestants.push(farebox("other build", &other, upstream, None));
    }
    let this_build = env!("CARGO_BIN_EXE_farebox");
    contestants.push(farebox(RULED, this_build, upstream, Some(RULES)));
    contestants.push(farebox(METERED, this_build, upstream, None));
    contestants
}

fn pass(upstream: &str) -> Contestant {
    let address = free_address();
    let child = own(&["pass", &format!("{address},{upstream}")], CONTESTANT_CORE);
    wait_for(&address);
    let process = Some(Process { pid: child.id(), request_threads: "" });
    Contestant { name: "pass", address, process, _child: Some(Killed(child)), _dir: None }
}

fn farebox(name: &'static str, binary: &str, upstream: &str, rules: Option<&str>) -> Contestant {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut config = format!(
        "listen: {address}\nadmin_listen: 127.0.0.1:0\ndata_dir: {}\nthreads: 1\ndefault_provider: openai\nproviders:\n  - name: openai\n    dialect: openai\n    base_url: http://{upstream}/v1\n    key: caller\n",
        dir.path().join("data").display()
    );
    if let Some(rules) = rules {
        let folder = dir.path().join("rules");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("bench.yaml"), rules).unwrap();
        config.push_str(&format!("rules:\n  dir: {}\n", folder.display()));
    }
    let path = dir.path().join("farebox.yaml");
    std::fs::write(&path, config).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(&path).env("FAREBOX_LOG_FORMAT", "json").stderr(log);
    let child = spawn(command, CONTESTANT_CORE);
    wait_for(&address);
    let process = Process { pid: child.id(), request_threads: "request" };
    process.pin_other_threads();
    let process = Some(process);
    Contestant { name, address, process, _child: Some(Killed(child)), _dir: Some(dir) }
}

/// An empty `ProxyHttp` on one thread, with as many idle upstream connections as Farebox keeps; `addresses` is
/// `listen,upstream`.
pub fn pass_through(addresses: &str) {
    let (listen, upstream) = addresses.split_once(',').unwrap();
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 1_024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Pass(upstream.to_owned()));
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

struct Pass(String);

#[async_trait]
impl ProxyHttp for Pass {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0.as_str(), false, String::new())))
    }
}

pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux")
}

fn own(arguments: &[&str], core: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).stdout(Stdio::piped());
    spawn(command, core)
}

fn spawn(mut command: Command, core: usize) -> Child {
    command.process_group(0);
    // SAFETY: between fork and exec, `prctl` is a plain system call that touches no memory of ours.
    #[expect(unsafe_code, reason = "only the child can ask to die with its parent, however that one dies")]
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().unwrap();
    pin(child.id(), core);
    child
}

fn pin(pid: u32, core: usize) {
    let done = taskset(&["-a", "-c", "-p", &core.to_string(), &pid.to_string()]);
    assert!(done, "taskset (util-linux) is needed to pin the contestants");
}

fn taskset(arguments: &[&str]) -> bool {
    let done = Command::new("taskset").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn first_line(output: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn wait_for(address: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(std::time::Instant::now() < until, "{address} does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
