//! The gateway's accounts.

use remora_types::gateway::UsageReport;

use crate::{Client, ClientError};

impl Client {
    /// `GET /v1/usage` with these parameters of its query.
    pub async fn usage(&self, query: &[(&str, String)]) -> Result<UsageReport, ClientError> {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.get(&format!("/v1/usage?{query}")).await
    }
}
