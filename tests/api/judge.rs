//! Holds answers against the document that describes them, `/api/v1/openapi.json`, by a JSON Schema validator.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, ensure};
use boon::{Compiler, Schemas};
use cgscope_tests::Daemon;
use serde_json::{Map, Value};

/// A name for the document, from which nothing is loaded.
const LOCATION: &str = "http://daemon.invalid/openapi.json";
const JSON: &str = "application/json";

/// What was answered.
pub struct Answered {
    pub status: u16,
    pub media_type: String,
    pub body: String,
}

/// The document, and its schemas as far as they were needed.
pub struct Judge {
    pub document: Value,
    compiler: Compiler,
    schemas: Schemas,
}

impl Judge {
    /// Of a running daemon.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        let document = daemon.get("/api/v1/openapi.json")?;
        let mut compiler = Compiler::new();
        let added = compiler.add_resource(LOCATION, document.clone());
        added.map_err(|error| anyhow!("{error}"))?;
        Ok(Self { document, compiler, schemas: Schemas::new() })
    }

    /// The paths with a method, their variable segments in braces.
    pub fn paths(&self, method: &str) -> BTreeSet<String> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let with = paths.filter(|(_, item)| item[method].is_object());
        with.map(|(path, _)| path.clone()).collect()
    }

    /// That an answer is one of those that are described. JSON is given back, with the place of its schema.
    pub fn check(
        &mut self,
        method: &str,
        path: &str,
        answer: &Answered,
    ) -> Result<Option<(String, Value)>> {
        let what = format!("{method} {path} answered {} {}", answer.status, answer.media_type);
        let Some(place) = self.place(method, path, answer).with_context(|| what.clone())? else {
            return Ok(None);
        };
        if answer.media_type != JSON {
            return Ok(None);
        }
        let json: Value = serde_json::from_str(&answer.body).with_context(|| what.clone())?;
        let fault = self.fault(&place, &json)?;
        ensure!(
            fault.is_none(),
            "{what}\n{}\n{}",
            fault.unwrap_or_default(),
            shortened(&answer.body)
        );
        Ok(Some((place, json)))
    }

    /// Where the schema of an answer is; `None` for a media type that has none.
    fn place(&self, method: &str, path: &str, answer: &Answered) -> Result<Option<String>> {
        let status = answer.status.to_string();
        let mut place = pointer(&["paths", path, method, "responses", &status]);
        let response = self.document.pointer(&place).context("the status is not described")?;
        if let Some(reference) = response["$ref"].as_str() {
            reference.trim_start_matches('#').clone_into(&mut place);
        }
        place += &pointer(&["content", &answer.media_type]);
        let content = self.document.pointer(&place).context("the media type is not described")?;
        Ok(content["schema"].is_object().then(|| place + "/schema"))
    }

    /// What a schema of the document finds wrong with JSON.
    pub fn fault(&mut self, place: &str, json: &Value) -> Result<Option<String>> {
        let location = format!("{LOCATION}#{}", encoded(place));
        let schema = self.compiler.compile(&location, &mut self.schemas);
        let schema = schema.map_err(|error| anyhow!("{place}: {error:#}"))?;
        Ok(self.schemas.validate(json, schema).err().map(|error| format!("{error:#}")))
    }

    /// Adds a member to each kind of object in an answer, one after another; how many there were, and those where it was not
    /// noticed.
    pub fn unnoticed(&mut self, place: &str, json: &Value) -> Result<(usize, Vec<String>)> {
        let mut kinds = BTreeSet::new();
        let mut objects = Vec::new();
        each(json, String::new(), String::new(), &mut |at, kind| {
            if kinds.insert(kind.to_owned()) {
                objects.push(at.to_owned());
            }
        });
        let mut unnoticed = Vec::new();
        for at in &objects {
            let mut changed = json.clone();
            let object = changed.pointer_mut(at).and_then(Value::as_object_mut);
            // No text and no number, which labels and counts by name take under any name.
            object.context("an object")?.insert("unheard_of".to_owned(), Value::Object(Map::new()));
            if self.fault(place, &changed)?.is_none() {
                unnoticed.push(at.clone());
            }
        }
        Ok((objects.len(), unnoticed))
    }
}

/// Calls `see` with the place of each object, and with that place without numbers.
fn each(json: &Value, at: String, kind: String, see: &mut impl FnMut(&str, &str)) {
    match json {
        Value::Object(members) => {
            // Members of one name may be of several kinds, which `kind` tells.
            let tag = members.get("kind").and_then(Value::as_str).unwrap_or_default();
            let kind = format!("{kind}({tag})");
            see(&at, &kind);
            for (name, member) in members {
                let step = pointer(&[name]);
                each(member, format!("{at}{step}"), format!("{kind}{step}"), see);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                each(item, format!("{at}/{i}"), format!("{kind}/*"), see);
            }
        }
        _ => {}
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(2_000).collect()
}

/// A JSON pointer.
fn pointer(steps: &[&str]) -> String {
    steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

/// As a fragment of an address.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/~._-".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
