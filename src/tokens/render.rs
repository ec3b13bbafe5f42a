//! Tool definitions and tool calls as OpenAI's chat format writes them: a TypeScript namespace. Reverse engineered by the
//! public and confirmed here against recorded usage (`prompt/tests.rs`); what it does with `anyOf`, `$ref` and number
//! enums is our guess.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt::Write;

/// Writes the functions of a definition as types; how many there were, 0 when it is something else (a response schema,
/// a tool of the provider's own, not JSON). Reads the shapes of all three dialects, alone or in an array:
/// `{"type":"function","function":{…}}`, `{"type":"function","name":…}`, `{"name":…,"input_schema":…}`,
/// `{"functionDeclarations":[…]}`.
pub(super) fn type_script(source: &str, out: &mut String) -> u32 {
    let functions = functions(source);
    for function in &functions {
        write_comment(out, function.description.as_deref());
        match function.parameters() {
            Some(parameters) if !parameters.properties.0.is_empty() => {
                let _ = writeln!(out, "type {} = (_: {{", function.name);
                write_properties(out, parameters);
                out.push_str("}) => any;\n\n");
            }
            _ => {
                let _ = write!(out, "type {} = () => any;\n\n", function.name);
            }
        }
    }
    functions.len() as u32
}

/// How many functions a definition has.
pub(super) fn tools_in(source: &str) -> u32 {
    functions(source).len() as u32
}

/// Rendered types in the header and footer that they share.
pub(super) fn in_namespace(types: &str) -> String {
    format!("# Tools\n\n## functions\n\nnamespace functions {{\n\n{types}}} // namespace functions\n")
}

/// JSON without white space between its parts; as it came when it is not JSON.
pub(super) fn minified(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in source.chars() {
        if in_string || !matches!(letter, ' ' | '\t' | '\r' | '\n') {
            out.push(letter);
        }
        match letter {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && letter == '\\' && !escaped;
    }
    out
}

/// The arguments of a tool call: an object's members within line breaks, numbers in quotes, nothing for `{}`. As they
/// came when they are not an object.
pub(super) fn arguments(source: &str) -> String {
    let Ok(members) = serde_json::from_str::<Members<&RawValue>>(source) else { return source.to_owned() };
    let mut out = String::with_capacity(source.len());
    if !members.0.is_empty() {
        write_object(&mut out, &members);
    }
    out
}

fn write_object(out: &mut String, members: &Members<&RawValue>) {
    out.push_str("{\n");
    for (place, (name, value)) in members.0.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\"{name}\":");
        write_argument(out, value.get());
    }
    out.push_str("\n}");
}

fn write_argument(out: &mut String, source: &str) {
    match source.as_bytes().first() {
        Some(b'{') => {
            if let Ok(members) = serde_json::from_str::<Members<&RawValue>>(source) {
                return write_object(out, &members);
            }
        }
        Some(b'[') => {
            if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(source) {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    write_argument(out, item.get());
                }
                return out.push(']');
            }
        }
        Some(b'-' | b'0'..=b'9') => {
            let _ = write!(out, "\"{source}\"");
            return;
        }
        _ => {}
    }
    out.push_str(source);
}

/// The functions that a definition declares, in order.
fn functions(source: &str) -> Vec<Function> {
    let tools = match source.trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<Tool>>(source).unwrap_or_default(),
        false => serde_json::from_str::<Tool>(source).map(|tool| vec![tool]).unwrap_or_default(),
    };
    tools.into_iter().flat_map(Tool::functions).collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    function: Option<Function>,
    #[serde(alias = "functionDeclarations")]
    function_declarations: Vec<Function>,
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Schema>,
    input_schema: Option<Schema>,
}

impl Tool {
    fn functions(self) -> Vec<Function> {
        if let Some(function) = self.function {
            return vec![function];
        }
        if !self.function_declarations.is_empty() {
            return self.function_declarations;
        }
        match (self.name, self.parameters.or(self.input_schema)) {
            (Some(name), Some(parameters)) => {
                vec![Function {
                    name,
                    description: self.description,
                    parameters: Some(parameters),
                    parameters_json: None,
                }]
            }
            _ => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Schema>,
    /// Gemini's other spelling.
    #[serde(default, rename = "parametersJsonSchema")]
    parameters_json: Option<Schema>,
}

impl Function {
    fn parameters(&self) -> Option<&Schema> {
        self.parameters.as_ref().or(self.parameters_json.as_ref())
    }
}

/// The part of JSON Schema that is rendered.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    #[serde(rename = "type")]
    kind: Types,
    description: Option<String>,
    #[serde(rename = "enum")]
    choices: Vec<Box<RawValue>>,
    items: Option<Box<Schema>>,
    properties: Members<Schema>,
    required: Vec<String>,
    #[serde(rename = "anyOf", alias = "oneOf", alias = "allOf", alias = "any_of")]
    any_of: Vec<Schema>,
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "$defs", alias = "definitions")]
    definitions: Members<Schema>,
}

/// `"string"`, `["string", "null"]` or nothing.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Types {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
}

fn write_properties(out: &mut String, schema: &Schema) {
    for (name, property) in &schema.properties.0 {
        write_comment(out, property.description.as_deref());
        let question = if schema.required.contains(name) { "" } else { "?" };
        let _ = write!(out, "{name}{question}: ");
        write_type(out, property);
        out.push_str(",\n");
    }
    for (name, definition) in &schema.definitions.0 {
        let _ = write!(out, "{name}: ");
        write_type(out, definition);
        out.push_str(",\n");
    }
}

fn write_type(out: &mut String, schema: &Schema) {
    if !schema.choices.is_empty() {
        return write_joined(out, &schema.choices, |out, choice| out.push_str(choice.get()));
    }
    match &schema.kind {
        Types::One(kind) => write_named_type(out, &kind.to_ascii_lowercase(), schema),
        Types::Many(kinds) => {
            write_joined(out, kinds, |out, kind| write_named_type(out, &kind.to_ascii_lowercase(), schema))
        }
        Types::None if !schema.any_of.is_empty() => write_joined(out, &schema.any_of, write_type),
        Types::None if !schema.properties.0.is_empty() => write_named_type(out, "object", schema),
        Types::None => {
            let name = schema.reference.as_deref().and_then(|reference| reference.rsplit('/').next());
            out.push_str(name.unwrap_or("any"));
        }
    }
}

fn write_named_type(out: &mut String, kind: &str, schema: &Schema) {
    match (kind, &schema.items) {
        ("array", Some(items)) if matches!(&items.kind, Types::One(kind) if kind == "object" || kind == "array") => {
            out.push_str("Array<\n");
            write_type(out, items);
            out.push_str("\n>");
        }
        ("array", Some(items)) => {
            write_type(out, items);
            out.push_str("[]");
        }
        ("array", None) => out.push_str("Array<any>"),
        ("object", _) => {
            out.push_str("{\n");
            write_properties(out, schema);
            out.push('}');
        }
        ("integer" | "number", _) => out.push_str("number"),
        (other, _) => out.push_str(other),
    }
}

fn write_joined<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    for (place, item) in items.iter().enumerate() {
        out.push_str(if place == 0 { "" } else { " | " });
        write(out, item);
    }
}

fn write_comment(out: &mut String, description: Option<&str>) {
    for line in description.into_iter().flat_map(|description| description.split('\n')) {
        let space = if line.is_empty() { "" } else { " " };
        let _ = writeln!(out, "//{space}{line}");
    }
}

/// An object's members in the order of the source.
struct Members<T>(Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Members(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Members<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader(std::marker::PhantomData))
    }
}
