//! What every service tells about its callers and its changes, and the gateway's keys.

use remora_types::identity::{AuditList, CreatedKey, KeyInfo, KeyList, NewKey, RotatedCredential, WhoAmI};
use remora_types::path_segment;
use reqwest::Method;

use crate::{Client, ClientError};

impl Client {
    /// `GET /whoami`
    pub async fn whoami(&self) -> Result<WhoAmI, ClientError> {
        self.get("/whoami").await
    }

    /// `GET /audit`: the newest rows, at most `limit` (1 to 1000).
    pub async fn audit(&self, limit: u32) -> Result<AuditList, ClientError> {
        self.get(&format!("/audit?limit={limit}")).await
    }

    /// `POST /credential/rotate`
    pub async fn rotate_credential(&self) -> Result<RotatedCredential, ClientError> {
        self.post("/credential/rotate", &()).await
    }

    /// `POST /keys` of the gateway.
    pub async fn create_key(&self, key: &NewKey) -> Result<CreatedKey, ClientError> {
        self.post("/keys", key).await
    }

    /// `GET /keys` of the gateway.
    pub async fn keys(&self) -> Result<KeyList, ClientError> {
        self.get("/keys").await
    }

    /// `DELETE /keys/{key}` of the gateway: by name or id.
    pub async fn revoke_key(&self, key: &str) -> Result<KeyInfo, ClientError> {
        self.call(Method::DELETE, &format!("/keys/{}", path_segment(key))).await
    }
}
