//! Lengths of time as Prometheus writes them.

/// Numbers with units, like `1h30m` or `10s53ms`, in ms; nothing is 0. `None` for what is no such length, or too long.
pub fn span_ms(mut text: &str) -> Option<i64> {
    let mut total = 0i64;
    while !text.is_empty() {
        let (number, after) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) =
            after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = number.parse::<i64>().ok()?.checked_mul(unit_ms)?.checked_add(total)?;
        text = after;
    }
    Some(total)
}
