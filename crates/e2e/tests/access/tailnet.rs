//! What the tailnet says about a machine, and what that is worth.

use remora_testing::FakeTailscaled;
use remora_testing::fake_tailscaled::{CAPABILITY, OWNER, Peer};
use serde_json::{Value, json};

use crate::stack::{Stack, from, outcome};

async fn whoami(stack: &Stack, address: &str) -> Value {
    from(address).get(format!("{}/whoami", stack.url("gateway"))).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn roles_come_from_everyone_ownership_rules_and_grants() {
    let rules =
        "admins = ['ann@example.com', 'tag:ops']\n[[identity.rules]]\nwho = ['named@elsewhere.org']\nrole = 'use'";
    let stack = Stack::ready_with(rules, FakeTailscaled::start().await).await;
    let friend = |login: &str| Peer::user(login).shared_in();
    let granted = |value: Value| Peer::user("bob@example.com").grant(CAPABILITY, value);
    let other = Peer::user("bob@example.com").grant("other.dev/cap/thing", json!({"role": "admin"}));
    for (address, peer, roles) in [
        ("127.0.1.1", Peer::user(OWNER), json!(["use", "operate", "admin"])),
        ("127.0.1.2", Peer::user("bob@example.com"), json!(["use"])),
        ("127.0.1.3", Peer::user("Ann@Example.com"), json!(["use", "operate", "admin"])),
        ("127.0.1.4", Peer::node(&["tag:ci"]), json!(["use"])),
        // Made by the owner, which is not to be the owner.
        ("127.0.1.5", Peer::node(&["tag:ci"]).made_by(1), json!(["use"])),
        ("127.0.1.6", Peer::node(&["tag:ops"]), json!(["use", "operate", "admin"])),
        ("127.0.1.7", friend("friend@elsewhere.org"), json!([])),
        ("127.0.1.8", friend("named@elsewhere.org"), json!(["use"])),
        ("127.0.1.9", granted(json!({"role": "operate"})), json!(["use", "operate"])),
        ("127.0.1.10", granted(json!({"roles": ["use", "admin"]})), json!(["use", "operate", "admin"])),
        ("127.0.1.11", granted(json!({"role": "emperor"})), json!(["use"])),
        ("127.0.1.12", other, json!(["use"])),
        // A node that was shared in by somebody who calls themselves the owner, or has the owner's id.
        ("127.0.1.13", friend(OWNER), json!([])),
        ("127.0.1.14", friend("friend@elsewhere.org").grant(CAPABILITY, json!({"role": "use"})), json!(["use"])),
    ] {
        stack.tailnet.add(address, peer.clone());
        let whoami = whoami(&stack, address).await;
        assert_eq!(whoami["roles"], roles, "{peer:?}: {whoami}");
        assert!(!whoami["because"].as_array().unwrap().is_empty(), "it says why: {whoami}");
        let models = outcome(from(address).get(format!("{}/v1/models", stack.url("gateway")))).await;
        assert_eq!(models.0, if roles == json!([]) { 403 } else { 200 }, "{peer:?}");
        let keys = outcome(from(address).get(format!("{}/keys", stack.url("gateway")))).await;
        assert_eq!(keys.0, if roles.as_array().unwrap().contains(&"admin".into()) { 200 } else { 403 }, "{peer:?}");
    }
}

#[tokio::test]
async fn a_tagged_server_has_no_owner() {
    let tailnet = FakeTailscaled::start().await;
    tailnet.tag_itself(&["tag:remora"]);
    let stack = Stack::ready_with("everyone = 'nothing'", tailnet).await;
    stack.tailnet.add("127.0.1.1", Peer::user(OWNER));
    assert_eq!(whoami(&stack, "127.0.1.1").await["roles"], json!([]));
}

#[tokio::test]
async fn nobody_is_asked_about_where_nobody_needs_to_be_known() {
    let stack = Stack::ready().await;
    let before = stack.tailnet.whois_calls();
    for path in ["/health", "/ready", "/no/such/path"] {
        outcome(from("127.0.0.9").get(format!("{}{path}", stack.url("gateway")))).await;
    }
    assert_eq!(stack.tailnet.whois_calls(), before);
}
