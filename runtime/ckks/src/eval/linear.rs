//! Linear transforms by diagonals: baby steps and giant steps with double hoisting.
//!
//! `out = sum_d diag_d * rotate(in, d)` is evaluated as `sum_g rotate(sum_b diag'_{g,b} * rotate(in, b), g)`, where
//! `diag'` is the diagonal `b + g` rotated by `-g` (Halevi and Shoup, CRYPTO 2018). As in Bossuat, Mouchet,
//! Troncoso-Pastoriza and Hubaux (EUROCRYPT 2021), the baby rotations stay multiplied by the special primes through
//! the plaintext products; each giant step divides only the part that must be switched; the sum of the giant steps
//! is divided once at the end.
//!
//! The baby steps and plaintext products of one limb need nothing of another: limbs are the parallel tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_params::GaloisElement;
use heddle_params::bootstrap::KeyKind;
use heddle_params::bsgs::BsgsPlan;
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::ciphertext::Ciphertext;
use crate::context::{Basis, Context};
use crate::encode::{Complex64, Encoder};
use crate::error::Error;
use crate::eval::{Evaluator, check_levels, check_scales};
use crate::kernel::Init;
use crate::keys::KeySwitchKey;
use crate::keyswitch::{Decomposed, Raised, add_times_special, mod_down_both, truncate};
use crate::poly::{Automorphism, CompactPoly, Eval, RnsPoly, for_each_limb};
use crate::rns::{mod_down, mod_down_rescale, special_product};

/// A linear transform of slot vectors, encoded.
///
/// Diagonals have the period `2^log_slots`, which may be below the input's and then repeats. They are kept as compact
/// integer coefficients, rotated for their giant step, and transformed at each use unless [`Self::prepare`] did it.
#[derive(Clone)]
pub struct LinearTransform {
    plan: BsgsPlan,
    log_slots: u32,
    scale: f64,
    /// As the plan's giants and their diagonals.
    diagonals: Vec<Vec<Vec<i64>>>,
    prepared: Option<Vec<Vec<CompactPoly>>>,
}

impl LinearTransform {
    /// Encodes the diagonals of a plan: `diagonal(d)` gives the `2^log_slots` entries `M[i][i + d]`.
    ///
    /// # Errors
    /// When a diagonal has another length or a value that does not fit the scale.
    pub fn new(
        encoder: &Encoder,
        plan: BsgsPlan,
        log_slots: u32,
        scale: f64,
        diagonal: impl Fn(usize) -> Vec<Complex64> + Sync,
    ) -> Result<Self, Error> {
        let expected = 1usize << log_slots;
        let encode = |d: usize, shift: usize| {
            let mut values = diagonal(d);
            if values.len() != expected {
                return Err(Error::SlotCount {
                    op: "linear transform",
                    found: values.len(),
                    expected,
                });
            }
            values.rotate_right(shift % expected);
            encoder.encode(&values, scale)
        };
        let diagonals = plan
            .giants
            .iter()
            .map(|giant| {
                giant
                    .diagonals
                    .par_iter()
                    .map(|&(_, d)| encode(d, giant.shift))
                    .collect()
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            log_slots,
            scale,
            diagonals,
            prepared: None,
        })
    }

    /// [`Self::new`] with real diagonals.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn new_real(
        encoder: &Encoder,
        plan: BsgsPlan,
        log_slots: u32,
        scale: f64,
        diagonal: impl Fn(usize) -> Vec<f64> + Sync,
    ) -> Result<Self, Error> {
        Self::new(encoder, plan, log_slots, scale, |d| {
            diagonal(d).into_iter().map(Complex64::from).collect()
        })
    }

    /// The plan.
    pub fn plan(&self) -> &BsgsPlan {
        &self.plan
    }

    /// The factor between the diagonals and their encoding; the result's scale is the input's times this.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// log2 of the period of the diagonals.
    pub fn log_slots(&self) -> u32 {
        self.log_slots
    }

    /// Transforms the diagonals once and for all, for use at levels up to `level` with up to `specials` special primes.
    /// Takes `8 * 2^(log_slots + 1)` bytes a diagonal and limb.
    ///
    /// # Errors
    /// When the diagonals have more slots than the ring.
    pub fn prepare(
        &mut self,
        context: &Arc<Context>,
        level: usize,
        specials: usize,
    ) -> Result<(), Error> {
        self.check(context)?;
        let basis = Basis::new(level, specials);
        let encode = |giant: &Vec<Vec<i64>>| {
            giant
                .par_iter()
                .map(|diagonal| CompactPoly::from_i64(context, basis, diagonal))
                .collect()
        };
        self.prepared = Some(self.diagonals.iter().map(encode).collect());
        Ok(())
    }

    /// Bytes of memory that the diagonals take.
    pub fn bytes(&self) -> usize {
        let words: usize = self.diagonals.iter().flatten().map(Vec::len).sum();
        let prepared: usize = self
            .prepared
            .iter()
            .flatten()
            .flatten()
            .map(|poly| poly.basis().limbs() * poly.len())
            .sum();
        8 * (words + prepared)
    }

    fn check(&self, context: &Context) -> Result<(), Error> {
        let (found, expected) = (1 << self.log_slots, context.n() / 2);
        if found > expected {
            return Err(Error::SlotCount {
                op: "linear transform",
                found,
                expected,
            });
        }
        Ok(())
    }

    /// The prepared diagonals, when they are over a chain that has this one.
    fn prepared_for(&self, basis: Basis) -> Option<&Vec<Vec<CompactPoly>>> {
        let prepared = self.prepared.as_ref()?;
        let has = prepared.iter().flatten().next()?.basis();
        (basis.level() <= has.level() && basis.specials() <= has.specials()).then_some(prepared)
    }

    /// The values of a diagonal modulo one prime: those that were prepared, or new ones in `scratch`.
    fn values<'a>(
        &'a self,
        context: &Context,
        basis: Basis,
        limb: usize,
        giant: usize,
        entry: usize,
        scratch: &'a mut [u64],
    ) -> &'a [u64] {
        if let Some(prepared) = self.prepared_for(basis) {
            let poly = &prepared[giant][entry];
            let at = if limb < basis.q_limbs() {
                limb
            } else {
                limb - basis.q_limbs() + poly.basis().q_limbs()
            };
            return poly.limb(at);
        }
        let table = context.table(context.modulus_index(basis, limb));
        context
            .kernel()
            .reduce_signed(table.modulus(), scratch, &self.diagonals[giant][entry]);
        context.kernel().ntt_forward(table, scratch);
        scratch
    }
}

/// A key of the evaluator with its rotation's permutation.
struct Rotation<'a> {
    key: &'a KeySwitchKey,
    galois: GaloisElement,
    table: Arc<Automorphism>,
}

/// One baby step's rotated input.
enum Baby<'a> {
    /// Not rotated.
    Identity,
    /// From the decomposition with this index.
    Hoisted(Rotation<'a>, usize),
    /// Rotated and divided, since its key has other special primes than the sum.
    Rotated(Box<Ciphertext>),
}

/// One term of a sum of transforms, ready to be evaluated limb by limb.
struct Term<'a> {
    ciphertext: &'a Ciphertext,
    transform: &'a LinearTransform,
    decomposed: Vec<Decomposed>,
    babies: Vec<Baby<'a>>,
}

/// Values of each operand that are worked on at a time in the plaintext products: those of all baby steps stay in L2.
const BLOCK: usize = 1024;

/// Words between operands. Without them all would be a power of two apart, and their blocks share the same few sets of
/// every cache.
const PADDING: usize = BLOCK + 72;

impl Evaluator {
    /// The sum of linear transforms of ciphertexts of one level: not rescaled, the scale is each ciphertext's times its
    /// transform's. Giant steps by the same shift share one key switch. The period is the largest among all.
    ///
    /// # Errors
    /// No terms, different levels or scales, or a missing key.
    pub fn linear_transform(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<Ciphertext, Error> {
        let (c0, c1, scale, log_slots) = self.transform_sum(terms)?;
        Ok(Ciphertext {
            c0: mod_down(c0),
            c1: mod_down(c1),
            scale,
            log_slots,
        })
    }

    /// [`Self::linear_transform`] and [`Self::rescale`] in one division: level `l` to `l - 1`.
    ///
    /// # Errors
    /// As [`Self::linear_transform`], and at level 0.
    pub fn linear_transform_rescale(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<Ciphertext, Error> {
        let (c0, c1, scale, log_slots) = self.transform_sum(terms)?;
        let level = c0.level();
        if level == 0 {
            return Err(Error::NotEnoughLevels {
                op: "rescale",
                needed: 1,
                found: 0,
            });
        }
        let scale = scale / self.context().modulus(level).value() as f64;
        Ok(Ciphertext {
            c0: mod_down_rescale(c0),
            c1: mod_down_rescale(c1),
            scale,
            log_slots,
        })
    }

    /// The sum times the special primes, its scale and log2 of its period.
    fn transform_sum(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<(RnsPoly<Eval>, RnsPoly<Eval>, f64, u32), Error> {
        const OP: &str = "linear transform";
        let Some(&(first, transform)) = terms.first() else {
            return Err(Error::Operand {
                op: OP,
                detail: "there are no terms to sum".into(),
            });
        };
        let context = self.context();
        let (level, scale) = (first.level(), first.scale * transform.scale);
        for (ciphertext, transform) in terms {
            check_levels(OP, level, ciphertext.level())?;
            check_scales(OP, scale, ciphertext.scale * transform.scale)?;
            transform.check(context)?;
        }
        let log_slots = terms
            .iter()
            .map(|(c, t)| c.log_slots.max(t.log_slots))
            .max()
            .unwrap_or_default();

        let mut rotations = BTreeMap::new();
        for shift in terms.iter().flat_map(|(_, t)| t.plan.rotations()) {
            let galois = GaloisElement::rotation(shift as i64, context.n());
            if galois != GaloisElement::IDENTITY {
                let key = self.keys().get(KeyKind::Galois(galois), level)?;
                rotations.insert(galois, (&**key, context.automorphism(galois)));
            }
        }
        let rotation = |shift: usize| {
            let galois = GaloisElement::rotation(shift as i64, context.n());
            let (key, table) = rotations.get(&galois)?;
            Some(Rotation {
                key,
                galois,
                table: Arc::clone(table),
            })
        };
        // Sums are over the special primes that most keys have; a key with others is divided by them at once.
        let mut counts = BTreeMap::new();
        for (key, _) in rotations.values() {
            *counts.entry(key.layout.specials).or_insert(0usize) += 1;
        }
        let specials = counts
            .iter()
            .max_by_key(|&(_, count)| count)
            .map_or(0, |(&specials, _)| specials);
        let basis = Basis::new(level, specials);

        let terms: Vec<Term<'_>> = terms
            .iter()
            .map(|&(c, t)| self.baby_steps(c, t, specials, &rotation))
            .collect::<Result<_, _>>()?;
        let partial = self.partial_sums(&terms, basis);
        drop(terms);
        let (mut c0, mut c1) = (RnsPoly::zero(context, basis), RnsPoly::zero(context, basis));
        for (shift, (sum0, sum1)) in partial {
            match rotation(shift) {
                None => {
                    c0.add_assign(&sum0);
                    c1.add_assign(&sum1);
                }
                Some(rotation) => self.giant_step(&rotation, sum0, sum1, &mut c0, &mut c1),
            }
        }
        Ok((c0, c1, scale, log_slots))
    }

    /// Decomposes the input of one transform and finds the keys of its baby steps.
    fn baby_steps<'a>(
        &self,
        ciphertext: &'a Ciphertext,
        transform: &'a LinearTransform,
        specials: usize,
        rotation: &impl Fn(usize) -> Option<Rotation<'a>>,
    ) -> Result<Term<'a>, Error> {
        let mut decomposed: Vec<Decomposed> = Vec::new();
        let mut babies = Vec::with_capacity(transform.plan.baby.len());
        for &shift in &transform.plan.baby {
            babies.push(match rotation(shift) {
                None => Baby::Identity,
                Some(rotation) if rotation.key.layout.specials == specials => {
                    let layout = truncate(&rotation.key.layout, ciphertext.level());
                    let index = decomposed
                        .iter()
                        .position(|d| d.layout == layout)
                        .unwrap_or_else(|| {
                            decomposed.push(Decomposed::new(&ciphertext.c1, layout));
                            decomposed.len() - 1
                        });
                    Baby::Hoisted(rotation, index)
                }
                Some(rotation) => Baby::Rotated(Box::new(self.apply(ciphertext, rotation.galois)?)),
            });
        }
        Ok(Term {
            ciphertext,
            transform,
            decomposed,
            babies,
        })
    }

    /// The sums of plaintext products that each giant step rotates, by shift.
    fn partial_sums(
        &self,
        terms: &[Term<'_>],
        basis: Basis,
    ) -> BTreeMap<usize, (RnsPoly<Eval>, RnsPoly<Eval>)> {
        let context = self.context();
        let n = context.n();
        let mut sums: BTreeMap<usize, (RnsPoly<Eval>, RnsPoly<Eval>)> = terms
            .iter()
            .flat_map(|term| &term.transform.plan.giants)
            .map(|giant| {
                (
                    giant.shift,
                    (
                        RnsPoly::stale(context, basis),
                        RnsPoly::stale(context, basis),
                    ),
                )
            })
            .collect();
        let mut limbs: Vec<BTreeMap<usize, [&mut [u64]; 2]>> =
            (0..basis.limbs()).map(|_| BTreeMap::new()).collect();
        for (&shift, (sum0, sum1)) in &mut sums {
            let parts = sum0
                .data_mut()
                .chunks_exact_mut(n)
                .zip(sum1.data_mut().chunks_exact_mut(n));
            for (limb, (part0, part1)) in limbs.iter_mut().zip(parts) {
                limb.insert(shift, [part0, part1]);
            }
        }
        let special = special_product(context, basis.level(), basis.specials());
        limbs
            .into_par_iter()
            .enumerate()
            .for_each(|(limb, mut sums)| {
                let factor = special.get(limb).copied();
                let mut fresh: BTreeMap<usize, bool> =
                    sums.keys().map(|&shift| (shift, true)).collect();
                for term in terms {
                    term.accumulate(context, basis, limb, factor, &mut sums, &mut fresh);
                }
            });
        sums
    }

    /// Switches and rotates one partial sum and adds it to the whole.
    fn giant_step(
        &self,
        rotation: &Rotation<'_>,
        sum0: RnsPoly<Eval>,
        sum1: RnsPoly<Eval>,
        c0: &mut RnsPoly<Eval>,
        c1: &mut RnsPoly<Eval>,
    ) {
        let context = self.context();
        let (kernel, n, basis) = (context.kernel(), context.n(), c0.basis());
        let Rotation { key, galois, table } = rotation;
        let (divided, coefficients) = mod_down_both(sum1);
        let layout = truncate(&key.layout, divided.level());
        let permute_add = |limb: usize, acc: &mut [u64], x: &[u64], scratch: &mut [u64]| {
            kernel.permute(&table.blocks, &table.patterns, scratch, x);
            kernel.add(context.limb_modulus(basis, limb), acc, scratch);
        };
        if key.layout.specials == basis.specials() {
            let mut raised = Raised::with_coefficients(&divided, &coefficients, layout);
            drop(coefficients);
            let parts = c0.data_mut().par_chunks_exact_mut(n);
            let parts = parts.zip(c1.data_mut().par_chunks_exact_mut(n));
            let tasks = raised.limbs().into_par_iter().zip(parts).enumerate();
            tasks.for_each(|(limb, (raised, (c0, c1)))| {
                let mut scratch = Buffer::stale(3 * n);
                let (b, rest) = scratch.split_at_mut(n);
                let (a, rotated) = rest.split_at_mut(n);
                raised.inner_product(context, key, [&mut *b, &mut *a]);
                kernel.add(context.limb_modulus(basis, limb), b, sum0.limb(limb));
                permute_add(limb, c0, b, rotated);
                permute_add(limb, c1, a, rotated);
            });
        } else {
            let (b, a) = Decomposed::new(&divided, layout).inner_product(key);
            add_times_special(c0, &mod_down(b).automorphism(*galois));
            add_times_special(c1, &mod_down(a).automorphism(*galois));
            for_each_limb(c0.data_mut(), n, |limb, c0| {
                permute_add(limb, c0, sum0.limb(limb), &mut Buffer::stale(n));
            });
        }
    }
}

impl Term<'_> {
    /// Adds the term's plaintext products in one limb to the partial sums, which hold nothing yet where `fresh` says so.
    fn accumulate(
        &self,
        context: &Context,
        basis: Basis,
        limb: usize,
        special: Option<u64>,
        sums: &mut BTreeMap<usize, [&mut [u64]; 2]>,
        fresh: &mut BTreeMap<usize, bool>,
    ) {
        let (n, kernel, modulus) = (
            context.n(),
            context.kernel(),
            context.limb_modulus(basis, limb),
        );
        let stride = n + PADDING;
        let mut rotated = Buffer::stale(2 * stride * self.babies.len());
        let babies: Vec<Option<[&[u64]; 2]>> = self
            .babies
            .iter()
            .zip(rotated.chunks_exact_mut(2 * stride))
            .map(|(baby, space)| self.baby_limb(context, basis, limb, special, baby, space))
            .collect();

        let transform = self.transform;
        let len = 2usize << transform.log_slots;
        let log_rep = (n / len).trailing_zeros();
        let block = BLOCK.clamp(1 << log_rep, n);
        let count = transform.plan.diagonal_count();
        let mut space = Buffer::stale(if transform.prepared_for(basis).is_some() {
            0
        } else {
            (len + PADDING) * count
        });
        let mut space = space
            .chunks_exact_mut(len + PADDING)
            .map(|values| &mut values[..len]);
        let mut values: Vec<Vec<&[u64]>> = Vec::with_capacity(transform.plan.giants.len());
        for (g, giant) in transform.plan.giants.iter().enumerate() {
            values.push(
                (0..giant.diagonals.len())
                    .map(|e| {
                        transform.values(
                            context,
                            basis,
                            limb,
                            g,
                            e,
                            space.next().unwrap_or_default(),
                        )
                    })
                    .collect(),
            );
        }
        let mut shared: Vec<&[u64]> = Vec::new();
        let mut factors: [Vec<&[u64]>; 2] = Default::default();
        for start in (0..n).step_by(block) {
            for (giant, values) in transform.plan.giants.iter().zip(&values) {
                shared.clear();
                factors.iter_mut().for_each(Vec::clear);
                for (&(baby, _), values) in giant.diagonals.iter().zip(values) {
                    let Some(rotated) = babies[baby] else {
                        continue;
                    };
                    shared.push(&values[start >> log_rep..][..block >> log_rep]);
                    for (factor, rotated) in factors.iter_mut().zip(rotated) {
                        factor.push(&rotated[start..][..block]);
                    }
                }
                let [sum0, sum1] = sums
                    .get_mut(&giant.shift)
                    .expect("every giant shift has a partial sum");
                let init = if fresh[&giant.shift] {
                    Init::Replace
                } else {
                    Init::Accumulate
                };
                let out = [&mut sum0[start..][..block], &mut sum1[start..][..block]];
                kernel.dot_pair(
                    modulus,
                    out,
                    init,
                    &shared,
                    log_rep,
                    [&factors[0], &factors[1]],
                );
            }
        }
        for giant in &transform.plan.giants {
            fresh.insert(giant.shift, false);
        }
    }

    /// The rotated input times the special primes in one limb; `None` where that is zero.
    fn baby_limb<'a>(
        &self,
        context: &Context,
        basis: Basis,
        limb: usize,
        special: Option<u64>,
        baby: &Baby<'_>,
        space: &'a mut [u64],
    ) -> Option<[&'a [u64]; 2]> {
        let (n, kernel, modulus) = (
            context.n(),
            context.kernel(),
            context.limb_modulus(basis, limb),
        );
        let (u0, u1) = space.split_at_mut(n + PADDING);
        let (u0, u1) = (&mut u0[..n], &mut u1[..n]);
        match baby {
            Baby::Identity | Baby::Rotated(_) => {
                let source = if let Baby::Rotated(rotated) = baby {
                    rotated
                } else {
                    self.ciphertext
                };
                let special = modulus.shoup(special?);
                for (out, part) in [(&mut *u0, &source.c0), (&mut *u1, &source.c1)] {
                    out.copy_from_slice(part.limb(limb));
                    kernel.mul_scalar(modulus, out, special);
                }
            }
            Baby::Hoisted(rotation, index) => {
                let mut switched = Buffer::stale(2 * n);
                let (b, a) = switched.split_at_mut(n);
                self.decomposed[*index].inner_product_limb(context, rotation.key, limb, [b, a]);
                if let Some(special) = special {
                    kernel.mul_scalar_add(
                        modulus,
                        b,
                        self.ciphertext.c0.limb(limb),
                        modulus.shoup(special),
                    );
                }
                kernel.permute(&rotation.table.blocks, &rotation.table.patterns, u0, b);
                kernel.permute(&rotation.table.blocks, &rotation.table.patterns, u1, a);
            }
        }
        Some([u0, u1])
    }
}
