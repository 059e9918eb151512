//! Many measurements as few numbers.

use std::fmt;

/// The median of rounds, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of some values; not-a-number of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let nth = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { nth(half) } else { (nth(half.wrapping_sub(1)) + nth(half)) / 2.0 };
        Self { median, min: nth(0), max: nth(values.len().wrapping_sub(1)) }
    }

    /// Of the values of two series, round by round: what drifts from round to round cancels out.
    pub fn pairwise(a: &[f64], b: &[f64], combine: impl Fn(f64, f64) -> f64) -> Self {
        Self::of(a.iter().zip(b).map(|(a, b)| combine(*a, *b)))
    }
}

impl fmt::Display for Spread {
    /// Median and range, to the formatter's precision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.median.is_nan() {
            return f.write_str("");
        }
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.min, self.max)
    }
}

/// The value below which `share` of them lie (nearest rank). Sorts them.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The same for numbers with fractions; not-a-number of none.
pub fn percentile_of(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Two of the values between which the median of whatever they are a sample of lies with 95 % certainty, however it is
/// distributed; none of too few.
pub fn sure_of_median(values: &[f64]) -> Option<(f64, f64)> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    // How many lie below the median is binomially distributed, by halves; 1.96 standard deviations.
    let rank = ((count - 1.96 * count.sqrt()) / 2.0).floor();
    (rank >= 1.0).then(|| (values[rank as usize - 1], values[values.len() - rank as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of([]).to_string(), "");
        assert_eq!(format!("{:.2}", Spread::of([1.0])), "1.00 (1.00 to 1.00)");
        assert_eq!(Spread::pairwise(&[2.0, 9.0], &[1.0, 3.0], |a, b| a / b).max, 3.0);
    }

    #[test]
    fn percentiles() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((percentile(&mut values, 0.5), percentile(&mut values, 0.99)), (50, 99));
        assert_eq!(percentile(&mut [], 0.5), 0);
    }
    #[test]
    fn sure() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile_of(&mut values.clone(), 0.25), 25.0);
        // From a table of the binomial distribution: ranks 40 and 61 of 100 hold 96 %.
        assert_eq!(sure_of_median(&values), Some((40.0, 61.0)));
        assert_eq!(sure_of_median(&values[..7]), None);
    }
}
