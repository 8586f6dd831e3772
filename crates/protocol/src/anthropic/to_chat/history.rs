//! Turns as messages.
//!
//! Anthropic joins turns of the same side that follow each other, and so does this: chat templates often insist on
//! turns that alternate, and tool results must stand right behind the calls that they answer.

use serde_json::{Value, json};

use super::{ChatOptions, InlineSystem, PastThinking};
use crate::anthropic::content::{Block, Content, Document, DocumentSource, ImageSource, ToolResult, ToolUse};
use crate::anthropic::note::{Note, short};
use crate::anthropic::request::{InputMessage, Role};
use crate::openai::{ChatMessage, ContentPart, FunctionCall, MessageContent, ToolCall};

/// What begins the line that Claude Code puts before its system prompt.
const BILLING_LINE: &str = "x-anthropic-billing-header:";

/// Stands in a tool's message of which only a picture was left.
const IMAGE_MOVED: &str = "[image: see the next message]";

/// Stands where a picture was that the model cannot see.
const IMAGE_OMITTED: &str = "[image omitted: this model cannot see images]";

/// Plain text.
pub(super) fn text(text: String) -> MessageContent {
    MessageContent::Text(text)
}

/// A conversation under translation.
pub(super) struct History<'a> {
    options: &'a ChatOptions,
    notes: &'a mut Vec<Note>,
    system: Vec<String>,
    open: Option<Turn>,
    messages: Vec<ChatMessage>,
}

/// Turns of one side, joined.
struct Turn {
    side: Side,
    pieces: Vec<Piece>,
    /// Whether a piece is the user's own, not only a system turn folded in.
    spoken: bool,
    results: Vec<(String, Vec<Piece>)>,
    calls: Vec<ToolCall>,
    thinking: Vec<String>,
}

impl Turn {
    fn new(side: Side) -> Self {
        Self { side, pieces: Vec::new(), spoken: false, results: Vec::new(), calls: Vec::new(), thinking: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    User,
    Assistant,
}

/// What a message's content is put together from.
enum Piece {
    Text(String),
    /// Its address, often a `data:` one.
    Image(String),
}

impl<'a> History<'a> {
    pub(super) fn new(options: &'a ChatOptions, notes: &'a mut Vec<Note>) -> Self {
        Self { options, notes, system: Vec::new(), open: None, messages: Vec::new() }
    }

    /// Instructions that stand before the conversation.
    pub(super) fn system(&mut self, content: Content) {
        let texts = self.system_texts(content);
        self.system.extend(texts);
    }

    /// The next turn.
    pub(super) fn turn(&mut self, message: InputMessage) {
        let side = match message.role {
            Role::System => return self.inline_system(message.content),
            Role::Assistant => Side::Assistant,
            Role::User => Side::User,
            Role::Other(role) => {
                self.notes.push(Note::RoleUnknown { role: short(&role) });
                Side::User
            }
        };
        let mut turn = self.take(side);
        turn.spoken |= self.fill(&mut turn, message.content);
        self.open = Some(turn);
    }

    /// Every message, the system prompt first.
    pub(super) fn finish(mut self) -> Vec<ChatMessage> {
        while self.open.is_some() {
            self.close();
        }
        if !self.system.is_empty() {
            self.messages.insert(0, ChatMessage::text("system", self.system.join("\n\n")));
        }
        self.messages
    }

    fn inline_system(&mut self, content: Content) {
        let begun = self.open.is_some() || !self.messages.is_empty();
        if !begun || self.options.inline_system == InlineSystem::Hoist {
            return self.system(content);
        }
        let texts = self.system_texts(content);
        if !texts.is_empty() {
            let mut turn = self.take(Side::User);
            turn.pieces.extend(texts.into_iter().map(Piece::Text));
            self.open = Some(turn);
        }
    }

    fn system_texts(&mut self, content: Content) -> Vec<String> {
        let mut pieces = Vec::new();
        self.pieces(content, &mut pieces);
        let drop_billing_line = self.options.drop_billing_line;
        let texts = self.texts_only(pieces).into_iter();
        let texts = texts.map(|text| if drop_billing_line { without_billing_line(text) } else { text });
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// The open turn of this side; a turn of the other side is closed before it.
    fn take(&mut self, side: Side) -> Turn {
        if self.open.as_ref().is_some_and(|turn| turn.side != side) {
            self.close();
        }
        self.open.take().unwrap_or_else(|| Turn::new(side))
    }

    /// Sorts a turn's blocks; whether any is for the message itself.
    fn fill(&mut self, turn: &mut Turn, content: Content) -> bool {
        let blocks = match content {
            Content::Text(text) => vec![Block::Text(text)],
            Content::Blocks(blocks) => blocks,
        };
        let before = turn.pieces.len();
        for block in blocks {
            match block {
                Block::ToolUse(ToolUse { id, name, input }) => turn.calls.push(ToolCall {
                    id: Some(id),
                    kind: "function".to_owned(),
                    function: FunctionCall { name, arguments: Value::String(input.to_string()) },
                }),
                Block::ToolResult(result) => {
                    let pieces = self.result_pieces(result.content, result.is_error);
                    turn.results.push((result.tool_use_id, pieces));
                }
                Block::Thinking(thinking) if turn.side == Side::Assistant => turn.thinking.push(thinking),
                block => self.pieces_of(block, &mut turn.pieces),
            }
        }
        turn.pieces.len() > before
    }

    fn result_pieces(&mut self, content: Content, is_error: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.pieces(content, &mut pieces);
        if is_error {
            // The chat API has no mark for it, so the text must say it.
            match pieces.first_mut() {
                Some(Piece::Text(first)) if names_an_error(first) => {}
                Some(Piece::Text(first)) => first.insert_str(0, "Error: "),
                _ => pieces.insert(0, Piece::Text("Error".to_owned())),
            }
        }
        pieces
    }

    fn pieces(&mut self, content: Content, out: &mut Vec<Piece>) {
        match content {
            Content::Text(text) => out.push(Piece::Text(text)),
            Content::Blocks(blocks) => {
                for block in blocks {
                    self.pieces_of(block, out);
                }
            }
        }
    }

    /// What of a block a message can hold.
    fn pieces_of(&mut self, block: Block, out: &mut Vec<Piece>) {
        match block {
            Block::Text(text) => out.push(Piece::Text(text)),
            Block::Image(source) => self.image(source, out),
            Block::Document(document) => self.document(document, out),
            Block::ToolReference(name) => out.push(Piece::Text(format!("Tool available: {name}"))),
            Block::ToolResult(ToolResult { content, is_error, .. }) => {
                let pieces = self.result_pieces(content, is_error);
                out.extend(pieces);
            }
            Block::ToolUse(_) => self.notes.push(Note::block_dropped("tool_use")),
            Block::Thinking(_) => self.notes.push(Note::block_dropped("thinking")),
            Block::RedactedThinking => self.notes.push(Note::block_dropped("redacted_thinking")),
            Block::Other { kind, mut fields } => {
                let before = out.len();
                if let Some(Value::String(text)) = fields.get_mut("text").map(Value::take) {
                    out.push(Piece::Text(text));
                }
                // Search results and other tools' answers hold blocks of their own.
                let inner = fields.get_mut("content").map(Value::take);
                if let Some(Ok(content)) = inner.map(serde_json::from_value) {
                    self.pieces(content, out);
                }
                let kind = short(&kind);
                let kept = out.len() > before;
                self.notes.push(if kept { Note::BlockAsText { kind } } else { Note::BlockDropped { kind } });
            }
        }
    }

    fn image(&mut self, source: ImageSource, out: &mut Vec<Piece>) {
        if self.options.omit_images {
            self.notes.push(Note::ImageOmitted);
            out.push(Piece::Text(IMAGE_OMITTED.to_owned()));
            return;
        }
        match source {
            ImageSource::Base64 { media_type, data } => {
                out.push(Piece::Image(format!("data:{media_type};base64,{data}")));
            }
            ImageSource::Url(url) => out.push(Piece::Image(url)),
            ImageSource::Other(kind) => {
                self.notes.push(Note::SourceDropped { block: "image", source_kind: short(&kind) });
            }
        }
    }

    fn document(&mut self, document: Document, out: &mut Vec<Piece>) {
        let Document { title, context, source } = document;
        out.extend(title.map(Piece::Text));
        out.extend(context.map(Piece::Text));
        match source {
            DocumentSource::Text(text) => out.push(Piece::Text(text)),
            DocumentSource::Content(content) => self.pieces(content, out),
            DocumentSource::Other(kind) => {
                self.notes.push(Note::SourceDropped { block: "document", source_kind: short(&kind) });
            }
        }
    }

    fn texts_only(&mut self, pieces: Vec<Piece>) -> Vec<String> {
        let texts = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Image(_) => {
                self.notes.push(Note::ImageMisplaced);
                None
            }
        });
        texts.collect()
    }

    /// Turns what is open into messages. Behind an assistant's turn a user's may be open, with what only users may send.
    fn close(&mut self) {
        match self.open.take() {
            Some(turn) if turn.side == Side::Assistant => self.assistant(turn),
            Some(turn) => self.user(turn),
            None => {}
        }
    }

    fn assistant(&mut self, turn: Turn) {
        let Turn { pieces, results, calls, thinking, .. } = turn;
        // Blocks of one answer are parts of one text; nothing stood between them.
        let said = self.texts_only(pieces).concat();
        let content = if said.is_empty() && !calls.is_empty() { None } else { Some(text(said)) };
        let mut message = ChatMessage {
            role: "assistant".to_owned(),
            content,
            tool_calls: (!calls.is_empty()).then_some(calls),
            ..ChatMessage::default()
        };
        let thinking = thinking.concat();
        if !thinking.is_empty() {
            match self.options.past_thinking {
                PastThinking::Dropped => {}
                PastThinking::Reasoning => message.reasoning = Some(thinking),
                PastThinking::ReasoningContent => message.reasoning_content = Some(thinking),
            }
        }
        self.messages.push(message);
        let images = self.results(results);
        if !images.is_empty() {
            self.open = Some(Turn { pieces: images, spoken: true, ..Turn::new(Side::User) });
        }
    }

    fn user(&mut self, turn: Turn) {
        let Turn { mut pieces, spoken, mut results, calls, .. } = turn;
        if !calls.is_empty() {
            self.messages.push(ChatMessage {
                role: "assistant".to_owned(),
                tool_calls: Some(calls),
                ..ChatMessage::default()
            });
        }
        if let Some((_, last)) = results.last_mut().filter(|_| !spoken) {
            // Many templates drop the thinking before the last user's turn, so none is made for a system turn alone.
            last.append(&mut pieces);
        }
        let only_results = !results.is_empty();
        let mut content = self.results(results);
        content.append(&mut pieces);
        if !content.is_empty() || !only_results {
            self.messages.push(user(content));
        }
    }

    /// Writes tool results; their pictures are given back, since only users may send any.
    fn results(&mut self, results: Vec<(String, Vec<Piece>)>) -> Vec<Piece> {
        let mut images = Vec::new();
        for (id, pieces) in results {
            let (texts, mut own): (Vec<_>, Vec<_>) =
                pieces.into_iter().partition(|piece| matches!(piece, Piece::Text(_)));
            let mut said = joined(texts);
            if said.is_empty() && !own.is_empty() {
                IMAGE_MOVED.clone_into(&mut said);
            }
            images.append(&mut own);
            self.messages.push(ChatMessage { tool_call_id: Some(id), ..ChatMessage::text("tool", said) });
        }
        images
    }
}

/// A user's message: plain text where there is nothing else, as the simpler templates need it.
fn user(pieces: Vec<Piece>) -> ChatMessage {
    if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
        return ChatMessage::text("user", joined(pieces));
    }
    let parts = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Text(text) if text.is_empty() => None,
        Piece::Text(text) => {
            Some(ContentPart { kind: "text".to_owned(), text: Some(text), extra: serde_json::Map::new() })
        }
        Piece::Image(url) => Some(ContentPart {
            kind: "image_url".to_owned(),
            text: None,
            extra: serde_json::Map::from_iter([("image_url".to_owned(), json!({"url": url}))]),
        }),
    });
    let content = Some(MessageContent::Parts(parts.collect()));
    ChatMessage { role: "user".to_owned(), content, ..ChatMessage::default() }
}

/// The texts among these, a line each, as vLLM joins them.
fn joined(pieces: Vec<Piece>) -> String {
    let mut whole = String::new();
    for piece in pieces {
        let Piece::Text(text) = piece else { continue };
        if whole.is_empty() {
            whole = text;
        } else if !text.is_empty() {
            whole.push('\n');
            whole.push_str(&text);
        }
    }
    whole
}

/// Whether the first line says already that something failed.
fn names_an_error(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default().as_bytes();
    line.windows(5).take(200).any(|word| word.eq_ignore_ascii_case(b"error"))
}

fn without_billing_line(text: String) -> String {
    if !text.starts_with(BILLING_LINE) {
        return text;
    }
    text.split_once('\n').map(|(_, rest)| rest.trim_start_matches(['\r', '\n']).to_owned()).unwrap_or_default()
}
