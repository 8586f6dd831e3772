//! Which formats there are, and which one a model writes.

use clap::ValueEnum;

/// How a model writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`: Hermes, Qwen, the demo model.
    Hermes,
    /// `{"name": …, "parameters": …}`, with or without `<|python_tag|>` before it: Llama 3.1 and later.
    Llama3Json,
    /// `[TOOL_CALLS][{"name": …, "arguments": …}]`, or `[TOOL_CALLS]name[ARGS]{…}`.
    Mistral,
    /// `<start_function_call>call:name{key:<escape>text<escape>}<end_function_call>`.
    FunctionGemma,
}

impl ToolFormat {
    const ALL: [Self; 4] = [Self::Hermes, Self::Llama3Json, Self::Mistral, Self::FunctionGemma];

    /// Reads it off a chat template: it shows the model's earlier calls in the format it writes them.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let has = |text: &str| source.contains(text);
        if has("<start_function_call>") {
            Some(Self::FunctionGemma)
        } else if has("<tool_call>") {
            // The same tags around something else: Qwen3-Coder's and GLM's XML.
            (!has("<function=") && !has("<arg_key>")).then_some(Self::Hermes)
        } else if has("[TOOL_CALLS]") {
            Some(Self::Mistral)
        } else if has("<|python_tag|>") || (has("\"parameters\"") && has("<|start_header_id|>")) {
            Some(Self::Llama3Json)
        } else {
            None
        }
    }

    /// The tag that begins a call, then the one that ends it, if the format has one, then one that ends the turn.
    pub(super) fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Llama3Json => &["<|python_tag|>"],
            Self::Mistral => &["[TOOL_CALLS]"],
            Self::FunctionGemma => &["<start_function_call>", "<end_function_call>", RESPONSE],
        }
    }

    /// Tags inside a call.
    fn inner(self) -> &'static [&'static str] {
        match self {
            Self::Hermes | Self::Llama3Json => &[],
            Self::Mistral => &["[ARGS]", "[CALL_ID]"],
            Self::FunctionGemma => &["<escape>"],
        }
    }

    /// A text that ends the turn although the model's file may not say so.
    pub(crate) fn stop(self) -> Option<&'static str> {
        (self == Self::FunctionGemma).then_some(RESPONSE)
    }
}

/// What follows a call in `FunctionGemma`'s training: the tool's answer, which is not the model's to write.
const RESPONSE: &str = "<start_function_response>";

/// `--tool-parser`: the format of calls, where the chat template does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ToolParser {
    /// `<tool_call>{…}</tool_call>`: Hermes, Qwen.
    Hermes,
    /// `{"name": …, "parameters": …}`: Llama 3.1 and later.
    Llama3Json,
    /// `[TOOL_CALLS]…`.
    Mistral,
    /// `<start_function_call>call:name{…}<end_function_call>`.
    #[value(name = "functiongemma")]
    FunctionGemma,
    /// Calls stay text.
    None,
}

impl ToolParser {
    /// The format.
    pub(crate) fn format(self) -> Option<ToolFormat> {
        match self {
            Self::Hermes => Some(ToolFormat::Hermes),
            Self::Llama3Json => Some(ToolFormat::Llama3Json),
            Self::Mistral => Some(ToolFormat::Mistral),
            Self::FunctionGemma => Some(ToolFormat::FunctionGemma),
            Self::None => None,
        }
    }
}

/// Tags around a model's thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThinkTags {
    pub(super) open: &'static str,
    pub(super) close: &'static [&'static str],
}

impl ThinkTags {
    pub(crate) const THINK: Self = Self { open: "<think>", close: &["</think>"] };
    const MAGISTRAL: Self = Self { open: "[THINK]", close: &["[/THINK]"] };
    const ALL: [Self; 2] = [Self::THINK, Self::MAGISTRAL];

    /// Reads them off a chat template.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tags| source.contains(tags.close[0]))
    }

    /// The tag that begins the thinking.
    pub(crate) fn opening(self) -> &'static str {
        self.open
    }

    /// The tag that ends it.
    pub(crate) fn closing(self) -> &'static str {
        self.close[0]
    }

    /// Whether a prompt ends after a thinking, which is then over.
    pub(crate) fn closed_by(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.closing())
    }

    /// Whether a prompt ends inside the thinking: some templates open it themselves.
    pub(crate) fn opened_by(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

/// Texts that mean something here even where the model's vocabulary says that they are control tokens, which are
/// otherwise left out of answers.
pub(crate) fn marks(tools: Option<ToolFormat>, thinking: Option<ThinkTags>) -> impl Iterator<Item = &'static str> {
    let tools = tools.into_iter().flat_map(|format| format.tags().iter().chain(format.inner()).copied());
    let thinking = thinking.into_iter().flat_map(|tags| std::iter::once(tags.open).chain(tags.close.iter().copied()));
    tools.chain(thinking)
}

/// The same for every format.
pub(crate) fn all_marks() -> impl Iterator<Item = &'static str> {
    let tools = ToolFormat::ALL.into_iter().flat_map(|format| marks(Some(format), None));
    tools.chain(ThinkTags::ALL.into_iter().flat_map(|tags| marks(None, Some(tags))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_shows_the_format() {
        for (source, format) in [
            ("{{- '\\n<tool_call>\\n{\"name\": \"' }}", Some(ToolFormat::Hermes)),
            ("<tool_call>\\n<function=' + name", None),
            ("<tool_call>{{ name }}<arg_key>", None),
            ("{{ '[TOOL_CALLS]' + calls | tojson }}", Some(ToolFormat::Mistral)),
            ("<|start_header_id|> {\"name\": function name, \"parameters\": dictionary", Some(ToolFormat::Llama3Json)),
            ("{{ '<|python_tag|>' }}", Some(ToolFormat::Llama3Json)),
            ("<start_function_declaration><start_function_call>call:", Some(ToolFormat::FunctionGemma)),
            ("{{ message.content }}", None),
        ] {
            assert_eq!(ToolFormat::of_template(source), format, "{source}");
        }
        assert_eq!(ThinkTags::of_template("content.split('</think>')"), Some(ThinkTags::THINK));
        assert_eq!(ThinkTags::of_template("x"), None);
        assert!(ThinkTags::THINK.opened_by("<|assistant|>\n<think>\n"));
        assert!(!ThinkTags::THINK.opened_by("<think>\n\n</think>\n\n"));
    }
}
