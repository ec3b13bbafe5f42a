//! `farebox key`: virtual keys. A key's text goes to standard output when it is made, alone on its line, and nowhere
//! else, ever: `export OPENAI_API_KEY=$(farebox key create app --team research)`.

mod bounds;
mod limits;

use super::ledger::age;
use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::clock::{Clock, SystemClock};
use crate::queries::KeyView;
use crate::store::{ChangeError, Dimension, EventQuery, Filter, Holder, Named, NewKey, Reader, drawn};
use crate::tenants::{Digest, KeyText, TenantKind};
use bounds::Bounds;
pub(super) use bounds::{When, when};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key and print it: this once.
    Create(Create),
    /// Show all, without their texts.
    List(List),
    /// Show one: what it may do, and when it was used last.
    Show {
        /// The key.
        name: String,
    },
    /// Write anew what a key may do; what is not named stays.
    #[command(visible_alias = "update")]
    Change {
        /// The key.
        name: String,
        #[command(flatten)]
        bounds: Bounds,
    },
    /// Give a key a new text and print it; the one before opens for a while longer.
    Rotate {
        /// The key.
        name: String,
        /// How long the text before stays valid; `0s` ends it at once.
        #[arg(long, value_name = "AGE", value_parser = age, default_value = "24h")]
        overlap: Duration,
    },
    /// Switch it off within a second.
    Disable {
        /// The key.
        name: String,
    },
    /// Switch it on again.
    Enable {
        /// The key.
        name: String,
    },
    /// Revoke it for good, within a second. What it used stays in the ledger.
    Delete {
        /// The key.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("holder").args(["project", "team", "organisation"])))]
pub struct Create {
    /// Unique in the installation, never given out again; calls are in the ledger under it.
    name: String,
    /// The project that it is for.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Or the team.
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    /// Or the organisation; the only one, when nothing is said.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
    /// The person who holds it.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    bounds: Bounds,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").args(["project", "team", "organisation", "user"])))]
pub struct List {
    /// Of this project only.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Of this team and its projects only.
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    /// Of this organisation only.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
    /// Of this person only.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The deleted ones too.
    #[arg(long)]
    all: bool,
}

pub fn run(errand: &Errand<Command>) -> ExitCode {
    let subject = Named::Key;
    errand.run_through(|office, command, json| match command {
        Command::Create(new) => create(office, new, json),
        Command::List(list) => list_keys(office, list, json),
        Command::Show { name } => show(office, name, json),
        Command::Change { name, bounds } => change(office, name, bounds, json),
        Command::Rotate { name, overlap } => rotate(office, name, *overlap, json),
        Command::Disable { name } => {
            told(office, name, "disabled", json, |office| office.change(|c| c.set_disabled(subject, name, true)))
        }
        Command::Enable { name } => {
            told(office, name, "enabled", json, |office| office.change(|c| c.set_disabled(subject, name, false)))
        }
        Command::Delete { name } => {
            told(office, name, "deleted", json, |office| office.change(|c| c.delete(subject, name)))
        }
    })
}

fn create(office: &Office, new: &Create, json: bool) -> Result<(), ChangeError> {
    let holder = [
        (TenantKind::Project, &new.project),
        (TenantKind::Team, &new.team),
        (TenantKind::Organisation, &new.organisation),
    ];
    let now = SystemClock.now();
    // Also where nothing is yet: the store makes the directory that the pepper stands in.
    office.change(|_| Ok(()))?;
    let (text, digest) = fresh(office, KeyText::from_random)?;
    let key = NewKey {
        name: &new.name,
        holder: holder.iter().find_map(|(kind, name)| Some((*kind, name.as_deref()?))),
        user: new.user.as_deref(),
        permissions: &new.bounds.permissions(&Default::default()),
        limits: &new.bounds.limits.over(&Default::default()),
        tags: &new.bounds.tags(&Vec::new()),
        not_after: new.bounds.expires.and_then(|when| when.from(now)),
        digest,
        prefix: text.prefix(),
    };
    office.change(|changes| changes.create_key(&key))?;
    tell_text(&office.reader()?, &new.name, &text, "", json)
}

fn rotate(office: &Office, name: &str, overlap: Duration, json: bool) -> Result<(), ChangeError> {
    let until = When::In(overlap).from(SystemClock.now()).unwrap_or_default();
    let (text, digest) = fresh(office, KeyText::from_random)?;
    office.change(|changes| changes.rotate_key(name, &digest, text.prefix(), until))?;
    let before = format!("; the text before it opens until {}", until.to_rfc3339());
    tell_text(&office.reader()?, name, &text, &before, json)
}

/// A new text from 256 random bits, and its hash under the pepper.
pub(super) fn fresh(office: &Office, written: fn(&[u8; 32]) -> KeyText) -> Result<(KeyText, Digest), ChangeError> {
    Ok(drawn(&office.data_dir, written)?)
}

fn tell_text(reader: &Reader, name: &str, text: &KeyText, more: &str, json: bool) -> Result<(), ChangeError> {
    let view = view(reader, name)?;
    if json {
        return print(&KeyView { key: Some(text.expose().to_owned()), ..view });
    }
    eprintln!("key `{name}` of {}{more}. Keep it: it is shown this once.", belongs_to(&view));
    println!("{}", text.expose());
    Ok(())
}

fn change(office: &Office, name: &str, bounds: &Bounds, json: bool) -> Result<(), ChangeError> {
    let missing = || ChangeError::Missing { kind: "key", name: name.to_owned() };
    let key = office.reader()?.virtual_key(name)?.ok_or_else(missing)?;
    let not_after = bounds.expires.map_or(key.not_after, |when| when.from(SystemClock.now()));
    let (permissions, tags) = (bounds.permissions(&key.permissions), bounds.tags(&key.tags));
    let limits = bounds.limits.over(&key.limits);
    told(office, name, "changed", json, |office| {
        office.change(|changes| changes.change_key(name, &permissions, &limits, &tags, not_after))
    })
}

fn told(
    office: &Office,
    name: &str,
    verb: &str,
    json: bool,
    work: impl FnOnce(&Office) -> Result<(), ChangeError>,
) -> Result<(), ChangeError> {
    work(office)?;
    let view = view(&office.reader()?, name)?;
    if json {
        return print(&view);
    }
    println!("key `{name}` of {} {verb}", belongs_to(&view));
    Ok(())
}

fn show(office: &Office, name: &str, json: bool) -> Result<(), ChangeError> {
    let reader = office.reader()?;
    let filters = vec![Filter { dimension: Dimension::Key, values: vec![name.to_owned()] }];
    let last = reader.events(&EventQuery { filters, limit: 1, ..EventQuery::default() })?;
    let last_used_at = last.first().map(|row| row.started_at.to_rfc3339());
    let view = KeyView { last_used_at, ..view(&reader, name)? };
    if json {
        return print(&view);
    }
    let line = |what: &str, text: &str| println!("{what:<11} {text}");
    line("key", name);
    line("belongs to", &belongs_to(&view));
    view.user.iter().for_each(|user| line("user", user));
    line("state", &state(&view));
    for secret in &view.secrets {
        let end = secret.expires_at.as_ref().map(|end| format!(", until {end}")).unwrap_or_default();
        line("text", &format!("{}…, since {}{end}", secret.prefix, secret.created_at));
    }
    let bounds = &view.permissions;
    line("models", &listed(&bounds.models, "any"));
    line("operations", &listed(&bounds.operations.iter().map(|one| one.name()).collect::<Vec<_>>(), "the usual"));
    line("providers", &listed(&bounds.providers, "any"));
    line("networks", &listed(&bounds.networks, "any"));
    line("limits", &listed(&limits::words(&view.limits), "none of its own"));
    let tags: Vec<String> = view.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    line("tags", &listed(&tags, "none"));
    line("expires", view.expires_at.as_deref().unwrap_or("never"));
    line("last used", view.last_used_at.as_deref().unwrap_or("never"));
    Ok(())
}

fn list_keys(office: &Office, list: &List, json: bool) -> Result<(), ChangeError> {
    let whose = [
        (TenantKind::Project, &list.project),
        (TenantKind::Team, &list.team),
        (TenantKind::Organisation, &list.organisation),
        (TenantKind::User, &list.user),
    ];
    let whose = whose.iter().find_map(|(kind, name)| Some(Holder::Tenant(*kind, name.as_deref()?)));
    let (keys, now) = (office.reader()?.virtual_keys(whose.unwrap_or(Holder::Anyone), list.all)?, SystemClock.now());
    let views: Vec<KeyView> = keys.iter().map(|key| KeyView::new(key, now)).collect();
    if json {
        return print(&views);
    }
    let headings = ["NAME", "BELONGS TO", "USER", "TEXT", "STATE", "EXPIRES"];
    let mut table = Table::new(headings.map(|heading| (heading.to_owned(), Align::Left)));
    for view in views {
        let texts: Vec<String> = view.secrets.iter().map(|secret| format!("{}…", secret.prefix)).collect();
        let user = view.user.as_deref().unwrap_or_default().to_owned();
        let end = view.expires_at.clone().unwrap_or_else(|| "never".to_owned());
        table.row(vec![view.name.to_string(), belongs_to(&view), user, texts.join(" "), state(&view), end]);
    }
    let _ = table.write(&mut io::stdout().lock());
    Ok(())
}

fn view(reader: &Reader, name: &str) -> Result<KeyView, ChangeError> {
    let missing = || ChangeError::Missing { kind: "key", name: name.to_owned() };
    Ok(KeyView::new(&reader.virtual_key(name)?.ok_or_else(missing)?, SystemClock.now()))
}

fn belongs_to(view: &KeyView) -> String {
    let below = [&view.team, &view.project].into_iter().flatten().map(|name| name.to_string());
    [view.organisation.to_string()].into_iter().chain(below).collect::<Vec<_>>().join(" / ")
}

fn state(view: &KeyView) -> String {
    let by = view.closed_by.filter(|by| *by != "key").map(|by| format!(" (its {by})")).unwrap_or_default();
    format!("{}{by}", view.state.name())
}

fn listed<T: ToString>(list: &[T], none: &str) -> String {
    if list.is_empty() {
        return none.to_owned();
    }
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn print(view: &impl serde::Serialize) -> Result<(), ChangeError> {
    println!("{}", serde_json::to_string_pretty(view).unwrap_or_default());
    Ok(())
}
