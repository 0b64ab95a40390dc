//! The Unix socket: who posts, and what is answered.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net as unix},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        ConnectInfo, DefaultBodyLimit, State, connect_info::Connected, rejection::BytesRejection,
    },
    http::{HeaderMap, header},
    routing::post,
    serve::IncomingStream,
};
use serde::Serialize;
use tokio::net::UnixListener;

use super::{
    Intake,
    connection::Bounded,
    json,
    measurement::{Measurement, Refusal, Refused},
    text,
};
use crate::{
    container::{Container, ContainerId},
    kernel::{cgroup_members::memberships, cgroupfs::CgroupId, ids::Tgid},
    serve::{Backend, Ending, ServeError, error::ApiError},
};

/// Bytes of a post.
const BODY_MAX: usize = 1 << 20;
/// How long a post of a container waits that was made a moment ago: its birth is read every 100 ms.
const BIRTH_PATIENCE: Duration = Duration::from_millis(300);
const BIRTH_STEP: Duration = Duration::from_millis(25);

/// A socket that listens; it is removed when this is dropped.
pub struct IntakeSocket {
    listener: unix::UnixListener,
    path: PathBuf,
}

impl IntakeSocket {
    /// Listens at `path`, for everybody who sees it. One that a daemon left behind is replaced.
    ///
    /// # Errors
    /// [`ServeError::SocketInUse`], [`ServeError::Socket`].
    pub fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source: io::Error| ServeError::Socket { path: path.to_owned(), source };
        if unix::UnixStream::connect(path).is_ok() {
            return Err(ServeError::SocketInUse { path: path.to_owned() });
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let is_socket = fs::symlink_metadata(path)
            .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
        if is_socket {
            fs::remove_file(path).map_err(failed)?;
        }
        let listener = unix::UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        socket.listener.set_nonblocking(true).map_err(failed)?;
        // Who may post is who sees it; whose it is the kernel tells.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(socket)
    }
}

impl Drop for IntakeSocket {
    fn drop(&mut self) {
        // Whoever removed it before did the same.
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Clone)]
struct Posting {
    intake: Arc<Intake>,
    backend: Arc<dyn Backend>,
}

/// Takes posts until the daemon ends.
///
/// # Errors
/// [`ServeError::Broken`].
pub async fn serve_intake(
    socket: IntakeSocket,
    intake: Arc<Intake>,
    backend: Arc<dyn Backend>,
    mut ending: Ending,
) -> Result<(), ServeError> {
    let listener = socket.listener.try_clone()?;
    let listener = Bounded::new(UnixListener::from_std(listener)?);
    let router = Router::new()
        .route("/api/v1/measurements", post(take))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Posting { intake, backend });
    let service = router.into_make_service_with_connect_info::<Peer>();
    tokio::select! {
        ended = axum::serve(listener, service) => ended?,
        () = ending.wait() => {}
    }
    Ok(())
}

/// Who connected: the cgroups it was in then, as the kernel lists them. Empty if it was gone already.
#[derive(Clone)]
struct Peer {
    memberships: Arc<str>,
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        let credentials = stream.io().stream.peer_cred();
        let process =
            credentials.ok().and_then(|peer| peer.pid()).and_then(|pid| pid.try_into().ok());
        let memberships = process.and_then(|pid| memberships(Tgid(pid)).ok()).unwrap_or_default();
        Self { memberships: memberships.into() }
    }
}

#[derive(Serialize)]
struct Taken {
    /// Values of the post.
    taken: usize,
    /// Whose they are now.
    container: String,
    container_id: ContainerId,
}

async fn take(
    State(posting): State<Posting>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Taken>, ApiError> {
    let refuse = |refused: Refused| {
        posting.intake.refuse(refused.why);
        ApiError::from(refused)
    };
    let body = body.map_err(|error| {
        let what = format!("the body cannot be read: {error}");
        refuse(Refused::new(Refusal::Invalid, what, "post at most 1 MB at a time"))
    })?;
    let measurements = read(&headers, &body).map_err(refuse)?;
    let container = owner(&posting, &peer).await;
    posting.intake.post(&container.id, &measurements, Instant::now()).map_err(refuse)?;
    Ok(Json(Taken {
        taken: measurements.len(),
        container: container.name.clone(),
        container_id: container.id.clone(),
    }))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Measurement>, Refused> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content.is_some_and(|content| content.starts_with("application/json")) {
        json::parse(body)
    } else {
        text::parse(body)
    }
}

/// Whose process it is; who cannot be told is `unattributed`.
async fn owner(posting: &Posting, peer: &Peer) -> Arc<Container> {
    let registry = posting.backend.registry();
    let Some(cgroup) = registry.tree().id_in(&peer.memberships) else {
        return Arc::new(Container::unattributed());
    };
    known(posting, cgroup).await.unwrap_or_else(|| Arc::new(Container::unattributed()))
}

async fn known(posting: &Posting, cgroup: CgroupId) -> Option<Arc<Container>> {
    let until = Instant::now() + BIRTH_PATIENCE;
    loop {
        let found = posting.backend.registry().of(cgroup);
        if found.is_some() || Instant::now() >= until {
            return found;
        }
        tokio::time::sleep(BIRTH_STEP).await;
    }
}
