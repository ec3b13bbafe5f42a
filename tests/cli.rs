//! The commands as a person or a supervisor meets them: the real binary, its words and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary in a folder of its own, with none of our own settings around it.
fn farebox(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    farebox(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_shows_every_fault_of_the_file_here_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("farebox.yaml"), "lisetn: 127.0.0.1:1\nthreads: many\n").unwrap();
    let output = run(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("farebox.yaml:1:1: `lisetn` is not a setting") && said.contains("2 faults"), "{said}");
    assert!(output.stdout.is_empty());

    let output = run(folder.path(), &["check", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["ok"]), (Some(1), &serde_json::json!(false)));
    assert_eq!(said["faults"][1]["place"], "farebox.yaml:2:10");
    assert_eq!(run(folder.path(), &["serve"]).status.code(), Some(1), "serve does not start with faults");
}

#[test]
fn check_names_the_place_of_a_fault_in_an_overlay() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("farebox.yaml"), "catalog: {overlays: [mine.yaml]}\n").unwrap();
    std::fs::write(folder.path().join("mine.yaml"), "modls: []\n").unwrap();
    let output = run(folder.path(), &["check"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("mine.yaml:1:1: "), "{said}");
}

#[test]
fn check_without_a_file_shows_where_it_would_listen() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["check"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("127.0.0.1:4000") && said.ends_with("all is well\n"), "{said}");
}

#[test]
fn a_key_is_in_no_word_that_check_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = "providers: [{name: openai, key: 'env:MINE', headers: {x-a: 'canary-header'}}]\n";
    std::fs::write(folder.path().join("farebox.yaml"), file).unwrap();
    for more in ["", "key: canary-in-file\n", "canary: [\n"] {
        std::fs::write(folder.path().join("farebox.yaml"), format!("{file}{more}")).unwrap();
        let output = farebox(folder.path(), &["check"]).env("MINE", "canary-key").output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        for canary in ["canary-key", "canary-header", "canary-in-file"] {
            assert!(!said.contains(canary), "{said}");
        }
    }
}

#[test]
fn keys_are_looked_after_without_the_providers_keys_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let file = "access: keys\ndata_dir: there\nproviders: [{name: openai, key: 'env:NOT_SET_HERE'}]\n";
    std::fs::write(folder.path().join("farebox.yaml"), file).unwrap();
    assert_eq!(run(folder.path(), &["check"]).status.code(), Some(1));
    let made = run(folder.path(), &["key", "create", "app"]);
    assert!(made.status.success() && text(&made.stdout).starts_with("fb-"), "{}", text(&made.stderr));
    assert!(folder.path().join("there/keys.pepper").exists());
    let listed = text(&run(folder.path(), &["key", "list"]).stdout);
    assert!(listed.contains("app") && !listed.contains(text(&made.stdout).trim()), "{listed}");
}

#[test]
fn in_keys_mode_a_provider_without_a_key_of_ours_is_refused_and_a_public_address_is_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("farebox.yaml"), "access: keys\nproviders: [{name: openai}]\n").unwrap();
    let said = text(&run(folder.path(), &["check"]).stderr);
    assert!(said.contains("callers bring none") && said.contains("1 fault"), "{said}");
    let file = "listen: 0.0.0.0:4000\nproviders: [{name: openai, key: none}]\n";
    std::fs::write(folder.path().join("farebox.yaml"), file).unwrap();
    assert!(text(&run(folder.path(), &["check"]).stderr).contains("set `access: keys`"));
    let keyed = farebox(folder.path(), &["check"]).env("FAREBOX_ACCESS", "keys").output().unwrap();
    assert!(keyed.status.success(), "{}", text(&keyed.stderr));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["serv"][..], &["serve", "--confg", "x"], &[]] {
        assert_eq!(run(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_healthcheck_without_a_node_says_so_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and never answered: nobody else can be there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["healthcheck", "--address", &address, "--timeout", "1"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("is `farebox serve` running?"), "{said}");
}

#[test]
fn version_man_and_completions_come_from_the_commands_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let version: serde_json::Value =
        serde_json::from_slice(&run(folder.path(), &["version", "--json"]).stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(run(folder.path(), &["man", "man1"]).status.success());
    let page = std::fs::read_to_string(folder.path().join("man1/farebox-check.1")).unwrap();
    assert!(page.contains("all faults at once"), "{page}");
    let bash = text(&run(folder.path(), &["completions", "bash"]).stdout);
    assert!(bash.contains("healthcheck"), "{bash}");
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        farebox(folder.path(), &["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = text(&child.wait_with_output().unwrap().stderr);
    assert!(said.is_empty(), "{said}");
}

#[test]
fn every_command_in_the_document_about_budgets_is_understood() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/budgets.md")).unwrap();
    let commands: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("farebox ")).collect();
    assert!(commands.len() >= 7, "{commands:?}");
    let nowhere = tempfile::tempdir().unwrap();
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let ended = run(nowhere.path(), &words);
        // There is no ledger here, which is a fault; a word that it does not know would be wrong usage.
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", text(&ended.stderr));
    }
}
