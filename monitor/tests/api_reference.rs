//! `docs/openapi.json` is what the daemon says of its API. `CGSCOPE_BLESS=1` writes it anew.

use std::{env, fs, path::Path};

use cgscope::serve::openapi;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

#[test]
fn the_document_is_up_to_date() {
    let text = openapi::text().expect("the document can be written");
    if env::var_os("CGSCOPE_BLESS").is_some() {
        fs::write(Path::new(PATH), text).expect("docs/openapi.json is writable");
        return;
    }
    let written = fs::read_to_string(PATH).unwrap_or_default();
    let first = written.lines().zip(text.lines()).find(|(is, should)| is != should);
    assert!(
        written == text,
        "docs/openapi.json is not what the code says, first here: {first:?}; \
         run CGSCOPE_BLESS=1 cargo test -p cgscope --test api_reference, then npm --prefix web run types"
    );
}
