//! JSON text in the order in which it is written: providers write `id` first, and bodies must be the same to the byte
//! on every run. Values are JSON text already.

/// `{"a":1,"b":"x"}` from names and JSON texts.
pub fn object<const N: usize>(members: [(&str, String); N]) -> String {
    members_in_order(members)
}

/// The same where the number of members is only known as it runs.
pub fn members_in_order<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = String::from("{");
    for (place, (name, value)) in members.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&text(name));
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
    out
}

pub fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

/// A JSON string.
pub fn text(plain: &str) -> String {
    serde_json::Value::from(plain).to_string()
}

pub fn null() -> String {
    "null".to_owned()
}

/// A JSON string, or `null`.
pub fn text_or_null(plain: Option<&str>) -> String {
    plain.map_or_else(null, text)
}

/// Appends a member to an object's text.
pub fn with_member(object: String, name: &str, value: &str) -> String {
    let mut out = object;
    let empty = out == "{}";
    out.pop();
    if !empty {
        out.push(',');
    }
    out.push_str(&text(name));
    out.push(':');
    out.push_str(value);
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_as_written_and_text_is_escaped() {
        assert_eq!(object([("z", "1".into()), ("a", text("q\"\n"))]), r#"{"z":1,"a":"q\"\n"}"#);
        assert_eq!(with_member("{}".into(), "a", "1"), r#"{"a":1}"#);
        assert_eq!(with_member(r#"{"a":1}"#.into(), "b", "2"), r#"{"a":1,"b":2}"#);
    }
}
