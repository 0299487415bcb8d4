//! What a server does: it runs a plan on ciphertexts with evaluation keys.

use std::sync::Arc;

use heddle_ir::plan::Plan;

use crate::Error;
use crate::backend::ckks::CkksBackend;
use crate::executor::execute;
use crate::memory::Memory;
use crate::message::{EncryptedAnswer, EncryptedImage, ServerKeys, mismatch, same_key};
use crate::progress::{Progress, Show};
use crate::protocol::{KeyId, Protocol};
use crate::trace::{Trace, Tracer};

/// A plan with its weights encoded and one client's evaluation keys in memory.
pub struct Server<'a> {
    plan: &'a Plan,
    protocol: Arc<Protocol>,
    backend: CkksBackend<'a>,
    key: KeyId,
}

impl<'a> Server<'a> {
    /// Encodes the plan's weights, as many as `memory` has room for; `protocol` is the plan's.
    ///
    /// # Errors
    /// As [`CkksBackend::load`].
    pub fn load(
        plan: &'a Plan,
        protocol: &Arc<Protocol>,
        keys: ServerKeys,
        memory: Memory,
        show: Show,
    ) -> Result<Self, Error> {
        let ServerKeys { key, keys } = keys;
        Ok(Self {
            plan,
            backend: CkksBackend::load(plan, protocol.context(), Arc::new(keys), memory, show)?,
            protocol: Arc::clone(protocol),
            key,
        })
    }

    /// The encrypted answer to an encrypted image, and where the time went.
    ///
    /// # Errors
    /// If the image was encrypted with another key than the evaluation keys were made with, or does
    /// not have the type of the plan's input.
    pub fn run(
        &self,
        image: EncryptedImage,
        show: Show,
    ) -> Result<(EncryptedAnswer, Trace), Error> {
        let key = image.key;
        same_key(("the evaluation keys", self.key), ("the image", key))?;
        let input = image.expand();
        if let Some(message) = mismatch(&input, &self.protocol.plan().input.ciphertext) {
            return Err(Error::Input {
                what: "the image".into(),
                message: format!("{message}\nhelp: encrypt it for this plan with `heddle encrypt`"),
            });
        }
        let schedule = &self.plan.schedule;
        let mut tracer = Tracer::new(schedule);
        let progress = Progress::new("running the plan", schedule.graph.len(), show);
        let mut outputs = execute(schedule, &self.backend, input, &mut |step, elapsed| {
            tracer.record(step, elapsed);
            progress.step();
        })?;
        let ciphertext = outputs.pop().ok_or_else(|| Error::Input {
            what: "the plan".into(),
            message: "it has no output\nhelp: compile it again with heddlec".into(),
        })?;
        Ok((EncryptedAnswer { key, ciphertext }, tracer.finish()))
    }
}
