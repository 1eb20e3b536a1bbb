//! Times and sizes in words.

use std::fmt::Display;
use std::time::Duration;

/// Writes a duration with the one unit that matters: `45 seconds`, `12 minutes`, `3 hours`.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => plural(seconds, "second"),
        seconds @ 60..3600 => plural((seconds + 30) / 60, "minute"),
        seconds @ 3600..86_400 => plural((seconds + 1800) / 3600, "hour"),
        seconds => plural((seconds + 43_200) / 86_400, "day"),
    }
}

/// Writes how long ago something was.
pub(crate) fn ago(elapsed: Duration) -> String {
    if elapsed.as_secs() < 5 { "just now".to_owned() } else { format!("{} ago", duration(elapsed)) }
}

/// Writes a number with its unit: `1 tin`, `2 tins`.
pub(crate) fn plural<N: Display + PartialEq + From<u8>>(number: N, unit: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {unit}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_the_unit_that_matters() {
        let told = [0, 1, 59, 60, 1770, 3600, 43_200, 864_000].map(|seconds| duration(Duration::from_secs(seconds)));
        let expected =
            ["0 seconds", "1 second", "59 seconds", "1 minute", "30 minutes", "1 hour", "12 hours", "10 days"];
        assert_eq!(told, expected);
    }
}
