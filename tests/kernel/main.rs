//! The kernel half where it is hard: other hooks, other hierarchies, too little room, a sudden end.

mod common;
mod hooks;
mod identity;
mod lifecycle;
mod loss;
mod moves;
mod slots;
