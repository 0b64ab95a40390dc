//! The document against the router, and against its own rules.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::Value as Json;

use super::{
    super::{
        openapi::{document, text},
        routes::{Serving, ending, groups, router},
    },
    Server,
};

/// What a browser loads, which is no part of the API.
const OF_THE_DASHBOARD: [&str; 3] = ["/", "/icon.svg", "/assets/{file}"];

fn described() -> Json {
    serde_json::from_str(&text().unwrap()).unwrap()
}

/// The paths that axum says a router has: it tells them to nobody but `Debug`.
fn routed() -> BTreeSet<String> {
    let (_sender, ending) = ending();
    let backend = Server::new(1).fed;
    let shown = format!("{:?}", router(backend, ending, Serving::default()));
    let texts = shown.split('"').skip(1).step_by(2);
    // Its own place for the fallback has a name of that kind.
    let paths = texts.filter(|text| text.starts_with('/') && !text.contains("__private"));
    paths.map(str::to_owned).collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let described: BTreeSet<String> =
        described()["paths"].as_object().unwrap().keys().cloned().collect();
    let mut routed = routed();
    for path in OF_THE_DASHBOARD {
        assert!(routed.remove(path), "{path} in {routed:?}");
    }
    assert_eq!(described, routed);
    assert!(described.len() >= 34, "{}", described.len());
}

#[tokio::test]
async fn every_path_is_answered_by_the_methods_it_says() {
    let server = Server::new(1);
    let ask = async |method: &Method, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        server.ask(request).await
    };
    for (path, item) in described()["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        // A method that nothing takes is told those that are.
        let (status, headers, _) = ask(&Method::DELETE, &path).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = headers["allow"].to_str().unwrap();
        let expected = if item["post"].is_object() { "GET,HEAD,POST" } else { "GET,HEAD" };
        assert_eq!(allowed, expected, "{path}");
    }
    let (status, ..) = ask(&Method::DELETE, "/api/v1/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[test]
fn no_two_types_have_one_name() {
    let (_, clashes) = document(groups());
    assert_eq!(clashes, [""; 0]);
}

/// Calls `look` with every object in a document and the way to it.
fn each<'a>(
    json: &'a Json,
    at: &str,
    look: &mut dyn FnMut(&'a serde_json::Map<String, Json>, &str),
) {
    match json {
        Json::Object(object) => {
            look(object, at);
            object.iter().for_each(|(name, json)| each(json, &format!("{at}/{name}"), look));
        }
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(i, json)| each(json, &format!("{at}/{i}"), look));
        }
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = described();
    let mut count = 0;
    each(&document, "", &mut |object, at| {
        let Some(Json::String(reference)) = object.get("$ref") else { return };
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{at}: {reference}"));
        assert!(document.pointer(place).is_some(), "{at}: {reference}");
        count += 1;
    });
    assert!(count > 100, "{count}");
}

#[test]
fn objects_are_closed_and_their_members_are_told() {
    let document = described();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 40, "{}", schemas.len());
    for (name, schema) in schemas {
        each(schema, name, &mut |object, at| {
            assert!(!object.contains_key("allOf"), "{at}: flattened members are not seen by it");
            let Some(Json::Object(members)) = object.get("properties") else { return };
            assert_eq!(object["additionalProperties"], false, "{at}");
            for (member, schema) in members {
                let is_told = schema["description"].is_string()
                    || schema["enum"].is_array()
                    || schema["oneOf"].as_array().is_some_and(|either| {
                        either.iter().any(|one| one["description"].is_string())
                    });
                assert!(is_told, "{at}: {member} is not described");
                let text = schema["description"].as_str().unwrap_or_default();
                assert!(!text.contains("[`") && !text.contains("None"), "{at}: {text}");
            }
        });
    }
}

#[test]
fn variable_segments_and_parameters_are_told() {
    let document = described();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let names: Vec<String> = of_path
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            let segments: Vec<&str> =
                path.split('/').filter(|part| part.starts_with('{')).collect();
            assert_eq!(names, segments, "{method} {path}");
            for parameter in &parameters {
                assert!(parameter["description"].is_string(), "{path}: {parameter}");
                assert!(parameter["schema"].is_object(), "{path}: {parameter}");
            }
            assert!(
                operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
                "{path}"
            );
            assert!(operation["responses"]["200"].is_object(), "{path}");
        }
    }
}

#[test]
fn parts_that_are_flattened_are_one_object() {
    let document = described();
    let schema = |name: &str| &document["components"]["schemas"][name];
    let row = schema("LiveRow");
    for member in ["id", "alive", "activity", "brief"] {
        assert!(row["properties"][member].is_object(), "{member}: {row}");
        assert!(row["required"].as_array().unwrap().contains(&member.into()), "{member}: {row}");
    }
    assert!(!row["required"].as_array().unwrap().contains(&"metrics".into()));
    // One for each kind.
    let measurement = schema("Measurement")["oneOf"].as_array().unwrap();
    let kinds: Vec<&Json> =
        measurement.iter().map(|one| &one["properties"]["kind"]["enum"][0]).collect();
    assert_eq!(kinds, ["counter", "gauge", "distribution"]);
    assert!(measurement.iter().all(|one| one["properties"]["labels"].is_object()));
}

#[tokio::test]
async fn it_is_served_as_it_is_written() {
    let server = Server::new(1);
    let (status, headers, body) =
        server.ask(Request::get("/api/v1/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, text().unwrap());
    assert_eq!(described()["openapi"], "3.1.0");
}
