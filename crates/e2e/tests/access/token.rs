//! Service tokens, made by hand.
//!
//! An implementation of its own, from the files and the format alone: it can say what no honest service would, and it
//! notices when the format changes under services of another version.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use jiff::Timestamp;
use remora_types::identity::ServiceName;
use serde_json::{Value, json};

/// The header of a token.
pub(crate) const HEADER: &str = "x-remora-service";

/// What one service signs with.
pub(crate) struct Credential {
    service: ServiceName,
    id: String,
    key: SigningKey,
}

impl Credential {
    /// The credential of a service that keeps its state there; made and published where the service never ran.
    pub(crate) fn of(state: &Path, service: ServiceName) -> Self {
        let folder = state.join("credentials");
        let Ok(bytes) = std::fs::read(folder.join(format!("{service}.private.json"))) else {
            return Self::publish(&folder, service);
        };
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let seed: [u8; 32] = hex::decode(file["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
        Self { service, id: file["id"].as_str().unwrap().to_owned(), key: SigningKey::from_bytes(&seed) }
    }

    fn publish(folder: &Path, service: ServiceName) -> Self {
        let made = Self::unpublished(service);
        let public = folder.join("public").join(service.as_str());
        std::fs::create_dir_all(&public).unwrap();
        let keys = json!({"keys": [{"id": made.id, "key": hex::encode(made.key.verifying_key().to_bytes())}]});
        std::fs::write(public.join("keys.json"), keys.to_string()).unwrap();
        made
    }

    /// A credential that nobody has heard of.
    pub(crate) fn unpublished(service: ServiceName) -> Self {
        Self { service, id: "00c0ffee".into(), key: SigningKey::from_bytes(&[7; 32]) }
    }

    /// With the id of another one.
    pub(crate) fn posing_as(self, other: &Self) -> Self {
        Self { id: other.id.clone(), ..self }
    }

    /// A good token for this callee, on behalf of a caller where one is given.
    pub(crate) fn token(&self, to: ServiceName, caller: Option<&Value>) -> String {
        self.sign(&self.claims(to, caller).to_string())
    }

    /// What a good token says.
    pub(crate) fn claims(&self, to: ServiceName, caller: Option<&Value>) -> Value {
        let until = Timestamp::now().as_second() + 30;
        let mut claims = json!({"key": self.id, "from": self.service, "to": to, "until": until});
        if let Some(caller) = caller {
            claims["caller"] = caller.clone();
        }
        claims
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &str) -> String {
        let signature = self.key.sign(&[b"remora service token 1\0", claims.as_bytes()].concat());
        format!("{}.{}", URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

/// A person with these roles, as one service tells another about a caller.
pub(crate) fn person(roles: &[&str]) -> Value {
    json!({
        "who": {"kind": "user", "login": "bob@example.com", "node": "bobs-laptop"},
        "roles": roles, "because": ["a test says so"],
    })
}
