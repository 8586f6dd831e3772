//! Collecting what there is to say about a bundle.

use std::borrow::Cow;

use remora_types::agents::Finding;

use super::BUNDLE_FILE;

/// Most findings of a kind that are kept: a hostile file must not fill the listing.
const LIMIT: usize = 50;

/// Longest quotation from a file, in characters.
const QUOTE: usize = 80;

/// Findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) warnings: Vec<Finding>,
    pub(super) faults: Vec<Finding>,
    /// Takes what comes after the limit.
    overflow: Option<Finding>,
}

/// The finding just made, to be placed.
pub(super) struct Placed<'f>(&'f mut Finding);

impl Findings {
    /// Something that works but was hardly meant.
    pub(super) fn warn(&mut self, code: &'static str, message: impl Into<String>) -> Placed<'_> {
        push(&mut self.warnings, &mut self.overflow, code, message.into())
    }

    /// Something that keeps the bundle from being used.
    pub(super) fn fault(&mut self, code: &'static str, message: impl Into<String>) -> Placed<'_> {
        push(&mut self.faults, &mut self.overflow, code, message.into())
    }
}

impl Placed<'_> {
    /// The file it is about, where that is not `bundle.yaml`.
    pub(super) fn at(self, path: &str) -> Self {
        self.0.path = Some(quoted(path).into_owned());
        self
    }

    /// The line in that file.
    pub(super) fn line(self, line: Option<u64>) -> Self {
        self.0.line = line;
        self
    }
}

fn push<'f>(
    list: &'f mut Vec<Finding>,
    overflow: &'f mut Option<Finding>,
    code: &'static str,
    message: String,
) -> Placed<'f> {
    let finding = Finding { code: Cow::Borrowed(code), message, path: Some(BUNDLE_FILE.into()), line: None };
    if list.len() < LIMIT {
        list.push(finding);
        Placed(list.last_mut().expect("one was just pushed"))
    } else {
        Placed(overflow.insert(finding))
    }
}

/// Text from a file, short enough for a message and on one line.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !c.is_control();
    if text.chars().nth(QUOTE).is_none() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut cut: String = text.chars().take(QUOTE).map(|c| if plain(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(QUOTE).is_some() {
        cut.push('…');
    }
    Cow::Owned(cut)
}
