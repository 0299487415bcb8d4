//! What a client must find in a plan that it accepts, computed from scratch and without a care for
//! speed.
//!
//! Nothing here calls `heddle_params::keys`, `bootstrap`, `dft`, `bsgs`, `galois` or `key_switch`:
//! exponents are powers of five by repeated multiplication, operations are counted from the outputs
//! backwards, and the rules of bootstrapping and of key switching are written out anew.

use std::collections::{BTreeMap, BTreeSet};

use heddle_ckks::ring::StreamId;
use heddle_ir::ckks::{Op, Schedule};
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::keys::{KeyKind, KeyNeed, KeyUse};
use heddle_params::{Parameters, ParametersLiteral, Secret, security};

/// Largest log2(QP) with 128 bits for a dense ternary secret, by log2 N from 10 on: the published
/// table.
const LARGEST_MODULUS: [f64; 8] = [26.0, 53.0, 106.0, 214.0, 430.0, 868.0, 1746.0, 3522.0];

/// Names of streams that are compared with each other.
const MAX_STREAMS: usize = 1 << 16;

/// What an evaluation key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// The automorphism with this exponent.
    Galois(u64),
    /// From the secret's square.
    Relin,
    /// To the ephemeral secret.
    Encapsulate,
    /// From the ephemeral secret.
    Decapsulate,
}

/// A key by what it does and its level.
pub type Key = (Job, usize);

/// The keys of an answer of the library's, as ours.
pub fn keys_of(uses: &[KeyUse]) -> Vec<Key> {
    let job = |used: &KeyUse| match used.kind {
        KeyKind::Galois(element) => Job::Galois(element.exponent().into()),
        KeyKind::Relin => Job::Relin,
        KeyKind::Encapsulate => Job::Encapsulate,
        KeyKind::Decapsulate => Job::Decapsulate,
    };
    uses.iter().map(|used| (job(used), used.level)).collect()
}

/// What keys are made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Ring and primes.
    pub parameters: &'a ParametersLiteral,
    /// How ciphertexts are refreshed.
    pub bootstrap: &'a BootstrapParameters,
}

impl Target<'_> {
    /// `5^steps` modulo 2N, one multiplication at a time.
    fn power_of_five(&self, steps: u64) -> u64 {
        let modulus = 2_u64 << self.parameters.log_n;
        (0..steps).fold(1, |power, _| power * 5 % modulus)
    }

    fn top(&self) -> usize {
        self.parameters.log_q.len() - 1
    }

    /// Number of digits at a level: those of the cheapest number of special primes.
    fn digits(&self, level: usize) -> usize {
        let limbs = level + 1;
        let mut best: Option<(f64, usize)> = None;
        for specials in 1..=self.parameters.log_p.len() {
            let special_bits: u32 = self.parameters.log_p[..specials].iter().sum();
            // A digit stays four bits below the special primes.
            let room = i64::from(special_bits) - 4;
            let mut digits: Vec<usize> = vec![0];
            let mut filled = 0;
            let mut fits = true;
            for bits in &self.parameters.log_q[..limbs] {
                let bits = i64::from(*bits);
                fits &= bits <= room;
                if filled + bits > room {
                    digits.push(0);
                    filled = 0;
                }
                filled += bits;
                if let Some(last) = digits.last_mut() {
                    *last += 1;
                }
            }
            if !fits {
                continue;
            }
            let (count, total) = (digits.len(), limbs + specials);
            let transforms = count * total + 2 * (specials + limbs);
            let conversions: usize = digits.iter().map(|digit| digit * (total - digit)).sum();
            let conversions = conversions + 2 * specials * limbs;
            let cost =
                transforms as f64 + 0.05 * conversions as f64 + 0.12 * (2 * count * total) as f64;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, count));
            }
        }
        best.expect("every limb fits a digit").1
    }

    /// The rotations of a bootstrap's transforms, with their levels.
    fn transform_rotations(&self, log_slots: u32) -> BTreeSet<(u64, usize)> {
        let ring = 1_i64 << (self.parameters.log_n - 1);
        let mut rotations = BTreeSet::new();
        for (factors, top, ascending) in [
            (
                self.bootstrap.slot_to_coeff_levels,
                self.bootstrap.slot_to_coeff_levels as usize,
                true,
            ),
            (self.bootstrap.coeff_to_slot_levels, self.top(), false),
        ] {
            // Butterflies of strides 2^0, 2^1, …, cut into runs.
            let mut cuts: Vec<u32> = (0..=factors).map(|i| i * log_slots / factors).collect();
            if factors == 3 && log_slots >= 12 {
                cuts = vec![0, 5, 10, log_slots];
            }
            let mut runs: Vec<(u32, u32)> = cuts.windows(2).map(|run| (run[0], run[1])).collect();
            if !ascending {
                runs.reverse();
            }
            for (index, (from, to)) in runs.into_iter().enumerate() {
                let size = 1_i64 << (to - from);
                for diagonal in 1 - size..size {
                    let (babies, first) = if to == log_slots {
                        // The widest run wraps around: diagonals of one sign only.
                        if diagonal < 0 {
                            continue;
                        }
                        (size.min(8), 0)
                    } else {
                        let about = 3 * size / 8 + 1;
                        let babies = if about % 2 == 0 { about + 1 } else { about };
                        (babies, -((babies - 1) / 2))
                    };
                    let mut baby = diagonal;
                    while baby < first {
                        baby += babies;
                    }
                    while baby >= first + babies {
                        baby -= babies;
                    }
                    for steps in [baby, diagonal - baby] {
                        let mut steps = (steps << from) % ring;
                        if steps < 0 {
                            steps += ring;
                        }
                        if steps != 0 {
                            rotations.insert((steps as u64, top - index));
                        }
                    }
                }
            }
        }
        rotations
    }

    /// What one need calls for, each key at the level of the need.
    fn called_for(&self, need: KeyNeed) -> Vec<Key> {
        let encapsulates = self.parameters.encapsulation_weight.is_some();
        match need {
            KeyNeed::Rotation { by, level } => {
                vec![(Job::Galois(self.power_of_five(by as u64)), level)]
            }
            KeyNeed::Product { level } => vec![(Job::Relin, level)],
            KeyNeed::Bootstrap { log_slots, .. } => {
                let eval_mod = self.top() - self.bootstrap.coeff_to_slot_levels as usize;
                let mut rotations = self.transform_rotations(log_slots);
                // The sum over the copies of a value with fewer slots than the ring.
                for log in log_slots..self.parameters.log_n - 1 {
                    rotations.insert((1 << log, eval_mod));
                }
                let conjugation = (2_u64 << self.parameters.log_n) - 1;
                let mut keys = vec![(Job::Galois(conjugation), eval_mod), (Job::Relin, eval_mod)];
                if encapsulates {
                    keys.extend([(Job::Encapsulate, 0), (Job::Decapsulate, self.top())]);
                }
                for (steps, level) in rotations {
                    keys.push((Job::Galois(self.power_of_five(steps)), level));
                }
                keys
            }
        }
    }

    /// The keys that are needed: of every job and number of digits the one of the highest level.
    pub fn keys(&self, needs: impl IntoIterator<Item = KeyNeed>) -> Vec<Key> {
        let mut highest: BTreeMap<(Job, usize), usize> = BTreeMap::new();
        for need in needs {
            for (job, level) in self.called_for(need) {
                let digits = match job {
                    Job::Galois(_) | Job::Relin => self.digits(level),
                    // Their gadget has one digit.
                    Job::Encapsulate | Job::Decapsulate => 1,
                };
                let highest = highest.entry((job, digits)).or_default();
                *highest = level.max(*highest);
            }
        }
        let keys = highest.into_iter().map(|((job, _), level)| (job, level));
        let keys: BTreeSet<Key> = keys.collect();
        keys.into_iter().collect()
    }
}

/// What the operations that an output depends on need keys for.
pub fn needs_of(schedule: &Schedule) -> BTreeSet<KeyNeed> {
    let graph = &schedule.graph;
    let mut reached = BTreeSet::new();
    let mut left = graph.outputs().to_vec();
    while let Some(value) = left.pop() {
        if reached.insert(value) {
            left.extend(graph.operands(value).iter().copied());
        }
    }
    let mut needs = BTreeSet::new();
    for value in reached {
        let level = graph.ty(value).level;
        let mut rotate = |by: usize| {
            if by > 0 {
                needs.insert(KeyNeed::Rotation { by, level });
            }
        };
        match &graph.node(value).op {
            Op::Rotate { by } => rotate(*by),
            Op::LinearTransform { steps, .. } => {
                for step in steps {
                    step.baby
                        .iter()
                        .chain(&step.giant)
                        .for_each(|by| rotate(*by));
                }
            }
            Op::Multiply => {
                needs.insert(KeyNeed::Product { level });
            }
            Op::Polynomial { .. } => {
                // A product at every level that the polynomial takes, each rescaled.
                let mut at = graph.ty(graph.operands(value)[0]).level;
                while at > level {
                    needs.insert(KeyNeed::Product { level: at });
                    at -= 1;
                }
            }
            Op::Bootstrap { variant } => {
                needs.insert(KeyNeed::Bootstrap {
                    log_slots: graph.ty(value).log_slots,
                    variant: *variant,
                });
            }
            Op::Input
            | Op::MultiplyAccumulate { .. }
            | Op::AddBias { .. }
            | Op::Add
            | Op::Rescale
            | Op::DropLevel => {}
        }
    }
    needs
}

/// Checks primes and security of parameters against a fresh computation.
///
/// # Panics
/// If something differs.
pub fn check_parameters(parameters: &Parameters, insecure: bool) {
    let literal = parameters.literal();
    let chains = [
        (parameters.q(), &literal.log_q),
        (parameters.p(), &literal.log_p),
    ];
    let (mut log_qp, mut all) = (0.0, BTreeSet::new());
    for (primes, sizes) in chains {
        assert_eq!(primes.len(), sizes.len());
        let mut log_chain = 0.0;
        for (prime, size) in primes.iter().zip(sizes) {
            let log = (*prime as f64).log2();
            assert!(
                (log - f64::from(*size)).abs() < 0.5,
                "{prime} of {size} bits"
            );
            assert_eq!(prime % (2 << literal.log_n), 1, "{prime}");
            assert!(is_prime(*prime) && all.insert(*prime), "{prime}");
            log_chain += log;
        }
        log_qp += log_chain;
    }
    let bits = security::estimate_bits(literal.log_n, literal.secret, log_qp);
    assert_eq!(parameters.security().bits, bits);
    // Primes deviate a little from their nominal size.
    let within = |log: f64, limit: f64| log <= limit + 0.01;
    let main = within(
        log_qp,
        f64::from(security::modulus_limit(literal.log_n, literal.secret)),
    );
    let log_small = (parameters.q()[0] as f64).log2() + (parameters.p()[0] as f64).log2();
    let ephemeral = literal.encapsulation_weight.is_none_or(|weight| {
        within(
            log_small,
            f64::from(security::encapsulation_limit(literal.log_n, weight)),
        )
    });
    let secure = main && ephemeral;
    assert_eq!(
        secure, !insecure,
        "{bits} bits, marked insecure: {insecure}"
    );
    assert_eq!(secure, !parameters.is_insecure());
    if secure {
        // Whatever the estimates say, the published table has the last word.
        let row = (literal.log_n as usize).checked_sub(10);
        let largest = row.map_or(26.0, |row| LARGEST_MODULUS[row]);
        assert!(
            within(log_qp, largest),
            "2^{log_qp} in degree 2^{}",
            literal.log_n
        );
        assert!(bits >= 127.9, "{bits} bits");
        // Nor may a sparse secret be found by meeting in the middle.
        let sparse = match literal.secret {
            Secret::DenseTernary => None,
            Secret::SparseTernary(weight) => Some(weight),
        };
        for weight in sparse.into_iter().chain(literal.encapsulation_weight) {
            let bits = log2_secrets(parameters.n(), weight) / 2.0;
            assert!(bits >= 128.0, "weight {weight}: {bits} bits");
        }
    }
}

/// log2 of the number of ternary secrets of a weight.
fn log2_secrets(n: usize, weight: u32) -> f64 {
    (0..weight)
        .map(|i| (2.0 * (n as f64 - f64::from(i)) / f64::from(i + 1)).log2())
        .sum()
}

/// Fermat's test to two bases, which suffices to notice a number that is no prime.
fn is_prime(n: u64) -> bool {
    [2_u128, 3].into_iter().all(|base| {
        let n = u128::from(n);
        let (mut power, mut exponent, mut square) = (1, n - 1, base);
        while exponent > 0 {
            if exponent % 2 == 1 {
                power = power * square % n;
            }
            square = square * square % n;
            exponent /= 2;
        }
        power == 1
    })
}

/// Checks a set of keys: what is needed and nothing else, no exponent that would publish the
/// secret, no stream of a seed twice.
///
/// # Panics
/// If something is wrong.
pub fn check_keys(target: Target<'_>, found: &[KeyUse], needed: &[Key]) {
    let mut keys = keys_of(found);
    for (job, level) in &keys {
        assert!(*level <= target.top(), "level {level}");
        if let Job::Galois(exponent) = job {
            let limit = 2_u64 << target.parameters.log_n;
            assert!(
                exponent % 2 == 1 && *exponent < limit,
                "exponent {exponent}"
            );
            assert!(*exponent != 1, "a key for the identity");
        }
    }
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    keys.sort_unstable();
    assert_eq!(keys, needed);
    let moduli = target.parameters.log_q.len() + target.parameters.log_p.len();
    let mut names = BTreeSet::new();
    for used in found {
        let level = used.level;
        let digits = match used.kind {
            KeyKind::Galois(_) | KeyKind::Relin => target.digits(level),
            KeyKind::Encapsulate | KeyKind::Decapsulate => 1,
        };
        for digit in 0..digits {
            for modulus in 0..moduli {
                let id = StreamId::of_key(*used, digit).at_modulus(modulus);
                assert!(names.insert(id.name()), "{id:?} twice");
            }
        }
        if names.len() > MAX_STREAMS {
            break;
        }
    }
}
