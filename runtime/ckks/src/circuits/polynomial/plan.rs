//! Paterson-Stockmeyer plans in the Chebyshev basis.
//!
//! A node is `Σ_M T_M·q_M + Σ_k c_k·T_k`: all its products are summed before one relinearisation
//! and one rescale. Division uses `T_k = 2·T_M·T_(k−M) − T_(2M−k)`. With `M` even, quotient and
//! remainder keep the parity of the dividend, so that odd polynomials only need odd `T_k` in their
//! leaves. The plan is the cheapest within the least depth, `⌈log2(degree + 1)⌉`.

use std::collections::BTreeSet;

/// Costs in units of one relinearisation.
const RELINEARISE: f64 = 1.0;
const RESCALE: f64 = 0.14;
const MULTIPLY: f64 = 0.05;
const CONSTANT: f64 = 0.03;

/// How one Chebyshev power comes from lower ones: `T_k = 2·T_a·T_b − T_(a−b)`, `a ≥ b`,
/// `a + b = k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PowerRule {
    pub(crate) k: usize,
    pub(crate) a: usize,
    pub(crate) b: usize,
}

impl PowerRule {
    fn new(k: usize) -> Self {
        let a = if k.is_power_of_two() {
            k / 2
        } else {
            1 << k.ilog2()
        };
        Self { k, a, b: k - a }
    }
}

/// A sum of products and scaled powers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// (M, q): the product of `T_M` and a node.
    pub(crate) products: Vec<(usize, Node)>,
    /// (k, c): the term `c·T_k`, `k ≥ 1`.
    pub(crate) terms: Vec<(usize, f64)>,
    /// The constant term.
    pub(crate) constant: f64,
}

/// A plan for one polynomial.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Powers to compute, ascending; what a rule takes comes before it.
    pub(crate) powers: Vec<PowerRule>,
    /// The polynomial in terms of these powers.
    pub(crate) root: Node,
}

/// Levels below the argument at which `T_k` is available: `⌈log2 k⌉`.
pub(crate) fn power_depth(k: usize) -> usize {
    k.next_power_of_two().trailing_zeros() as usize
}

/// Levels that a polynomial of this degree uses: `⌈log2(degree + 1)⌉`.
pub(crate) fn depth(degree: usize) -> usize {
    heddle_params::chebyshev::depth(degree)
}

fn degree(coefficients: &[f64]) -> usize {
    coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0)
}

impl Node {
    fn build(coefficients: &[f64], budget: usize, leaf: usize) -> Self {
        let mut rest = coefficients.to_vec();
        let mut products = Vec::new();
        loop {
            let top = degree(&rest);
            if top == 0 || (top < leaf && power_depth(top) < budget) {
                break;
            }
            // A single term needs no division by itself.
            let m = 1usize << top.ilog2();
            if m == top && power_depth(top) < budget && rest[1..top].iter().all(|&c| c == 0.0) {
                break;
            }
            let mut quotient = vec![0.0; top - m + 1];
            quotient[0] = rest[m];
            rest[m] = 0.0;
            for k in m + 1..=top {
                quotient[k - m] += 2.0 * rest[k];
                rest[2 * m - k] -= rest[k];
                rest[k] = 0.0;
            }
            if degree(&quotient) == 0 {
                products.push((
                    m,
                    Node {
                        products: Vec::new(),
                        terms: Vec::new(),
                        constant: quotient[0],
                    },
                ));
            } else {
                products.push((m, Self::build(&quotient, budget - 1, leaf)));
            }
        }
        let mut terms: Vec<(usize, f64)> = rest
            .iter()
            .copied()
            .enumerate()
            .skip(1)
            .filter(|&(_, c)| c != 0.0)
            .collect();
        // A constant quotient is a plain term.
        products.retain(|(m, q)| {
            let constant = q.products.is_empty() && q.terms.is_empty();
            if constant && q.constant != 0.0 {
                terms.push((*m, q.constant));
            }
            !constant
        });
        Self {
            products,
            terms,
            constant: rest[0],
        }
    }

    fn visit(&self, used: &mut BTreeSet<usize>, cost: &mut f64) {
        used.extend(
            self.terms
                .iter()
                .map(|t| t.0)
                .chain(self.products.iter().map(|p| p.0)),
        );
        *cost += RESCALE
            + CONSTANT * self.terms.len() as f64
            + MULTIPLY * self.products.len() as f64
            + if self.products.is_empty() {
                0.0
            } else {
                RELINEARISE
            };
        for (_, q) in &self.products {
            q.visit(used, cost);
        }
    }

    /// Levels used below the argument.
    #[cfg(test)]
    fn depth(&self) -> usize {
        let products = self
            .products
            .iter()
            .map(|(m, q)| power_depth(*m).max(q.depth()) + 1);
        let terms = self.terms.iter().map(|&(k, _)| power_depth(k) + 1);
        products.chain(terms).max().unwrap_or(0)
    }
}

impl Plan {
    /// The cheapest plan for Chebyshev coefficients.
    pub(crate) fn new(coefficients: &[f64]) -> Self {
        let depth = depth(degree(coefficients));
        let mut best: Option<(f64, Self)> = None;
        for log_leaf in 1..=depth.max(1) {
            let root = Node::build(coefficients, depth, 1 << log_leaf);
            let (mut used, mut cost) = (BTreeSet::new(), 0.0);
            root.visit(&mut used, &mut cost);
            let mut powers = BTreeSet::new();
            while let Some(k) = used.pop_last() {
                if k > 1 {
                    let rule = PowerRule::new(k);
                    powers.insert(rule);
                    used.extend([rule.a, rule.b, rule.a - rule.b]);
                }
            }
            cost += (RELINEARISE + RESCALE + MULTIPLY) * powers.len() as f64;
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((
                    cost,
                    Self {
                        powers: powers.into_iter().collect(),
                        root,
                    },
                ));
            }
        }
        best.expect("at least one leaf size was tried").1
    }

    /// Relinearisations: one per power and one per node with products.
    #[cfg(test)]
    fn relinearisations(&self) -> usize {
        fn count(node: &Node) -> usize {
            usize::from(!node.products.is_empty())
                + node.products.iter().map(|(_, q)| count(q)).sum::<usize>()
        }
        self.powers.len() + count(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn simulate(plan: &Plan, x: f64) -> f64 {
        fn value(node: &Node, powers: &BTreeMap<usize, f64>) -> f64 {
            let products: f64 = node
                .products
                .iter()
                .map(|(m, q)| powers[m] * value(q, powers))
                .sum();
            node.constant + products + node.terms.iter().map(|(k, c)| c * powers[k]).sum::<f64>()
        }
        let mut powers = BTreeMap::from([(0, 1.0), (1, x)]);
        for rule in &plan.powers {
            let t = 2.0 * powers[&rule.a] * powers[&rule.b] - powers[&(rule.a - rule.b)];
            powers.insert(rule.k, t);
        }
        value(&plan.root, &powers)
    }

    fn coefficients(degree: usize, odd: bool) -> Vec<f64> {
        (0..=degree)
            .map(|k| {
                if odd && k % 2 == 0 {
                    0.0
                } else {
                    (k as f64 * 1.7 + 0.3).sin() + 1.5
                }
            })
            .collect()
    }

    #[test]
    fn plans_compute_the_polynomial_in_the_least_depth() {
        for odd in [false, true] {
            for d in 1..=70 {
                if odd && d % 2 == 0 {
                    continue;
                }
                let c = coefficients(d, odd);
                let plan = Plan::new(&c);
                assert!(plan.root.depth() <= depth(d), "degree {d}");
                assert!(
                    plan.powers.iter().all(|s| power_depth(s.k) < depth(d)),
                    "degree {d}"
                );
                for x in [-0.9, -0.1, 0.37, 1.0] {
                    let theta: f64 = f64::acos(x);
                    let wanted: f64 = c
                        .iter()
                        .enumerate()
                        .map(|(k, c)| c * (k as f64 * theta).cos())
                        .sum();
                    let found = simulate(&plan, x);
                    assert!(
                        (found - wanted).abs() < 1e-9,
                        "degree {d} at {x}: {found} for {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn plans_use_few_relinearisations() {
        for (d, odd, most) in [
            (15, true, 7),
            (27, true, 9),
            (7, true, 4),
            (31, false, 10),
            (63, false, 16),
        ] {
            let found = Plan::new(&coefficients(d, odd)).relinearisations();
            println!("degree {d}, odd {odd}: {found}");
            assert!(found <= most, "degree {d}: {found}");
        }
    }

    #[test]
    fn degenerate_polynomials_have_plans() {
        assert_eq!(Plan::new(&[2.5]).root.constant, 2.5);
        let plan = Plan::new(&[0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(plan.root.terms, [(4, 1.0)]);
        assert_eq!(plan.powers.len(), 2);
    }
}
