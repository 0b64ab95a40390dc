//! Schemas made strict: what an answer may hold beside what is described is nothing.
//!
//! Contract: parts that serde flattens into one object are one object in the schema as well, as `additionalProperties` sees only
//! the members beside it. A member that may be `null` is always there, since serde writes it; one that may be absent is never
//! `null`.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Object, OneOf, RefOr, Schema,
    schema::{AdditionalProperties, ArrayItems, SchemaType, Type},
};

use super::words::words;

type All = BTreeMap<String, RefOr<Schema>>;

/// Closes a schema and those in it. `all` are the components as the types tell them.
pub fn close(schema: &mut RefOr<Schema>, all: &All) {
    match schema {
        RefOr::Ref(reference) => reference.description = words(&reference.description),
        RefOr::T(schema) => close_here(schema, all),
    }
}

fn close_here(schema: &mut Schema, all: &All) {
    if let Schema::AllOf(parts) = schema {
        let description = parts.description.clone();
        *schema = merged(alternatives(&RefOr::T(schema.clone()), all), description);
    }
    match schema {
        Schema::Object(object) => close_object(object, all),
        Schema::Array(array) => {
            say(&mut array.description);
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                close(items, all);
            }
            array.prefix_items.iter_mut().for_each(|item| close_here(item, all));
        }
        Schema::OneOf(one) => {
            say(&mut one.description);
            one.items.iter_mut().for_each(|item| close(item, all));
        }
        Schema::AnyOf(any) => {
            say(&mut any.description);
            any.items.iter_mut().for_each(|item| close(item, all));
        }
        // Merged above.
        _ => {}
    }
}

fn close_object(object: &mut Object, all: &All) {
    say(&mut object.description);
    let is_there = |(name, schema): (&String, &RefOr<Schema>)| {
        (object.required.contains(name) || may_be_null(schema)).then(|| name.clone())
    };
    object.required = object.properties.iter().filter_map(is_there).collect();
    object.properties.values_mut().for_each(|schema| close(schema, all));
    match object.additional_properties.as_deref_mut() {
        Some(AdditionalProperties::RefOr(schema)) => close(schema, all),
        Some(AdditionalProperties::FreeForm(_)) => {}
        None if object.properties.is_empty() => {}
        None => {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

fn say(description: &mut Option<String>) {
    *description = description.take().map(|text| words(&text));
}

fn may_be_null(schema: &RefOr<Schema>) -> bool {
    let is_null = |kind: &SchemaType| match kind {
        SchemaType::Type(kind) => *kind == Type::Null,
        SchemaType::Array(kinds) => kinds.contains(&Type::Null),
        SchemaType::AnyValue => false,
    };
    match schema {
        RefOr::T(Schema::Object(object)) => is_null(&object.schema_type),
        RefOr::T(Schema::Array(array)) => is_null(&array.schema_type),
        RefOr::T(Schema::OneOf(one)) => one.items.iter().any(may_be_null),
        _ => false,
    }
}

/// The objects that a schema stands for, each with all its members.
fn alternatives(schema: &RefOr<Schema>, all: &All) -> Vec<Object> {
    match schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            all.get(name).map_or_else(Vec::new, |schema| alternatives(schema, all))
        }
        RefOr::T(Schema::Object(object)) => vec![object.clone()],
        RefOr::T(Schema::OneOf(one)) => {
            one.items.iter().flat_map(|item| alternatives(item, all)).collect()
        }
        RefOr::T(Schema::AllOf(parts)) => {
            let parts = parts.items.iter().map(|part| alternatives(part, all));
            parts.fold(vec![Object::new()], |wholes, part| {
                let with = |whole: &Object| part.iter().map(|more| joined(whole, more)).collect();
                wholes.iter().flat_map::<Vec<Object>, _>(with).collect()
            })
        }
        RefOr::T(_) => vec![],
    }
}

fn joined(whole: &Object, more: &Object) -> Object {
    let mut whole = whole.clone();
    whole.properties.extend(more.properties.clone());
    whole.required.extend(more.required.clone());
    whole.description = whole.description.or_else(|| more.description.clone());
    whole
}

fn merged(mut objects: Vec<Object>, description: Option<String>) -> Schema {
    if objects.len() > 1 {
        let mut one = OneOf::new();
        one.items = objects.into_iter().map(|object| RefOr::T(Schema::Object(object))).collect();
        one.description = description;
        return Schema::OneOf(one);
    }
    let mut object = objects.pop().unwrap_or_default();
    object.description = description.or(object.description);
    Schema::Object(object)
}
