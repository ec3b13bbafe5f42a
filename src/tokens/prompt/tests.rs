use super::super::count::always;
use super::super::count::tests::counter;
use super::super::tokenizer::{Encoding, FramingFamily};
use super::PromptText::*;
use super::*;

const GPT_4: Tokenizer = Tokenizer::exact(Encoding::Cl100k, FramingFamily::Openai4o);
const GPT_4O: Tokenizer = Tokenizer::exact(Encoding::O200k, FramingFamily::Openai4o);

fn count(tokenizer: &Tokenizer, texts: &[PromptText<'_>]) -> Count {
    let mut go_on = always;
    let mut tally = PromptTally::new(counter(), tokenizer, &mut go_on);
    for text in texts {
        tally.push(*text);
    }
    tally.finish().expect("nobody calls it off")
}

/// Prompt tokens that OpenAI itself reported, from the records of the npm package openai-tokens-count (tests/tokens.json,
/// read 2026-11-21); the requests are retold here as texts.
#[test]
fn plain_messages_count_as_openai_reported_them() {
    let hello = [Message("user"), Text("Hello")];
    assert_eq!(count(&GPT_4, &hello), Count { tokens: 8, exact: true });
    let several = [
        Message("system"),
        Text("Write OK if you understand"),
        Message("user"),
        Text("Hello"),
        Message("assistant"),
        Text("OK"),
        Message("user"),
        Text("Write me ok"),
    ];
    assert_eq!(count(&GPT_4O, &several), Count { tokens: 29, exact: true });
    let named = [
        Message("system"),
        Text("You are cat"),
        Message("user"),
        Text("Hello"),
        Name("Dog"),
        Message("assistant"),
        Text("I'm scary"),
    ];
    assert_eq!(count(&GPT_4, &named), Count { tokens: 24, exact: true });
}

const CLOUDY: [PromptText<'_>; 4] =
    [Message("system"), Text("You are weather predictor"), Message("user"), Text("Hello! How cloudy in London?")];
const TEAM: [PromptText<'_>; 2] = [Message("user"), Text("Hello. Please Build my 4 person game-developer team")];

const WEATHER: &str = r#"{"type":"function","function":{"name":"get_current_weather","description":"Get the current weather in a given location",
    "parameters":{"type":"object","properties":{"location":{"type":"string","description":"The city and state, e.g. San Francisco, CA"},
    "unit":{"type":"string","enum":["celsius","fahrenheit"]}},"required":["location"]}}}"#;
const BY_COORDS: &str = r#"{"type":"function","function":{"name":"get_current_weather_by_coords","description":"Get the current weather by coords struct",
    "parameters":{"type":"object","properties":{"coords":{"type":"object","description":"(lat,long)","properties":{
    "lat":{"type":"string","description":"latitude"},"long":{"type":"string","description":"longitude"}}},
    "unit":{"type":"string","enum":["celsius","fahrenheit"]}},"required":["coords"]}}}"#;
const COORDS: &str = r#"{"type":"function","function":{"name":"get_coords","description":"Get coords by location name","parameters":{"type":"object",
    "properties":{"location_name":{"type":"string","description":"The city and state, e.g. San Francisco, CA"}},"required":["location_name"]}}}"#;
const TEAM_OF_OBJECTS: &str = r#"{"type":"function","function":{"name":"create_team","description":"Create and configure a team-set","parameters":{
    "type":"object","properties":{"assistants":{"type":"array","items":{"type":"object","properties":{
    "description":{"type":"string","description":"Brief description of the Assistant role"},"name":{"type":"string","description":"Assistant name"}},
    "required":["description"]},"description":"Configuration details of each Assistant in the team."}},"required":["assistants"]}}}"#;
const TEAM_OF_STRINGS: &str = r#"{"type":"function","function":{"name":"create_team","description":"Create and configure a team-set","parameters":{
    "type":"object","properties":{"assistants":{"type":"array","items":{"type":"string"},
    "description":"Assistant role. Each element of array is one assistant"}},"required":["assistants"]}}}"#;
const JAVASCRIPT: &str = r#"{"type":"function","function":{"name":"execute_javascript_code",
    "description":"Execute Javascript code and returns result.\n\nExample:\n\nexecute_js('10+10'), returns '100'",
    "parameters":{"type":"object","properties":{"code":{"type":"string","description":"javascript code"}},"required":["code"]}}}"#;

/// The same records: within one token in a hundred, and said to be an estimate.
#[test]
fn tool_definitions_count_nearly_as_openai_reported_them() {
    let kelvin = BY_COORDS.replace(r#""fahrenheit"]"#, r#""fahrenheit","kelvin"]"#);
    let cases: [(&[PromptText<'_>], &[&str], u64); 6] = [
        (&CLOUDY, &[WEATHER], 86),
        (&CLOUDY, &[&kelvin], 97),
        (&CLOUDY, &[BY_COORDS, COORDS], 129),
        (&TEAM, &[TEAM_OF_OBJECTS], 92),
        (&TEAM, &[TEAM_OF_STRINGS], 71),
        (&[Message("user"), Text("Calculate the area of a sphere with a radius of Earth")], &[JAVASCRIPT], 80),
    ];
    for (messages, tools, reported) in cases {
        let texts: Vec<_> = messages.iter().copied().chain(tools.iter().copied().map(Definition)).collect();
        let counted = count(&GPT_4, &texts);
        assert!(!counted.exact);
        assert!(counted.tokens.abs_diff(reported) * 100 <= reported, "{} for {reported}: {tools:?}", counted.tokens);
    }
}

const TEAM_ARGUMENTS: &str = r#"{"teamName":"Game Development Team",
      "tools": ["Unity", "Unreal Engine", "3rd Party"],
      "assistants": [{
      "name": "Game Programmer",
      "instructions": [
        "Develop and test game code according to design documents.",
        "Implement game mechanics and interfaces using the chosen game engine.",
        "Collaborate with designers and artists to integrate visuals and audio into the game.",
        "Optimize game performance for various platforms."
      ],
      "scoring": [1,2,3,4],
      "default_score": 3
      }]}"#;

const FORMULA: &str = "To calculate the surface area of a sphere, you can use the formula:\n\n\\[ \\text{Area} = 4 \\pi r^2 \\]\n\nwhere \\( r \\) is the radius of the sphere. \
    The average radius of Earth is approximately 6,371 kilometers.\n\nLet's calculate the surface area of Earth using this formula.";
const RADIUS: &str = r#"{"code":"const radius = 6371; // Earth's radius in kilometers\nconst area = 4 * Math.PI * Math.pow(radius, 2);\narea;"}"#;

/// The same records, requests with tool calls and their results in the history: within five in a hundred.
#[test]
fn tool_calls_in_the_history_count_nearly_as_openai_reported_them() {
    let one = [
        Message("assistant"),
        ToolCall { name: "create_team", arguments: TEAM_ARGUMENTS },
        Message("tool"),
        Text("{ \"ok\": 1}"),
    ];
    let two = [
        Message("assistant"),
        ToolCall { name: "create_team", arguments: r#"{"teamName":"Game Development Team", "description":"Team1"}"# },
        ToolCall { name: "create_team", arguments: r#"{"teamName":"Game Development Team 2"}"# },
        Message("tool"),
        Text("\"Team successfully saved.\""),
        Message("tool"),
        Text("\"Team successfully saved.\""),
    ];
    let empty = [
        Message("assistant"),
        Text("RUN ME"),
        ToolCall { name: "execute_code", arguments: "{}" },
        Message("tool"),
        Text("42"),
    ];
    let plain_javascript = JAVASCRIPT.replace(r"\n\nExample:\n\nexecute_js('10+10'), returns '100'", "");
    let sphere = [
        Message("user"),
        Text("Calculate the area of a sphere with a radius of Earth"),
        Message("assistant"),
        Text(FORMULA),
        ToolCall { name: "execute_javascript_code", arguments: RADIUS },
        Message("tool"),
        Text("510064471.90978825"),
        Definition(&plain_javascript),
    ];
    for (texts, reported) in [(&one[..], 120), (&two[..], 79), (&empty[..], 28), (&sphere[..], 200)] {
        let counted = count(&GPT_4, texts);
        assert!(!counted.exact);
        assert!(counted.tokens.abs_diff(reported) * 20 <= reported, "{} for {reported}", counted.tokens);
    }
}

#[test]
fn the_tools_of_every_dialect_are_rendered_alike() {
    let parameters = r#"{"type":"object","properties":{"city":{"type":"STRING"}},"required":["city"]}"#;
    let sources = [
        format!(r#"{{"type":"function","function":{{"name":"f","description":"d","parameters":{parameters}}}}}"#),
        format!(r#"{{"type":"function","name":"f","description":"d","parameters":{parameters}}}"#),
        format!(r#"{{"name":"f","description":"d","input_schema":{parameters}}}"#),
        format!(r#"{{"functionDeclarations":[{{"name":"f","description":"d","parameters":{parameters}}}]}}"#),
        format!(r#"[{{"name":"f","description":"d","input_schema":{parameters}}}]"#),
    ];
    for source in sources {
        let mut types = String::new();
        assert_eq!(render::type_script(&source, &mut types), 1, "{source}");
        assert_eq!(types, "// d\ntype f = (_: {\ncity: string,\n}) => any;\n\n", "{source}");
    }
}

#[test]
fn a_schema_that_is_no_tool_counts_as_its_json() {
    let spaced = "{ \"type\": \"object\",\n  \"properties\": { \"a b\": { \"type\": \"string\" } } }";
    let tight = r#"{"type":"object","properties":{"a b":{"type":"string"}}}"#;
    assert_eq!(render::minified(spaced), tight);
    let counted = count(&GPT_4O, &[Message("user"), Definition(spaced)]).tokens;
    assert_eq!(counted, count(&GPT_4O, &[Message("user"), Text(tight)]).tokens);
    assert_eq!(render::minified(r#"{"a\\":"\" b"}"#), r#"{"a\\":"\" b"}"#);
}

#[test]
fn a_model_without_a_public_tokenizer_is_estimated_by_its_factor() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
    let plain = counter().text(Encoding::O200k, &text, &mut always).expect("counted").tokens;
    let claude = count(&Tokenizer::customary("claude-opus-4-8"), &[Message("user"), Text(&text)]);
    assert_eq!(claude, Count { tokens: (plain * 143).div_ceil(100) + 6 + 3, exact: false });
    let gemini = count(&Tokenizer::customary("gemini-2.5-pro"), &[Message("user"), Text("Hello")]);
    assert_eq!(gemini, Count { tokens: 2, exact: false }, "1.1 tokens, rounded up, and no framing");
}

#[test]
fn nothing_is_framed_where_there_is_no_message() {
    assert_eq!(count(&GPT_4O, &[]), Count::ZERO);
    assert_eq!(count(&GPT_4O, &[Text("Hello")]), Count { tokens: 1, exact: true }, "an embedding's input");
}

#[test]
fn an_output_that_was_not_kept_whole_is_an_estimate_in_proportion() {
    let text = "word ".repeat(1_000);
    let seen = OutputSeen { text: &text, ..OutputSeen::default() };
    let whole = counter().output(&GPT_4O, &seen, &mut always).expect("counted").visible;
    assert!(whole.exact);
    let cut = OutputSeen { dropped_bytes: text.len() as u64, ..seen };
    let cut = counter().output(&GPT_4O, &cut, &mut always).expect("counted").visible;
    assert_eq!(cut, Count { tokens: whole.tokens * 2, exact: false });
}
