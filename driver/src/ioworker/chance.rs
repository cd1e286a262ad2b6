//! Chances: weighted choices, Zipf and Pareto.

use fastrand::Rng;

/// One of many, each as likely as its weight says.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    /// Sums of the weights so far.
    sums: Vec<u64>,
}

impl Weighted {
    /// None where all weights are 0.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Option<Self> {
        let mut sum = 0_u64;
        let sums: Vec<u64> = weights
            .map(|weight| {
                sum += u64::from(weight);
                sum
            })
            .collect();
        (sum > 0).then_some(Self { sums })
    }

    /// The index of one.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or(1);
        let ticket = rng.u64(0..total);
        self.sums.partition_point(|sum| *sum <= ticket)
    }
}

/// Ranks from 1 to `count`, rank k as likely as k to the power of minus
/// `exponent`: by rejection from the inverted integral of that function, which
/// takes no table, however many ranks there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    count: f64,
    exponent: f64,
    area_first: f64,
    area_last: f64,
    sure: f64,
}

impl Zipf {
    #[expect(
        clippy::cast_precision_loss,
        reason = "far ranks are not told apart anyway"
    )]
    pub(super) fn new(count: u64, exponent: f64) -> Self {
        let count = count as f64;
        let mut zipf = Self {
            count,
            exponent,
            area_first: 0.0,
            area_last: 0.0,
            sure: 0.0,
        };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(count + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.area(2.5) - zipf.height(2.0));
        zipf
    }

    /// A rank, from 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1 and the count before"
    )]
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        // Each try succeeds with more than even chance.
        for _ in 0..64 {
            let area = self.area_last + rng.f64() * (self.area_first - self.area_last);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.sure || area >= self.area(rank + 0.5) - self.height(rank) {
                return rank as u64 - 1;
            }
        }
        0
    }

    fn height(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the height, from 1 on.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        ratio((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (log_ratio(t) * area).exp()
    }
}

/// (e^x - 1) / x, also where x is almost 0.
fn ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.exp_m1() / x
    } else {
        1.0 + x / 2.0
    }
}

/// ln(1 + x) / x, also where x is almost 0.
fn log_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        x.ln_1p() / x
    } else {
        1.0 - x / 2.0
    }
}

/// Shares of a region, from 0 to 1, by Pareto's rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pareto {
    power: f64,
}

impl Pareto {
    pub(super) fn new(share: f64) -> Self {
        Self {
            power: share.ln() / (1.0 - share).ln(),
        }
    }

    /// A share of the region: below 1.
    pub(super) fn draw(&self, rng: &mut Rng) -> f64 {
        rng.f64().powf(self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chi-squared statistic of counts against chances.
    fn chi_squared(counts: &[u32], chances: &[f64]) -> f64 {
        let total: u32 = counts.iter().sum();
        let terms = counts.iter().zip(chances).map(|(count, chance)| {
            let expected = f64::from(total) * chance;
            (f64::from(*count) - expected).powi(2) / expected
        });
        terms.sum()
    }

    #[test]
    fn ranks_are_as_likely_as_zipf_says() {
        for exponent in [0.5, 0.99, 1.0, 1.2, 2.0] {
            let mut rng = Rng::with_seed(3);
            let zipf = Zipf::new(50, exponent);
            let mut counts = [0_u32; 50];
            for _ in 0..100_000 {
                counts[usize::try_from(zipf.draw(&mut rng)).unwrap()] += 1;
            }
            let heights: Vec<f64> = (1..=50).map(|k| f64::from(k).powf(-exponent)).collect();
            let sum: f64 = heights.iter().sum();
            let chances: Vec<f64> = heights.iter().map(|height| height / sum).collect();
            let chi = chi_squared(&counts, &chances);
            // 49 degrees of freedom: one run in a thousand is above 85.4.
            assert!(chi < 85.4, "{chi} at {exponent}: {counts:?}");
        }
        let far = Zipf::new(1 << 40, 1.1);
        let mut rng = Rng::with_seed(3);
        assert!((0..10_000).all(|_| far.draw(&mut rng) < 1 << 40));
    }

    #[test]
    fn a_fifth_of_the_region_gets_four_fifths() {
        let (pareto, mut rng) = (Pareto::new(0.2), Rng::with_seed(3));
        let near = (0..100_000).filter(|_| pareto.draw(&mut rng) < 0.2).count();
        assert!((79_400..80_600).contains(&near), "{near}");
    }

    #[test]
    fn weights_are_weights() {
        let weighted = Weighted::new([1, 0, 3, 6].into_iter()).unwrap();
        let (mut rng, mut counts) = (Rng::with_seed(3), [0_u32; 4]);
        for _ in 0..10_000 {
            counts[weighted.draw(&mut rng)] += 1;
        }
        assert_eq!(counts[1], 0);
        let counts = [counts[0], counts[2], counts[3]];
        // 2 degrees of freedom.
        assert!(chi_squared(&counts, &[0.1, 0.3, 0.6]) < 13.8, "{counts:?}");
        assert!(Weighted::new([0, 0].into_iter()).is_none());
    }
}
