//! Thinking at the beginning of an answer.

use super::events::Events;
use super::format::ThinkTags;
use super::tags::Tags;
use super::work;

/// Splits an answer into thinking and what comes after it. Tags later in an answer are text: a model that explains
/// them does not think.
#[derive(Debug)]
pub(super) struct ThinkScanner {
    open: &'static str,
    /// The prompt opened the thinking; a model may write the tag once more.
    opened: bool,
    at: At,
    /// White space before the opening tag.
    space: String,
    /// What may be the opening tag.
    held: String,
    close: Tags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Before,
    Inside,
    After,
}

impl ThinkScanner {
    pub(super) fn new(tags: ThinkTags, opened: bool) -> Self {
        let close = Tags::new(tags.close);
        Self { open: tags.open, opened, at: At::Before, space: String::new(), held: String::new(), close }
    }

    /// Takes a character. What is not thinking is added to `rest`.
    pub(super) fn feed(&mut self, character: char, events: &mut Events, rest: &mut String) {
        work::step();
        match self.at {
            At::After => rest.push(character),
            At::Before if self.held.is_empty() && character.is_whitespace() => self.space.push(character),
            At::Before => {
                self.held.push(character);
                if self.held == self.open {
                    self.held.clear();
                    self.space.clear();
                    self.at = At::Inside;
                } else if !self.open.starts_with(&self.held) {
                    self.begin(events, rest);
                }
            }
            At::Inside => self.inside(character, events),
        }
    }

    /// What was held back, when nothing more comes.
    pub(super) fn finish(&mut self, events: &mut Events, rest: &mut String) {
        if self.at == At::Before {
            self.begin(events, rest);
        }
        events.thinking(&self.close.finish());
    }

    /// There is no opening tag.
    fn begin(&mut self, events: &mut Events, rest: &mut String) {
        let text = std::mem::take(&mut self.space) + &std::mem::take(&mut self.held);
        if self.opened {
            self.at = At::Inside;
            text.chars().for_each(|character| self.feed(character, events, rest));
        } else {
            self.at = At::After;
            rest.push_str(&text);
        }
    }

    fn inside(&mut self, character: char, events: &mut Events) {
        let mut text = String::new();
        if self.close.feed(character, &mut text).is_some() {
            self.at = At::After;
        }
        events.thinking(&text);
    }
}
