//! Takes event streams apart: bytes in any pieces, the data of whole events out.

use std::mem;
use std::ops::{ControlFlow, Range};

/// Longest line and longest event, in bytes. A call's arguments may come as one event.
const LIMIT: usize = 16 << 20;

/// An event or a line is longer than can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// What of a stream was seen and is not yet an event. Bytes are copied only where a piece ends inside an event.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// A line without its end.
    line: Vec<u8>,
    /// The lines of data of an event without its end.
    data: Vec<u8>,
    /// Whether there is any such line; one may be empty.
    has_data: bool,
    /// Whether the last piece ended in a carriage return: a line feed next belongs to it.
    after_return: bool,
    /// Whether anything came: a byte order mark can only stand first.
    begun: bool,
}

impl Decoder {
    /// Reads a piece, and hands on the data of every event that ends in it until told to stop.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        mut event: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), TooLong> {
        if piece.is_empty() {
            return Ok(());
        }
        let mut at = usize::from(mem::take(&mut self.after_return) && piece[0] == b'\n');
        // The data of the event so far, while it is one line that lies in this piece.
        let mut here: Option<Range<usize>> = None;
        while let Some(length) = piece[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = at..at + length;
            at = line.end + 1;
            if piece[line.end] == b'\r' {
                match piece.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            if !self.line.is_empty() {
                self.keep(&piece[line])?;
                let whole = mem::take(&mut self.line);
                let told = self.kept_line(&whole, &mut event);
                self.line = whole;
                self.line.clear();
                if told?.is_break() {
                    return Ok(());
                }
            } else if line.is_empty() {
                let told = match here.take() {
                    Some(data) => event(&piece[data]),
                    None => self.kept_event(&mut event),
                };
                if told.is_break() {
                    return Ok(());
                }
            } else if let Some(data) = self.data_of(&piece[line.clone()]) {
                if let Some(first) = here.take() {
                    self.add(&piece[first])?;
                }
                if self.has_data {
                    self.add(data)?;
                } else {
                    here = Some(line.end - data.len()..line.end);
                }
            }
        }
        if let Some(data) = here {
            self.add(&piece[data])?;
        }
        self.keep(&piece[at..])
    }

    /// The end of the stream: an event that lacks only its last line breaks is handed on.
    pub(super) fn finish(&mut self, mut event: impl FnMut(&[u8]) -> ControlFlow<()>) {
        let line = mem::take(&mut self.line);
        if !line.is_empty() && !matches!(self.kept_line(&line, &mut event), Ok(ControlFlow::Continue(()))) {
            return;
        }
        // The last event: what comes of it no longer matters.
        let _ = self.kept_event(&mut event);
    }

    /// A line that came in several pieces.
    fn kept_line(
        &mut self,
        line: &[u8],
        event: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TooLong> {
        if line.is_empty() {
            return Ok(self.kept_event(event));
        }
        if let Some(data) = self.data_of(line) {
            self.add(data)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// An event of which some came in an earlier piece, if there is one.
    fn kept_event(&mut self, event: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        if !mem::take(&mut self.has_data) {
            return ControlFlow::Continue(());
        }
        let told = event(&self.data);
        self.data.clear();
        told
    }

    /// What a `data` line says; comments and other fields say nothing.
    fn data_of<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if !self.begun => rest,
            _ => line,
        };
        self.begun = true;
        match line.strip_prefix(b"data")? {
            [] => Some(&[]),
            [b':', b' ', data @ ..] | [b':', data @ ..] => Some(data),
            _ => None,
        }
    }

    fn add(&mut self, data: &[u8]) -> Result<(), TooLong> {
        if self.data.len() + data.len() >= LIMIT {
            return Err(TooLong);
        }
        if mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() > LIMIT {
            return Err(TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let mut note = |data: &[u8]| {
            events.push(String::from_utf8_lossy(data).into_owned());
            ControlFlow::Continue(())
        };
        for piece in pieces {
            decoder.feed(piece, &mut note).unwrap();
        }
        decoder.finish(&mut note);
        events
    }

    const STREAM: &str = "\u{feff}data: a\n\n: comment\n\ndata:b\r\ndata:  c\r\n\r\nevent: x\rid: 1\rdata: d\r\rdata\n\n\
                          retry: 5\ndatum: no\n\ndata: {\"é\": 1}\ndata\n\n\n\ndata: last";
    const EVENTS: [&str; 6] = ["a", "b\n c", "d", "", "{\"é\": 1}\n", "last"];

    #[test]
    fn fields_comments_and_all_line_ends() {
        assert_eq!(events([STREAM.as_bytes()]), EVENTS);
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        for cut in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(events([head, tail]), EVENTS, "{cut}");
            assert_eq!(events([head, b"", tail]), EVENTS, "{cut}");
        }
        assert_eq!(events(STREAM.as_bytes().chunks(1)), EVENTS);
    }

    #[test]
    fn nothing_follows_a_stop() {
        let mut decoder = Decoder::default();
        let mut seen = 0;
        let stop = |_: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        decoder.feed(b"data: 1\n\ndata: 2\n\n", stop).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let mebibyte = vec![b'x'; 1 << 20];
        let mut line = Decoder::default();
        let fed: Result<(), _> = (0..20).try_for_each(|_| line.feed(&mebibyte, |_| ControlFlow::Continue(())));
        assert_eq!(fed, Err(TooLong));
        let mut event = Decoder::default();
        let line = [b"data: ", &mebibyte[..], b"\n"].concat();
        let fed: Result<(), _> = (0..20).try_for_each(|_| event.feed(&line, |_| ControlFlow::Continue(())));
        assert_eq!(fed, Err(TooLong));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            stream in proptest::collection::vec(
                prop_oneof![Just("data"), Just(":"), Just(" "), Just("\n"), Just("\r"), Just("x"), Just("\n\ndata: y\n\n")],
                0..60,
            ),
            cuts in proptest::collection::vec(0usize..80, 0..8),
        ) {
            let stream = stream.concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&stream.as_bytes()[from..]);
            prop_assert_eq!(events(pieces), events([stream.as_bytes()]));
        }
    }
}
