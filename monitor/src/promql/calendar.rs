//! Dates of instants, UTC, in the proleptic Gregorian calendar.

/// Parts of a date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 is Sunday.
    pub weekday: i64,
    /// 1 to 366.
    pub day_of_year: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
}

impl Date {
    /// Of seconds since 1970; fractions do not count. Beyond what a calendar means, its ends.
    pub fn of(seconds: f64) -> Self {
        // 2^53: beyond, neighbouring floats are seconds apart.
        let seconds = (seconds as i64).clamp(-(1 << 53), 1 << 53);
        let days = seconds.div_euclid(86_400);
        let in_day = seconds.rem_euclid(86_400);
        // Years begin in March, so that the leap day is the last (Hinnant, "chrono-compatible low-level date algorithms").
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * from_march + 2) / 153;
        let day = from_march - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let before: i64 = (1..month).map(|month| days_in(year, month)).sum();
        Self {
            year,
            month,
            day,
            weekday: (days + 4).rem_euclid(7),
            day_of_year: before + day,
            hour: in_day / 3_600,
            minute: in_day % 3_600 / 60,
        }
    }

    /// Days of its month.
    pub fn days_in_month(&self) -> i64 {
        days_in(self.year, self.month)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = |s: f64| {
            let Date { year, month, day, weekday, day_of_year, hour, minute } = Date::of(s);
            (year, month, day, weekday, day_of_year, hour, minute)
        };
        assert_eq!(date(0.0), (1970, 1, 1, 4, 1, 0, 0));
        assert_eq!(date(1_136_239_445.0), (2006, 1, 2, 1, 2, 22, 4));
        assert_eq!(date(1_456_790_399.0), (2016, 2, 29, 1, 60, 23, 59));
        assert_eq!(date(-1.0), (1969, 12, 31, 3, 365, 23, 59));
        Date::of(f64::NAN);
        Date::of(f64::INFINITY);
        Date::of(-1e300);
    }
}
