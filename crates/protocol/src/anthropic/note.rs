//! What a translation could not carry over.

/// A translated body, and what of the original is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated<T> {
    /// The translation.
    pub value: T,
    /// What could not be carried over, in the order met.
    pub notes: Vec<Note>,
}

/// Something that could not be carried over, or not as it was. For logs: holds no text that a user or a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A content block without any text that could stand for it.
    #[error("a `{kind}` block was left out: the engine's API has nothing like it")]
    BlockDropped {
        /// The block's type.
        kind: String,
    },
    /// A content block of which only the text was kept.
    #[error("of a `{kind}` block only the text was kept")]
    BlockAsText {
        /// The block's type.
        kind: String,
    },
    /// A picture or document whose bytes are not in the request, or of a kind that the engine's API has not.
    #[error("a `{block}` with a `{source_kind}` source was left out: the engine's API cannot take it")]
    SourceDropped {
        /// `image` or `document`.
        block: &'static str,
        /// The source's type.
        source_kind: String,
    },
    /// A picture left out because the caller said that the model sees none.
    #[error("an image was left out: the model takes none")]
    ImageOmitted,
    /// A picture in a system prompt or an assistant's turn.
    #[error("an image was left out: the engine's API takes images from users only")]
    ImageMisplaced,
    /// A tool that Anthropic would run itself.
    #[error("the tool `{name}` of type `{kind}` was left out: it runs on Anthropic's servers only")]
    ToolDropped {
        /// The tool's type.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A way to choose tools that is not known.
    #[error("the tool choice `{kind}` is not known; the model decides")]
    ToolChoiceUnknown {
        /// Its type.
        kind: String,
    },
    /// A role that is not known.
    #[error("the role `{role}` is not known; its turn was taken for the user's")]
    RoleUnknown {
        /// The role.
        role: String,
    },
    /// Fewer tokens were asked of the engine than the client wanted.
    #[error("max_tokens was cut from {asked} to {given}, the most that the model can answer")]
    MaxTokensCut {
        /// What the client wanted.
        asked: i64,
        /// What the engine is asked for.
        given: i64,
    },
    /// Counted without what pictures take.
    #[error("the count leaves out what images take")]
    ImagesNotCounted,
    /// A call whose arguments are not a JSON object.
    #[error("the model's arguments for `{tool}` are not a JSON object")]
    ArgumentsNotJson {
        /// The tool.
        tool: String,
    },
    /// Arguments that came after the call they belong to was complete.
    #[error("arguments for `{tool}` came after its call was complete and were left out")]
    ArgumentsTooLate {
        /// The tool.
        tool: String,
    },
    /// A call that never said of which tool.
    #[error("a tool call without a name was left out")]
    CallWithoutName,
    /// An end that is not known, or none.
    #[error("the engine did not say why its answer ended, or in a word that is not known")]
    FinishUnknown,
}

impl Note {
    pub(super) fn block_dropped(kind: &str) -> Self {
        Self::BlockDropped { kind: short(kind) }
    }
}

/// A client's or engine's word, cut to a length that a log line bears.
pub(super) fn short(word: &str) -> String {
    word.chars().take(64).collect()
}
