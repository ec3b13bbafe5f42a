//! Which data directory a command means.

use crate::config::{self, Surroundings};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Place {
    /// The data directory; by default the configured one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration to take the data directory from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The directory that is named, else the configured one. A named one needs no configuration that can be read.
    pub fn data_dir(&self) -> Result<PathBuf, String> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => config::load(self.config.clone(), &Surroundings::of_this_process())
                .map(|settings| settings.data_dir)
                .map_err(|faults| faults.to_string()),
        }
    }
}
