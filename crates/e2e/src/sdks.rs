//! The official SDKs, each with its promises: a script that exits with 0 where all of them are kept.

use std::path::PathBuf;

use remora_testing::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::{python, repository};

/// An official SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// `OpenAI`'s, in Python.
    OpenaiPython,
    /// Anthropic's, in Python.
    AnthropicPython,
    /// `OpenAI`'s, in TypeScript.
    OpenaiTypescript,
    /// Anthropic's, in TypeScript.
    AnthropicTypescript,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::OpenaiPython, Self::AnthropicPython, Self::OpenaiTypescript, Self::AnthropicTypescript];

    /// Runs its script against a gateway over this engine; panics with what it said where a promise is broken.
    pub async fn keeps_its_promises(self, gateway: &str, engine: &str) {
        let slow = SlowServer::start().await;
        let (folder, script) = match self {
            Self::OpenaiPython => ("python", "openai_sdk.py"),
            Self::AnthropicPython => ("python", "anthropic_sdk.py"),
            Self::OpenaiTypescript => ("typescript", "openai_sdk.mjs"),
            Self::AnthropicTypescript => ("typescript", "anthropic_sdk.mjs"),
        };
        let program = if folder == "python" { python() } else { node() };
        let output = Command::new(program)
            .arg(repository().join("crates/e2e").join(folder).join(script))
            .env("OPENAI_BASE_URL", format!("{gateway}/v1"))
            .env("OPENAI_API_KEY", "unused")
            .env("ANTHROPIC_BASE_URL", gateway)
            .env("ANTHROPIC_API_KEY", "unused")
            .env_remove("ANTHROPIC_AUTH_TOKEN")
            .env("ENGINE_URL", engine)
            .env("SLOW_URL", &slow.url)
            .kill_on_drop(true)
            .output()
            .await
            .expect("the script starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{self:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    }
}

/// Node, with the SDKs in the folder that the scripts look into.
fn node() -> PathBuf {
    assert!(
        std::env::var_os("REMORA_TEST_NODE").is_some(),
        "REMORA_TEST_NODE is not set; scripts/test installs the official SDKs for Node and sets it"
    );
    "node".into()
}

/// Answers every request with one message of Anthropic's, as a gateway whose engine was long in coming: pings first.
struct SlowServer {
    url: String,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

impl SlowServer {
    async fn start() -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port was free");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // A client that goes away early is its own business.
                let _ = answer(connection).await;
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), _tasks: tasks }
    }
}

async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    connection
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n")
        .await?;
    for event in EVENTS {
        connection.write_all(event.as_bytes()).await?;
        connection.flush().await?;
        // Each in a packet of its own.
        tokio::task::yield_now().await;
    }
    connection.shutdown().await
}

/// Whether a request is there with its whole body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

const EVENTS: [&str; 11] = [
    PING,
    PING,
    PING,
    concat!(
        "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"id\": \"msg_1\", \"type\": ",
        "\"message\", \"role\": \"assistant\", \"model\": \"m\", \"content\": [], \"stop_reason\": null, ",
        "\"stop_sequence\": null, \"usage\": {\"input_tokens\": 3, \"output_tokens\": 0}}}\n\n"
    ),
    PING,
    concat!(
        "event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, ",
        "\"content_block\": {\"type\": \"text\", \"text\": \"\"}}\n\n"
    ),
    PING,
    concat!(
        "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, ",
        "\"delta\": {\"type\": \"text_delta\", \"text\": \"hello\"}}\n\n"
    ),
    "event: content_block_stop\ndata: {\"type\": \"content_block_stop\", \"index\": 0}\n\n",
    concat!(
        "event: message_delta\ndata: {\"type\": \"message_delta\", \"delta\": {\"stop_reason\": \"end_turn\", ",
        "\"stop_sequence\": null}, \"usage\": {\"output_tokens\": 1}}\n\n"
    ),
    "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n",
];
