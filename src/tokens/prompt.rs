//! A prompt's tokens: its texts and what the model's chat format adds around them.
//!
//! Plain messages count as OpenAI's cookbook says. Tool definitions and tool calls are rewritten by the chat format as
//! nobody documents; the rules here are fitted to recorded usage (the tests hold the records) and so their counts are
//! estimates.

use super::count::{CalledOff, Count, Counter, GoOn};
use super::render;
use super::tokenizer::{Encoding, Framing, Rendering, Tokenizer};

/// One text of a prompt, as the model's framing sees it.
#[derive(Clone, Copy, Debug)]
pub enum PromptText<'a> {
    /// A new message begins (framing tokens are due); its role.
    Message(&'a str),
    /// `name` of a message.
    Name(&'a str),
    /// Text of the current message.
    Text(&'a str),
    /// The same, still with the escapes of the body's JSON.
    Escaped(Escaped<'a>),
    /// A tool call in the history: its name, and its arguments as JSON text.
    ToolCall { name: &'a str, arguments: &'a str },
    /// A tool definition, schema or other JSON that is rendered into the prompt: its source text.
    Definition(&'a str),
}

/// A text with escapes in it: one that comes again is known by its bytes as written, and never decoded.
#[derive(Clone, Copy)]
pub struct Escaped<'a> {
    /// As written, between the quotes.
    pub raw: &'a [u8],
    /// Bytes once decoded; above zero.
    pub size: usize,
    pub decode: fn(&[u8]) -> String,
}

impl std::fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.decode)(self.raw).fmt(f)
    }
}

/// Adds up a prompt as its texts come.
///
/// ```text
/// let mut tally = PromptTally::new(&counter, &tokenizer, &mut always);
/// dialect.prompt_texts(&endpoint, body, &mut |text| tally.push(text));
/// let count = tally.finish()?;
/// ```
pub struct PromptTally<'a> {
    counter: &'a Counter,
    tokenizer: Tokenizer,
    framing: Framing,
    go_on: GoOn<'a>,
    /// Of the vocabulary, before the factor.
    text: Count,
    /// Bytes behind `text`: no factor makes more tokens of them.
    text_bytes: u64,
    /// By how much plain texts are fewer tokens than bytes: counted exactly, whatever stands beside them.
    saved: u64,
    framing_tokens: u64,
    /// The tools as rendered so far.
    tools: String,
    tool_count: u32,
    has_messages: bool,
    has_system: bool,
    /// The last letter of the first system message, while it is read: a line end is added to it if there are tools.
    system_end: Option<char>,
    in_first_system: bool,
    calls_in_message: u32,
    message_has_text: bool,
    called_off: bool,
}

impl<'a> PromptTally<'a> {
    pub fn new(counter: &'a Counter, tokenizer: &Tokenizer, go_on: GoOn<'a>) -> Self {
        PromptTally {
            counter,
            tokenizer: *tokenizer,
            framing: tokenizer.framing.framing(),
            go_on,
            text: Count::ZERO,
            text_bytes: 0,
            saved: 0,
            framing_tokens: 0,
            tools: String::new(),
            tool_count: 0,
            has_messages: false,
            has_system: false,
            system_end: None,
            in_first_system: false,
            calls_in_message: 0,
            message_has_text: false,
            called_off: false,
        }
    }

    /// After a count was called off, further texts cost nothing.
    pub fn push(&mut self, text: PromptText<'_>) {
        match text {
            PromptText::Message(role) => self.message(role),
            PromptText::Name(name) => {
                self.framing_tokens += u64::from(self.framing.name);
                self.plain(name);
            }
            PromptText::Text(text) => {
                self.message_text(!text.is_empty());
                if self.in_first_system {
                    self.system_end = text.chars().next_back().or(self.system_end);
                }
                self.plain(text);
            }
            PromptText::Escaped(text) => {
                self.message_text(true);
                if self.in_first_system {
                    self.system_end = (text.decode)(text.raw).chars().next_back().or(self.system_end);
                }
                self.escaped(text);
            }
            PromptText::ToolCall { name, arguments } => self.tool_call(name, arguments),
            PromptText::Definition(source) => self.definition(source),
        }
    }

    /// By how much the bound from bytes alone is proven too large, also where the whole count is not exact: tools, pictures
    /// and files keep their bounds. 0 where the model's own tokenizer is not known.
    pub fn saved(&self) -> u64 {
        if self.tokenizer.exact { self.saved } else { 0 }
    }

    /// The whole prompt. Texts without any message (embeddings, plain completions) go to the model bare.
    pub fn finish(mut self) -> Result<Count, CalledOff> {
        self.tools_end();
        if self.called_off {
            return Err(CalledOff);
        }
        let text = self.tokenizer.scaled(self.text, self.text_bytes);
        let request = if self.has_messages { u64::from(self.framing.request) } else { 0 };
        Ok(Count { tokens: text.tokens + self.framing_tokens + request, exact: text.exact })
    }

    fn message(&mut self, role: &str) {
        self.has_messages = true;
        let tool = matches!(role, "tool" | "function");
        self.framing_tokens += u64::from(if tool { self.framing.tool_message } else { self.framing.message });
        self.in_first_system = matches!(role, "system" | "developer") && !self.has_system;
        self.has_system |= self.in_first_system;
        self.calls_in_message = 0;
        self.message_has_text = false;
    }

    fn text_beside_calls(&mut self, begins: bool, other_is_there: bool) {
        if begins && other_is_there {
            self.framing_tokens += u64::from(self.framing.text_and_calls);
        }
    }

    fn tool_call(&mut self, name: &str, arguments: &str) {
        self.framing_tokens += u64::from(self.framing.tool_call);
        self.text_beside_calls(self.calls_in_message == 0, self.message_has_text);
        self.calls_in_message += 1;
        if self.calls_in_message == 2 {
            self.framing_tokens += u64::from(self.framing.tool_calls_many);
        }
        self.text(name);
        match self.framing.rendering {
            Rendering::TypeScript => {
                self.text(name);
                self.text(&render::arguments(arguments));
            }
            Rendering::Json => {
                self.text(arguments);
            }
        }
        self.text.exact = false;
    }

    fn definition(&mut self, source: &str) {
        let tools = match self.framing.rendering {
            Rendering::TypeScript => render::type_script(source, &mut self.tools),
            Rendering::Json => 0,
        };
        if tools == 0 {
            let json = render::minified(source);
            self.tool_count += render::tools_in(source);
            self.text(&json);
        }
        self.tool_count += tools;
        self.text.exact = false;
    }

    /// The tools share one header, so they are counted together, at the end.
    fn tools_end(&mut self) {
        if !self.tools.is_empty() {
            let tools = render::in_namespace(&std::mem::take(&mut self.tools));
            self.text(&tools);
        }
        if self.tool_count == 0 {
            return;
        }
        self.framing_tokens +=
            u64::from(self.framing.tools) + u64::from(self.framing.tool) * u64::from(self.tool_count);
        if self.has_system {
            let line_end = u64::from(self.system_end.is_some_and(char::is_alphanumeric));
            let less = u64::from(self.framing.tools_with_system_less);
            self.framing_tokens = (self.framing_tokens + if less > 0 { line_end } else { 0 }).saturating_sub(less);
        }
    }

    /// Text of a message, which a model tells from its tool calls.
    fn message_text(&mut self, is_there: bool) {
        self.text_beside_calls(is_there && !self.message_has_text, self.calls_in_message > 0);
        self.message_has_text |= is_there;
    }

    /// Plain text: what its exact count lies below its bytes is known to be saved.
    fn plain(&mut self, text: &str) {
        let counted = self.text(text);
        self.save(text.len(), counted);
    }

    fn escaped(&mut self, text: Escaped<'_>) {
        let counted = self.counted(text.size, |counter, encoding, go_on| counter.escaped(encoding, text, go_on));
        self.save(text.size, counted);
    }

    fn save(&mut self, size: usize, counted: Option<Count>) {
        let saved = counted.filter(|count| count.exact).map_or(0, |count| (size as u64).saturating_sub(count.tokens));
        self.saved = self.saved.saturating_add(saved);
    }

    /// `None`: called off.
    fn text(&mut self, text: &str) -> Option<Count> {
        self.counted(text.len(), |counter, encoding, go_on| counter.text(encoding, text, go_on))
    }

    fn counted(
        &mut self,
        size: usize,
        count: impl FnOnce(&Counter, Encoding, GoOn<'_>) -> Result<Count, CalledOff>,
    ) -> Option<Count> {
        if self.called_off {
            return None;
        }
        self.text_bytes += size as u64;
        let counted = count(self.counter, self.tokenizer.encoding, self.go_on).ok();
        match counted {
            Some(count) => self.text.add(count),
            None => self.called_off = true,
        }
        counted
    }
}

/// What came out of a model, as far as it was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputSeen<'a> {
    /// Visible text and the arguments of tool calls.
    pub text: &'a str,
    pub reasoning: &'a str,
    pub tool_calls: u32,
    /// Bytes that were seen but not kept.
    pub dropped_bytes: u64,
}

/// The tokens of an output, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputCount {
    pub visible: Count,
    pub reasoning: Count,
}

impl OutputCount {
    pub fn total(&self) -> Count {
        let mut total = self.visible;
        total.add(self.reasoning);
        total
    }
}

impl Counter {
    /// Counts an output whose usage was not reported. Bytes that were not kept count like the ones that were (of none,
    /// a token for every four), and make the count inexact.
    pub fn output(
        &self,
        tokenizer: &Tokenizer,
        seen: &OutputSeen<'_>,
        go_on: GoOn<'_>,
    ) -> Result<OutputCount, CalledOff> {
        let reasoning = self.text(tokenizer.encoding, seen.reasoning, go_on)?;
        let mut visible = self.text(tokenizer.encoding, seen.text, go_on)?;
        if seen.dropped_bytes > 0 {
            let kept = seen.text.len() as u64;
            let (tokens, bytes) = if kept == 0 { (1, 4) } else { (visible.tokens, kept) };
            let more = u128::from(seen.dropped_bytes) * u128::from(tokens) / u128::from(bytes);
            visible.add(Count { tokens: u64::try_from(more).unwrap_or(u64::MAX), exact: false });
        }
        let mut visible = tokenizer.scaled(visible, (seen.text.len() as u64).saturating_add(seen.dropped_bytes));
        if seen.tool_calls > 0 {
            let framing = u64::from(tokenizer.framing.framing().tool_call) * u64::from(seen.tool_calls);
            visible.add(Count { tokens: framing, exact: false });
        }
        Ok(OutputCount { visible, reasoning: tokenizer.scaled(reasoning, seen.reasoning.len() as u64) })
    }
}

impl Tokenizer {
    /// From tokens of `encoding` to the model's, rounded up. Never more than the bytes: every token of a byte-level
    /// vocabulary stands for at least one.
    fn scaled(&self, count: Count, bytes: u64) -> Count {
        let denominator = u128::from(self.factor.denominator.max(1));
        let scaled = (u128::from(count.tokens) * u128::from(self.factor.numerator)).div_ceil(denominator);
        Count { tokens: u64::try_from(scaled).unwrap_or(u64::MAX).min(bytes), exact: count.exact && self.exact }
    }
}

#[cfg(test)]
mod tests;
