//! What a handler takes and answers, read off its type.
//!
//! Contract: a handler whose extractors are [`Input`]s and whose answer is an [`Answer`] describes itself; one that takes or
//! answers something else does not compile into the table.

use std::{collections::BTreeMap, future::Future};

use axum::http::StatusCode;
use utoipa::{
    ToSchema,
    openapi::{
        Content, Header, HttpMethod, Object, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
        Schema,
        path::{Operation, Parameter},
        request_body::RequestBody,
    },
};

use super::{JSON, refusal, words::words};

/// A part of a request that a handler takes.
pub trait Input {
    /// Adds what it needs.
    fn describe(draft: &mut Draft<'_>);
}

/// What a handler answers.
pub trait Answer {
    /// Adds the statuses and bodies.
    fn describe(draft: &mut Draft<'_>);
}

/// A handler that takes `I`.
pub trait Described<I> {
    /// Adds what it takes and answers.
    fn describe(draft: &mut Draft<'_>);
}

macro_rules! described {
    ($($input:ident),*) => {
        impl<F, R, $($input),*> Described<($($input,)*)> for F
        where
            F: Fn($($input),*) -> R,
            R: Future,
            R::Output: Answer,
            $($input: Input,)*
        {
            fn describe(draft: &mut Draft<'_>) {
                $(<$input as Input>::describe(draft);)*
                <R::Output as Answer>::describe(draft);
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);

/// The description of one operation while it is made.
pub struct Draft<'a> {
    /// How it is asked.
    pub method: HttpMethod,
    /// What it takes and answers.
    pub operation: Operation,
    schemas: &'a mut Schemas,
    /// The form of a POST.
    form: Object,
}

impl<'a> Draft<'a> {
    /// Of nothing yet.
    pub fn new(method: HttpMethod, schemas: &'a mut Schemas) -> Self {
        let form = ObjectBuilder::new().build();
        Self { method, operation: Operation::new(), schemas, form }
    }

    /// A parameter of the address.
    pub fn parameter(&mut self, mut parameter: Parameter) {
        parameter.description = parameter.description.map(|text| words(&text));
        self.operation.parameters.get_or_insert_default().push(parameter);
    }

    /// A parameter that a POST has in its form.
    pub fn field(&mut self, parameter: Parameter) {
        if self.method != HttpMethod::Post {
            return self.parameter(parameter);
        }
        if parameter.required == utoipa::openapi::Required::True {
            self.form.required.push(parameter.name.clone());
        }
        if let Some(schema) = parameter.schema {
            self.form.properties.insert(parameter.name, schema);
        }
    }

    /// A schema of the components, and a reference to it.
    pub fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.add::<T>()
    }

    /// A schema as it is; those that it names become components.
    pub fn inlined<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.add_named_by::<T>();
        T::schema()
    }

    /// A body of success, in a media type.
    pub fn answers(&mut self, media_type: &str, schema: Option<RefOr<Schema>>) {
        let status = StatusCode::OK.as_str();
        let responses = &mut self.operation.responses.responses;
        let mut response = match responses.remove(status) {
            Some(RefOr::T(response)) => response,
            _ => Response::new("The answer."),
        };
        response.content.insert(media_type.to_owned(), Content::new(schema));
        responses.insert(status.to_owned(), RefOr::T(response));
    }

    /// A header of a success whose bodies are known.
    pub fn answers_header(&mut self, name: &str, header: Header) {
        let success = self.operation.responses.responses.get_mut(StatusCode::OK.as_str());
        if let Some(RefOr::T(response)) = success {
            response.headers.insert(name.to_owned(), header);
        }
    }

    /// A status with the usual body of errors.
    pub fn refuses(&mut self, status: StatusCode) {
        let responses = &mut self.operation.responses.responses;
        responses.entry(status.as_str().to_owned()).or_insert_with(|| refusal(status).into());
    }

    /// A status with a body of its own.
    pub fn refuses_with(&mut self, status: StatusCode, when: &str, schema: RefOr<Schema>) {
        let response =
            ResponseBuilder::new().description(when).content(JSON, Content::new(Some(schema)));
        let responses = &mut self.operation.responses.responses;
        responses.insert(status.as_str().to_owned(), RefOr::T(response.build()));
    }

    /// The whole of it.
    pub fn finished(mut self) -> Operation {
        if !self.form.properties.is_empty() {
            let schema = RefOr::T(Schema::Object(self.form));
            let mut body = RequestBody::new();
            let media_type = "application/x-www-form-urlencoded".to_owned();
            body.content.insert(media_type, Content::new(Some(schema)));
            self.operation.request_body = Some(body);
        }
        self.operation
    }
}

/// The schemas that operations name, each once.
#[derive(Default)]
pub struct Schemas {
    by_name: BTreeMap<String, RefOr<Schema>>,
    clashes: Vec<String>,
}

impl Schemas {
    /// Adds a type and what it names; gives the reference to it.
    pub fn add<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.insert(T::name().into_owned(), T::schema());
        self.add_named_by::<T>();
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }

    /// Adds what a type names, but not the type.
    pub fn add_named_by<T: ToSchema>(&mut self) {
        let mut named = Vec::new();
        T::schemas(&mut named);
        named.into_iter().for_each(|(name, schema)| self.insert(name, schema));
    }

    /// Them, and names that two different ones have.
    pub fn into_parts(self) -> (BTreeMap<String, RefOr<Schema>>, Vec<String>) {
        (self.by_name, self.clashes)
    }

    fn insert(&mut self, name: String, schema: RefOr<Schema>) {
        if self.by_name.get(&name).is_some_and(|known| *known != schema) {
            self.clashes.push(name);
        } else {
            self.by_name.insert(name, schema);
        }
    }
}
