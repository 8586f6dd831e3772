//! What an engine's process prints: on to our log, and its last lines kept to explain a failure.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remora_types::EngineId;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line, in bytes; the rest of a longer one is dropped.
const LINE_LIMIT: usize = 4096;

/// How many lines are kept.
const TAIL: usize = 40;

/// How much of a line goes into an explanation, in characters.
const QUOTE: usize = 300;

/// The last lines of one process, from both its streams; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    /// The line that says best what went wrong: the last that speaks of an error, else the last.
    pub(super) fn explanation(&self) -> Option<String> {
        let lines = self.lines();
        let speaks_of_error = |line: &&String| {
            let line = line.to_lowercase();
            line.contains("error") || line.contains("panicked")
        };
        let line = lines.iter().rev().find(speaks_of_error).or_else(|| lines.back())?;
        Some(line.chars().take(QUOTE).collect())
    }

    fn push(&self, line: String) {
        let mut lines = self.lines();
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forwards a stream line by line until its end.
pub(super) async fn forward(engine: EngineId, stream: impl AsyncRead + Unpin, tail: Tail) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(true) = next_line(&mut reader, &mut bytes).await {
        let line = printable(&bytes);
        if !line.is_empty() {
            tracing::info!(target: "engine", %engine, "{line}");
            tail.push(line);
        }
    }
}

/// Reads one line, cut at [`LINE_LIMIT`]; false at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut something = false;
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(something);
        }
        something = true;
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let content = &buffer[..newline.unwrap_or(buffer.len())];
        let room = LINE_LIMIT - line.len();
        line.extend_from_slice(&content[..content.len().min(room)]);
        let used = newline.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(true);
        }
    }
}

/// A line as it may stand in a log: of a progress bar its last state, and no control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.trim_end().rsplit('\r').next().unwrap_or_default();
    shown.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail_of(output: &[u8]) -> Tail {
        let tail = Tail::default();
        forward("slot-0".parse().unwrap(), output, tail.clone()).await;
        tail
    }

    #[tokio::test]
    async fn the_last_line_that_speaks_of_an_error_explains() {
        let output = b"loading\nError: cannot read m.gguf\nstopping\n";
        assert_eq!(tail_of(output).await.explanation().unwrap(), "Error: cannot read m.gguf");
        assert_eq!(tail_of(b"one\ntwo").await.explanation().unwrap(), "two");
        assert_eq!(tail_of(b"").await.explanation(), None);
    }

    #[tokio::test]
    async fn endless_lines_and_many_lines_are_bounded() {
        let endless = tail_of(&vec![b'x'; 1 << 20]).await;
        assert_eq!(endless.lines().front().unwrap().len(), LINE_LIMIT);
        let many = tail_of("line\n".repeat(1000).as_bytes()).await;
        assert_eq!(many.lines().len(), TAIL);
    }

    #[test]
    fn control_characters_do_not_reach_the_log() {
        assert_eq!(printable(b"10 %\r50 %\r100 %\r\n"), "100 %");
        assert_eq!(printable(b"a\x1b]0;title\x07b\tc\xff"), "a]0;titleb\tc\u{fffd}");
    }
}
