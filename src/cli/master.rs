//! `farebox keys master`: the key under which everything else is sealed.

use super::fault;
use super::place::{Office, Place};
use super::provider_keys::opened;
use crate::store::{ChangeError, MASTER_KEY_FILE, MasterKeySource, StoreError, nonce};
use crate::tenants::{MasterKey, ProviderKeyRecord};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Keys,
}

#[derive(Debug, clap::Subcommand)]
enum Keys {
    /// The master key.
    #[command(subcommand)]
    Master(Command),
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say where the master key is found and what it is called; never what it is.
    Show,
    /// Seal every provider key anew under another master key: all, or none.
    Rotate {
        /// The file with the new one. Not needed where the master key is `master.key` in the data directory: a new one
        /// is drawn and put in its place.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let Keys::Master(command) = &arguments.command;
    let done = Office::of(&arguments.place).and_then(|office| {
        let source = arguments.place.settings()?.master_key;
        match command {
            Command::Show => show(&office, &source),
            Command::Rotate { to } => rotate(&office, &source, to.as_deref()),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fault(why),
    }
}

fn show(office: &Office, source: &MasterKeySource) -> Result<(), String> {
    let key = source.read(&office.data_dir).map_err(|error| error.to_string())?;
    println!("master key {} from {}", called(&key), place_of(office, source));
    Ok(())
}

fn rotate(office: &Office, source: &MasterKeySource, to: Option<&std::path::Path>) -> Result<(), String> {
    let words = |error: StoreError| error.to_string();
    let masters = source.candidates(&office.data_dir).map_err(words)?;
    let in_place = *source == MasterKeySource::DataDir && to.is_none();
    let new = match to {
        Some(path) => MasterKeySource::File(path.to_owned()).read(&office.data_dir).map_err(words)?,
        None if in_place => MasterKeySource::write_next(&office.data_dir).map_err(words)?,
        None => {
            return Err(format!(
                "the master key is {}: write the new one into a file (`openssl rand -hex 32`) and name it with --to",
                place_of(office, source)
            ));
        }
    };
    let resealed = office.change(|changes| {
        changes.reseal(new.id(), |key| {
            let record = &key.record;
            let shut = || ChangeError::SealedOtherwise { name: record.name.to_string() };
            let secret = opened(record, &key.sealed, &masters).ok_or_else(shut)?;
            let purpose = ProviderKeyRecord::purpose(&record.name, &record.provider);
            new.seal(secret.expose().as_bytes(), &purpose, nonce()?).map_err(|_| shut())
        })
    });
    let resealed = resealed.map_err(|error| error.to_string())?;
    if in_place {
        MasterKeySource::put_next(&office.data_dir).map_err(words)?;
    }
    println!("{resealed} provider keys are sealed under the master key {} now", called(&new));
    if !in_place {
        println!("give it to Farebox in place of {}, and start it again", place_of(office, source));
    }
    Ok(())
}

fn called(key: &MasterKey) -> String {
    key.id().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place_of(office: &Office, source: &MasterKeySource) -> String {
    match source {
        MasterKeySource::Text(_) => "FAREBOX_MASTER_KEY".to_owned(),
        MasterKeySource::File(path) => path.display().to_string(),
        MasterKeySource::DataDir => office.data_dir.join(MASTER_KEY_FILE).display().to_string(),
    }
}
