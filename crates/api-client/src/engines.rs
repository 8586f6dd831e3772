//! Client of model-manager's engine registry.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use remora_types::EngineId;
use remora_types::engines::{Engine, EngineList};
use reqwest::Method;

use crate::{Client, ClientError};

/// Rest before the first attempt to connect again; doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_millis(100);

/// Longest rest between two attempts: a reader is at most this much later than a restarted model-manager.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Client of the engine registry; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engines {
    client: Client,
}

impl Engines {
    /// The registry of the model-manager behind this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// `GET /engines`
    pub async fn list(&self) -> Result<EngineList, ClientError> {
        self.client.get("/engines").await
    }

    /// `GET /engines/{id}`; an unknown id is a refusal with status 404.
    pub async fn get(&self, id: &EngineId) -> Result<Engine, ClientError> {
        self.client.get(&format!("/engines/{}", id.path_segment())).await
    }

    /// `POST /engines/{id}/restart`: the engine as it was when the request was accepted. Refused with status 409 for
    /// an engine that model-manager did not start.
    pub async fn restart(&self, id: &EngineId) -> Result<Engine, ClientError> {
        let path = format!("/engines/{}/restart", id.path_segment());
        let response = self.client.send(self.client.request(Method::POST, &path)).await?;
        response.json().await.map_err(|e| self.client.unexpected(e.to_string()))
    }

    /// The list at once, and again after each change, for ever.
    ///
    /// Reconnects by itself: while model-manager is away nothing is yielded (the last list stays the best guess), and
    /// the first item after it is the list as it is then. A loss is logged once, not per attempt. Revisions grow across
    /// restarts of model-manager too.
    pub fn watch(&self) -> impl Stream<Item = EngineList> + Send + Unpin + use<> {
        let watch = Watch { client: self.client.clone(), events: None, rest: FIRST_REST, lost: false };
        stream::unfold(watch, |mut watch| async move { Some((watch.next().await, watch)) }).boxed()
    }
}

struct Watch {
    client: Client,
    events: Option<BoxStream<'static, Result<EngineList, ClientError>>>,
    rest: Duration,
    lost: bool,
}

impl Watch {
    async fn next(&mut self) -> EngineList {
        loop {
            let Some(events) = &mut self.events else {
                match self.client.events("/engines/events").await {
                    Ok(events) => self.events = Some(events.boxed()),
                    Err(error) => self.lose(&error.to_string()).await,
                }
                continue;
            };
            match events.next().await {
                Some(Ok(list)) => {
                    self.keep();
                    return list;
                }
                Some(Err(error)) => self.lose(&error.to_string()).await,
                None => self.lose("the event stream ended").await,
            }
        }
    }

    fn keep(&mut self) {
        if self.lost {
            tracing::info!(server = self.client.server(), "following the engine registry again");
        }
        self.lost = false;
        self.rest = FIRST_REST;
    }

    async fn lose(&mut self, reason: &str) {
        self.events = None;
        if !self.lost {
            let server = self.client.server();
            tracing::warn!(server, reason, "lost the engine registry; trying again until it answers");
        }
        self.lost = true;
        tokio::time::sleep(self.rest).await;
        self.rest = (self.rest * 2).min(LONGEST_REST);
    }
}
