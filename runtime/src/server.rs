//! What a server does: it runs a plan on ciphertexts with evaluation keys.

use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ckks::ciphertext::Ciphertext;
use heddle_ckks::keys::EvaluationKeys;
use heddle_ir::plan::Plan;

use crate::Error;
use crate::backend::ckks::CkksBackend;
use crate::executor::execute;
use crate::memory::Memory;
use crate::progress::{Progress, Show};
use crate::trace::{Trace, Tracer};

/// A plan with its weights encoded and its evaluation keys in memory.
pub struct Server<'a> {
    plan: &'a Plan,
    backend: CkksBackend<'a>,
}

impl<'a> Server<'a> {
    /// Encodes the plan's weights, as many as `memory` has room for.
    ///
    /// # Errors
    /// As [`CkksBackend::load`].
    pub fn load(
        plan: &'a Plan,
        context: &Arc<Context>,
        keys: EvaluationKeys,
        memory: Memory,
        show: Show,
    ) -> Result<Self, Error> {
        let backend = CkksBackend::load(plan, context, Arc::new(keys), memory, show)?;
        Ok(Self { plan, backend })
    }

    /// The encrypted logits of an encrypted image, and where the time went.
    ///
    /// # Errors
    /// If the ciphertext does not have the type of the plan's input.
    pub fn run(&self, input: Ciphertext, show: Show) -> Result<(Ciphertext, Trace), Error> {
        let schedule = &self.plan.schedule;
        let mut tracer = Tracer::new(schedule);
        let progress = Progress::new("running the plan", schedule.graph.len(), show);
        let mut outputs = execute(schedule, &self.backend, input, &mut |step, elapsed| {
            tracer.record(step, elapsed);
            progress.step();
        })?;
        let output = outputs.pop().ok_or_else(|| Error::Input {
            what: "the plan".into(),
            message: "it has no output\nhelp: compile it again with heddlec".into(),
        })?;
        Ok((output, tracer.finish()))
    }
}
