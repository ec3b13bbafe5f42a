//! A prompt's tokens: its texts and what the model's chat format adds around them.

/// One text of a prompt, as the model's framing sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptText<'a> {
    /// A new message begins (framing tokens are due); its role.
    Message(&'a str),
    /// `name` of a message.
    Name(&'a str),
    /// Text of the current message.
    Text(&'a str),
    /// A tool call in the history: its name, and its arguments as JSON text.
    ToolCall { name: &'a str, arguments: &'a str },
    /// A tool definition, schema or other JSON that is rendered into the prompt: its source text.
    Definition(&'a str),
}
