//! Tags in a stream of characters.

use super::work;

/// Finds tags. Text that may still become one is held back: never more than the longest tag.
#[derive(Debug, Clone)]
pub(super) struct Tags {
    /// None of them begins another.
    tags: &'static [&'static str],
    held: String,
}

impl Tags {
    pub(super) fn new(tags: &'static [&'static str]) -> Self {
        Self { tags, held: String::new() }
    }

    /// Takes a character, and gives the tag's place in the list that it completes. What can be no tag any more is
    /// added to `text`.
    pub(super) fn feed(&mut self, character: char, text: &mut String) -> Option<usize> {
        self.held.push(character);
        while !self.held.is_empty() {
            work::step();
            if let Some(index) = self.tags.iter().position(|&tag| tag == self.held) {
                self.held.clear();
                return Some(index);
            }
            if self.tags.iter().any(|tag| tag.starts_with(&self.held)) {
                return None;
            }
            text.push(self.held.remove(0));
        }
        None
    }

    /// Whether this character is sure to be text.
    pub(super) fn passes(&self, character: char) -> bool {
        self.held.is_empty() && !self.tags.iter().any(|tag| tag.starts_with(character))
    }

    /// What was held back, when nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (String, Vec<usize>, String) {
        let mut tags = Tags::new(&["<a>", "<<b"]);
        let (mut rest, mut found) = (String::new(), Vec::new());
        for character in text.chars() {
            found.extend(tags.feed(character, &mut rest));
        }
        (rest, found, tags.finish())
    }

    #[test]
    fn a_tag_may_begin_inside_what_looked_like_another() {
        assert_eq!(found("x<<a>y"), ("x<y".into(), vec![0], String::new()));
        assert_eq!(found("<<<b<a"), ("<".into(), vec![1], "<a".into()));
        assert_eq!(found("a > b < c"), ("a > b < c".into(), vec![], String::new()));
    }
}
