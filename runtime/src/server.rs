//! What a server does: it runs a plan on ciphertexts with evaluation keys.

use std::fmt;
use std::sync::Arc;

use heddle_ir::plan::Plan;

use crate::Error;
use crate::backend::ckks::CkksBackend;
use crate::executor::execute;
use crate::memory::Memory;
use crate::message::{EncryptedAnswer, EncryptedImage, ServerKeys, image_mismatch, same_key};
use crate::observer::{Activity, Observed, Observer};
use crate::protocol::{KeyId, Protocol};
use crate::trace::{Trace, Tracer};

/// A plan with its weights encoded, and one client's evaluation keys, in memory. Several threads
/// may run it at once.
pub struct Server {
    plan: Arc<Plan>,
    protocol: Arc<Protocol>,
    backend: CkksBackend,
    key: KeyId,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("plan", &self.plan.name)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Encodes the plan's weights, as many as `memory` allows; `protocol` is the plan's.
    ///
    /// # Errors
    /// If `protocol` is that of another plan, and as [`CkksBackend::load`].
    pub fn load(
        plan: impl Into<Arc<Plan>>,
        protocol: &Arc<Protocol>,
        keys: ServerKeys,
        memory: Memory,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        if plan.client_plan()?.digest()? != *protocol.digest() {
            return Err(Error::Input {
                what: "the protocol".into(),
                message:
                    "it is that of another plan\nhelp: make it with `Protocol::of` from this plan"
                        .into(),
            });
        }
        let ServerKeys { key, keys } = keys;
        let (context, keys) = (protocol.context(), Arc::new(keys));
        Ok(Self {
            backend: CkksBackend::load(Arc::clone(&plan), context, keys, memory, observer)?,
            plan,
            protocol: Arc::clone(protocol),
            key,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The encrypted answer to an encrypted image, and where the time went.
    ///
    /// # Errors
    /// If the image was encrypted with another key than the evaluation keys were made with, or does
    /// not have as many ciphertexts as the plan's input has pieces, with their level, scale and
    /// slots.
    pub fn run(
        &self,
        image: EncryptedImage,
        observer: &dyn Observer,
    ) -> Result<(EncryptedAnswer, Trace), Error> {
        let key = image.key;
        same_key(("the evaluation keys", self.key), ("the image", key))?;
        let inputs = image.expand();
        let expected = &self.protocol.plan().input.ciphertexts;
        if let Some(message) = image_mismatch(&inputs, expected) {
            return Err(Error::Input {
                what: "the image".into(),
                message: format!("{message}\nhelp: encrypt it for this plan with `heddle encrypt`"),
            });
        }
        let schedule = &self.plan.schedule;
        let mut tracer = Tracer::new(schedule);
        let observed = Observed::begin(observer, Activity::RunningPlan, schedule.graph.len());
        let mut outputs = execute(
            schedule,
            &self.backend,
            inputs,
            &mut |operation, elapsed| {
                tracer.record(operation, elapsed);
                observed.advance();
            },
        )?;
        let ciphertext = outputs.pop().ok_or_else(|| Error::Input {
            what: "the plan".into(),
            message: "it has no output\nhelp: compile it again with heddlec".into(),
        })?;
        Ok((EncryptedAnswer { key, ciphertext }, tracer.finish()))
    }
}
