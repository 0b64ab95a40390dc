//! Saying how far two numbers are apart when they should not be.

/// Panics unless `seen` is within `share` of `truth`, or within `slack`.
#[track_caller]
pub fn close(what: &str, seen: f64, truth: f64, share: f64, slack: f64) {
    let allowed = (truth.abs() * share).max(slack);
    let apart = (seen - truth).abs();
    assert!(
        apart <= allowed,
        "{what}: cgscope says {seen:.0}, the kernel {truth:.0}: {apart:.0} apart ({:+.2} %), allowed {allowed:.0}",
        100.0 * (seen - truth) / truth
    );
}
