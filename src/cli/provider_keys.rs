//! `farebox provider-key`: keys of Farebox's own for providers. A key is read from standard input, a variable or a file,
//! never from the command line, is sealed at once, and is shown to nobody again.

use super::EXIT_FAULT;
use super::keys::{When, when};
use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Surroundings};
use crate::proxy::key_check::{self, Checked};
use crate::proxy::settings::ProviderSettings;
use crate::secret::Secret;
use crate::store::{ChangeError, Named, NewProviderKey, SealedKey, nonce};
use crate::tenants::{
    KeyHealth, MasterKey, PROVIDER_SECRET_BYTES_MAX, ProviderKeyRecord, WEIGHT_MAX, is_a_provider_secret,
};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Keep a provider's key, sealed; read from standard input when nothing else is said. A running node uses it within
    /// a second.
    Add(Add),
    /// Show all, without their texts: what they are for, and what their providers said of them.
    List {
        /// The removed ones too.
        #[arg(long)]
        all: bool,
    },
    /// Switch it off within a second.
    Disable {
        /// The provider's key.
        name: String,
    },
    /// Switch it on again.
    Enable {
        /// The provider's key.
        name: String,
    },
    /// Remove it for good; its sealed text is overwritten.
    Remove {
        /// The provider's key.
        name: String,
    },
    /// Ask its provider whether it takes it: its list of models, which costs nothing. Exit 1 if one is refused.
    Check {
        /// All when none is named.
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("from").args(["env", "file"])))]
pub struct Add {
    /// Unique among provider keys, never given out again.
    name: String,
    /// The provider, as the configuration calls it.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Read it from this variable.
    #[arg(long, value_name = "VARIABLE")]
    env: Option<String>,
    /// Read it from this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its share of the calls, beside the provider's other keys.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    weight: u32,
    /// When it ends, as its provider says: `30d`, `2026-12-31`.
    #[arg(long, value_name = "WHEN", value_parser = when)]
    expires: Option<When>,
    /// Ask the provider first, and keep it only when it is taken.
    #[arg(long)]
    check: bool,
}

pub fn run(errand: &Errand<Command>) -> ExitCode {
    errand.run(|office, command, json| {
        let desk = Desk { office, settings: errand.place.settings()? };
        match command {
            Command::Add(new) => desk.add(new, json),
            Command::List { all } => desk.list(*all, json),
            Command::Disable { name } => {
                desk.set(name, "disabled", json, |c| c.set_disabled(Named::ProviderKey, name, true))
            }
            Command::Enable { name } => {
                desk.set(name, "enabled", json, |c| c.set_disabled(Named::ProviderKey, name, false))
            }
            Command::Remove { name } => desk.set(name, "removed", json, |c| c.delete(Named::ProviderKey, name)),
            Command::Check { names } => desk.check(names, json),
        }
    })
}

/// Where keys are sealed and opened.
struct Desk<'a> {
    office: &'a Office,
    settings: config::Settings,
}

type Done = Result<ExitCode, String>;

impl Desk<'_> {
    fn add(&self, new: &Add, json: bool) -> Done {
        let provider = self.provider(&new.provider)?;
        let secret = read_secret(new)?;
        if new.check {
            match self.ask(provider, &secret)? {
                Checked::Found(KeyHealth::Valid) => {}
                Checked::Found(_) => return Err(format!("`{}` refuses this key; it was not kept", new.provider)),
                Checked::Unknown(why) => {
                    return Err(format!("`{}` could not be asked: {why}; the key was not kept", new.provider));
                }
            }
        }
        // Also where nothing is yet: the store makes the directory that the master key may stand in.
        self.office.change(|_| Ok(())).map_err(words)?;
        let master = self.settings.master_key.read(&self.office.data_dir).map_err(words)?;
        let purpose = ProviderKeyRecord::purpose(&new.name, &new.provider);
        let sealed = master.seal(secret.expose().as_bytes(), &purpose, nonce().map_err(words)?).map_err(words)?;
        let now = SystemClock.now();
        let key = NewProviderKey {
            name: &new.name,
            provider: &new.provider,
            sealed: &sealed,
            master: master.id(),
            weight: new.weight,
            not_after: new.expires.and_then(|when| when.from(now)),
        };
        let add = |changes: &crate::store::Changes<'_>| {
            changes.add_provider_key(&key)?;
            if new.check { changes.provider_key_checked(&new.name, KeyHealth::Valid) } else { Ok(()) }
        };
        self.set(&new.name, "sealed and kept", json, add)
    }

    fn set(
        &self,
        name: &str,
        verb: &str,
        json: bool,
        work: impl FnOnce(&crate::store::Changes<'_>) -> Result<(), ChangeError>,
    ) -> Done {
        self.office.change(work).map_err(words)?;
        let keys = self.office.reader().map_err(words)?.provider_keys(true).map_err(words)?;
        let key = keys.iter().find(|key| *key.record.name == *name).ok_or("it is gone")?;
        if json {
            println!("{}", serde_json::to_string_pretty(&view(&key.record, SystemClock.now())).unwrap_or_default());
        } else {
            println!("provider key `{name}` for {} {verb}", key.record.provider);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self, all: bool, json: bool) -> Done {
        let keys = self.office.reader().map_err(words)?.provider_keys(all).map_err(words)?;
        let now = SystemClock.now();
        if json {
            let views: Vec<_> = keys.iter().map(|key| view(&key.record, now)).collect();
            println!("{}", serde_json::to_string_pretty(&views).unwrap_or_default());
            return Ok(ExitCode::SUCCESS);
        }
        let headings = ["NAME", "PROVIDER", "WEIGHT", "STATE", "SINCE", "EXPIRES"];
        let mut table = Table::new(headings.map(|heading| (heading.to_owned(), Align::Left)));
        for SealedKey { record, .. } in keys {
            let since = record.seen.map(|(_, at)| at.to_rfc3339()).unwrap_or_default();
            let end = record.not_after.map_or_else(|| "never".to_owned(), Timestamp::to_rfc3339);
            let state = record.state(now).to_owned();
            let cells = [record.name.to_string(), record.provider.to_string(), record.weight.to_string()];
            table.row(cells.into_iter().chain([state, since, end]).collect());
        }
        let _ = table.write(&mut io::stdout().lock());
        Ok(ExitCode::SUCCESS)
    }

    fn check(&self, names: &[String], json: bool) -> Done {
        let keys = self.office.reader().map_err(words)?.provider_keys(false).map_err(words)?;
        if let Some(missing) = names.iter().find(|name| !keys.iter().any(|key| *key.record.name == ***name)) {
            return Err(words(ChangeError::Missing { kind: "provider-key", name: missing.clone() }));
        }
        let masters = self.settings.master_key.candidates(&self.office.data_dir).map_err(words)?;
        let (mut refused, mut told) = (false, Vec::new());
        for SealedKey { record, sealed } in
            keys.iter().filter(|key| names.is_empty() || names.iter().any(|name| **name == *key.record.name))
        {
            let found = match opened(record, sealed, &masters) {
                Some(secret) => self.ask(self.provider(&record.provider)?, &secret)?,
                None => Checked::Unknown("it is sealed under another master key".to_owned()),
            };
            if let Checked::Found(health) = found {
                self.office.change(|changes| changes.provider_key_checked(&record.name, health)).map_err(words)?;
            }
            refused |= found != Checked::Found(KeyHealth::Valid);
            let (state, why) = match found {
                Checked::Found(health) => (health.name(), None),
                Checked::Unknown(why) => ("unknown", Some(why)),
            };
            if json {
                told.push(
                    serde_json::json!({ "name": record.name, "provider": record.provider, "state": state, "why": why }),
                );
            } else {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                println!("provider key `{}` for {} is {state}{why}", record.name, record.provider);
            }
        }
        if json {
            println!("{}", serde_json::Value::from(told));
        }
        Ok(if refused { ExitCode::from(EXIT_FAULT) } else { ExitCode::SUCCESS })
    }

    fn provider(&self, name: &str) -> Result<&ProviderSettings, String> {
        let known = &self.settings.proxy.providers;
        known.iter().find(|provider| *provider.name == *name).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|provider| &*provider.name).collect();
            format!("there is no provider `{name}` in the configuration; known are {}", names.join(", "))
        })
    }

    fn ask(&self, provider: &ProviderSettings, secret: &Secret<String>) -> Result<Checked, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
        runtime.block_on(key_check::check(provider, secret, SystemClock.now())).map_err(words)
    }
}

/// The text of a kept key; `None`: it is sealed under none of these.
pub fn opened(record: &ProviderKeyRecord, sealed: &[u8], masters: &[MasterKey]) -> Option<Secret<String>> {
    let purpose = ProviderKeyRecord::purpose(&record.name, &record.provider);
    let plain = masters.iter().find_map(|master| master.open(sealed, &purpose).ok())?;
    String::from_utf8(plain.expose().clone()).ok().map(Secret::new)
}

fn read_secret(new: &Add) -> Result<Secret<String>, String> {
    let text = match (&new.env, &new.file) {
        (Some(variable), _) => Surroundings::of_this_process()
            .variables
            .remove(variable)
            .ok_or_else(|| format!("the variable {variable} is not set"))?,
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        (None, None) => {
            let mut text = String::new();
            let read = io::stdin().take(PROVIDER_SECRET_BYTES_MAX as u64 + 1).read_to_string(&mut text);
            read.map_err(|error| format!("standard input: {error}"))?;
            text
        }
    };
    let text = text.trim();
    if is_a_provider_secret(text) {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err("that is no key: it must be one word of printable letters (`printenv KEY | farebox provider-key add …`)"
            .to_owned())
    }
}

fn view(record: &ProviderKeyRecord, now: Timestamp) -> serde_json::Value {
    serde_json::json!({
        "object": "provider_key",
        "name": record.name,
        "provider": record.provider,
        "weight": record.weight,
        "state": record.state(now),
        "seen_at": record.seen.map(|(_, at)| at.to_rfc3339()),
        "created_at": record.created_at.to_rfc3339(),
        "expires_at": record.not_after.map(Timestamp::to_rfc3339),
        "disabled_at": record.disabled_at.map(Timestamp::to_rfc3339),
        "removed_at": record.deleted_at.map(Timestamp::to_rfc3339),
        "master_key": record.master.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    })
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
