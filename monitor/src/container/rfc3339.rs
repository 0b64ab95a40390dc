//! Times as runtimes and clients write them: RFC 3339 with up to nanoseconds, `Z` or an offset.

use crate::metric::WallTimeNs;

/// Parses `2026-11-20T19:12:08.069794554Z`. `None` for another form, and for Go's zero time (year 1), by
/// which docker says "never".
pub(crate) fn parse(text: &str) -> Option<WallTimeNs> {
    let (date, rest) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=2261).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = seconds - offset_s(zone)?;
    let nanoseconds = nanoseconds(fraction)?;
    u64::try_from(seconds)
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(nanoseconds)
        .map(WallTimeNs)
}

fn number(digits: &str) -> Option<i64> {
    let valid =
        !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().ok())?
}

fn nanoseconds(fraction: &str) -> Option<u64> {
    let digits = fraction.get(..fraction.len().min(9))?;
    let value: u64 = digits.parse().ok()?;
    Some(value * 10_u64.pow(9 - digits.len() as u32))
}

fn offset_s(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return (zone.len() == 1).then_some(0),
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar; years start in March so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let at = |text| parse(text).map(|time| time.0);
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2026-11-20T19:12:08.069794554Z"), Some(1_795_201_928_069_794_554));
        assert_eq!(at("2026-11-20T21:12:08.5+02:00"), Some(1_795_201_928_500_000_000));
        assert_eq!(at("2024-02-29T23:59:59-00:30"), Some(1_709_252_999_000_000_000));
        assert_eq!(at("2000-03-01T00:00:00.0000000001Z"), Some(951_868_800_000_000_000));
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "0001-01-01T00:00:00Z",
            "2026-11-20",
            "2026-13-20T00:00:00Z",
            "2026-11-20T25:00:00Z",
            "2026-11-20T19:12:08",
            "2026-11-20T19:12:08.xZ",
            "2026-11-20T19:12:08.ä9Z",
            "2026-11-20T19:12:08+0200",
            "T:::Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
