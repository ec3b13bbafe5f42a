//! The values of `for_each` as one text: `team=research user=ann`, canonical and readable. A space, `=`, `%` and control
//! characters of a value are written `%20`, so that the text can be taken apart again.

use std::fmt::Write;

/// Adds a field and its value.
pub fn push(scope: &mut String, field: &str, value: &str) {
    if !scope.is_empty() {
        scope.push(' ');
    }
    scope.push_str(field);
    scope.push('=');
    if value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'=' | b'%')) {
        scope.push_str(value);
        return;
    }
    for letter in value.chars() {
        match letter {
            ' ' | '=' | '%' => drop(write!(scope, "%{:02x}", u32::from(letter))),
            letter if letter.is_control() => drop(write!(scope, "%{:02x}", u32::from(letter))),
            letter => scope.push(letter),
        }
    }
}

/// The field and the value of a part of a scope: what [`push`] wrote. `None`: it is no part.
pub fn value_of(part: &str) -> Option<(&str, String)> {
    let (field, written) = part.split_once('=')?;
    let mut value = String::with_capacity(written.len());
    let mut rest = written;
    while let Some((plain, escaped)) = rest.split_once('%') {
        let code = escaped.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
        value.push_str(plain);
        value.push(char::from(code));
        rest = escaped.get(2..)?;
    }
    value.push_str(rest);
    Some((field, value))
}

/// The scope with another value of a field where it has this one; `None`: it has not.
pub fn replaced(scope: &str, field: &str, value: &str, by: &str) -> Option<String> {
    let mut old = String::new();
    push(&mut old, field, value);
    let parts = || scope.split(' ').filter(|part| !part.is_empty());
    if !parts().any(|part| part == old) {
        return None;
    }
    let mut new = String::new();
    push(&mut new, field, by);
    Some(parts().map(|part| if part == old { new.as_str() } else { part }).collect::<Vec<_>>().join(" "))
}

/// What a person's value is rewritten to when he is erased begins so.
pub const ERASED: &str = "erased-";

/// Whether a scope may be what was left of another one when people were erased from it.
pub fn may_be_left_of(erased: &str, scope: &str) -> bool {
    let (mut left, mut whole) = (erased.split(' '), scope.split(' '));
    loop {
        match (left.next(), whole.next()) {
            (None, None) => return true,
            (Some(left), Some(whole)) if left == whole => {}
            (Some(left), Some(whole)) => {
                let field = |part: &str| part.split_once('=').map(|(field, _)| field.to_owned());
                let is_erased = left.split_once('=').is_some_and(|(_, value)| value.starts_with(ERASED));
                if !is_erased || field(left) != field(whole) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_whole_and_only_in_its_field() {
        let mut scope = String::new();
        for (field, value) in [("team", "ann"), ("user", "ann b=1"), ("run", "a")] {
            push(&mut scope, field, value);
        }
        assert_eq!(scope, "team=ann user=ann%20b%3d1 run=a");
        assert_eq!(replaced(&scope, "user", "ann b=1", "erased-7").as_deref(), Some("team=ann user=erased-7 run=a"));
        assert_eq!((replaced(&scope, "user", "ann", "x"), replaced("", "user", "", "x")), (None, None));
    }

    #[test]
    fn a_part_is_its_field_and_its_value_again() {
        for value in ["ann", "ann b=1", "100%", "\u{7}\u{85}ü\n", ""] {
            let mut part = String::new();
            push(&mut part, "metadata.of", value);
            assert_eq!(value_of(&part), Some(("metadata.of", value.to_owned())), "{part}");
        }
        assert_eq!((value_of("user"), value_of("user=%zz")), (None, None));
    }

    #[test]
    fn what_is_left_of_a_scope_is_known_again_by_its_fields() {
        assert!(may_be_left_of("team=red user=erased-7", "team=red user=ann"));
        for other in ["team=blue user=ann", "team=red end_user=ann", "team=red", "team=red user=ann run=1"] {
            assert!(!may_be_left_of("team=red user=erased-7", other), "{other}");
        }
        assert!(!may_be_left_of("user=bob", "user=ann"));
    }
}
