//! What tenants and keys may be called.

/// Longest name.
pub const NAME_LETTERS_MAX: usize = 64;

/// The names that open mode gives to callers.
const OPEN_CALLERS: &str = "caller-";

/// The text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is no name: {why}")]
pub struct NotAName {
    shown: String,
    why: &'static str,
}

/// Small ASCII letters only: two names that look alike are the same name, and none needs quoting in a header, a rule or
/// a shell.
pub fn check_name(text: &str) -> Result<(), NotAName> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| plain(c) || matches!(c, '.' | '_' | '-' | '@' | '+');
    let why = if text.is_empty() || text.len() > NAME_LETTERS_MAX {
        "it has 1 to 64 letters"
    } else if !text.starts_with(plain) {
        "it begins with a small letter or a digit"
    } else if !text.chars().all(inner) {
        "it has small letters, digits and `. _ - @ +` only"
    } else if text.starts_with(OPEN_CALLERS) {
        "names that begin with `caller-` are given to callers in open mode"
    } else {
        return Ok(());
    };
    Err(NotAName { shown: text.chars().filter(|c| !c.is_control()).take(NAME_LETTERS_MAX).collect(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_none_is_an_open_callers() {
        for name in ["research", "a", "team-1", "alice@acme.example", "v2.0_x", "0"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", "Research", "rеsearch", "-x", "a b", "a/b", "a\n", "caller-3f9a12c4", "*", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(!check_name("a\u{1b}[2J").unwrap_err().to_string().contains('\u{1b}'));
    }
}
