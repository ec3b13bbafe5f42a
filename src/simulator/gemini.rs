use super::reply::{Call, Reply};
pub fn reply(_call: &Call<'_>) -> Reply {
    Reply::json("other", "{}")
}
pub fn error(status: u16, _message: &str) -> Reply {
    Reply::json("error", "{}").with_status(status)
}
