//! What the server needs from the engine, and how the engine says no.
//!
//! Contract: every method returns at once or gives a future; dropping a future or a [`Watch`] ends what it started.

use std::{any::Any, future::Future, pin::Pin, sync::Arc, time::Duration};

use monitor_common::state::ThreadState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    intake::Intake,
    report::{DoctorReport, ProbesReport},
    tape::{FlightUse, RecordingReport},
};
use crate::{
    analyze::audit::AuditReport,
    collect::LatestOutliers,
    container::{ContainerId, FindError, Registry, limits::Change},
    kernel::{host::SourceStatus, ids::Tgid},
    metric::{Descriptor, KtimeNs, Subject, WallTimeNs},
    profile::{Profile, ProfileKind},
    store::{
        Live, Snapshot,
        profiles::{Archive, KeptWindows},
    },
};

/// A boxed future that can move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The engine as the server sees it.
pub trait Backend: Send + Sync + 'static {
    /// The last ticks, and each new one.
    fn live(&self) -> &Live;

    /// Names of containers, living and dead.
    fn registry(&self) -> &Registry;

    /// What the kernel half and the daemon cost and lose.
    fn probes(&self) -> ProbesReport;

    /// What this kernel offers and what is missing.
    fn doctor(&self) -> DoctorReport;

    /// What `now` means in a question.
    fn now(&self) -> (WallTimeNs, KtimeNs) {
        (WallTimeNs::now(), KtimeNs::now())
    }

    /// What is replayed; `None` where it is measured.
    fn recording(&self) -> Option<&RecordingReport> {
        None
    }

    /// Windows of stack samples while what is given is held: those that are kept, or of so many samples a second and CPU that are
    /// taken for this.
    ///
    /// # Errors
    /// That there can be none.
    fn follow_profiles(&self, _frequency_hz: u32) -> Result<Following, BackendError> {
        Err(BackendError::no_profiles())
    }

    /// History as it is now.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] when none is kept.
    fn history(&self) -> Result<Snapshot, BackendError> {
        Err(BackendError::no_history())
    }

    /// Profiles that were kept.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] when none are.
    fn archive(&self) -> Result<Arc<Archive>, BackendError> {
        Err(BackendError::no_profiles())
    }

    /// How much a flight recorder may hold, and holds; `None` when there is none.
    fn flight_use(&self) -> Option<Arc<FlightUse>> {
        None
    }

    /// What applications post; `None` when none of that is taken.
    fn intake(&self) -> Option<Arc<Intake>> {
        None
    }

    /// What is read again and again, in the order of its priority.
    fn sources(&self) -> Vec<SourceStatus>;

    /// What was counted, held against the kernel's own accounts.
    fn audit(&self) -> AuditReport;

    /// Every metric that containers may have here.
    fn metrics(&self) -> Vec<&'static Descriptor>;

    /// Limits of containers that were changed, the newest first.
    fn changes(&self) -> Vec<Change>;

    /// The slowest operations of each second of the last `span`.
    fn outliers(&self, span: Duration) -> LatestOutliers;

    /// The functions of stacks of the kernel, each from its entry to the innermost; an address without a name is shown as one.
    fn kernel_functions(&self, stacks: Vec<Arc<[u64]>>) -> BoxFuture<Vec<Vec<String>>>;

    /// Measures one process by itself until the [`Watch`] is dropped.
    ///
    /// # Errors
    /// [`BackendError::ProcessGone`], or that no more processes can be watched.
    fn watch(&self, process: Tgid) -> Result<Watch, BackendError>;

    /// Records stacks for `request.duration`; dropping the future ends the recording.
    fn profile(&self, request: ProfileRequest) -> BoxFuture<Result<Profile, BackendError>>;
}

/// The subjects of watched processes begin so: they are never rows of the overview or series of `/metrics`.
pub const PROCESS_PREFIX: &str = "process:";

/// Whom the samples of one watched process are about.
pub fn process_subject(process: Tgid) -> Subject {
    Subject::Container(format!("{PROCESS_PREFIX}{process}").into())
}

/// A process that is measured by itself while this is held.
pub struct Watch {
    /// Whom its samples in the ticks are about.
    pub subject: Subject,
    /// Ends the measuring when dropped.
    _guard: Box<dyn Any + Send + Sync>,
}

impl Watch {
    /// `guard` ends the measuring when it is dropped.
    pub fn new(subject: Subject, guard: impl Any + Send + Sync) -> Self {
        Self { subject, _guard: Box::new(guard) }
    }
}

/// Windows of stack samples as they come.
pub struct Following {
    /// They.
    pub windows: KeptWindows,
    end: Box<dyn FnOnce() + Send>,
}

impl Following {
    /// `end` waits until the window under way has come.
    pub fn new(windows: KeptWindows, end: impl FnOnce() + Send + 'static) -> Self {
        Self { windows, end: Box::new(end) }
    }

    /// Ends the window under way and waits for it: not on a thread that answers others.
    pub fn end(self) -> KeptWindows {
        (self.end)();
        self.windows
    }
}

/// Whose stacks to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The whole host.
    All,
    /// One container with its nested cgroups.
    Container(ContainerId),
    /// One process.
    Process(Tgid),
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRequest {
    /// Of what.
    pub kind: ProfileKind,
    /// Whose stacks.
    pub target: Target,
    /// For how long.
    pub duration: Duration,
    /// Samples per second and CPU; of what is measured none are taken.
    pub frequency_hz: u32,
    /// Of waits, only those in these states; all if there is none.
    pub states: Vec<ThreadState>,
}

/// Why the engine cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Nothing has that name.
    #[error("{what} {query:?} was not found")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// What was asked for.
        query: String,
        /// Names near it.
        nearest: Vec<String>,
    },
    /// It ended, or never was.
    #[error("process {0} is gone")]
    ProcessGone(Tgid),
    /// The kernel refuses this user.
    #[error("no permission: {what}")]
    NeedsPrivilege {
        /// What was refused, and the capability that would allow it.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// This kernel or machine cannot do it.
    #[error("not supported here: {what}")]
    Unsupported {
        /// What.
        what: String,
        /// What is missing.
        why: String,
    },
    /// The request makes no sense.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
        /// What would be right.
        remedy: String,
    },
    /// It went wrong.
    #[error("{what}")]
    Failed {
        /// What went wrong, with its cause.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    Ending,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nothing has that name, or it is gone.
    NotFound,
    /// The kernel refuses this user.
    NeedsPrivilege,
    /// This kernel cannot do it.
    Unsupported,
    /// The request makes no sense.
    Invalid,
    /// It went wrong.
    Failed,
    /// The daemon is ending.
    Ending,
}

impl BackendError {
    /// That the past is not kept.
    pub fn no_history() -> Self {
        Self::Unsupported {
            what: "questions about the past".into(),
            why: "the daemon keeps no history: start it without --no-history".into(),
        }
    }

    /// That no profiles are kept.
    pub fn no_profiles() -> Self {
        let why = "the daemon keeps no profiles: start it with --keep-profiles 19, and without --no-history";
        Self::Unsupported { what: "flame graphs of the past".into(), why: why.into() }
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::ProcessGone(_) => ErrorKind::NotFound,
            Self::NeedsPrivilege { .. } => ErrorKind::NeedsPrivilege,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Failed { .. } => ErrorKind::Failed,
            Self::Ending => ErrorKind::Ending,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotFound { nearest, .. } if nearest.is_empty() => {
                "`cgscope containers --all` lists what there is".to_owned()
            }
            Self::NotFound { nearest, .. } => {
                // Names are written by others: a terminal must not obey them.
                let names = nearest.iter().map(|name| name.escape_debug().to_string());
                format!("near it: {}", names.collect::<Vec<_>>().join(", "))
            }
            Self::ProcessGone(_) => "ask for a process that runs".to_owned(),
            Self::Unsupported { why, .. } => why.clone(),
            Self::NeedsPrivilege { remedy, .. }
            | Self::Invalid { remedy, .. }
            | Self::Failed { remedy, .. } => remedy.clone(),
            Self::Ending => "ask again when it runs".to_owned(),
        }
    }
}

impl From<FindError> for BackendError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NotFound { query, nearest } => {
                Self::NotFound { what: "container", query, nearest }
            }
            FindError::Ambiguous { .. } => {
                Self::Invalid { what: error.to_string(), remedy: "say the whole id".to_owned() }
            }
        }
    }
}
