//! `/api/v1/audit`: what was counted, held against the kernel's own accounts.

use axum::{Json, extract::State};

use super::{
    params::{NoParams, Params},
    routes::Served,
};
use crate::analyze::audit::AuditReport;

pub(super) async fn report(State(served): State<Served>, _: Params<NoParams>) -> Json<AuditReport> {
    Json(served.backend.audit())
}
