//! Non-negative least squares for a handful of unknowns.
//!
//! Source: Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23 (NNLS), on the normal
//! equations: with at most seven unknowns of like scale (columns are scaled to unit length) they are exact
//! enough.

/// Rows and right-hand side of `min |A x - b|` with `x >= 0`.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    /// Coefficients, one row per equation, all of the same length.
    pub(super) rows: Vec<Vec<f64>>,
    /// Right-hand side.
    pub(super) rhs: Vec<f64>,
}

/// Below this, relative to the largest, a pivot counts as zero.
const SINGULAR: f64 = 1e-12;

impl System {
    /// Number of unknowns.
    pub(super) fn unknowns(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Lengths of the columns; 1 for a column of zeros.
    fn scales(&self) -> Vec<f64> {
        let mut scales = vec![0.0; self.unknowns()];
        for row in &self.rows {
            for (scale, x) in scales.iter_mut().zip(row) {
                *scale += x * x;
            }
        }
        scales.iter().map(|s: &f64| if *s > 0.0 { s.sqrt() } else { 1.0 }).collect()
    }

    /// Entry (i, j) of the scaled normal matrix.
    fn normal(&self, scales: &[f64]) -> Vec<Vec<f64>> {
        let n = self.unknowns();
        let mut normal = vec![vec![0.0; n]; n];
        for row in &self.rows {
            for i in 0..n {
                for j in 0..n {
                    normal[i][j] += row[i] * row[j] / (scales[i] * scales[j]);
                }
            }
        }
        normal
    }

    /// The solution; unknowns that the data do not determine at all come out as zero.
    pub(super) fn solve(&self) -> Vec<f64> {
        let n = self.unknowns();
        let scales = self.scales();
        let normal = self.normal(&scales);
        let mut target = vec![0.0; n];
        for (row, b) in self.rows.iter().zip(&self.rhs) {
            for i in 0..n {
                target[i] += row[i] * b / scales[i];
            }
        }
        let gradient = |x: &[f64], i: usize| {
            target[i] - normal[i].iter().zip(x).map(|(a, x)| a * x).sum::<f64>()
        };
        let tolerance = 1e-12 * target.iter().fold(1.0, |m: f64, t| m.max(t.abs()));
        let mut x = vec![0.0; n];
        let mut passive = vec![false; n];
        // Every pass frees one unknown; each set occurs at most once, so 2^n passes would be a bug.
        for _ in 0..1usize << n.min(10) {
            let next = (0..n)
                .filter(|&i| !passive[i] && gradient(&x, i) > tolerance)
                .max_by(|&a, &b| gradient(&x, a).total_cmp(&gradient(&x, b)));
            let Some(next) = next else { break };
            passive[next] = true;
            loop {
                let set: Vec<usize> = (0..n).filter(|&i| passive[i]).collect();
                let Some(z) = solve_subset(&normal, &target, &set) else {
                    // It depends on those already free: it cannot be told from them.
                    passive[next] = false;
                    break;
                };
                if z.iter().all(|&z| z > 0.0) {
                    x.fill(0.0);
                    for (&i, z) in set.iter().zip(z) {
                        x[i] = z;
                    }
                    break;
                }
                // As far towards z as all stay non-negative.
                let step = set
                    .iter()
                    .zip(&z)
                    .filter(|&(_, &z)| z <= 0.0)
                    .map(|(&i, &z)| x[i] / (x[i] - z))
                    .fold(1.0, f64::min);
                for (&i, &z) in set.iter().zip(&z) {
                    x[i] += step * (z - x[i]);
                    if x[i] <= 1e-14 {
                        x[i] = 0.0;
                        passive[i] = false;
                    }
                }
                if !passive.contains(&true) {
                    break;
                }
            }
        }
        x.iter().zip(&scales).map(|(x, s)| x / s).collect()
    }

    /// Inverse of `A^T A`, `None` if it is singular.
    pub(super) fn covariance(&self) -> Option<Vec<Vec<f64>>> {
        let n = self.unknowns();
        let scales = self.scales();
        let normal = self.normal(&scales);
        let set: Vec<usize> = (0..n).collect();
        let mut inverse = vec![vec![0.0; n]; n];
        for j in 0..n {
            let unit: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == j))).collect();
            for (i, value) in solve_subset(&normal, &unit, &set)?.into_iter().enumerate() {
                inverse[i][j] = value / (scales[i] * scales[j]);
            }
        }
        Some(inverse)
    }
}

/// Solves `normal[set, set] z = target[set]` by Cholesky; `None` if singular.
fn solve_subset(normal: &[Vec<f64>], target: &[f64], set: &[usize]) -> Option<Vec<f64>> {
    let n = set.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let left = normal[set[i]][set[j]] - dot;
            if i == j {
                if left <= SINGULAR {
                    return None;
                }
                lower[i][i] = left.sqrt();
            } else {
                lower[i][j] = left / lower[j][j];
            }
        }
    }
    let mut z = vec![0.0; n];
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| lower[i][k] * z[k]).sum();
        z[i] = (target[set[i]] - dot) / lower[i][i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| lower[k][i] * z[k]).sum();
        z[i] = (z[i] - dot) / lower[i][i];
    }
    Some(z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn system(rows: &[&[f64]], rhs: &[f64]) -> System {
        System { rows: rows.iter().map(|r| r.to_vec()).collect(), rhs: rhs.to_vec() }
    }

    #[test]
    fn known_solutions() {
        // Unconstrained optimum is inside.
        let x = system(&[&[1.0, 0.0], &[0.0, 2.0], &[1.0, 1.0]], &[3.0, 4.0, 5.0]).solve();
        assert!((x[0] - 3.0).abs() < 1e-9 && (x[1] - 2.0).abs() < 1e-9, "{x:?}");
        // The plain optimum is (3, -1); with x >= 0 the second is 0 and the first (3 + 2) / 2.
        let x = system(&[&[1.0, 0.0], &[1.0, 1.0]], &[3.0, 2.0]).solve();
        assert!((x[0] - 2.5).abs() < 1e-9 && x[1] == 0.0, "{x:?}");
        // All negative: nothing helps.
        assert_eq!(system(&[&[1.0, 2.0], &[2.0, 1.0]], &[-1.0, -1.0]).solve(), [0.0, 0.0]);
        // Two equal columns: one of them takes it all.
        let x = system(&[&[1.0, 1.0], &[2.0, 2.0]], &[1.0, 2.0]).solve();
        assert!((x[0] + x[1] - 1.0).abs() < 1e-9, "{x:?}");
        assert!(system(&[&[1.0, 1.0], &[2.0, 2.0]], &[1.0, 2.0]).covariance().is_none());
    }

    #[test]
    fn covariance_is_the_inverse() {
        let covariance = system(&[&[2.0, 0.0], &[0.0, 4.0]], &[0.0, 0.0]).covariance().unwrap();
        assert!((covariance[0][0] - 0.25).abs() < 1e-12);
        assert!((covariance[1][1] - 0.0625).abs() < 1e-12);
        assert!(covariance[0][1].abs() < 1e-12);
    }

    proptest! {
        /// Karush, Kuhn and Tucker: no unknown at zero would help if raised, none above zero would if moved.
        #[test]
        fn the_answer_is_optimal(
            rows in prop::collection::vec(prop::collection::vec(-1.0f64..1.0, 5), 6..20),
            rhs in prop::collection::vec(-2.0f64..2.0, 20),
        ) {
            let rhs = rhs[..rows.len()].to_vec();
            let system = System { rows, rhs };
            let x = system.solve();
            let scales = system.scales();
            for i in 0..5 {
                let mut gradient = 0.0;
                for (row, b) in system.rows.iter().zip(&system.rhs) {
                    let at: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
                    gradient += row[i] * (b - at) / scales[i];
                }
                prop_assert!(x[i] >= 0.0);
                prop_assert!(gradient < 1e-7, "{gradient} {x:?}");
                prop_assert!(x[i] == 0.0 || gradient.abs() < 1e-7, "{gradient} {x:?}");
            }
        }
    }
}
