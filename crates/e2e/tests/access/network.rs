//! Real peers: a server and a machine beside it, each in a network namespace of its own, with a cable between them.

use std::process::Stdio;
use std::time::Duration;

use remora_e2e::Up;
use remora_testing::fake_tailscaled::Peer;
use remora_testing::{FakeEngine, FakeTailscaled, wait_until};
use remora_types::engines::EngineAddress;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::stack::settings;

const SERVER: &str = "100.64.0.1";
const PEER: &str = "100.64.0.2";
const SERVER_V6: &str = "fd7a:115c:a1e0::1";
const PEER_V6: &str = "fd7a:115c:a1e0::2";

/// A network namespace; gone with the process that holds it.
struct Namespace {
    _holder: Child,
    /// What runs a command in it.
    enter: Vec<String>,
}

impl Namespace {
    /// One that is entered from here, or from within another one.
    async fn new(within: &[String]) -> Self {
        // Root needs no user namespace, and nobody needs a second one.
        let user = within.is_empty() && !rustix::process::geteuid().is_root();
        let mut words = within.to_vec();
        words.push("unshare".into());
        if user {
            words.extend(["--user".into(), "--map-root-user".into()]);
        }
        // It ends when its standard input does: with this test, however that ends.
        words.extend(["--net".into(), "cat".into()]);
        let mut holder = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = holder.id().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_until(Duration::from_secs(10), async || {
            let ended = holder.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "no network namespace can be made here; run these tests as root, or allow user namespaces: sysctl \
                 kernel.unprivileged_userns_clone=1 (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN)"
            );
            let there = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            // `cat` runs only when all namespaces are there.
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            there.is_ok_and(|there| there != own) && name.trim() == "cat"
        })
        .await;
        let mut enter = vec!["nsenter".to_owned(), "--target".into(), pid.to_string(), "--net".into()];
        if !rustix::process::geteuid().is_root() {
            enter.extend(["--user".into(), "--preserve-credentials".into()]);
        }
        Self { _holder: holder, enter }
    }

    fn pid(&self) -> &str {
        &self.enter[2]
    }

    /// What a command in it prints.
    async fn run(&self, command: &str) -> String {
        let words: Vec<&str> = self.enter.iter().map(String::as_str).chain(command.split(' ')).collect();
        let output = Command::new(words[0]).args(&words[1..]).output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr} (`ip` is in the package iproute2)");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status that a GET from here gets; the body too where it is asked for.
    async fn get(&self, host: &str, path: &str, header: &str) -> u16 {
        let header = if header.is_empty() { "x-nothing:1".to_owned() } else { header.replace(' ', "") };
        let command = format!(
            "curl --silent --globoff --max-time 20 --output /dev/null --write-out %{{http_code}} -H {header} http://{host}{path}"
        );
        self.run(&command).await.parse().unwrap()
    }

    async fn json(&self, host: &str, path: &str) -> Value {
        serde_json::from_str(&self.run(&format!("curl --silent --globoff http://{host}{path}")).await).unwrap()
    }
}

/// A server's namespace and a peer's, with a cable between them.
async fn network() -> (Namespace, Namespace) {
    let server = Namespace::new(&[]).await;
    // Beside the server's, under the same user namespace where there is one.
    let peer = Namespace::new(&server.enter).await;
    server.run(&format!("ip link add cable type veth peer name cable netns {}", peer.pid())).await;
    for (namespace, v4, v6) in [(&server, SERVER, SERVER_V6), (&peer, PEER, PEER_V6)] {
        namespace.run("ip link set lo up").await;
        namespace.run(&format!("ip address add {v4}/30 dev cable")).await;
        namespace.run(&format!("ip address add {v6}/64 dev cable nodad")).await;
        namespace.run("ip link set cable up").await;
    }
    (server, peer)
}

/// A stack in a namespace. Its engine and its tailscaled are sockets in the file system, which are the same everywhere.
async fn start(namespace: &Namespace, settings: &str, engine: &FakeEngine, host: &str) -> Up {
    let through: Vec<&str> = namespace.enter.iter().map(String::as_str).collect();
    let engine = engine.address().to_string();
    let arguments = ["--host", host, "--engine", &engine];
    Up::launch().settings(settings).through(&through).arguments(&arguments).ready().await
}

async fn engine() -> (tempfile::TempDir, FakeEngine) {
    let folder = tempfile::tempdir().unwrap();
    let address = EngineAddress::Unix(folder.path().join("engine.sock"));
    let engine = FakeEngine::start_with(&address, remora_testing::fake_engine::Behaviour::default()).await;
    (folder, engine)
}

fn port(up: &Up) -> String {
    up.gateway().rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn on_a_plain_network_this_machine_is_local_and_others_need_a_key() {
    let (server, peer) = network().await;
    let (_folder, engine) = engine().await;
    let up = start(&server, "[log]\nlevel = 'info'\n", &engine, "0.0.0.0").await;
    let (inside, outside) = (format!("127.0.0.1:{}", port(&up)), format!("{SERVER}:{}", port(&up)));
    assert_eq!(server.json(&inside, "/whoami").await["who"]["kind"], "local");
    let new = "curl --silent --data {\"name\":\"peer\",\"role\":\"use\"} -H content-type:application/json";
    let created: Value = serde_json::from_str(&server.run(&format!("{new} http://{inside}/keys")).await).unwrap();
    let key = format!("x-api-key: {}", created["key"].as_str().unwrap());

    for (path, without) in [("/v1/models", 401), ("/status", 401), ("/keys", 401), ("/health", 200)] {
        assert_eq!(peer.get(&outside, path, "").await, without, "{path}");
    }
    for lie in ["x-forwarded-for: 127.0.0.1", "tailscale-user-login: ann@example.com", "host: localhost"] {
        assert_eq!(peer.get(&outside, "/v1/models", lie).await, 401, "{lie}");
    }
    assert_eq!(peer.get(&outside, "/v1/models", &key).await, 200);
    assert_eq!(peer.get(&outside, "/keys", &key).await, 403);
    // This machine over its own outer address comes from there.
    assert_eq!(server.get(&outside, "/v1/models", "").await, 401);
}

#[tokio::test]
async fn on_a_tailnet_a_peer_is_whom_whois_says_by_its_address() {
    let (server, peer) = network().await;
    let (_folder, engine) = engine().await;
    let tailnet = FakeTailscaled::start().await;
    let up = start(&server, &settings(&tailnet, "everyone = 'use'"), &engine, "::").await;
    let (v4, v6) = (format!("{SERVER}:{}", port(&up)), format!("[{SERVER_V6}]:{}", port(&up)));
    for host in [&v4, &v6] {
        assert_eq!(peer.get(host, "/v1/models", "").await, 401, "{host}");
    }
    tailnet.add(PEER, Peer::user("admin@example.com"));
    tailnet.add(PEER_V6, Peer::user("bob@example.com"));
    assert_eq!(peer.json(&v4, "/whoami").await["who"]["login"], "admin@example.com");
    assert_eq!(peer.json(&v6, "/whoami").await["who"]["login"], "bob@example.com");
    assert_eq!((peer.get(&v4, "/keys", "").await, peer.get(&v6, "/keys", "").await), (200, 403));
    // Being on this machine is worth nothing beside a tailscaled.
    assert_eq!(server.get(&format!("127.0.0.1:{}", port(&up)), "/v1/models", "").await, 401);
    assert_eq!(server.get(&format!("[::1]:{}", port(&up)), "/v1/models", "").await, 401);
    assert_eq!(server.get(&v4, "/v1/models", "").await, 401);
}
