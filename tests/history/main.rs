//! History on a real daemon: what survives restarts, kills, full and read-only disks, and what can be asked of it.

mod common;
mod disk;
mod grafana;
mod refusals;
mod survival;
mod windows;
