//! What every service answers.

use remora_types::status::{Health, Readiness, ServiceStatus};
use reqwest::Method;

use crate::{Client, ClientError};

impl Client {
    /// `GET /health`
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/health").await
    }

    /// `GET /ready`; not being ready is an answer, not an error.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let response = self.send_any(self.request(Method::GET, "/ready")).await?;
        response.json().await.map_err(|e| self.unexpected(e.to_string()))
    }

    /// `GET /status`
    pub async fn status(&self) -> Result<ServiceStatus, ClientError> {
        self.get("/status").await
    }
}
