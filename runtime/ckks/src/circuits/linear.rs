//! Linear transforms by diagonals: baby and giant rotations with double hoisting.
//!
//! `out = sum_d diag_d * rotate(in, d)` is evaluated as
//! `sum_g rotate(sum_b diag'_{g,b} * rotate(in, b), g)`, where `diag'` is the diagonal `b + g`
//! rotated by `-g` (Halevi and Shoup, CRYPTO 2018). As in Bossuat, Mouchet, Troncoso-Pastoriza and
//! Hubaux (EUROCRYPT 2021), the baby rotations stay multiplied by the special primes through the
//! plaintext products; each giant rotation divides only the part that must be switched; the sum of
//! the giant rotations is divided once at the end.

mod diagonals;
mod products;
#[cfg(all(test, feature = "secret"))]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use heddle_params::GaloisElement;
use heddle_params::bsgs::{BsgsPlan, Giant};
use heddle_params::keys::KeyKind;
use rayon::prelude::*;

use crate::Error;
use crate::kernel::Init;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{CompactPoly, Eval, RnsPoly, for_each_limb_pair};
use crate::ring::rns::{mod_down, mod_down_rescale};
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::{Complex64, Encoder};
use crate::scheme::eval::{Evaluator, check_levels, check_scales};
use crate::scheme::keys::KeySwitchKey;
use crate::scheme::keyswitch::{
    Decomposed, KEY_SCRATCH, KeyLimb, add_times_special, divide_and_raise, truncate,
};
use crate::tables::automorphism::Automorphism;
use diagonals::Stored;
pub use products::GROUP_BYTES;
use products::{giants_in, groups, partial_sums};

/// A linear transform of slot vectors, encoded.
///
/// Diagonals have the period `2^log_slots`, which may be below the input's and then repeats. They
/// are kept as compact integer coefficients, rotated for their giant rotation, two real ones in
/// one, and transformed at each use unless [`Self::prepare`] did it. Those of a
/// [streamed](Self::streamed) transform are not kept: they are encoded at each use.
#[derive(Clone)]
pub struct LinearTransform {
    plan: BsgsPlan,
    log_slots: u32,
    scale: f64,
    diagonals: Diagonals,
    prepared: Option<Vec<Vec<CompactPoly>>>,
}

/// Makes the entries `M[i][i + d]` of diagonal `d`, one period, from `d`.
pub type RealDiagonals = dyn Fn(usize) -> Vec<f64> + Send + Sync;

/// Where the diagonals of a transform are.
#[derive(Clone)]
enum Diagonals {
    /// Encoded, as the plan's giants and their diagonals.
    Kept(Vec<Vec<Stored>>),
    /// Made and encoded at each use.
    Streamed(Arc<RealDiagonals>),
}

impl std::fmt::Debug for LinearTransform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinearTransform")
            .field("log_slots", &self.log_slots)
            .field("scale", &self.scale)
            .field("diagonals", &self.plan.diagonal_count())
            .finish_non_exhaustive()
    }
}

impl LinearTransform {
    /// Encodes the diagonals of a plan: `diagonal(d)` gives the `2^log_slots` entries
    /// `M[i][i + d]`.
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
        let encode = |giant| {
            let encoded = encode_giant(encoder, giant, log_slots, scale, &diagonal);
            encoded.map(Stored::complex)
        };
        let kept = plan.giants.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            log_slots,
            scale,
            diagonals: Diagonals::Kept(kept),
            prepared: None,
        })
    }

    /// [`Self::new`] with real diagonals, which take half the memory.
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
        let kept = encode_real(encoder, &plan.giants, log_slots, scale, &diagonal)?;
        Ok(Self {
            plan,
            log_slots,
            scale,
            diagonals: Diagonals::Kept(kept),
            prepared: None,
        })
    }

    /// [`Self::new_real`] that keeps no diagonal: at each use they are made and encoded for some
    /// giant rotations at a time, [`GROUP_BYTES`] at most unless a single rotation takes more. The
    /// results are the same to the last bit. A diagonal that cannot be encoded is an error there.
    pub fn streamed(
        plan: BsgsPlan,
        log_slots: u32,
        scale: f64,
        diagonal: Arc<RealDiagonals>,
    ) -> Self {
        Self {
            plan,
            log_slots,
            scale,
            diagonals: Diagonals::Streamed(diagonal),
            prepared: None,
        }
    }

    /// The encoded diagonals of some giant rotations.
    fn encoded(
        &self,
        encoder: &Encoder,
        giants: Range<usize>,
    ) -> Result<Cow<'_, [Vec<Stored>]>, Error> {
        match &self.diagonals {
            Diagonals::Kept(kept) => Ok(Cow::Borrowed(&kept[giants])),
            Diagonals::Streamed(diagonal) => {
                let giants = &self.plan.giants[giants];
                let encoded =
                    encode_real(encoder, giants, self.log_slots, self.scale, &**diagonal)?;
                Ok(Cow::Owned(encoded))
            }
        }
    }

    /// The plan.
    pub fn plan(&self) -> &BsgsPlan {
        &self.plan
    }

    /// The factor between the diagonals and their encoding; the result's scale is the input's times
    /// this.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// log2 of the period of the diagonals.
    pub fn log_slots(&self) -> u32 {
        self.log_slots
    }

    /// Transforms the diagonals once, for use at levels up to `level` with up to `specials` special
    /// primes. Takes `8 * 2^(log_slots + 1)` bytes a diagonal and limb. Those of a streamed
    /// transform are left as they are.
    ///
    /// # Errors
    /// [`Error::SlotCount`] when the diagonals have more slots than the ring.
    ///
    /// # Panics
    /// When the chain lacks the level or has fewer special primes.
    pub fn prepare(
        &mut self,
        context: &Arc<Context>,
        level: usize,
        specials: usize,
    ) -> Result<(), Error> {
        self.check_slots(context)?;
        let basis = Basis::new(level, specials);
        let encode = |giant: &Vec<Stored>| {
            giant
                .par_iter()
                .flat_map_iter(Stored::coefficients)
                .map(|diagonal| CompactPoly::from_i64(context, basis, &diagonal))
                .collect()
        };
        if let Diagonals::Kept(kept) = &self.diagonals {
            self.prepared = Some(kept.iter().map(encode).collect());
        }
        Ok(())
    }

    /// Undoes [`Self::prepare`]: the diagonals are transformed at each use again.
    pub fn unprepare(&mut self) {
        self.prepared = None;
    }

    /// Bytes of memory that the diagonals take.
    pub fn bytes(&self) -> usize {
        let kept = match &self.diagonals {
            Diagonals::Kept(kept) => kept.as_slice(),
            Diagonals::Streamed(_) => &[],
        };
        let words: usize = kept.iter().flatten().map(Stored::words).sum();
        let prepared: usize = self
            .prepared
            .iter()
            .flatten()
            .flatten()
            .map(|poly| poly.basis().limbs() * poly.len())
            .sum();
        8 * (words + prepared)
    }

    /// Refuses a ring of too few slots.
    fn check_slots(&self, context: &Context) -> Result<(), Error> {
        let (found, expected) = (1 << self.log_slots, context.n() / 2);
        if found > expected {
            return Err(Error::SlotCount {
                op: OP,
                found,
                expected,
            });
        }
        Ok(())
    }

    /// Refuses a ring of too few slots, and one that the diagonals were not prepared for.
    fn check(&self, context: &Context) -> Result<(), Error> {
        self.check_slots(context)?;
        let mut prepared = self.prepared.iter().flatten().flatten();
        match prepared.next() {
            Some(poly) => context.check_same(OP, poly.context()),
            None => Ok(()),
        }
    }

    /// The prepared diagonals, when they are over a chain that has this one.
    fn prepared_for(&self, basis: Basis) -> Option<&Vec<Vec<CompactPoly>>> {
        let prepared = self.prepared.as_ref()?;
        let has = prepared.iter().flatten().next()?.basis();
        (basis.level() <= has.level() && basis.specials() <= has.specials()).then_some(prepared)
    }
}

/// The encoded diagonals of a giant rotation, in the order of the plan.
fn encode_giant(
    encoder: &Encoder,
    giant: &Giant,
    log_slots: u32,
    scale: f64,
    diagonal: &(impl Fn(usize) -> Vec<Complex64> + Sync),
) -> Result<Vec<Vec<i64>>, Error> {
    let expected = 1usize << log_slots;
    let encode = |d: usize| {
        let mut values = diagonal(d);
        if values.len() != expected {
            return Err(Error::SlotCount {
                op: OP,
                found: values.len(),
                expected,
            });
        }
        values.rotate_right(giant.shift % expected);
        encoder.encode(&values, scale)
    };
    let diagonals = giant.diagonals.par_iter();
    diagonals.map(|&(_, d)| encode(d)).collect()
}

/// The encoded real diagonals of some giant rotations.
fn encode_real(
    encoder: &Encoder,
    giants: &[Giant],
    log_slots: u32,
    scale: f64,
    diagonal: &(impl Fn(usize) -> Vec<f64> + Sync + ?Sized),
) -> Result<Vec<Vec<Stored>>, Error> {
    let complex = |d: usize| diagonal(d).into_iter().map(Complex64::from).collect();
    let encode = |giant| encode_giant(encoder, giant, log_slots, scale, &complex).map(Stored::real);
    giants.iter().map(encode).collect()
}

/// A key of the evaluator with its rotation's permutation.
#[derive(Clone)]
struct Rotation<'a> {
    key: &'a KeySwitchKey,
    galois: GaloisElement,
    table: Arc<Automorphism>,
}

/// All rotations of a sum of transforms but the identity.
struct Rotations<'a> {
    n: usize,
    rotations: BTreeMap<GaloisElement, Rotation<'a>>,
}

impl<'a> Rotations<'a> {
    fn new(
        evaluator: &'a Evaluator,
        terms: &[(&Ciphertext, &LinearTransform)],
        level: usize,
    ) -> Result<Self, Error> {
        let context = evaluator.context();
        let mut rotations = BTreeMap::new();
        for shift in terms.iter().flat_map(|(_, t)| t.plan.rotations()) {
            let galois = GaloisElement::rotation(shift as i64, context.n());
            if !galois.is_identity() {
                let rotation = Rotation {
                    key: evaluator.key(OP, KeyKind::Galois(galois), level)?,
                    galois,
                    table: context.automorphism(galois),
                };
                rotations.insert(galois, rotation);
            }
        }
        Ok(Self {
            n: context.n(),
            rotations,
        })
    }

    /// The rotation by a shift; `None` for the identity.
    fn get(&self, shift: usize) -> Option<Rotation<'a>> {
        let galois = GaloisElement::rotation(shift as i64, self.n);
        self.rotations.get(&galois).cloned()
    }

    /// How many special primes sums are over: as most keys have. What a key with others gives is
    /// divided by them first.
    fn specials(&self) -> usize {
        let mut counts = BTreeMap::new();
        for rotation in self.rotations.values() {
            *counts.entry(rotation.key.layout.specials).or_insert(0usize) += 1;
        }
        let most = counts.iter().max_by_key(|&(_, count)| count);
        most.map_or(0, |(&specials, _)| specials)
    }
}

/// The operation's name in errors.
const OP: &str = "linear transform";

/// The input under one baby rotation.
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

impl Evaluator {
    /// The sum of linear transforms of ciphertexts of one level: not rescaled, the scale is each
    /// ciphertext's times its transform's. Giant rotations by the same shift share one key switch.
    /// The period is the largest of all.
    ///
    /// # Errors
    /// [`Error::Operand`] when there are no terms, [`Error::ContextMismatch`],
    /// [`Error::LevelMismatch`], [`Error::ScaleMismatch`], [`Error::SlotCount`] when diagonals have
    /// more slots than the ring, [`Error::MissingGaloisKey`], or that of a streamed diagonal which
    /// cannot be encoded.
    pub fn linear_transform(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<Ciphertext, Error> {
        let (c0, c1, scale, log_slots) = self.transform_sum(terms, GROUP_BYTES)?;
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
    /// As [`Self::linear_transform`], and [`Error::NotEnoughLevels`] at level 0.
    pub fn linear_transform_rescale(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<Ciphertext, Error> {
        let (c0, c1, scale, log_slots) = self.transform_sum(terms, GROUP_BYTES)?;
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

    /// The sum times the special primes, its scale and log2 of its period; `group_bytes` as for
    /// [`groups`].
    pub(super) fn transform_sum(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
        group_bytes: usize,
    ) -> Result<(RnsPoly<Eval>, RnsPoly<Eval>, f64, u32), Error> {
        let (level, scale, log_slots) = self.check_terms(terms)?;
        let context = self.context();
        let rotations = Rotations::new(self, terms, level)?;
        let specials = rotations.specials();
        let basis = Basis::new(level, specials);
        let mut terms: Vec<Term<'_>> = terms
            .iter()
            .map(|&(c, t)| self.baby_rotations(c, t, specials, &rotations))
            .collect::<Result<_, _>>()?;
        let groups = groups(&terms, basis, group_bytes);
        let (mut c0, mut c1) = (RnsPoly::zero(context, basis), RnsPoly::zero(context, basis));
        for (index, group) in groups.iter().enumerate() {
            let encoded = terms.iter().map(|term| {
                let giants = giants_in(term, group);
                term.transform.encoded(self.encoder(), giants)
            });
            let encoded: Vec<Cow<'_, [Vec<Stored>]>> = encoded.collect::<Result<_, _>>()?;
            let partial = partial_sums(context, &terms, &encoded, basis, group);
            drop(encoded);
            if index + 1 == groups.len() {
                // Nothing needs the decompositions while the last giant rotations run.
                terms.clear();
            }
            for (shift, sum0, sum1) in partial {
                match rotations.get(shift) {
                    None => {
                        c0.add_assign(&sum0);
                        c1.add_assign(&sum1);
                    }
                    Some(rotation) => self.giant_rotation(&rotation, sum0, sum1, &mut c0, &mut c1),
                }
            }
        }
        Ok((c0, c1, scale, log_slots))
    }

    /// Level, scale and log2 of the period of a sum, whose terms must agree in the first two.
    fn check_terms(
        &self,
        terms: &[(&Ciphertext, &LinearTransform)],
    ) -> Result<(usize, f64, u32), Error> {
        let Some(&(first, transform)) = terms.first() else {
            return Err(Error::Operand {
                op: OP,
                detail: "there are no terms to sum".into(),
            });
        };
        let (level, scale) = (first.level(), first.scale * transform.scale);
        for (ciphertext, transform) in terms {
            self.check_context(OP, [*ciphertext])?;
            check_levels(OP, level, ciphertext.level())?;
            check_scales(OP, scale, ciphertext.scale * transform.scale)?;
            transform.check(self.context())?;
        }
        let log_slots = terms.iter().map(|(c, t)| c.log_slots.max(t.log_slots));
        Ok((level, scale, log_slots.max().unwrap_or_default()))
    }

    /// Decomposes the input of one transform and finds the keys of its baby rotations.
    fn baby_rotations<'a>(
        &self,
        ciphertext: &'a Ciphertext,
        transform: &'a LinearTransform,
        specials: usize,
        rotations: &Rotations<'a>,
    ) -> Result<Term<'a>, Error> {
        let mut decomposed: Vec<Decomposed> = Vec::new();
        let mut babies = Vec::with_capacity(transform.plan.baby.len());
        for &shift in &transform.plan.baby {
            babies.push(match rotations.get(shift) {
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

    /// Switches and rotates one partial sum and adds it to the whole.
    fn giant_rotation(
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
        let layout = truncate(&key.layout, basis.level());
        if key.layout.specials != basis.specials() {
            let (b, a) = Decomposed::new(&mod_down(sum1), layout).inner_product(key);
            add_times_special(c0, &mod_down(b).automorphism(*galois));
            add_times_special(c1, &mod_down(a).automorphism(*galois));
            c0.add_assign(&sum0.automorphism(*galois));
            return;
        }
        let raised = divide_and_raise(sum1, layout);
        let len = KeyLimb::part_len(context);
        for_each_limb_pair(c0.data_mut(), c1.data_mut(), n, |limb, c0, c1| {
            let index = context.modulus_index(basis, limb);
            let (modulus, key) = (context.modulus(index), KeyLimb::new(context, key, index));
            let mut scratch = context.pool().stale(raised.scratch_words());
            let digits = raised.transform_limb(limb, &mut scratch);
            let mut parts = context.pool().stale(KEY_SCRATCH + 3 * len);
            let (key_scratch, rest) = parts.split_at_mut(KEY_SCRATCH);
            let (b, rest) = rest.split_at_mut(len);
            let (a, rotated) = rest.split_at_mut(len);
            let parts = c0.chunks_exact_mut(len).zip(c1.chunks_exact_mut(len));
            for (part, (c0, c1)) in parts.enumerate() {
                let source = table.source_part(part, len);
                b.copy_from_slice(&sum0.limb(limb)[source * len..][..len]);
                a.fill(0);
                let out = [&mut *b, &mut *a];
                key.product_part(source, &digits, Init::Accumulate, out, key_scratch);
                for (acc, switched) in [(c0, &*b), (c1, &*a)] {
                    kernel.permute_part(table, part, rotated, switched);
                    kernel.add(modulus, acc, rotated);
                }
            }
        });
    }
}
