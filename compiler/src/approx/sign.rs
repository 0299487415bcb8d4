//! Compositions of minimax polynomials that approximate the sign function, and with it ReLU
//! (Lee et al., arXiv 2105.10879).
//!
//! Every stage pushes [a, 1] closer to 1, so that a composition reaches with few products what one
//! polynomial needs a huge degree for. ReLU(x) = x(1 + sign x)/2, and its error is what counts:
//! close to 0 the factor x forgives a wrong sign.
//!
//! Evaluated under encryption, each stage's result carries noise. A stage is therefore fitted with
//! a margin η: its results are scaled into [−1/(1+η), 1/(1+η)] and the next stage's interval begins
//! η below the smallest of them, so that a noise of η neither leaves [−1, 1] nor the fitted
//! interval.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use heddle_ir::slot::Chebyshev;

use super::remez::minimax_sign;
use crate::error::Error;

/// Margin between the stages of a composition.
pub const MARGIN: f64 = 1.0 / 4096.0;

/// Halvings of the bracket around log2 a: enough for 12 digits.
const SEARCH_STEPS: usize = 44;
/// Points on which [`relu_error`] measures, per scale.
const SAMPLES: usize = 4000;

/// Degrees for ReLU at precision α of the least depth, and of those the fewest products:
/// `(α, degrees)`. The search in `search.rs` finds the same.
pub const LEAST_DEPTH: [(u32, &[usize]); 8] = [
    (7, &[7, 7]),
    (8, &[7, 15]),
    (9, &[15, 15]),
    (10, &[7, 7, 13]),
    (11, &[7, 7, 27]),
    (12, &[7, 15, 27]),
    (13, &[15, 15, 27]),
    (14, &[15, 27, 29]),
];

/// How precisely ReLU and its kin are evaluated: max |x(1 + s(x))/2 − ReLU(x)| ≤ 2^−α on [−1, 1].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReluPrecision {
    /// α; `None` takes whatever the degrees reach.
    pub alpha: Option<u32>,
    /// Degrees of the composition's stages, in the order in which they apply.
    pub degrees: Degrees,
}

/// The degrees of a composition's stages: odd numbers from 3 to 31.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degrees(Vec<usize>);

impl Degrees {
    /// The degrees given.
    ///
    /// # Errors
    /// If there are none or more than six, or one is even or outside 3…31.
    pub fn new(degrees: &[usize]) -> Result<Self, Error> {
        let fits = |degree: &usize| degree % 2 == 1 && (3..=31).contains(degree);
        if (1..=6).contains(&degrees.len()) && degrees.iter().all(fits) {
            return Ok(Self(degrees.to_vec()));
        }
        Err(Error::Approximation(format!(
            "degrees {degrees:?} are not one to six odd numbers from 3 to 31"
        )))
    }

    /// The degrees in order.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Degrees {
    type Err = Error;

    /// Parses `15,15,27`, or a name: `alpha13` for {15, 15, 27} and `alpha14` for {15, 27, 29} (Lee
    /// et al., arXiv 2105.10879).
    fn from_str(text: &str) -> Result<Self, Error> {
        let listed: Result<Vec<usize>, _> = match text {
            "alpha13" => return Self::new(&[15, 15, 27]),
            "alpha14" => return Self::new(&[15, 27, 29]),
            _ => text.split(',').map(|part| part.trim().parse()).collect(),
        };
        let listed = listed.map_err(|_| {
            Error::Approximation(format!(
                "`{text}` is not a list of degrees such as `15,15,27`, nor `alpha13` or `alpha14`"
            ))
        })?;
        Self::new(&listed)
    }
}

impl ReluPrecision {
    /// Precision α with the degrees of least depth.
    ///
    /// # Errors
    /// If α is not within 7…14.
    pub fn of_alpha(alpha: u32) -> Result<Self, Error> {
        let known = LEAST_DEPTH.iter().find(|(known, _)| *known == alpha);
        let (_, degrees) = known.ok_or_else(|| {
            Error::Approximation(format!("a ReLU precision of {alpha} is not within 7…14"))
        })?;
        Ok(Self {
            alpha: Some(alpha),
            degrees: Degrees::new(degrees)?,
        })
    }

    /// The stages of the composition, with a margin of [`MARGIN`] between them.
    ///
    /// # Errors
    /// If the degrees do not reach α.
    pub fn stages(&self) -> Result<Vec<Chebyshev>, Error> {
        composite(self.alpha.unwrap_or(0), self.degrees.as_slice(), MARGIN)
    }
}

impl Default for ReluPrecision {
    /// α = 13 with {15, 15, 27}: 14 levels.
    fn default() -> Self {
        Self {
            alpha: Some(13),
            degrees: Degrees(vec![15, 15, 27]),
        }
    }
}

/// The stages of a composition with the given odd degrees, in the order in which they apply. Input
/// and intermediate results lie in [−1, 1]. The first stage's interval [a, 1] is chosen such that
/// the error of ReLU is least; the same request is computed once per process.
///
/// # Errors
/// If a degree is even, the margin is not inside [0, 1/2), or the composition does not bring
/// max |x(1 + s(x))/2 − ReLU(x)| over [−1, 1] down to 2^−`alpha`.
pub fn composite(alpha: u32, degrees: &[usize], margin: f64) -> Result<Vec<Chebyshev>, Error> {
    type Stages = Vec<Chebyshev>;
    static CACHE: Mutex<BTreeMap<(Vec<usize>, u64), Stages>> = Mutex::new(BTreeMap::new());
    if degrees.is_empty() || !(0.0..0.5).contains(&margin) {
        return Err(Error::Approximation(format!(
            "a composition needs at least one stage and a margin inside [0, 1/2), \
             not degrees {degrees:?} and margin {margin}"
        )));
    }
    let key = (degrees.to_vec(), margin.to_bits());
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let stages = match cache.get(&key) {
        Some(stages) => stages.clone(),
        None => {
            let stages = search(degrees, margin)?;
            cache.insert(key, stages.clone());
            stages
        }
    };
    let error = relu_error(&stages);
    if error > (-f64::from(alpha)).exp2() {
        return Err(Error::Approximation(format!(
            "sign polynomials of degrees {degrees:?} with margin 2^{:.1} reach 2^{:.2} for ReLU, \
             not 2^-{alpha}; choose higher degrees",
            margin.log2(),
            error.log2()
        )));
    }
    Ok(stages)
}

/// max |x(1 + s(x))/2 − max(x, 0)| over [−1, 1] for the composition `s` of odd stages.
pub fn relu_error(stages: &[Chebyshev]) -> f64 {
    // The error is even in x. Its largest values lie where the sign turns, on a logarithmic scale,
    // and close to 1, on a linear one.
    let near_zero = (0..SAMPLES).map(|i| (-24.0 * i as f64 / SAMPLES as f64).exp2());
    let near_one = (1..=SAMPLES).map(|i| i as f64 / SAMPLES as f64);
    let error = |x: f64| 0.5 * x * (stages.iter().fold(x, |y, stage| stage.eval(y)) - 1.0).abs();
    near_zero.chain(near_one).map(error).fold(0.0, f64::max)
}

/// The composition whose first interval starts at `a`, and the last stage's error; `None` when a
/// stage leaves nothing for the next.
pub(super) fn fit(
    degrees: &[usize],
    margin: f64,
    a: f64,
) -> Result<Option<(Vec<Chebyshev>, f64)>, Error> {
    let mut stages = Vec::with_capacity(degrees.len());
    let (mut start, mut error) = (a, 0.0);
    for (i, degree) in degrees.iter().enumerate() {
        if start <= 0.0 {
            return Ok(None);
        }
        let mut stage = minimax_sign(*degree, start)?;
        error = stage.error;
        if i + 1 < degrees.len() {
            let scale = (1.0 + error) * (1.0 + margin);
            stage
                .polynomial
                .coefficients
                .iter_mut()
                .for_each(|c| *c /= scale);
            start = (1.0 - error) / scale - margin;
        }
        stages.push(stage.polynomial);
    }
    Ok(Some((stages, error)))
}

/// Balances the two errors of ReLU: below `a` it is near x(1 − s)/2, which grows with `a`; above it
/// is half of the last stage's error, which falls.
fn search(degrees: &[usize], margin: f64) -> Result<Vec<Chebyshev>, Error> {
    let (mut low, mut high) = (-30.0_f64, -0.01_f64);
    let mut best = None;
    for _ in 0..SEARCH_STEPS {
        let log2_a = 0.5 * (low + high);
        let outer_dominates = match fit(degrees, margin, log2_a.exp2())? {
            None => true,
            Some((stages, error)) => {
                let inner = inner_error(&stages, log2_a.exp2());
                best = Some(stages);
                inner < 0.5 * error
            }
        };
        if outer_dominates {
            low = log2_a;
        } else {
            high = log2_a;
        }
    }
    best.ok_or_else(|| {
        Error::Approximation(format!(
            "a margin of {margin} leaves nothing to degrees {degrees:?}; choose a smaller margin"
        ))
    })
}

/// max x(1 − s(x))/2 over [0, a].
pub(super) fn inner_error(stages: &[Chebyshev], a: f64) -> f64 {
    const SAMPLES: usize = 200;
    (1..=SAMPLES)
        .map(|i| a * i as f64 / SAMPLES as f64)
        .map(|x| 0.5 * x * (1.0 - stages.iter().fold(x, |y, stage| stage.eval(y))))
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(stage: &Chebyshev, expected: &[f64], tolerance: f64) {
        assert!(stage.coefficients.iter().step_by(2).all(|c| *c == 0.0));
        let odd: Vec<f64> = stage
            .coefficients
            .iter()
            .skip(1)
            .step_by(2)
            .copied()
            .collect();
        assert_eq!(odd.len(), expected.len());
        for (found, expected) in odd.iter().zip(expected) {
            assert!(
                (found - expected).abs() < tolerance,
                "{found} vs {expected}"
            );
        }
    }

    /// Coefficients of T₁, T₃, … of {15, 15, 27} with η = 2⁻¹² for log2 a = −9.130078125, computed
    /// independently with 50 digits.
    const REFERENCE: [&[f64]; 3] = [
        &[
            0.651_277_264_839_072_5,
            -0.218_484_731_568_262,
            0.132_817_837_828_813_35,
            -0.096_827_480_073_481_97,
            0.077_512_621_314_775_88,
            -0.065_932_203_949_745_45,
            0.058_727_855_644_488_46,
            -0.516_633_279_912_159_7,
        ],
        &[
            0.801_774_328_936_358_9,
            -0.268_049_678_776_460_26,
            0.161_828_061_142_970_93,
            -0.116_753_803_068_200_7,
            0.092_164_182_304_681_28,
            -0.077_023_319_286_903_74,
            0.067_161_805_231_039_61,
            -0.401_891_014_208_545_56,
        ],
        &[
            1.267_958_328_248_599_8,
            -0.408_796_312_583_383_8,
            0.229_356_913_136_221_35,
            -0.147_968_222_511_929_94,
            0.100_254_621_615_438_67,
            -0.068_771_468_133_359_1,
            0.046_815_939_063_230_23,
            -0.031_193_818_207_943_75,
            0.020_104_623_809_719_7,
            -0.012_379_088_258_942_096,
            0.007_169_639_117_908_405,
            -0.003_817_629_692_568_919,
            0.001_795_729_738_925_23,
            -0.000_745_401_249_765_945_4,
        ],
    ];

    #[test]
    fn stages_match_the_reference_for_its_interval() {
        let (stages, _) = fit(&[15, 15, 27], MARGIN, (-9.130078125_f64).exp2())
            .unwrap()
            .expect("an interval is left for every stage");
        for (stage, expected) in stages.iter().zip(REFERENCE) {
            assert_close(stage, expected, 1e-9);
        }
    }

    #[test]
    fn default_composition_reaches_thirteen_bits() {
        let stages = ReluPrecision::default().stages().unwrap();
        let error = relu_error(&stages).log2();
        assert!((-13.166..-13.1635).contains(&error), "2^{error}");
        // The reference's interval comes from a coarser search.
        for (stage, expected) in stages.iter().zip(REFERENCE) {
            assert_close(stage, expected, 2e-3);
        }
        let depth: usize = stages.iter().map(Chebyshev::depth).sum();
        assert_eq!(depth, 13);
    }

    #[test]
    fn other_margins_reach_their_reference_errors() {
        for (margin, expected) in [(-10.0_f64, -13.160_997), (-14.0, -13.164_369)] {
            let error = relu_error(&composite(13, &[15, 15, 27], margin.exp2()).unwrap()).log2();
            // The reference searched for its interval in coarser steps.
            let gain = expected - error;
            assert!((-1e-4..2e-3).contains(&gain), "η = 2^{margin}: 2^{error}");
        }
        let unmargined = relu_error(&composite(13, &[15, 15, 27], 0.0).unwrap()).log2();
        assert!((-13.166..-13.164).contains(&unmargined), "2^{unmargined}");
    }

    #[test]
    fn least_depth_degrees_reach_their_precision_with_the_margin() {
        for (alpha, degrees) in LEAST_DEPTH {
            let precision = ReluPrecision::of_alpha(alpha).unwrap();
            assert_eq!(precision.degrees.as_slice(), degrees);
            let error = relu_error(&precision.stages().unwrap()).log2();
            assert!(error <= -f64::from(alpha), "{alpha}: 2^{error}");
        }
        assert_eq!(
            ReluPrecision::of_alpha(13).unwrap(),
            ReluPrecision::default()
        );
        for alpha in [6, 15] {
            assert!(ReluPrecision::of_alpha(alpha).is_err());
        }
        let error = relu_error(&composite(4, &[5], 0.0).unwrap()).log2();
        assert!((error + 4.638_79).abs() < 1e-3, "2^{error}");
    }

    #[test]
    fn intermediate_results_keep_the_margin() {
        let stages = ReluPrecision::default().stages().unwrap();
        for i in 0..=20_000 {
            let mut y = f64::from(i) / 20_000.0;
            for stage in &stages[..2] {
                y = stage.eval(y);
                assert!(y.abs() <= 1.0 / (1.0 + MARGIN) + 1e-12);
            }
        }
    }

    #[test]
    fn noise_between_stages_costs_little() {
        let stages = ReluPrecision::default().stages().unwrap();
        let mut worst = 0.0_f64;
        for i in 0..20_000 {
            let x = (-14.0 * f64::from(i) / 20_000.0).exp2();
            let noise = (-17.0_f64).exp2();
            for signs in 0..4 {
                let mut y = x;
                for (bit, stage) in stages.iter().enumerate() {
                    y = stage.eval(y) + if signs >> bit & 1 == 0 { noise } else { -noise };
                }
                worst = worst.max(0.5 * x * (y - 1.0).abs());
            }
        }
        assert!(worst.log2() < -13.1, "2^{}", worst.log2());
    }

    #[test]
    fn unreachable_precision_is_an_error_that_says_what_was_reached() {
        let error = composite(14, &[15, 15, 27], MARGIN)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2^-13.16") && error.contains("2^-14"),
            "{error}"
        );
        assert!(composite(13, &[], 0.0).is_err());
        assert!(composite(13, &[15, 14], 0.0).is_err());
        assert!(composite(13, &[15, 15, 27], 0.5).is_err());
        assert!(composite(13, &[15, 15, 27], f64::NAN).is_err());
    }

    #[test]
    fn degrees_parse_by_number_and_by_name() {
        let parse = |text: &str| text.parse::<Degrees>();
        assert_eq!(parse("alpha13").unwrap(), parse("15, 15,27").unwrap());
        assert_eq!(parse("alpha14").unwrap().as_slice(), [15, 27, 29]);
        for text in [
            "",
            "15,",
            "4",
            "1",
            "33",
            "15;15",
            "alpha12",
            "3,3,3,3,3,3,3",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("degrees"), "{text}: {error}");
        }
    }
}
