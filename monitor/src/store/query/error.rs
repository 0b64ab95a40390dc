//! Why a question has no answer.

/// Each names the object and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Nothing of that name was ever stored.
    #[error("no metric {name:?} is in history")]
    NoMetric {
        /// What was asked for.
        name: String,
        /// Names near it.
        nearest: Vec<String>,
    },
    /// The question makes no sense.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
        /// What would be right.
        remedy: String,
    },
    /// History cannot be read.
    #[error("history cannot be read: {0}")]
    Unreadable(#[from] rusqlite::Error),
}

impl QueryError {
    /// A question that makes no sense.
    pub(super) fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), remedy: remedy.into() }
    }
}
