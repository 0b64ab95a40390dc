//! Why a query has no answer, in the kinds that Prometheus' clients know.

/// What went wrong, as clients tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The query or a parameter makes no sense, or asks for too much.
    BadData,
    /// The query makes no sense on the data that was found.
    Execution,
    /// It took too long.
    Timeout,
    /// What was measured cannot be read.
    Internal,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PromqlError {
    /// What kind of error.
    pub kind: ErrorKind,
    /// What is wrong, for people.
    pub message: String,
}

/// Of everything here.
pub type Result<T> = std::result::Result<T, PromqlError>;

impl PromqlError {
    /// A query that makes no sense or asks for too much.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadData, message: message.into() }
    }

    /// A query that makes no sense on the data that was found.
    pub fn execution(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Execution, message: message.into() }
    }

    /// What cannot be read.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Internal, message: message.into() }
    }
}
