//! A recording of a real daemon, served elsewhere without privileges.

mod common;
mod damage;
mod flight;
mod refusals;
mod same;
mod standalone;
