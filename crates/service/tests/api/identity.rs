//! Keys, service credentials and roles, on a machine without a tailnet.

use std::time::Duration;

use http::StatusCode;
use remora_service::identity::{IdentityConfig, KeyStore, SERVICE_HEADER};
use remora_service::{Caller, Identity, Role, Running, ServiceName};
use remora_testing::wait_until;
use remora_types::identity::{AuditList, CreatedKey, NewKey, WhoAmI};
use tempfile::TempDir;

use crate::support::{Answer, get, send, start};

/// The limit of every wait in these tests.
const SOON: Duration = Duration::from_secs(10);

/// A service that plays the gateway, with keys, credentials and a record.
struct Sample {
    folder: TempDir,
    identity: Identity,
    keys: KeyStore,
    url: String,
    _running: Running,
}

impl Sample {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity_of(&folder, ServiceName::Gateway).await;
        let keys = identity.key_store().await.unwrap().unwrap();
        let (url, running) = start(|s| s.identity(&identity)).await;
        Self { folder, identity, keys, url, _running: running }
    }

    async fn key(&self, name: &str, role: Role) -> CreatedKey {
        let key = NewKey {
            name: name.parse().unwrap(),
            role,
            expires_at: None,
            models: None,
            requests_per_minute: None,
            tokens_per_minute: None,
        };
        self.keys.create(key, "test".into()).await.unwrap()
    }

    async fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        send(reqwest::Client::new().get(format!("{}{path}", self.url)).header(name, value)).await
    }

    async fn with_key(&self, path: &str, key: &str) -> Answer {
        self.get_with(path, "authorization", &format!("Bearer {key}")).await
    }

    async fn with_token(&self, path: &str, header: Option<(http::HeaderName, http::HeaderValue)>) -> Answer {
        let (name, value) = header.unwrap();
        assert_eq!(name, SERVICE_HEADER);
        self.get_with(path, name.as_str(), value.to_str().unwrap()).await
    }

    async fn whoami(&self, name: &str, value: &str) -> WhoAmI {
        serde_json::from_str(&self.get_with("/whoami", name, value).await.body).unwrap()
    }
}

async fn identity_of(folder: &TempDir, service: ServiceName) -> Identity {
    let config = IdentityConfig {
        keys: Some(folder.path().join("keys.sqlite")),
        credentials: Some(folder.path().join("credentials")),
        audit: Some(folder.path().join("audit")),
        ..IdentityConfig::default()
    };
    Identity::new(&config).unwrap().of_service(service).await.unwrap()
}

#[tokio::test]
async fn whoever_sits_at_the_machine_may_do_everything() {
    let sample = Sample::start().await;
    let me = sample.whoami("x-nothing", "").await;
    assert_eq!((me.caller.who.to_string().as_str(), me.caller.roles.as_slice()), ("local", Role::ALL.as_slice()));
    assert!(me.peer.starts_with("127.0.0.1:"), "{}", me.peer);
    assert_eq!(get(&sample.url, "/admin").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_gives_its_own_role_and_no_more_also_on_this_machine() {
    let sample = Sample::start().await;
    let key = sample.key("cline", Role::Use).await.key;
    assert_eq!(sample.with_key("/agents/lint", &key).await.status, StatusCode::OK);
    assert_eq!(sample.get_with("/agents/lint", "x-api-key", &key).await.status, StatusCode::OK);
    let refused = sample.with_key("/admin", &key).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("role_required") && refused.body.contains("key cline"), "{}", refused.body);
    let admin = sample.key("boss", Role::Admin).await.key;
    assert_eq!(sample.with_key("/admin", &admin).await.status, StatusCode::OK);
    assert_eq!(sample.whoami("x-api-key", &key).await.caller.because, ["the key cline has the role use"]);
}

#[tokio::test]
async fn a_wrong_or_ended_key_is_refused_and_never_passed_over() {
    let sample = Sample::start().await;
    let CreatedKey { key, info } = sample.key("cline", Role::Use).await;
    let other_secret = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for wrong in [other_secret.as_str(), &key.replace(&info.id, "00000000"), "rmr_", "rmr_x_y"] {
        let refused = sample.with_key("/agents/lint", wrong).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(refused.body.contains("invalid_key") && !refused.body.contains(wrong), "{}", refused.body);
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"Remora\"");
    }
    sample.keys.revoke("cline").await.unwrap();
    let refused = sample.with_key("/agents/lint", &key).await;
    assert!(refused.status == StatusCode::UNAUTHORIZED && refused.body.contains("revoked"), "{}", refused.body);
    // Editors insist on some key; one that is not ours says nothing.
    assert_eq!(sample.with_key("/agents/lint", "sk-dummy").await.status, StatusCode::OK);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let sample = Sample::start().await;
    let guess = format!("rmr_00000000_{}", "0".repeat(64));
    for _ in 0..6 {
        assert_eq!(sample.with_key("/agents/lint", &guess).await.status, StatusCode::UNAUTHORIZED);
    }
    let shut = sample.with_key("/agents/lint", &guess).await;
    assert_eq!(shut.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(shut.headers.contains_key("retry-after") && shut.body.contains("too_many_attempts"), "{}", shut.body);
    assert_eq!(get(&sample.url, "/agents/lint").await.status, StatusCode::OK, "callers without a key go on");
    let key = sample.key("cline", Role::Use).await.key;
    assert_eq!(sample.with_key("/agents/lint", &key).await.status, StatusCode::OK, "and so do those with a right one");
    let dashboard = identity_of(&sample.folder, ServiceName::Dashboard).await.signer(ServiceName::Gateway);
    assert_eq!(sample.with_token("/agents/x", dashboard.own()).await.status, StatusCode::OK, "and services");
}

#[tokio::test]
async fn the_limits_of_a_key_hold_and_its_expiry_too() {
    let sample = Sample::start().await;
    let limited = NewKey { requests_per_minute: Some(2), ..new_key("limited") };
    let key = sample.keys.create(limited, "test".into()).await.unwrap().key;
    assert_eq!(sample.with_key("/agents/lint", &key).await.status, StatusCode::OK);
    // Another key makes the table be read again; what was used stays used.
    sample.key("other", Role::Use).await;
    assert_eq!(sample.with_key("/agents/lint", &key).await.status, StatusCode::OK);
    let over = sample.with_key("/agents/lint", &key).await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(over.body.contains("rate_limit_exceeded") && over.headers.contains_key("retry-after"), "{}", over.body);

    let soon = jiff::Timestamp::now() + Duration::from_millis(300);
    let brief = NewKey { expires_at: Some(soon), ..new_key("brief") };
    let key = sample.keys.create(brief, "test".into()).await.unwrap().key;
    wait_until(SOON, async || jiff::Timestamp::now() >= soon).await;
    let ended = sample.with_key("/agents/lint", &key).await;
    assert!(ended.status == StatusCode::UNAUTHORIZED && ended.body.contains("has expired"), "{}", ended.body);
}

fn new_key(name: &str) -> NewKey {
    NewKey {
        name: name.parse().unwrap(),
        role: Role::Use,
        expires_at: None,
        models: None,
        requests_per_minute: None,
        tokens_per_minute: None,
    }
}

#[tokio::test]
async fn a_name_is_one_living_key_and_the_file_holds_no_secret() {
    let sample = Sample::start().await;
    let key = sample.key("cline", Role::Use).await;
    let twice = sample.keys.create(new_key("cline"), "test".into()).await.unwrap_err();
    assert!(twice.to_string().contains("cline"), "{twice}");
    sample.keys.revoke(&key.info.id).await.unwrap();
    sample.keys.revoke("cline").await.unwrap();
    sample.key("cline", Role::Use).await;
    assert_eq!(sample.keys.list().await.unwrap().len(), 2);
    assert!(sample.keys.revoke("nobody").await.unwrap_err().to_string().contains("nobody"));
    let secret = key.key.rsplit('_').next().unwrap();
    let file = std::fs::read(sample.folder.path().join("keys.sqlite")).unwrap();
    assert!(!file.windows(secret.len()).any(|window| window == secret.as_bytes()));
    assert!(!format!("{key:?}").contains(secret));
}

#[tokio::test]
async fn a_process_that_only_reads_sees_new_and_revoked_keys_within_a_second_or_so() {
    let sample = Sample::start().await;
    let reader = identity_of(&sample.folder, ServiceName::AgentsServer).await;
    let (url, _running) = start(|s| s.identity(&reader)).await;
    let ask = |key: String| {
        let url = url.clone();
        async move { send(reqwest::Client::new().get(format!("{url}/agents/x")).header("x-api-key", key)).await.status }
    };
    let key = sample.key("cline", Role::Use).await.key;
    wait_until(SOON, async || ask(key.clone()).await == StatusCode::OK).await;
    sample.keys.revoke("cline").await.unwrap();
    wait_until(SOON, async || ask(key.clone()).await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_not_accepted() {
    let sample = Sample::start().await;
    let key = sample.key("cline", Role::Use).await.key;
    std::fs::write(sample.folder.path().join("keys.sqlite"), b"SQLite format 3\0 but not really, and long enough")
        .unwrap();
    let reader = identity_of(&sample.folder, ServiceName::AgentsServer).await;
    let (url, _running) = start(|s| s.identity(&reader)).await;
    let refused = send(reqwest::Client::new().get(format!("{url}/agents/x")).header("x-api-key", key)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.body.contains("keys_unavailable"), "{}", refused.body);
}

#[tokio::test]
async fn a_service_may_call_the_routes_that_name_it_and_no_other() {
    let sample = Sample::start().await;
    let dashboard = identity_of(&sample.folder, ServiceName::Dashboard).await;
    let runner = identity_of(&sample.folder, ServiceName::AgentRunner).await;
    let (from_dashboard, from_runner) = (dashboard.signer(ServiceName::Gateway), runner.signer(ServiceName::Gateway));
    assert_eq!(sample.with_token("/agents/x", from_dashboard.own()).await.status, StatusCode::OK);
    let refused = sample.with_token("/agents/x", from_runner.own()).await;
    assert!(
        refused.status == StatusCode::FORBIDDEN && refused.body.contains("service_not_allowed"),
        "{}",
        refused.body
    );
    assert_eq!(sample.with_token("/admin", from_dashboard.own()).await.status, StatusCode::FORBIDDEN);
    assert_eq!(sample.with_token("/status", from_runner.own()).await.status, StatusCode::OK);
    let elsewhere = dashboard.signer(ServiceName::ModelManager);
    assert_eq!(sample.with_token("/agents/x", elsewhere.own()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(sample.get_with("/agents/x", "x-remora-service", "forged").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_service_passes_on_the_caller_it_established() {
    let sample = Sample::start().await;
    let dashboard = identity_of(&sample.folder, ServiceName::Dashboard).await;
    let caller = Caller::local();
    let header = dashboard.signer(ServiceName::Gateway).on_behalf_of(&caller);
    let (name, value) = header.clone().unwrap();
    let told = sample.whoami(name.as_str(), value.to_str().unwrap()).await;
    assert_eq!((&told.caller, told.via), (caller.info(), Some(ServiceName::Dashboard)));
    assert_eq!(sample.with_token("/agents/x", header.clone()).await.status, StatusCode::OK);
    // Not even an administrator's word opens a route to a service that it does not name.
    assert_eq!(sample.with_token("/admin", header).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_credential_is_rotated_on_command_and_that_is_written_down() {
    let sample = Sample::start().await;
    let before = sample.identity.signer(ServiceName::Gateway).own().unwrap().1;
    let rotated = send(reqwest::Client::new().post(format!("{}/credential/rotate", sample.url))).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
    assert!(rotated.body.contains("\"gateway\""), "{}", rotated.body);
    let after = sample.identity.signer(ServiceName::Gateway).own().unwrap().1;
    for token in [before, after] {
        assert_eq!(sample.with_token("/status", Some((SERVICE_HEADER, token))).await.status, StatusCode::OK);
    }
    let rows: AuditList = serde_json::from_str(&get(&sample.url, "/audit").await.body).unwrap();
    let actions: Vec<_> = rows.rows.iter().map(|row| (row.action.as_str(), row.who.to_string())).collect();
    assert_eq!(actions, [("credential.rotate", "local".to_owned()), ("policy.change", "local".to_owned())]);
    assert_eq!(get(&sample.url, "/audit?limit=0").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity_of(&folder, ServiceName::Gateway).await;
    let (url, _running) = start(|s| s.identity(&identity).body_limit(64)).await;
    let request = reqwest::Client::new().post(format!("{url}/orders")).header("x-api-key", "rmr_wrong");
    let answer = send(request.body("x".repeat(65))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("body_too_large"), "{}", answer.body);
}

#[tokio::test]
async fn each_use_of_a_key_is_written_down_wherever_it_was() {
    let sample = Sample::start().await;
    let key = sample.key("cline", Role::Use).await.key;
    let agents = identity_of(&sample.folder, ServiceName::AgentsServer).await;
    let (url, running) = start(|s| s.identity(&agents)).await;
    let used = send(reqwest::Client::new().get(format!("{url}/agents/x")).header("x-api-key", key)).await;
    assert_eq!(used.status, StatusCode::OK);
    assert_eq!(sample.keys.list().await.unwrap()[0].last_used_at, None);
    // It is written twice a minute, and when the service stops.
    running.stop().request();
    running.wait().await.unwrap();
    assert!(sample.keys.list().await.unwrap()[0].last_used_at.is_some());
}
