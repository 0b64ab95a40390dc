//! The API without a socket, for commands that attach by themselves.
//!
//! Contract: it answers as the daemon does, byte for byte.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use tokio::{runtime::Runtime, sync::watch};
use tokio_stream::StreamExt;
use tower::ServiceExt;

use super::{
    backend::Backend,
    routes::{Serving, ending, router},
};

/// A router with the threads it needs.
pub struct InProcess {
    runtime: Runtime,
    router: Router,
    /// Ends streams and requests when dropped.
    _ending: watch::Sender<bool>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The path is none.
    #[error("{0}")]
    Path(#[from] axum::http::Error),
    /// The body broke off or is too large.
    #[error("{0}")]
    Body(#[from] axum::Error),
}

impl InProcess {
    /// Around an engine that runs.
    ///
    /// # Errors
    /// That threads cannot be started.
    pub fn new(backend: Arc<dyn Backend>, frequency_hz: u32) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (sender, ending) = ending();
        let router = router(backend, ending, Serving { frequency_hz, ..Serving::default() });
        Ok(Self { runtime, router, _ending: sender })
    }

    /// Whether `GET path` succeeds, and its body of at most `limit_bytes`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn get(&self, path: &str, limit_bytes: usize) -> Result<(bool, Vec<u8>), NoAnswer> {
        self.runtime.block_on(async {
            let (is_success, body) = self.ask(path).await?;
            let body = to_bytes(body, limit_bytes).await?;
            Ok((is_success, body.to_vec()))
        })
    }

    /// Whether `GET path` succeeds; its body goes to `take` as it comes, until that says `false`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn get_in_parts(
        &self,
        path: &str,
        take: &mut dyn FnMut(bool, &[u8]) -> bool,
    ) -> Result<bool, NoAnswer> {
        self.runtime.block_on(async {
            let (is_success, body) = self.ask(path).await?;
            let mut parts = body.into_data_stream();
            while let Some(part) = parts.next().await {
                if !take(is_success, &part?) {
                    break;
                }
            }
            Ok(is_success)
        })
    }

    /// Whether `GET path` succeeds, and what comes.
    async fn ask(&self, path: &str) -> Result<(bool, Body), axum::http::Error> {
        let request = Request::get(path).body(Body::empty())?;
        let answer = match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        Ok((answer.status().is_success(), answer.into_body()))
    }
}
