//! What scanners find.

/// A part of an answer. Parts of the same kind that follow each other are told as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Further text.
    Text(String),
    /// Further thinking.
    Thinking(String),
    /// The model calls a function; calls are numbered from 0.
    CallBegin { index: u32, name: String },
    /// Further arguments of the call; all of them together are valid JSON.
    Arguments { index: u32, text: String },
    /// The call has ended.
    CallEnd {
        index: u32,
        /// What the model wrote, tag and all, if it broke off or wrote no JSON. Its arguments were closed, so that
        /// they are valid, but they are not what the model meant: nobody should run them.
        broken: Option<String>,
    },
}

/// Events in order.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<Event>);

impl Events {
    pub(super) fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Text(last)) => last.push_str(text),
            _ => self.0.push(Event::Text(text.to_owned())),
        }
    }

    pub(super) fn thinking(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Thinking(last)) => last.push_str(text),
            _ => self.0.push(Event::Thinking(text.to_owned())),
        }
    }

    pub(super) fn begin(&mut self, index: u32, name: String) {
        self.0.push(Event::CallBegin { index, name });
    }

    pub(super) fn arguments(&mut self, index: u32, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Arguments { text: last, .. }) => last.push_str(text),
            _ => self.0.push(Event::Arguments { index, text: text.to_owned() }),
        }
    }

    pub(super) fn end(&mut self, index: u32, broken: Option<String>) {
        self.0.push(Event::CallEnd { index, broken });
    }

    pub(super) fn into_vec(self) -> Vec<Event> {
        self.0
    }
}
