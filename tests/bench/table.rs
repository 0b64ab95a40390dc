//! Repeated measurements and how they are shown. No measurement is `-`, never 0.

/// What one quantity measured, in no order.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds one measurement if there is one.
    pub fn extend(&mut self, value: Option<f64>) {
        self.0.extend(value);
    }

    /// The middle value, or the mean of the two; `None` without measurements.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            n if n % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// `median (lowest..highest)`.
    pub fn summary(&self, decimals: usize) -> String {
        let Some(median) = self.median() else { return "-".to_owned() };
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{median:.decimals$} ({lowest:.decimals$}..{highest:.decimals$})")
    }
}

/// The quotient of two medians.
pub fn ratio(numerator: &Samples, denominator: &Samples) -> String {
    match (numerator.median(), denominator.median()) {
        (Some(a), Some(b)) if b > 0.0 => format!("{:.2}", a / b),
        _ => "-".to_owned(),
    }
}
