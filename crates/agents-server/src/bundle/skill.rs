//! The head of a `SKILL.md`.

use super::fields::Fields;
use super::findings::Findings;
use super::yaml;

/// Longest description that the Agent Skills format allows, in characters.
const MAX_DESCRIPTION: usize = 1024;

/// Name and description of a skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkillHead {
    /// 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// When to use it.
    pub description: String,
}

/// Reads the YAML between the `---` lines at the top of a `SKILL.md`; else says what is wrong with it.
pub fn read_skill(bytes: &[u8]) -> Result<SkillHead, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let head = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---").map(|(head, _)| head));
    let head = head.ok_or("it does not begin with a YAML head between two lines of ---")?;
    let document = yaml::mapping(head.as_bytes()).map_err(|e| e.message)?;
    let mut findings = Findings::default();
    let mut fields = Fields::new(document.fields, "");
    let name = fields.filled_text("name", &mut findings).ok_or("its head has no name")?;
    let description = fields.filled_text("description", &mut findings).ok_or("its head has no description")?;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=64).contains(&name.len()) || !name.chars().all(legal) {
        return Err("its name is not 1 to 64 lower-case letters, digits and '-'".into());
    }
    Ok(SkillHead { name, description: description.trim().chars().take(MAX_DESCRIPTION).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_their_faults_told() {
        let head = read_skill(b"---\r\nname: pdf-forms\r\ndescription: Fills forms.\r\n---\r\n# Text").unwrap();
        assert_eq!(head, SkillHead { name: "pdf-forms".into(), description: "Fills forms.".into() });
        let wrong = |text: &str| read_skill(text.as_bytes()).unwrap_err();
        assert!(wrong("# no head").contains("---"));
        assert!(wrong("---\nname: x\n---\n").contains("description"));
        assert!(wrong("---\nname: A b\ndescription: d\n---\n").contains("lower-case"));
        assert!(read_skill(&[0xff]).is_err());
    }
}
