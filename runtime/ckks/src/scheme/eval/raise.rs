//! Raising a ciphertext from the lowest level to the whole chain.

use heddle_params::keys::KeyKind;

use crate::Error;
use crate::ring::context::Basis;
use crate::ring::rns::{mod_down, raise};
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::eval::{Evaluator, check_levels};
use crate::scheme::keyswitch::{Decomposed, Switch};

impl Evaluator {
    /// Switches a level-0 ciphertext to the ephemeral sparse secret of bootstrapping (Bossuat,
    /// Troncoso-Pastoriza and Hubaux, ACNS 2022). Scale and slots stay; nothing but
    /// [`Self::raise_decapsulate`] makes sense afterwards.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] when the ciphertext is not at level 0,
    /// or a missing encapsulation key.
    pub fn encapsulate(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        const OP: &str = "encapsulate";
        self.check_context(OP, [ciphertext])?;
        check_levels(OP, ciphertext.level(), 0)?;
        let key = self.key(OP, KeyKind::Encapsulate, 0)?;
        let (c0, c1) = Switch::new(&ciphertext.c1, key, [Some(&ciphertext.c0), None]).run();
        Ok(Ciphertext {
            c0,
            c1,
            ..*ciphertext
        })
    }

    /// Raises a level-0 ciphertext under the ephemeral secret to the level of the decapsulation
    /// key, and switches it to the main secret. The message becomes `m + q_0 I` with a small
    /// integer polynomial `I`. Scale and slots stay.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::LevelMismatch`] when the ciphertext is not at level 0,
    /// or a missing decapsulation key.
    pub fn raise_decapsulate(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        self.check_context("raise", [ciphertext])?;
        check_levels("raise", ciphertext.level(), 0)?;
        let key = self.key("raise", KeyKind::Decapsulate, 0)?;
        let digit = raise(&ciphertext.c1.clone().into_coeff(), key.basis()).into_eval();
        let decomposed = Decomposed {
            digits: vec![digit],
            layout: key.layout.clone(),
        };
        let (b, a) = decomposed.inner_product(key);
        let mut c0 = mod_down(b);
        c0.add_assign(
            &raise(
                &ciphertext.c0.clone().into_coeff(),
                Basis::q(key.layout.level),
            )
            .into_eval(),
        );
        Ok(Ciphertext {
            c0,
            c1: mod_down(a),
            ..*ciphertext
        })
    }

    /// Raises a level-0 ciphertext to the highest level under the same secret, without
    /// encapsulation: the integer part of the message is as large as the main secret makes it.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], or [`Error::LevelMismatch`] when the ciphertext is not at level
    /// 0.
    pub fn raise(&self, ciphertext: &Ciphertext) -> Result<Ciphertext, Error> {
        self.check_context("raise", [ciphertext])?;
        check_levels("raise", ciphertext.level(), 0)?;
        let basis = Basis::q(self.context().max_level());
        let [c0, c1] = [&ciphertext.c0, &ciphertext.c1]
            .map(|c| raise(&c.clone().into_coeff(), basis).into_eval());
        Ok(Ciphertext {
            c0,
            c1,
            ..*ciphertext
        })
    }
}
