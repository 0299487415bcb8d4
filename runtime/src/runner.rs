//! A plan that answers images in one process: on plain numbers, with modelled errors, or encrypted.

use std::fmt;
use std::sync::Arc;

use heddle_ir::eval::ckks::{ClearInterpreter, RangeStatistic};
use heddle_ir::plan::Plan;
use heddle_params::Accept;
use rayon::prelude::*;

use crate::Error;
use crate::backend::noisy::NoisyInterpreter;
use crate::client::{Client, Disclosure, KeyLimit};
use crate::executor::execute;
use crate::memory::Memory;
use crate::observer::{Activity, Observed, Observer};
use crate::packing::{InputTensor, Prediction, pack, unpack};
use crate::protocol::{KeyId, Protocol};
use crate::server::Server;
use crate::trace::ClassSeconds;

/// The answers to a batch of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// For every image, one value for each class: logits or probabilities.
    pub values: Vec<Vec<f64>>,
    /// What the slots before every non-linear function reached over the batch. An encrypted
    /// execution cannot see them: empty.
    pub ranges: Vec<RangeStatistic>,
    /// The server's seconds over the batch; zero on plain numbers.
    pub seconds: ClassSeconds,
}

/// A plan ready to answer images in one process. Several threads may use it at once.
pub struct Runner {
    plan: Arc<Plan>,
    execution: Execution,
}

enum Execution {
    Clear(Box<ClearInterpreter>),
    Noisy(Box<NoisyInterpreter>),
    Encrypted(Box<(Client, Server)>),
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let execution = match &self.execution {
            Execution::Clear(_) => "clear",
            Execution::Noisy(_) => "noisy",
            Execution::Encrypted(_) => "encrypted",
        };
        f.debug_struct("Runner")
            .field("plan", &self.plan.name)
            .field("execution", &execution)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner on plain numbers. Its answers differ from encrypted ones by noise alone.
    ///
    /// # Errors
    /// If a weight does not fit the plan.
    pub fn clear(plan: impl Into<Arc<Plan>>) -> Result<Self, Error> {
        let plan = plan.into();
        let interpreter = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap)?;
        Ok(Self {
            plan,
            execution: Execution::Clear(Box::new(interpreter)),
        })
    }

    /// A runner on plain numbers with modelled errors of encryption.
    ///
    /// # Errors
    /// If a weight does not fit the plan, or its parameters do not hold.
    pub fn noisy(plan: impl Into<Arc<Plan>>) -> Result<Self, Error> {
        let plan = plan.into();
        let interpreter = NoisyInterpreter::load(&plan)?;
        Ok(Self {
            plan,
            execution: Execution::Noisy(Box::new(interpreter)),
        })
    }

    /// A client and a server in one process, with fresh keys that are never written.
    ///
    /// # Errors
    /// If the plan's parameters are weaker than `accept` allows, or as
    /// [`Client::server_keys`] and [`Server::load`].
    pub fn encrypted(
        plan: impl Into<Arc<Plan>>,
        accept: Accept,
        memory: Memory,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let plan = plan.into();
        let protocol = Protocol::of(&plan, accept)?;
        let client = Client::generate(&protocol)?;
        let keys = client.server_keys(KeyLimit::default(), observer)?;
        let server = Server::load(Arc::clone(&plan), &protocol, keys, memory, observer)?;
        Ok(Self {
            plan,
            execution: Execution::Encrypted(Box::new((client, server))),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The key that images are encrypted with; `None` on plain numbers.
    pub fn key(&self) -> Option<KeyId> {
        match &self.execution {
            Execution::Encrypted(parties) => Some(parties.0.id()),
            Execution::Clear(_) | Execution::Noisy(_) => None,
        }
    }

    /// What the plan says of one image.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn predict(&self, image: &InputTensor) -> Result<Prediction, Error> {
        let batch = self.run(std::slice::from_ref(image), 0, &())?;
        Ok(Prediction::of(
            batch.values.into_iter().next().unwrap_or_default(),
        ))
    }

    /// The answers to images. Modelled errors are drawn by the index of the image: the first one
    /// has the index `first`.
    ///
    /// # Errors
    /// If an image does not fit the plan, or an operation fails.
    pub fn run(
        &self,
        images: &[InputTensor],
        first: u64,
        observer: &dyn Observer,
    ) -> Result<Batch, Error> {
        let input = &self.plan.input;
        let packed: Vec<Vec<Vec<f64>>> = images
            .iter()
            .map(|image| pack(input, &image.name, &image.elements))
            .collect::<Result<_, _>>()?;
        let observed = Observed::begin(observer, Activity::AnsweringImages, images.len());
        match &self.execution {
            Execution::Clear(interpreter) => {
                let batch = interpreter.run_batch(&packed)?;
                images.iter().for_each(|_| observed.advance());
                let slots = batch.outputs.iter();
                let values = slots.map(|slots| unpack(&self.plan.output, slots));
                Ok(Batch {
                    values: values.collect::<Result<_, _>>()?,
                    ranges: batch.ranges,
                    seconds: ClassSeconds::default(),
                })
            }
            Execution::Noisy(interpreter) => {
                self.noisy_batch(interpreter, packed, first, &observed)
            }
            Execution::Encrypted(parties) => {
                let (client, server) = &**parties;
                let mut batch = Batch::default();
                for image in images {
                    let encrypted = client.encrypt(&image.name, &image.elements)?;
                    let (answer, trace) = server.run(encrypted, observer)?;
                    batch.seconds += trace.classes;
                    batch
                        .values
                        .push(client.decrypt(&answer, Disclosure::Private)?);
                    observed.advance();
                }
                Ok(batch)
            }
        }
    }

    fn noisy_batch(
        &self,
        interpreter: &NoisyInterpreter,
        packed: Vec<Vec<Vec<f64>>>,
        first: u64,
        observed: &Observed<'_>,
    ) -> Result<Batch, Error> {
        let plan = &self.plan;
        let graph = &plan.schedule.graph;
        let scales: Vec<f64> = (plan.schedule.inputs())
            .map(|input| graph.ty(input).scale())
            .collect();
        let one = |(index, pieces): (usize, Vec<Vec<f64>>)| {
            let backend = interpreter.execution(first + index as u64);
            let pieces = pieces.into_iter().zip(&scales);
            let inputs = pieces.map(|(slots, scale)| backend.encrypted(slots, *scale));
            let outputs = execute(&plan.schedule, &backend, inputs.collect(), &mut |_, _| ())?;
            let values = outputs
                .first()
                .map_or(Ok(Vec::new()), |slots| unpack(&plan.output, slots))?;
            observed.advance();
            Ok((values, backend.into_ranges()))
        };
        let all: Vec<_> = packed
            .into_par_iter()
            .enumerate()
            .map(one)
            .collect::<Result<_, Error>>()?;
        let mut batch = Batch::default();
        for (values, ranges) in all {
            batch.values.push(values);
            merge_ranges(&mut batch.ranges, ranges);
        }
        Ok(batch)
    }
}

/// Adds the ranges of a batch to those of the batches before it.
pub fn merge_ranges(all: &mut Vec<RangeStatistic>, more: Vec<RangeStatistic>) {
    if all.is_empty() {
        *all = more;
    } else {
        for (all, more) in all.iter_mut().zip(&more) {
            all.merge(more);
        }
    }
}
