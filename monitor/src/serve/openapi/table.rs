//! The rows of the table: each is a route of the router and an operation of the document.

use axum::{
    Router,
    handler::Handler,
    http::StatusCode,
    routing::{MethodRouter, get},
};
use utoipa::openapi::{HttpMethod, PathItem, path::Operation};

use super::describe::{Described, Draft, Schemas};
use crate::serve::routes::Served;

/// Routes that belong together.
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// What they are about.
    pub about: &'static str,
    /// The routes.
    pub routes: Vec<Route>,
}

/// One path, how it is answered and what it is.
pub struct Route {
    /// The path, with its variable segments in braces.
    pub path: String,
    summary: &'static str,
    is_posted_too: bool,
    handler: MethodRouter<Served>,
    /// What the type of the handler tells.
    describe: fn(&mut Draft<'_>),
    /// What it does not tell: what stands for a variable segment, parameters without a type.
    more: fn(&mut Draft<'_>),
}

impl Route {
    /// A path that is answered by a handler, and in a sentence what with.
    pub fn get<H, T, I>(path: impl Into<String>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Served> + Described<I>,
        T: 'static,
    {
        Self {
            path: path.into(),
            summary,
            is_posted_too: false,
            handler: get(handler),
            describe: <H as Described<I>>::describe,
            more: |_| {},
        }
    }

    /// The same handler takes POST, with its parameters in a form.
    pub fn or_post<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, Served>,
        T: 'static,
    {
        self.handler = self.handler.post(handler);
        self.is_posted_too = true;
        self
    }

    /// Says what types do not.
    pub fn with(mut self, more: fn(&mut Draft<'_>)) -> Self {
        self.more = more;
        self
    }

    /// Lets a router answer it.
    pub fn routed(self, router: Router<Served>) -> Router<Served> {
        router.route(&self.path, self.handler)
    }

    /// It in the document.
    pub(super) fn described(&self, group: &str, schemas: &mut Schemas) -> PathItem {
        let mut item = PathItem::default();
        item.get = Some(self.operation(HttpMethod::Get, group, schemas));
        if self.is_posted_too {
            item.post = Some(self.operation(HttpMethod::Post, group, schemas));
        }
        item
    }

    fn operation(&self, method: HttpMethod, group: &str, schemas: &mut Schemas) -> Operation {
        let verb = if method == HttpMethod::Post { "post" } else { "get" };
        let mut draft = Draft::new(method, schemas);
        (self.more)(&mut draft);
        (self.describe)(&mut draft);
        // Of the guard in front of all of them.
        for status in [
            StatusCode::FORBIDDEN,
            StatusCode::MISDIRECTED_REQUEST,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            draft.refuses(status);
        }
        let mut operation = draft.finished();
        operation.summary = Some(self.summary.to_owned());
        operation.tags = Some(vec![group.to_owned()]);
        operation.operation_id = Some(self.id(verb));
        operation
    }

    /// `get_containers_id_latency`.
    fn id(&self, verb: &str) -> String {
        let path = self.path.replace("/api/v1/", "/").replace(['{', '}'], "").replace('.', "_");
        format!("{verb}{}", path.replace('/', "_"))
    }
}
