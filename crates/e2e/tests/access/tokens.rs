//! Services' tokens, honest and forged.

use remora_types::identity::ServiceName;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::stack::{Stack, from, outcome};
use crate::token::{Credential, HEADER, person};

const TO: ServiceName = ServiceName::ModelManager;

/// Each from an address of its own: whoever presents many wrong tokens is slowed down.
fn with_token(stack: &Stack, number: usize, token: &str) -> RequestBuilder {
    from(&format!("127.0.2.{}", number + 1))
        .get(format!("{}/engines", stack.url("model-manager")))
        .header(HEADER, token)
}

#[tokio::test]
async fn honest_tokens_are_believed_and_forged_ones_are_not() {
    let stack = Stack::ready().await;
    let gateway = Credential::of(stack.up.state_dir(), ServiceName::Gateway);
    let dashboard = Credential::of(stack.up.state_dir(), ServiceName::Dashboard);
    let bob = person(&["use"]);
    for (number, token) in
        [gateway.token(TO, None), gateway.token(TO, Some(&bob)), dashboard.token(TO, Some(&bob))].iter().enumerate()
    {
        assert_eq!(outcome(with_token(&stack, number, token)).await.0, 200);
    }

    let good = gateway.token(TO, None);
    let (claims, signature) = good.split_once('.').unwrap();
    let claims_of = |change: &dyn Fn(&mut Value)| {
        let mut claims = gateway.claims(TO, None);
        change(&mut claims);
        gateway.sign(&claims.to_string())
    };
    let service = json!({"who": {"kind": "service", "name": "dashboard"}, "roles": ["admin"], "because": []});
    let stranger = Credential::unpublished(ServiceName::Gateway);
    let forged = [
        ("for another service", gateway.token(ServiceName::AgentsServer, None)),
        ("expired", claims_of(&|claims| claims["until"] = json!(1_700_000_000))),
        ("of a key that nobody published", stranger.token(TO, None)),
        ("of another key under a published id", stranger.posing_as(&gateway).token(TO, None)),
        ("in another service's name", claims_of(&|claims| claims["from"] = json!("dashboard"))),
        ("of a service that there is not", claims_of(&|claims| claims["from"] = json!("root"))),
        ("passing on a service", gateway.token(TO, Some(&service))),
        ("with a role that there is not", gateway.token(TO, Some(&person(&["root"])))),
        ("without a signature", format!("{claims}.")),
        ("with a signature of zeros", format!("{claims}.{}", "A".repeat(86))),
        ("with another's signature", format!("{}.{signature}", dashboard.token(TO, None).split_once('.').unwrap().0)),
        ("with more behind it", format!("{good}.{signature}")),
        ("empty", String::new()),
        ("of another kind", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned()),
    ];
    for (number, (what, token)) in forged.iter().enumerate() {
        let said = outcome(with_token(&stack, number + 10, token)).await;
        assert_eq!(said, (401, "invalid_service_token".into()), "a token {what}");
    }
    // Nor does a wrong token fall back to what the connection is.
    let admin = from(crate::stack::ADMIN).get(format!("{}/engines", stack.url("model-manager")));
    assert_eq!(outcome(admin.header(HEADER, "x.y")).await.0, 401);
}

#[tokio::test]
async fn a_service_speaks_for_its_caller_with_the_callers_roles_only() {
    let stack = Stack::ready().await;
    let dashboard = Credential::of(stack.up.state_dir(), ServiceName::Dashboard);
    let restart = |roles: &[&str]| {
        let url = format!("{}/engines/none/restart", stack.url("model-manager"));
        outcome(from("127.0.2.1").post(url).header(HEADER, dashboard.token(TO, Some(&person(roles)))))
    };
    assert_eq!(restart(&["use"]).await, (403, "role_required".into()));
    assert_eq!(restart(&["use", "operate"]).await.0, 404);

    let url = format!("{}/whoami", stack.url("model-manager"));
    let whoami = from("127.0.2.1").get(url).header(HEADER, dashboard.token(TO, Some(&person(&["use"]))));
    let whoami: Value = whoami.send().await.unwrap().json().await.unwrap();
    assert_eq!((&whoami["who"]["login"], &whoami["via"]), (&json!("bob@example.com"), &json!("dashboard")));
}

/// In a shared network namespace, and behind a userspace tailscaled, services have an address with everybody else.
#[tokio::test]
async fn guesses_of_others_at_the_same_address_do_not_silence_a_service() {
    let stack = Stack::ready().await;
    let gateway = Credential::of(stack.up.state_dir(), ServiceName::Gateway);
    let url = format!("{}/engines", stack.url("model-manager"));
    let ask = || from("127.0.2.1").get(&url);
    for _ in 0..8 {
        let said = outcome(ask().bearer_auth("rmr_00000000_0000")).await.0;
        assert!(matches!(said, 401 | 429), "{said}");
    }
    assert_eq!(outcome(ask().header(HEADER, gateway.token(TO, None))).await, (200, String::new()));
}

#[tokio::test]
async fn services_go_on_talking_while_credentials_are_renewed() {
    let stack = Stack::ready().await;
    for (service, _) in crate::stack::SERVICES {
        let url = format!("{}/credential/rotate", stack.url(service));
        let before = Credential::of(stack.up.state_dir(), service_name(service)).token(TO, None);
        let rotated: Value = from(crate::stack::ADMIN).post(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(rotated["service"], service, "{rotated}");
        let after = Credential::of(stack.up.state_dir(), service_name(service)).token(TO, None);
        assert_ne!(before.split('.').next(), after.split('.').next());
        for (what, token) in [("old", before), ("new", after)] {
            let status = from("127.0.2.1").get(format!("{}/status", stack.url("model-manager")));
            let answer = status.header(HEADER, token).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{service}, {what}: {}", answer.text().await.unwrap());
        }
    }
    let ready = from("127.0.2.1").get(format!("{}/ready", stack.url("gateway")));
    assert_eq!(outcome(ready).await.0, 200, "the gateway still hears from model-manager");
    let audit = from(crate::stack::ADMIN).get(format!("{}/audit", stack.url("gateway")));
    let audit: Value = audit.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&audit["rows"][0]["action"], &audit["rows"][0]["who"]["login"]),
        (&json!("credential.rotate"), &json!("admin@example.com"))
    );
}

fn service_name(name: &str) -> ServiceName {
    ServiceName::ALL.into_iter().find(|service| service.as_str() == name).unwrap()
}
