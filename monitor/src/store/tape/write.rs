//! Writes a tape, section by section: each call gives the bytes that come next.

use std::sync::Arc;

use serde::Serialize;

use super::{
    describe::Numbers,
    section::{SectionKind, VERSION, file_head, pack, put_section},
    ticks,
};
use crate::{
    metric::{Descriptor, Tick},
    profile::{Kept, ProfileKind},
    store::{bytes::put_bytes, profiles::encode_kept},
};

/// A tape that is being written.
#[derive(Debug, Default)]
pub struct TapeWriter {
    number: u32,
    numbers: Numbers,
    /// Metrics that the tape has described so far.
    described: usize,
    ticks: u64,
}

impl TapeWriter {
    /// The begin of the file.
    pub fn head() -> Vec<u8> {
        file_head(VERSION)
    }

    /// Ticks so far.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Something of the kind as JSON.
    pub fn put<T: Serialize>(&mut self, out: &mut Vec<u8>, kind: SectionKind, what: &T) {
        match serde_json::to_vec(what) {
            Ok(text) => self.section(out, kind, &pack(&text)),
            // A number that is missing is noticed by whoever reads the tape.
            Err(error) => {
                tracing::error!(%error, kind = kind.name(), "a section cannot be written as JSON");
                self.number += 1;
            }
        }
    }

    /// Ticks that follow those before, and what their metrics mean if that is new.
    pub fn put_ticks(&mut self, out: &mut Vec<u8>, ticks: &[Arc<Tick>]) {
        let body = ticks::encode(ticks, self.ticks, &mut self.numbers);
        self.ticks += ticks.len() as u64;
        if self.numbers.len() > self.described {
            let rows = self.numbers.rows(self.described);
            self.described = self.numbers.len();
            self.put(out, SectionKind::Metrics, &rows);
        }
        self.section(out, SectionKind::Ticks, &body);
    }

    /// What metrics mean that may never have been in a tick.
    pub fn put_metrics(&mut self, out: &mut Vec<u8>, metrics: &[&'static Descriptor]) {
        for metric in metrics {
            self.numbers.of(metric);
        }
        // All of them: the descriptions at the end of a tape stand in for those at its begin.
        self.described = self.numbers.len();
        self.put(out, SectionKind::Metrics, &self.numbers.rows(0));
    }

    /// A window of stack samples.
    pub fn put_profile(&mut self, out: &mut Vec<u8>, kind: ProfileKind, kept: &Kept) {
        let mut body = vec![];
        put_bytes(&mut body, kind.name().as_bytes());
        body.extend_from_slice(&encode_kept(kept));
        self.section(out, SectionKind::Profiles, &body);
    }

    fn section(&mut self, out: &mut Vec<u8>, kind: SectionKind, body: &[u8]) {
        put_section(out, self.number, kind, body);
        self.number += 1;
    }
}
