//! Client of the engine contract: asks an engine how it is, what it serves and what it can do.
//!
//! An engine is any address that speaks vLLM's HTTP API or a part of it (Ollama, llama-server, LM Studio and others
//! speak a part). Nothing here asks which program answers; it asks what the program can do. A look at an engine comes
//! in two sizes: [`EngineClient::probe`] is cheap and made often; [`EngineClient::facts`] is made once for each life of
//! the engine. Neither makes it compute. [`EngineWatch`] does both at the right times.

mod facts;
mod models;
mod watch;

use std::error::Error;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use remora_types::engines::{EngineAddress, EngineModel};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::{Client, ClientError, InvalidServer};

pub use facts::Facts;
pub(crate) use models::of as parse_models;
pub use watch::{EngineWatch, Pace, Seen, Sighting};

/// Time for one answer to a probe. Long enough for an engine whose front end is busy with a large prompt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most that is read of an answer, in bytes; a longer one is cut there.
const BODY_LIMIT: usize = 4 << 20;

/// How much of an engine's own words is passed on, in characters.
const QUOTE: usize = 300;

/// Client of one engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct EngineClient {
    client: Client,
    authorization: Option<HeaderValue>,
}

/// What one cheap look at an engine found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answers, and serves these models and adapters.
    Ready {
        /// From `/v1/models`, in its order.
        models: Vec<EngineModel>,
    },
    /// It says that it is not ready yet.
    Loading {
        /// Its own words.
        detail: String,
    },
    /// It is there, but answers badly or not in time.
    Failed {
        /// What it did.
        detail: String,
    },
    /// Nothing accepts connections at its address.
    Unreachable {
        /// Why not.
        detail: String,
    },
}

/// An answer, whatever its status; the body is cut at [`BODY_LIMIT`].
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl EngineClient {
    /// A client for the engine at this address. Connects on first use.
    pub fn new(address: &EngineAddress) -> Result<Self, InvalidServer> {
        Ok(Self { client: Client::engine(address)?, authorization: None })
    }

    /// Sends this `Authorization` header with every request, for an engine that wants a key.
    #[must_use]
    pub fn with_authorization(mut self, header: HeaderValue) -> Self {
        self.authorization = Some(header);
        self
    }

    /// Asks `/health`, then `/v1/models`.
    ///
    /// `/health` as vLLM means it: 200 is ready, 503 with an empty body is a dead engine. A 503 that explains itself in
    /// JSON is an engine that still loads (llama-server, our own). Servers without `/health` (Ollama) are ready when
    /// they list their models.
    pub async fn probe(&self) -> Probe {
        let health = match self.get("/health").await {
            Ok(health) => health,
            Err(error) => return Probe::from(error),
        };
        if health.status == StatusCode::SERVICE_UNAVAILABLE {
            return unavailable("/health", &health.body);
        }
        if !health.status.is_success() && !no_such_route(health.status) {
            return Probe::Failed { detail: refused("/health", &health) };
        }
        match self.get("/v1/models").await {
            Ok(answer) if answer.status.is_success() => match models::parse(&answer.body) {
                Some(models) => Probe::Ready { models },
                None => Probe::Failed { detail: "GET /v1/models gave no list of models: is this an engine?".into() },
            },
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => unavailable("/v1/models", &answer.body),
            Ok(answer) => Probe::Failed { detail: refused("/v1/models", &answer) },
            Err(error) => Probe::from(error),
        }
    }

    async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.exchange(self.client.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.exchange(self.client.request(Method::POST, path).json(body)).await
    }

    async fn exchange(&self, mut request: RequestBuilder) -> Result<Answer, ClientError> {
        if let Some(header) = &self.authorization {
            request = request.header(AUTHORIZATION, header.clone());
        }
        let mut response = self.client.send_any(request.timeout(TIMEOUT)).await?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.client.failed(e))? {
            let room = BODY_LIMIT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Answer { status, body })
    }
}

impl From<ClientError> for Probe {
    fn from(error: ClientError) -> Self {
        let detail = match root_cause(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        if error.is_unreachable() { Self::Unreachable { detail } } else { Self::Failed { detail } }
    }
}

/// What the operating system said, below the HTTP client's own layers.
fn root_cause(error: &dyn Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string())
}

/// The statuses that mean: this server does not have that route.
fn no_such_route(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

fn unavailable(path: &str, body: &[u8]) -> Probe {
    match own_words(body) {
        // Our own engine also explains itself when it cannot load its model; it says so in `status`.
        Some(detail) if gave_up(body) => Probe::Failed { detail },
        Some(detail) => Probe::Loading { detail },
        None => Probe::Failed { detail: format!("GET {path} answered 503: its engine is dead") },
    }
}

fn refused(path: &str, answer: &Answer) -> String {
    let words = own_words(&answer.body).map(|words| format!(": {words}")).unwrap_or_default();
    format!("GET {path} answered {}{words}", answer.status)
}

fn gave_up(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    matches!(body.get("status").and_then(Value::as_str), Some("failed" | "stopped"))
}

/// The message in a JSON body, wherever the known servers put it.
fn own_words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let places = ["/error/message", "/error", "/message", "/detail", "/status"];
    let words = places.into_iter().find_map(|place| body.pointer(place)?.as_str())?;
    Some(words.chars().take(QUOTE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_503_that_explains_itself_is_loading_and_a_bare_one_is_dead() {
        let ours = br#"{"status":"loading","progress":0.4,"message":"the model is being loaded (40 %)"}"#;
        assert_eq!(unavailable("/health", ours), Probe::Loading { detail: "the model is being loaded (40 %)".into() });
        let broken = br#"{"status":"failed","progress":null,"message":"not a GGUF file"}"#;
        assert_eq!(unavailable("/health", broken), Probe::Failed { detail: "not a GGUF file".into() });
        let llama_server = br#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        assert_eq!(unavailable("/health", llama_server), Probe::Loading { detail: "Loading model".into() });
        assert!(matches!(unavailable("/health", b""), Probe::Failed { .. }));
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_unreachable_and_says_so() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let engine = EngineClient::new(&EngineAddress::loopback(free)).unwrap();
        let Probe::Unreachable { detail } = engine.probe().await else { panic!("somebody answered") };
        assert!(detail.starts_with("nothing answers at http://127.0.0.1:"), "{detail}");
        assert!(detail.contains("refused"), "{detail}");
    }
}
