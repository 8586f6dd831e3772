//! From tokens' bytes to text that can be sent: whole characters only, and nothing that may turn out to be a stop.

/// Puts an answer's text together.
#[derive(Debug)]
pub(crate) struct TextAssembler {
    /// Bytes of a character that is not complete.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop.
    held: String,
    stops: Vec<StopMatcher>,
    keep_stop: bool,
}

/// What a token added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// Text that can be sent.
    pub(crate) text: String,
    /// The stop that is now complete, by its place in the list; nothing may follow.
    pub(crate) stop: Option<usize>,
}

impl TextAssembler {
    /// Text ends before one of `stops`, or after it with `keep_stop`. No stop is empty.
    pub(crate) fn new(stops: &[String], keep_stop: bool) -> Self {
        let stops = stops.iter().map(|stop| StopMatcher::new(stop.as_bytes())).collect();
        Self { partial: Vec::new(), held: String::new(), stops, keep_stop }
    }

    /// Adds a token's bytes. While `may_stop` is false, stops are passed over.
    pub(crate) fn push(&mut self, bytes: &[u8], may_stop: bool) -> Added {
        let fresh = self.decode(bytes);
        let known = self.held.len();
        self.held.push_str(&fresh);
        for (offset, byte) in fresh.bytes().enumerate() {
            let mut complete = None;
            for (index, stop) in self.stops.iter_mut().enumerate() {
                if stop.feed(byte) && complete.is_none() {
                    complete = Some(index);
                }
            }
            if let Some(index) = complete.filter(|_| may_stop) {
                let end = known + offset + 1;
                self.held.truncate(if self.keep_stop { end } else { end - self.stops[index].text.len() });
                return Added { text: std::mem::take(&mut self.held), stop: Some(index) };
            }
        }
        let withheld = if self.keep_stop { 0 } else { self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0) };
        let text = self.held.drain(..self.held.len() - withheld).collect();
        Added { text, stop: None }
    }

    /// What was held back, when nothing more comes. Half a character is dropped.
    pub(crate) fn finish(&mut self) -> String {
        self.partial.clear();
        std::mem::take(&mut self.held)
    }

    /// Whole characters; bytes that can never become one are U+FFFD.
    fn decode(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.partial.len());
        let mut rest = &self.partial[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.partial.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).expect("checked up to here"));
                    let Some(invalid) = error.error_len() else {
                        self.partial = after.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
    }
}

/// Finds one text in a stream of bytes (Knuth, Morris, Pratt), in constant time per byte however long the text is.
#[derive(Debug)]
struct StopMatcher {
    text: Box<[u8]>,
    /// For every length of a match, the longest shorter one that its end also is.
    fallback: Box<[usize]>,
    /// How many bytes of the text the stream now ends with.
    matched: usize,
}

impl StopMatcher {
    fn new(text: &[u8]) -> Self {
        let mut fallback = vec![0; text.len()];
        let mut length = 0;
        for at in 1..text.len() {
            while length > 0 && text[at] != text[length] {
                length = fallback[length - 1];
            }
            length += usize::from(text[at] == text[length]);
            fallback[at] = length;
        }
        Self { text: text.into(), fallback: fallback.into(), matched: 0 }
    }

    /// Takes the next byte; whether the text is complete now.
    fn feed(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.text[self.matched] != byte {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(self.text[self.matched] == byte);
        let complete = self.matched == self.text.len();
        if complete {
            self.matched = self.fallback[self.matched - 1];
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that is sent, and the stop.
    fn run(pieces: &[&[u8]], stops: &[&str], keep_stop: bool) -> (Vec<String>, Option<usize>) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut assembler = TextAssembler::new(&stops, keep_stop);
        let mut sent = Vec::new();
        for piece in pieces {
            let added = assembler.push(piece, true);
            sent.push(added.text);
            if added.stop.is_some() {
                return (sent, added.stop);
            }
        }
        sent.push(assembler.finish());
        (sent, None)
    }

    #[test]
    fn characters_are_sent_whole() {
        assert_eq!(run(&[b"a\xf0\x9f", b"\x98\x80b"], &[], false).0, ["a", "😀b", ""]);
        assert_eq!(run(&[b"a\xf0\x9f"], &[], false).0, ["a", ""], "half a character at the end is dropped");
        assert_eq!(run(&[b"a\xffb\xf0\x9fc"], &[], false).0, ["a\u{FFFD}b\u{FFFD}c", ""]);
    }

    #[test]
    fn a_stop_may_be_spread_over_tokens() {
        assert_eq!(run(&[b"one EN", b"D two"], &["END"], false), (vec!["one ".into(), String::new()], Some(0)));
        assert_eq!(run(&[b"one EN", b"D two"], &["END"], true), (vec!["one EN".into(), "D".into()], Some(0)));
        assert_eq!(run(&[b"one EN", b"Other"], &["END"], false).0.concat(), "one ENOther");
    }

    #[test]
    fn the_stop_that_is_complete_first_wins() {
        assert_eq!(run(&[b"abcd"], &["abcd", "bc"], false), (vec!["a".into()], Some(1)));
        assert_eq!(run(&[b"xbc"], &["bc", "c"], false), (vec!["x".into()], Some(0)), "the first in the list of equals");
    }

    #[test]
    fn stops_before_the_least_length_are_passed_over() {
        let mut assembler = TextAssembler::new(&["a".into()], false);
        assert_eq!(assembler.push(b"a", false).stop, None);
        assert_eq!(assembler.push(b"a", true), Added { text: String::new(), stop: Some(0) });
    }

    proptest! {
        #[test]
        fn however_it_is_split_the_answer_is_the_same(
            text in "[abé😀]{0,40}", stops in proptest::collection::vec("[abé😀]{1,4}", 0..3),
            cuts in proptest::collection::vec(0usize..160, 0..20), keep_stop: bool,
        ) {
            let first = stops
                .iter()
                .enumerate()
                .filter_map(|(index, stop)| text.find(stop.as_str()).map(|at| (at + stop.len(), index, at)))
                .min();
            let expected = match first {
                Some((end, _, _)) if keep_stop => &text[..end],
                Some((_, _, at)) => &text[..at],
                None => &text[..],
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (sent, stop) = run(&pieces, &stops, keep_stop);
            prop_assert_eq!(sent.concat(), expected);
            prop_assert_eq!(stop, first.map(|(_, index, _)| index));
        }

        #[test]
        fn bytes_of_any_kind_give_what_a_lossy_decoder_gives(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..20),
        ) {
            let all: Vec<u8> = pieces.concat();
            let mut assembler = TextAssembler::new(&[], false);
            let sent: String = pieces.iter().map(|piece| assembler.push(piece, true).text).collect();
            let lossy = String::from_utf8_lossy(&all).into_owned();
            let dropped = lossy.strip_suffix(char::REPLACEMENT_CHARACTER);
            prop_assert!(lossy == sent || dropped == Some(sent.as_str()));
        }
    }
}
