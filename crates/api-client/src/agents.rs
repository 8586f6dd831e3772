//! Calls on `agents-server`.

use bytes::Bytes;
use futures::Stream;
use http::StatusCode;
use http::header::IF_MATCH;
use remora_types::AgentName;
use remora_types::agents::{AgentsEvent, BundleDetail, BundleList, Digest};
use reqwest::Method;

use crate::{Client, ClientError};

/// How an archive was asked for and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    /// The archive of the version that was asked for.
    Found(Bytes),
    /// The bundle has changed since its digest was read: ask for the bundle again.
    Changed,
}

impl Client {
    /// `GET /agents`
    pub async fn agents(&self) -> Result<BundleList, ClientError> {
        self.get("/agents").await
    }

    /// `GET /bundles/{name}`
    pub async fn bundle(&self, name: &AgentName) -> Result<BundleDetail, ClientError> {
        self.get(&format!("/bundles/{}", name.path_segment())).await
    }

    /// `GET /bundles/{name}/archive.tar.gz`, exactly this version of it and at most `limit` bytes.
    pub async fn bundle_archive(
        &self,
        name: &AgentName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Archive, ClientError> {
        let path = format!("/bundles/{}/archive.tar.gz", name.path_segment());
        let request = self.request(Method::GET, &path).header(IF_MATCH, format!("\"{digest}\""));
        let mut response = match self.send(request).await {
            Ok(response) => response,
            Err(refused) if refused.status() == Some(StatusCode::PRECONDITION_FAILED) => return Ok(Archive::Changed),
            Err(other) => return Err(other),
        };
        let mut archive = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(e))? {
            if archive.len() + chunk.len() > limit {
                return Err(self.unexpected(format!("an archive of more than {limit} bytes")));
            }
            archive.extend_from_slice(&chunk);
        }
        Ok(Archive::Found(archive.into()))
    }

    /// `GET /events`
    pub async fn agents_events(
        &self,
    ) -> Result<impl Stream<Item = Result<AgentsEvent, ClientError>> + Send + use<>, ClientError> {
        self.events("/events").await
    }
}
