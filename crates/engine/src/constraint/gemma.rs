//! `FunctionGemma`'s arguments as grammar rules: `{city:<escape>Paris<escape>,days:3}`.
//!
//! Its notation is not JSON, so llguidance cannot make the grammar. What functions usually declare is covered; where a
//! schema says more (patterns, references, formats), its calls are held to JSON instead, which the model knows less well.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::calls::literal;

/// Rules that are being written.
pub(super) struct Gemma {
    rules: String,
    /// What the names of rules begin with.
    stem: String,
    count: usize,
    /// The mark around strings: a control token, or a text.
    escape: String,
    /// Whether the mark is a control token, which no text can hold.
    is_control: bool,
}

impl Gemma {
    /// Rules whose names begin like this, with this mark around strings.
    pub(super) fn new(escape: String, stem: &str) -> Self {
        let is_control = escape.starts_with("<[");
        Self { rules: String::new(), stem: stem.to_owned(), count: 0, escape, is_control }
    }

    /// An expression for what the schema allows, whose rules are [`rules`](Self::rules). None where they would not hold
    /// everything it says.
    pub(super) fn value(&mut self, schema: &Value) -> Option<String> {
        let fields = match schema {
            Value::Bool(true) => return self.any(&["string", "number", "boolean", "null"]),
            Value::Object(fields) => fields,
            _ => return None,
        };
        if let Some(choices) = fields.get("enum").and_then(Value::as_array) {
            return alternatives(choices.iter().map(|choice| self.constant(choice)));
        }
        if let Some(constant) = fields.get("const") {
            return self.constant(constant);
        }
        if let Some(choices) = fields.get("anyOf").or(fields.get("oneOf")).and_then(Value::as_array) {
            only(fields, &["anyOf", "oneOf"])?;
            return alternatives(choices.iter().map(|choice| self.value(choice)));
        }
        match fields.get("type") {
            Some(Value::String(kind)) => self.of_type(kind, fields),
            Some(Value::Array(kinds)) => alternatives(kinds.iter().map(|kind| self.of_type(kind.as_str()?, fields))),
            None => {
                only(fields, &[])?;
                self.any(&["string", "number", "boolean", "null"])
            }
            Some(_) => None,
        }
    }

    /// Everything that was written.
    pub(super) fn rules(self) -> String {
        self.rules
    }

    fn any(&mut self, kinds: &[&str]) -> Option<String> {
        alternatives(kinds.iter().map(|kind| self.of_type(kind, &Map::new())))
    }

    fn of_type(&mut self, kind: &str, fields: &Map<String, Value>) -> Option<String> {
        match kind {
            "string" => self.string(fields),
            "integer" | "number" => {
                only(fields, &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])?;
                // A number is written as in JSON.
                let mut schema = fields.clone();
                schema.insert("type".into(), kind.into());
                Some(self.rule("number", &format!("%json {}", Value::Object(schema))))
            }
            "boolean" => only(fields, &[]).map(|()| "(\"true\" | \"false\")".to_owned()),
            "null" => only(fields, &[]).map(|()| "\"null\"".to_owned()),
            "array" => {
                only(fields, &["items", "minItems"])?;
                let item = self.value(fields.get("items").unwrap_or(&Value::Bool(true)))?;
                let list = format!("{item} (\",\" {item})*");
                match fields.get("minItems").and_then(Value::as_u64) {
                    None | Some(0) => Some(format!("(\"[\" ({list})? \"]\")")),
                    Some(1) => Some(format!("(\"[\" {list} \"]\")")),
                    Some(_) => None,
                }
            }
            "object" => self.object(fields),
            _ => None,
        }
    }

    fn string(&mut self, fields: &Map<String, Value>) -> Option<String> {
        only(fields, &["minLength", "maxLength"])?;
        let escape = self.escape.clone();
        let bound = |key: &str| fields.get(key).map_or(Some(None), |value| value.as_u64().map(Some));
        let (least, most) = (bound("minLength")?.unwrap_or(0), bound("maxLength")?);
        let most = most.map(|most| most.to_string()).unwrap_or_default();
        if self.is_control {
            self.count += 1;
            let name = format!("{}_TEXT_{}", self.stem.to_uppercase(), self.count);
            let optional = if least == 0 { "?" } else { "" };
            writeln!(self.rules, "{name}: /(?s:.{{{},{most}}})/", least.max(1)).ok()?;
            let text = if most == "0" { String::new() } else { format!("{name}{optional}") };
            return Some(format!("({escape} {text} {escape})"));
        }
        let text = self.rule(&format!("text[suffix={escape}]"), &format!("/(?s:.{{{least},{most}}})/"));
        Some(format!("({escape} {text})"))
    }

    /// An object's properties, in the order of their names, as the template writes them.
    fn object(&mut self, fields: &Map<String, Value>) -> Option<String> {
        only(fields, &["properties", "required", "additionalProperties"])?;
        if fields.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
            return None;
        }
        let required: Vec<&str> =
            fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let empty = Map::new();
        let mut properties: Vec<_> =
            fields.get("properties").and_then(Value::as_object).unwrap_or(&empty).iter().collect();
        properties.sort_by_key(|(name, _)| name.as_str());
        if required.iter().any(|name| !properties.iter().any(|(known, _)| known == name)) {
            return None;
        }
        // From the last to the first: what may follow when nothing was written yet, and when something was.
        let (mut fresh, mut after) = ("\"\"".to_owned(), "\"\"".to_owned());
        for (name, schema) in properties.into_iter().rev() {
            if name.contains([':', ',', '{', '}']) {
                return None;
            }
            let member = format!("{} {}", literal(&format!("{name}:")), self.value(schema)?);
            let is_required = required.contains(&name.as_str());
            let or_not = |rest: &str| if is_required { String::new() } else { format!(" | {rest}") };
            let next_fresh = format!("{member} {after}{}", or_not(&fresh));
            let next_after = format!("\",\" {member} {after}{}", or_not(&after));
            fresh = self.rule("fresh", &next_fresh);
            after = self.rule("after", &next_after);
        }
        Some(format!("(\"{{\" {fresh} \"}}\")"))
    }

    fn constant(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(format!("({} {} {})", self.escape, literal(text), self.escape)),
            Value::Number(_) | Value::Bool(_) | Value::Null => Some(literal(&value.to_string())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Writes a rule under a name of its own.
    fn rule(&mut self, name: &str, body: &str) -> String {
        self.count += 1;
        let (stem, attributes) =
            name.split_once('[').map_or((name, String::new()), |(stem, rest)| (stem, format!("[{rest}")));
        let name = format!("{}_{stem}_{}", self.stem, self.count);
        writeln!(self.rules, "{name}{attributes}: {body}").expect("a String takes everything");
        name
    }
}

/// None where a schema says something else than these and what binds nobody.
fn only(fields: &Map<String, Value>, known: &[&str]) -> Option<()> {
    const FREE: [&str; 8] =
        ["type", "title", "description", "default", "examples", "nullable", "$comment", "deprecated"];
    let held = |key: &String| known.contains(&key.as_str()) || FREE.contains(&key.as_str());
    fields.keys().all(held).then_some(())
}

fn alternatives(choices: impl Iterator<Item = Option<String>>) -> Option<String> {
    let choices: Vec<String> = choices.collect::<Option<_>>()?;
    (!choices.is_empty()).then(|| format!("({})", choices.join(" | ")))
}
