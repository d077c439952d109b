//! Numbers that were measured several times: the middle one, and how far the others are from it.

/// What was measured, in the order of polls or rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample(pub(crate) Vec<f64>);

impl Sample {
    /// The middle one; of an even number the mean of the two in the middle. Of none: not a number.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let upper = sorted.len() / 2;
        let lower = sorted.len().saturating_sub(1) / 2;
        match (sorted.get(lower), sorted.get(upper)) {
            (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
            _ => f64::NAN,
        }
    }

    /// A quarter of all are no higher.
    pub(crate) fn lower_quartile(&self) -> f64 {
        let sorted = self.sorted();
        sorted.get(sorted.len().saturating_sub(1) / 4).copied().unwrap_or(f64::NAN)
    }

    /// The lowest.
    pub(crate) fn lowest(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    /// The highest.
    pub(crate) fn highest(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// One by one, so that what was slow for both cancels out.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect())
    }

    /// The spread as `1.02 to 1.11`.
    pub(crate) fn spread(&self, decimals: usize) -> String {
        format!("{:.decimals$} to {:.decimals$}", self.lowest(), self.highest())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn the_median_is_not_moved_by_one_that_is_far_off() {
        assert!(close(Sample(vec![3.0, 1.0, 100.0]).median(), 3.0));
        assert!(close(Sample(vec![4.0, 1.0, 100.0, 2.0]).median(), 3.0));
        assert!(Sample::default().median().is_nan());
        assert!(close(Sample(vec![4.0, 1.0, 100.0, 2.0, 3.0]).lower_quartile(), 2.0));
        assert!(close(Sample(vec![2.0, 1.0, 3.0, 4.0]).lower_quartile(), 1.0));
    }

    #[test]
    fn a_ratio_is_of_rounds_and_not_of_medians() {
        // Both are twice as slow in the second round.
        let (poll, drain) = (Sample(vec![11.0, 22.0, 11.0]), Sample(vec![10.0, 20.0, 10.0]));
        let ratio = poll.over(&drain);
        assert!(close(ratio.median(), 1.1) && close(ratio.highest(), 1.1));
        assert_eq!(ratio.spread(2), "1.10 to 1.10");
        assert_eq!(Sample(vec![1.5, 0.25]).spread(1), "0.2 to 1.5");
    }
}
