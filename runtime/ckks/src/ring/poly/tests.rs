//! Arithmetic against schoolbook products and naive permutations.

use super::*;
use heddle_params::named;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

fn context() -> Arc<Context> {
    Context::new(named::toy(6).unwrap()).unwrap()
}

/// A uniform polynomial, in either domain: the transform permutes uniform polynomials.
fn uniform<D>(rng: &mut impl RngCore, ctx: &Arc<Context>, basis: Basis) -> RnsPoly<D> {
    let mut poly = RnsPoly::stale(ctx, basis);
    for i in 0..basis.limbs() {
        let modulus = *ctx.limb_modulus(basis, i);
        let mask = u64::MAX >> (64 - modulus.bits());
        for value in poly.limb_mut(i) {
            *value = loop {
                let draw = rng.next_u64() & mask;
                if draw < modulus.value() {
                    break draw;
                }
            };
        }
    }
    poly
}

/// Schoolbook product modulo X^n + 1.
fn schoolbook(a: &[i64], b: &[i64]) -> Vec<i64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            if i + j < n {
                out[i + j] += x * y
            } else {
                out[i + j - n] -= x * y
            }
        }
    }
    out
}

fn small(rng: &mut ChaCha20Rng, n: usize) -> Vec<i64> {
    (0..n).map(|_| rng.random_range(-1000..1000)).collect()
}

#[test]
fn products_are_negacyclic() {
    let ctx = context();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let basis = Basis::new(5, 2);
    let (a, b, c) = (
        small(&mut rng, 64),
        small(&mut rng, 64),
        small(&mut rng, 64),
    );
    let eval = |x: &[i64]| RnsPoly::from_i64(&ctx, basis, x).into_eval();
    let mut product = eval(&a);
    product.mul_assign(&eval(&b));
    let mut expected = schoolbook(&a, &b);
    assert_eq!(
        product.clone().into_coeff(),
        RnsPoly::from_i64(&ctx, basis, &expected)
    );
    product.mul_add(&eval(&a), &eval(&c));
    expected
        .iter_mut()
        .zip(schoolbook(&a, &c))
        .for_each(|(e, x)| *e += x);
    assert_eq!(
        product.into_coeff(),
        RnsPoly::from_i64(&ctx, basis, &expected)
    );
}

#[test]
fn linear_operations_act_on_coefficients() {
    let ctx = context();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let basis = Basis::q(3);
    let (a, b) = (small(&mut rng, 64), small(&mut rng, 64));
    let poly = |x: &[i64]| RnsPoly::from_i64(&ctx, basis, x);
    let combined: Vec<i64> = a
        .iter()
        .zip(&b)
        .map(|(x, y)| 7 * (-(x + y) - y) - 3 * x)
        .collect();
    let mut x = poly(&a);
    x.add_assign(&poly(&b));
    x.neg_assign();
    x.sub_assign(&poly(&b));
    x.mul_scalar_assign(&x.residues_of(7));
    x.mul_scalar_add(&poly(&a), &x.residues_of(-3));
    assert_eq!(x, poly(&combined));
    assert_eq!(
        x.drop_to(1),
        RnsPoly::from_i64(&ctx, Basis::q(1), &combined)
    );
    let wide: Vec<i128> = combined.iter().map(|&c| i128::from(c) << 70).collect();
    x.mul_scalar_assign(&x.residues_of(1 << 70));
    assert_eq!(x, RnsPoly::from_i128(&ctx, basis, &wide));
}

#[test]
fn automorphisms_agree_between_domains_and_compose() {
    let ctx = context();
    let n = ctx.n();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let x: RnsPoly<Coeff> = uniform(&mut rng, &ctx, Basis::new(2, 1));
    let mut elements: Vec<GaloisElement> = (0..8).map(|k| GaloisElement::rotation(k, n)).collect();
    elements.push(GaloisElement::conjugation(n));
    for &g in &elements {
        let image = x.automorphism(g);
        let values = x.to_eval();
        let (whole, table) = (values.automorphism(g), ctx.automorphism(g));
        for len in [8, 16, 64] {
            let mut part = vec![0; len];
            for k in 0..n / len {
                let source = &values.limb(1)[table.source_part(k, len) * len..][..len];
                ctx.kernel().permute_part(&table, k, &mut part, source);
                assert_eq!(part, whole.limb(1)[k * len..][..len]);
            }
        }
        assert_eq!(x.to_eval().automorphism(g).to_coeff(), image);
        assert_eq!(x.clone().into_eval().into_coeff(), x);
        assert_eq!(image.automorphism(g.inverse()), x);
        assert_eq!(
            image.automorphism(elements[3]),
            x.automorphism(g.then(elements[3]))
        );
    }
}

#[test]
fn compact_polynomials_act_like_their_expansion() {
    let ctx = context();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let basis = Basis::new(2, 1);
    for len in [1, 2, 4, 16, 64] {
        let coefficients = small(&mut rng, len);
        let compact = CompactPoly::from_i64(&ctx, basis, &coefficients);
        let full = RnsPoly::from_i64(&ctx, basis, &coefficients).into_eval();
        assert_eq!(compact.expand(), full);
        let x: RnsPoly<Eval> = uniform(&mut rng, &ctx, basis);
        let (mut a, mut b) = (x.clone(), x.clone());
        a.mul_compact_assign(&compact);
        b.mul_assign(&full);
        assert_eq!(a, b, "product, {len} values");
        a.mul_compact_add(&x, &compact);
        b.mul_add(&x, &full);
        assert_eq!(a, b, "accumulation, {len} values");
        a.add_compact_assign(&compact);
        b.add_assign(&full);
        assert_eq!(a, b, "sum, {len} values");
        let wide: Vec<i128> = coefficients.iter().map(|&c| c.into()).collect();
        assert_eq!(CompactPoly::from_i128(&ctx, basis, &wide).expand(), full);
    }
}
