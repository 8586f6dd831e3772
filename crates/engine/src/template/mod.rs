//! Chat templates: a conversation becomes the text that the model was trained on.
//!
//! Templates are Jinja programs from the model's file, written for Python's `transformers`. minijinja runs them; what
//! it does differently from Python is put right here and in [`json`]: method calls such as `.strip()`, `tojson`
//! without HTML escapes, the `{% generation %}` block. llama.cpp's own `apply_chat_template` was rejected: it knows a
//! list of formats by heart and no tools.

mod json;
mod messages;
mod python;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use remora_protocol::openai::ChatMessage;
use serde_json::{Map, Value as Json};

use crate::llama::{ControlTexts, Model, Token, Vocabulary};
use crate::output::{Reading, ThinkTags, ToolFormat, marks};
use messages::{MARK, Reads, to_template};
pub(crate) use messages::{MessageError, Piece};

/// Name under which the template for conversations with tools stands in a file that has two.
const TOOL_USE: &str = "tool_use";
const DEFAULT: &str = "default";

/// Why a conversation could not be rendered; every variant is the request's or the model's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("this model's file has no chat template, so it answers /v1/completions only")]
    Missing,
    #[error("the model's chat template is not valid Jinja: {0}")]
    Invalid(String),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("{0}")]
    Refused(String),
}

/// What a template is given beside the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RenderOptions {
    pub(crate) tools: Option<Vec<Json>>,
    /// Ends the prompt where the assistant's answer begins.
    pub(crate) add_generation_prompt: bool,
    /// Leaves the last message open, to be continued.
    pub(crate) continue_final_message: bool,
    /// Further variables.
    pub(crate) variables: Map<String, Json>,
}

/// The chat template of a model.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    has_tool_use: bool,
    reads: Reads,
    /// How the model writes calls.
    tools: Option<ToolFormat>,
    /// How it marks its thinking.
    thinking: Option<ThinkTags>,
    /// Control tokens that mean something in answers.
    marks: Vec<(&'static str, Token)>,
}

impl ChatTemplate {
    /// Compiles the templates in a model's file. A template that does not compile fails the requests that need it, not
    /// the model: completions still work.
    pub(crate) fn of_model(model: &Model) -> Result<Self, TemplateError> {
        let source = model.chat_template(None).ok_or(TemplateError::Missing)?;
        let vocabulary = model.vocabulary();
        let specials = [("bos_token", vocabulary.bos_text()), ("eos_token", vocabulary.eos_text())];
        let template = Self::new(&source, model.chat_template(Some(TOOL_USE)).as_deref(), specials)?;
        Ok(Self { marks: marks_in(vocabulary), ..template })
    }

    fn new(source: &str, tool_use: Option<&str>, specials: [(&'static str, String); 2]) -> Result<Self, TemplateError> {
        let invalid = |error: Error| TemplateError::Invalid(describe(&error));
        let mut environment = python::environment();
        for (name, text) in specials {
            environment.add_global(name, text);
        }
        environment.add_template_owned(DEFAULT, python::without_generation_blocks(source)).map_err(invalid)?;
        if let Some(tool_use) = tool_use {
            environment.add_template_owned(TOOL_USE, python::without_generation_blocks(tool_use)).map_err(invalid)?;
        }
        Ok(Self {
            environment,
            has_tool_use: tool_use.is_some(),
            reads: Reads::of(source),
            tools: tool_use.and_then(ToolFormat::of_template).or_else(|| ToolFormat::of_template(source)),
            thinking: ThinkTags::of_template(source),
            marks: Vec::new(),
        })
    }

    /// How the model writes calls, as far as its template shows it.
    pub(crate) fn tools(&self) -> Option<ToolFormat> {
        self.tools
    }

    /// How the model marks its thinking, if it thinks.
    pub(crate) fn thinking(&self) -> Option<ThinkTags> {
        self.thinking
    }

    /// The control token that is this tag, if it is one.
    pub(crate) fn mark(&self, tag: &str) -> Option<Token> {
        self.marks.iter().find(|(text, _)| *text == tag).map(|(_, token)| *token)
    }

    /// Control tokens that have to stand in the text of an answer that is read like this.
    pub(crate) fn shown(&self, reading: Reading) -> Vec<Token> {
        marks(reading.tools, reading.thinking).filter_map(|tag| self.mark(tag)).collect()
    }

    /// Renders a conversation. Control tokens that stand in its text, and not in the template, come apart as text.
    pub(crate) fn render(
        &self,
        messages: &[ChatMessage],
        options: &RenderOptions,
        controls: &ControlTexts,
    ) -> Result<Vec<Piece>, TemplateError> {
        let tools = options.tools.as_ref().filter(|tools| !tools.is_empty());
        let mut variables = options.variables.clone();
        variables.insert("messages".into(), to_template(messages, self.reads, controls)?);
        let tools_for_template = tools.map(|tools| messages::disarm(Json::Array(tools.clone()), controls));
        variables.insert("tools".into(), tools_for_template.unwrap_or(Json::Null));
        variables.entry("documents").or_insert(Json::Null);
        variables.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        let name = if tools.is_some() && self.has_tool_use { TOOL_USE } else { DEFAULT };
        let template = self.environment.get_template(name).expect("both names were added when they exist");
        let mut text = template.render(Serde(variables)).map_err(|error| TemplateError::Refused(describe(&error)))?;
        if options.continue_final_message {
            cut_after_final_message(&mut text, messages, controls)?;
        }
        Ok(messages::pieces(&text))
    }
}

/// The control tokens of every format's marks; most models have none.
fn marks_in(vocabulary: &Vocabulary) -> Vec<(&'static str, Token)> {
    let wanted: Vec<&'static str> = crate::output::all_marks().collect();
    let tokens = (0..vocabulary.len()).filter_map(|id| Token::try_from(id).ok());
    let control = tokens.filter(|&token| vocabulary.is_control(token));
    control
        .filter_map(|token| {
            let mark = wanted.iter().find(|mark| mark.as_bytes() == vocabulary.bytes(token))?;
            Some((*mark, token))
        })
        .collect()
}

/// Ends the prompt with the last message's own text, whatever the template put after it.
fn cut_after_final_message(
    text: &mut String,
    messages: &[ChatMessage],
    controls: &ControlTexts,
) -> Result<(), TemplateError> {
    let last = messages.last().map(|message| messages::text_of(message, controls)).unwrap_or_default();
    let Some(start) = text.rfind(last.trim()).filter(|_| !last.trim().is_empty()) else {
        let message = "continue_final_message is set, but the chat template does not print the final message's text";
        return Err(TemplateError::Refused(message.into()));
    };
    text.truncate(start + last.trim().len());
    Ok(())
}

/// The failure in one line: what `raise_exception` said, or what minijinja says and where.
fn describe(error: &Error) -> String {
    let text = match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) if detail.starts_with(python::RAISED) => {
            detail[python::RAISED.len()..].to_owned()
        }
        (kind, Some(detail)) => {
            format!("chat template: {kind}: {detail} (line {})", error.line().unwrap_or_default())
        }
        (kind, None) => format!("chat template: {kind} (line {})", error.line().unwrap_or_default()),
    };
    text.replace(MARK, "")
}

#[cfg(test)]
mod tests;
