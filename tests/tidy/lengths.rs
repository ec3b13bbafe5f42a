//! Files of at most 600 lines, functions of at most 70. Tables of facts are exempt by name, with the reason.

use super::source::{House, SourceFile};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// (file, or file and function as `path:name`; why)
const EXEMPT: [(&str, &str); 0] = [];

fn is_exempt(name: &str) -> bool {
    EXEMPT.iter().any(|(exempt, _)| *exempt == name)
}

pub fn long_files(house: &House) -> Vec<String> {
    let long = |file: &&SourceFile| file.text.lines().count() > FILE_LINES_MAX && !is_exempt(&file.path);
    let fault =
        |file: &SourceFile| format!("{}: {} lines, at most {FILE_LINES_MAX}", file.path, file.text.lines().count());
    house.rust().filter(long).map(fault).collect()
}

pub fn long_functions(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    for file in house.library() {
        for function in functions(&file.code()) {
            if function.lines > FUNCTION_LINES_MAX && !is_exempt(&format!("{}:{}", file.path, function.name)) {
                let Function { name, line, lines } = function;
                faults.push(format!("{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}", file.path));
            }
        }
    }
    faults
}

/// An exemption that nothing needs any more.
pub fn idle_exemptions(house: &House) -> Vec<String> {
    let needed = |name: &str| {
        let (path, function) = name.split_once(':').map_or((name, None), |(path, function)| (path, Some(function)));
        let Some(file) = house.files.iter().find(|file| file.path == path) else { return false };
        match function {
            None => file.text.lines().count() > FILE_LINES_MAX,
            Some(name) => functions(&file.code()).iter().any(|f| f.name == name && f.lines > FUNCTION_LINES_MAX),
        }
    };
    let idle = EXEMPT.iter().filter(|(name, _)| !needed(name));
    idle.map(|(name, _)| format!("{name} needs its exemption in tests/tidy/lengths.rs no more")).collect()
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body in code without comments and strings.
fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let begins = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '(');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !begins || name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(&code[at..]) {
            let line = code[..at].matches('\n').count() + 1;
            functions.push(Function { name, line, lines: code[at..at + length].matches('\n').count() + 1 });
        }
    }
    functions
}

/// Where the body ends; `None` for a declaration without one.
fn body_end(code: &str) -> Option<usize> {
    let (mut depth, mut round) = (0usize, 0usize);
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            ';' if depth == 0 && round == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn a_function_is_as_long_as_from_its_name_to_its_brace() {
    let found = functions("fn a() {\n  if x {\n }\n}\ntrait T { fn b(); fn c(x: [u8; 3]) -> u8 {\n 1 } }\n");
    let shown: Vec<(&str, usize, usize)> = found.iter().map(|f| (&*f.name, f.line, f.lines)).collect();
    assert_eq!(shown, [("a", 1, 4), ("c", 5, 2)]);
}
