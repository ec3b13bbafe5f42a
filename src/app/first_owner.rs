//! The first owner: as long as nobody has a role and no admin token is set, a start prints a token with which one person
//! makes himself the owner, once.

use super::Failure;
use crate::secret::Secret;
use crate::store::{Reader, StoreError};
use crate::tenants::KeyText;
use std::io::Write;
use std::net::SocketAddr;

/// Draws the token and prints it on the standard output, beside the log: it is a secret, and the log is kept.
pub(super) fn token(reader: &Reader, admin: SocketAddr) -> Result<Option<Secret<String>>, Failure> {
    let has_members = reader.register(|register| register.has_members());
    if has_members.map_err(|error: StoreError| Failure::Fault(error.to_string()))? {
        return Ok(None);
    }
    let text = KeyText::token_from_random(&super::random_key()?);
    // Where nothing can be written there is nobody to read it.
    let _ = writeln!(
        std::io::stdout(),
        "Nobody has a role here yet. The first owner is made once, with this token, until the next start:\n  {}\n\
         POST http://{admin}/api/v1/owner {{\"token\": …, \"user\": …, \"password\": …}} (docs/api.md)",
        text.expose()
    );
    Ok(Some(Secret::new(text.expose().to_owned())))
}
