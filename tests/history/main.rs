//! History on a real daemon: what survives restarts, kills, full and read-only disks, and what can be asked of it.

mod batch;
mod common;
mod dashboards;
mod disk;
mod grafana;
mod profiles;
mod refusals;
mod survival;
mod windows;
