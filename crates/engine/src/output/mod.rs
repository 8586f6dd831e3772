//! What a model's text means: words, thinking, calls of tools.
//!
//! Models write calls into their text, each family in its own format. These scanners take the text in the pieces in
//! which it comes and tell what it is as soon as that is sure: only what may still be the beginning of a tag, and white
//! space beside a call, is held back. They look at each character a fixed number of times, and cutting the text
//! elsewhere does not change what they find.
//!
//! Arguments are passed on while the model writes them, and are valid JSON whatever happens. An answer that ends in the
//! middle of a call has its arguments closed after the last complete value or inside the string they break off in, and
//! [`Event::CallEnd`] says so: a whole answer then shows the model's text instead, as vLLM's do, and a stream, which
//! cannot take back what it told, does not end with the reason `tool_calls`.
//!
//! Rejected: published parsers. They parse the arguments again with every token, lose a second call in the same piece,
//! drop text beside calls, and none knows `FunctionGemma`'s format.

mod call;
mod events;
mod format;
mod gemma;
mod json;
mod tags;
mod thinking;
mod tools;
mod work;

pub(crate) use call::is_whole_name;
pub(crate) use events::Event;
use events::Events;
pub use format::ToolParser;
pub(crate) use format::{ThinkTags, ToolFormat, all_marks, marks};
use thinking::ThinkScanner;
use tools::ToolScanner;

/// What is looked for in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// Calls, in this format.
    pub(crate) tools: Option<ToolFormat>,
    /// Only the first call is told.
    pub(crate) one_call: bool,
    /// Whether calls were asked for; they are then held to their format.
    pub(crate) forced: Option<Forced>,
    /// Thinking, between these tags.
    pub(crate) thinking: Option<ThinkTags>,
    /// The prompt ends inside the thinking.
    pub(crate) thinking_opened: bool,
    /// Thinking is found, but not told.
    pub(crate) hide_thinking: bool,
}

/// Calls that had to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    /// Of any function.
    Required,
    /// Of one that the client named, and that is how the answer ends: with `stop`, since nobody has to be told.
    Named,
}

impl Reading {
    /// Whether the answer is all text.
    pub(crate) fn is_plain(self) -> bool {
        self.tools.is_none() && self.thinking.is_none()
    }
}

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct OutputScanner {
    reading: Reading,
    thinking: Option<ThinkScanner>,
    tools: Option<ToolScanner>,
    calls: Calls,
}

/// Calls that were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    None,
    Complete,
    /// One of them broke off.
    Broken,
}

impl OutputScanner {
    /// A scanner at the beginning of an answer.
    pub(crate) fn new(reading: Reading) -> Self {
        Self {
            reading,
            thinking: reading.thinking.map(|tags| ThinkScanner::new(tags, reading.thinking_opened)),
            tools: reading.tools.map(ToolScanner::new),
            calls: Calls::None,
        }
    }

    /// Takes further text.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Event> {
        let mut events = Events::default();
        if let Some(thinking) = &mut self.thinking {
            let mut rest = String::new();
            text.chars().for_each(|character| thinking.feed(character, &mut events, &mut rest));
            Self::read(&mut self.tools, &rest, &mut events);
        } else {
            Self::read(&mut self.tools, text, &mut events);
        }
        self.sift(events)
    }

    /// Ends the answer.
    pub(crate) fn finish(&mut self) -> Vec<Event> {
        let mut events = Events::default();
        let mut rest = String::new();
        if let Some(thinking) = &mut self.thinking {
            thinking.finish(&mut events, &mut rest);
        }
        Self::read(&mut self.tools, &rest, &mut events);
        if let Some(tools) = &mut self.tools {
            tools.finish(&mut events);
        }
        self.sift(events)
    }

    /// Whether the answer calls tools, and every call is whole.
    pub(crate) fn calls_tools(&self) -> bool {
        self.calls == Calls::Complete
    }

    fn read(tools: &mut Option<ToolScanner>, text: &str, events: &mut Events) {
        match tools {
            Some(tools) => text.chars().for_each(|character| tools.feed(character, events)),
            None => events.text(text),
        }
    }

    /// Leaves out what is not wanted.
    fn sift(&mut self, events: Events) -> Vec<Event> {
        let Reading { one_call, hide_thinking, .. } = self.reading;
        let mut events = events.into_vec();
        events.retain(|event| match event {
            Event::Text(_) => true,
            Event::Thinking(_) => !hide_thinking,
            Event::CallBegin { index, .. } | Event::Arguments { index, .. } | Event::CallEnd { index, .. } => {
                !one_call || *index == 0
            }
        });
        for event in &events {
            self.calls = match (event, self.calls) {
                (Event::CallEnd { broken: None, .. }, Calls::None) => Calls::Complete,
                (Event::CallEnd { broken: Some(_), .. }, _) => Calls::Broken,
                (_, calls) => calls,
            };
        }
        events
    }
}

#[cfg(test)]
mod tests;
