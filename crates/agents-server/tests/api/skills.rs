//! `/.well-known/agent-skills/`

use remora_agents_server::bundle::sha256;
use remora_types::agents::{SkillIndex, SkillKind};

use crate::support::{Server, header};

#[tokio::test]
async fn skills_are_listed_with_the_digest_of_what_their_address_gives() {
    let one = "---\nname: one-file\ndescription: Alone.\n---\n# One\n";
    let many = "---\nname: many-files\ndescription: With company.\n---\n";
    let server = Server::start(&[
        ("one/SKILL.md", one),
        ("lint/bundle.yaml", "name: lint"),
        ("lint/skills/many/SKILL.md", many),
        ("lint/skills/many/scripts/run*", "#!/bin/sh\n"),
        ("bad/SKILL.md", "no head"),
        ("same/SKILL.md", one),
    ])
    .await;
    let response = server.get("/.well-known/agent-skills/index.json").await;
    assert_eq!(header(&response, "content-type"), "application/json");
    let index: SkillIndex = response.json().await.unwrap();
    assert_eq!(index.schema, "https://schemas.agentskills.io/discovery/0.2.0/schema.json");
    let told: Vec<_> = index.skills.iter().map(|s| (s.name.as_str(), s.kind, s.description.as_str())).collect();
    let expected = [("many-files", SkillKind::Archive, "With company."), ("one-file", SkillKind::SkillMd, "Alone.")];
    assert_eq!(told, expected);
    for skill in &index.skills {
        let bytes = server.get(&skill.url).await.bytes().await.unwrap();
        assert_eq!(skill.digest.0, sha256(&bytes), "{}", skill.url);
    }
    let archive = server.get(&index.skills[0].url).await.bytes().await.unwrap();
    let paths: Vec<_> = crate::archives::unpack(&archive).into_iter().map(|e| e.path).collect();
    assert_eq!(paths, ["SKILL.md", "scripts/run"]);

    let warnings = server.client().agents().await.unwrap().warnings;
    let paths: Vec<_> = warnings.iter().filter_map(|w| w.path.as_deref()).collect();
    assert_eq!(paths, ["bad/SKILL.md", "same/SKILL.md"]);
    for missing in ["nothing.tar.gz", "one-file.tar.gz", "many-files", "..%2Findex.json"] {
        let path = format!("/.well-known/agent-skills/{missing}");
        assert_eq!(server.get(&path).await.status(), 404, "{missing}");
    }
}
