//! Calls on the gateway: what it offers, and questions to its models.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures::{Stream, StreamExt};
use remora_types::engines::EngineModel;
use remora_types::gateway::GatewayStatus;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::engine::parse_models;
use crate::{Client, ClientError};

/// What ends a stream of `OpenAI`'s; it is not JSON.
const DONE: &str = "[DONE]";

impl Client {
    /// `GET /v1/models`: models, adapters and aliases. Any server that lists models as `OpenAI` does will do.
    pub async fn models(&self) -> Result<Vec<EngineModel>, ClientError> {
        let body: Value = self.get("/v1/models").await?;
        parse_models(&body).ok_or_else(|| self.unexpected("GET /v1/models gave no list of models".into()))
    }

    /// `GET /v1/status`: each engine and how busy it is.
    pub async fn gateway_status(&self) -> Result<GatewayStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// `POST` of a question to a model; a whole answer may take up to `limit`.
    pub async fn ask(&self, path: &str, question: &Value, limit: Duration) -> Result<Value, ClientError> {
        let response = self.question(path, question, limit).await?;
        self.json(response).await
    }

    /// The same for a stream: the data of each event until the end of the stream.
    pub async fn ask_streamed(
        &self,
        path: &str,
        question: &Value,
        limit: Duration,
    ) -> Result<impl Stream<Item = Result<Value, ClientError>> + Send + use<>, ClientError> {
        let events = self.question(path, question, limit).await?.bytes_stream().eventsource();
        let client = self.clone();
        let whole = |event: &Result<eventsource_stream::Event, _>| {
            let over = event.as_ref().is_ok_and(|event| event.data == DONE);
            futures::future::ready(!over)
        };
        Ok(events.take_while(whole).map(move |event| client.event(event)))
    }

    async fn question(&self, path: &str, question: &Value, limit: Duration) -> Result<Response, ClientError> {
        self.send(self.request(Method::POST, path).timeout(limit).json(question)).await
    }
}
