//! Asking a real gateway, with keys of its own making, and what is none.

use remora_service::identity::IdentityConfig;
use remora_service::{Identity, Listener, Process, Running};
use remora_types::identity::{NewKey, Role, Who};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::failure::classify;

/// A gateway with an empty state.
struct Setup {
    folder: TempDir,
    url: String,
    _running: Running,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name| Some(folder.path().join(name));
        let (keys, credentials, audit) = (place("keys.sqlite"), place("credentials"), place("audit"));
        let settings = IdentityConfig { keys, credentials, audit, ..IdentityConfig::default() };
        let identity = Identity::new(&settings).unwrap().of_service(ServiceName::Gateway).await.unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = listener.url();
        let gateway = remora_gateway::service(&remora_gateway::Config::default(), listener, &identity).await.unwrap();
        let running = Process::new("test").add(gateway).without_control_socket().start().await.unwrap();
        Self { folder, url, _running: running }
    }

    /// A key of this gateway.
    async fn key(&self, name: &str, role: Role) -> String {
        let new = NewKey {
            name: name.parse().unwrap(),
            role,
            expires_at: None,
            models: None,
            requests_per_minute: None,
            tokens_per_minute: None,
        };
        keyless().client(&self.url).unwrap().create_key(&new).await.unwrap().key
    }

    /// Whoever holds this key, in a file.
    fn holder(&self, key: &str) -> Servers {
        let path = self.folder.path().join("key");
        std::fs::write(&path, key).unwrap();
        Servers { key_file: Some(path), variable: Some("rmr_another".into()) }
    }
}

/// The person at this machine.
fn keyless() -> Servers {
    Servers { key_file: None, variable: None }
}

fn exit(error: impl Into<anyhow::Error>) -> Exit {
    classify(&error.into()).0
}

const GATEWAY: &[ServiceName] = &[ServiceName::Gateway];

#[tokio::test]
async fn the_key_decides_who_is_asking() {
    let setup = Setup::new().await;
    let local = keyless().client(&setup.url).unwrap().whoami().await.unwrap();
    assert_eq!(local.caller.who, Who::Local);

    let key = setup.key("ci", Role::Use).await;
    let client = setup.holder(&key).client(&setup.url).unwrap();
    let holder = client.whoami().await.unwrap().caller;
    assert!(matches!(&holder.who, Who::Key { name, .. } if name == "ci"), "{holder:?}");
    assert_eq!(exit(client.keys().await.unwrap_err()), Exit::Auth);
    client.revoke_key("ci").await.expect_err("a key of the role `use` ends no keys");

    keyless().client(&setup.url).unwrap().revoke_key("ci").await.unwrap();
    let (code, hint) = classify(&client.whoami().await.unwrap_err().into());
    assert_eq!(code, Exit::Auth);
    assert!(hint.unwrap().contains("REMORA_KEY"));
}

#[tokio::test]
async fn what_is_no_key_is_told_before_anything_is_asked() {
    let servers = Servers { key_file: None, variable: Some("sk-123".into()) };
    assert_eq!(exit(servers.client("http://127.0.0.1:1").unwrap_err()), Exit::Usage);
    let asked = servers.ask_each(Some("http://127.0.0.1:1"), GATEWAY, async |service| service.whoami().await).await;
    assert_eq!(exit(asked.unwrap_err()), Exit::Usage);
}

#[tokio::test]
async fn records_and_credentials_are_those_of_the_services_that_answer() {
    let setup = Setup::new().await;
    let admin = setup.holder(&setup.key("admin", Role::Admin).await);
    let rotated = admin.ask_each(Some(&setup.url), GATEWAY, async |service| service.rotate_credential().await).await;
    assert_eq!(rotated.unwrap().answers[0].service, ServiceName::Gateway);

    let records = admin.ask_each(Some(&setup.url), GATEWAY, async |service| service.audit(10).await).await.unwrap();
    let actions: Vec<_> = records.answers[0].rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["credential.rotate", "key.create", "policy.change"]);
    assert!(records.silent.is_empty());

    let user = setup.holder(&setup.key("user", Role::Use).await);
    let refused = user.ask_each(Some(&setup.url), GATEWAY, async |service| service.audit(10).await).await;
    assert_eq!(exit(refused.unwrap_err()), Exit::Auth);
}

#[tokio::test]
async fn other_programs_do_not_see_the_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let program = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    };
    let servers = Servers { key_file: None, variable: Some("rmr_0a1b2c3d_secret".into()) };
    let asking = servers.ask_each(Some(&url), GATEWAY, async |service| service.audit(10).await);
    let (asked, seen) = tokio::join!(asking, program);
    assert_eq!(exit(asked.unwrap_err()), Exit::NotRunning);
    assert!(seen.starts_with("GET /ready ") && !seen.contains("rmr_"), "{seen}");
}

fn addresses(server: &str) -> Vec<String> {
    on_host(server).unwrap().iter().map(|place| place.client.server()).collect()
}

#[test]
fn every_service_of_a_host_is_on_its_own_port() {
    for server in ["http://host", "host", "http://host:8000/", "host:8001"] {
        let found = addresses(server);
        assert_eq!((found.len(), found[0].as_str()), (7, "http://host:8000"), "{server}");
        assert_eq!(found[4], "http://host:8004");
    }
    assert_eq!(addresses("http://[::1]:9000")[..2], ["http://[::1]:9000", "http://[::1]:8001"]);
}

#[test]
fn what_names_no_host_is_wrong_usage() {
    for bad in ["", "unix:/run/x.sock", "https://host", "http://host/prefix", "host:99999", "a@host", "host:"] {
        assert_eq!(exit(on_host(bad).unwrap_err()), Exit::Usage, "{bad}");
    }
}

#[test]
fn a_service_on_every_address_is_asked_on_loopback() {
    assert_eq!(reachable("0.0.0.0:8000"), "127.0.0.1:8000");
    assert_eq!(reachable("[::]:8000"), "[::1]:8000");
    assert_eq!(reachable("unix:/run/x.sock"), "unix:/run/x.sock");
}
