//! The dashboard in a real browser, over the real daemon and real containers.
//!
//! Contract: a script in JavaScript drives Debian's Chromium and asserts what it sees; whatever changes the world (containers,
//! the daemon's end and return) is done here, when the script asks for it. What the page shows is held against the API or
//! against what the containers are known to do. Pictures of each page are left in `target/screenshots`.

mod load;
mod script;

mod names;
mod pages;
mod replay;
mod speed;
