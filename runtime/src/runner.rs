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
#[derive(Debug, Default)]
pub struct Batch {
    /// For every image, one value for each class: logits or probabilities. An image that has no
    /// answer has [`Error::InputRange`] or [`Error::OutOfRange`]; it costs no other image's answer.
    pub answers: Vec<Result<Vec<f64>, Error>>,
    /// What the slots before every non-linear function reached over the batch. An encrypted
    /// execution cannot see them: empty.
    pub ranges: Vec<RangeStatistic>,
    /// The server's seconds over the batch; zero on plain numbers.
    pub seconds: ClassSeconds,
}

/// One period of slots for each piece of an image, or why it is refused.
type Packed = Result<Vec<Vec<f64>>, Error>;

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
    /// If the image or the answer is out of range, or as [`run`](Self::run).
    pub fn predict(&self, image: &InputTensor) -> Result<Prediction, Error> {
        let batch = self.run(std::slice::from_ref(image), 0, &())?;
        let answer = batch.answers.into_iter().next();
        Ok(Prediction::of(answer.unwrap_or_else(|| Ok(Vec::new()))?))
    }

    /// The answers to images. Modelled errors are drawn by the index of the image: the first one
    /// has the index `first`. Images and answers out of range are errors of their own in the batch.
    ///
    /// # Errors
    /// If an image has another size than the plan takes, or an operation fails.
    pub fn run(
        &self,
        images: &[InputTensor],
        first: u64,
        observer: &dyn Observer,
    ) -> Result<Batch, Error> {
        let input = &self.plan.input;
        let packed: Vec<Packed> = images
            .iter()
            .map(|image| of_image(pack(input, &image.name, &image.elements), &image.name))
            .collect::<Result<_, _>>()?;
        let observed = Observed::begin(observer, Activity::AnsweringImages, images.len());
        match &self.execution {
            Execution::Clear(interpreter) => {
                let mut fitting = Vec::with_capacity(images.len());
                let packed = packed.into_iter();
                let taken: Vec<Result<(), Error>> = packed
                    .map(|image| image.map(|pieces| fitting.push(pieces)))
                    .collect();
                let batch = interpreter.run_batch(&fitting)?;
                let mut outputs = batch.outputs.iter();
                let mut answers = Vec::with_capacity(images.len());
                for (image, taken) in images.iter().zip(taken) {
                    observed.advance();
                    answers.push(match taken.map(|()| outputs.next()) {
                        Err(refusal) => Err(refusal),
                        Ok(slots) => {
                            let slots = slots.map(Vec::as_slice).unwrap_or_default();
                            of_image(unpack(&self.plan.output, slots), &image.name)?
                        }
                    });
                }
                Ok(Batch {
                    answers,
                    ranges: batch.ranges,
                    seconds: ClassSeconds::default(),
                })
            }
            Execution::Noisy(interpreter) => {
                self.noisy_batch(interpreter, (images, packed), first, &observed)
            }
            Execution::Encrypted(parties) => {
                let (client, server) = &**parties;
                let mut batch = Batch::default();
                for (image, packed) in images.iter().zip(packed) {
                    if let Err(refusal) = packed {
                        batch.answers.push(Err(refusal));
                        observed.advance();
                        continue;
                    }
                    let encrypted = client.encrypt(&image.name, &image.elements)?;
                    let (answer, trace) = server.run(encrypted, observer)?;
                    batch.seconds += trace.classes;
                    let answer = client.decrypt(&answer, Disclosure::Private);
                    batch.answers.push(of_image(answer, &image.name)?);
                    observed.advance();
                }
                Ok(batch)
            }
        }
    }

    fn noisy_batch(
        &self,
        interpreter: &NoisyInterpreter,
        (images, packed): (&[InputTensor], Vec<Packed>),
        first: u64,
        observed: &Observed<'_>,
    ) -> Result<Batch, Error> {
        let plan = &self.plan;
        let graph = &plan.schedule.graph;
        let scales: Vec<f64> = (plan.schedule.inputs())
            .map(|input| graph.ty(input).scale())
            .collect();
        let one = |(index, pieces): (usize, Packed)| {
            let pieces = match pieces {
                Ok(pieces) => pieces,
                Err(refusal) => {
                    observed.advance();
                    return Ok((Err(refusal), Vec::new()));
                }
            };
            let backend = interpreter.execution(first + index as u64);
            let pieces = pieces.into_iter().zip(&scales);
            let inputs = pieces.map(|(slots, scale)| backend.encrypted(slots, *scale));
            let outputs = execute(&plan.schedule, &backend, inputs.collect(), &mut |_, _| ())?;
            let slots = outputs.first().map(Vec::as_slice).unwrap_or_default();
            let answer = of_image(unpack(&plan.output, slots), &images[index].name)?;
            observed.advance();
            Ok((answer, backend.into_ranges()))
        };
        let all: Vec<_> = packed
            .into_par_iter()
            .enumerate()
            .map(one)
            .collect::<Result<_, Error>>()?;
        let mut batch = Batch::default();
        for (answer, ranges) in all {
            batch.answers.push(answer);
            merge_ranges(&mut batch.ranges, ranges);
        }
        Ok(batch)
    }
}

/// What concerns one image alone is the outcome of that image, by its name; any other error is one
/// of the whole batch.
fn of_image<T>(found: Result<T, Error>, image: &str) -> Result<Result<T, Error>, Error> {
    match found {
        Err(Error::OutOfRange { .. }) => Ok(Err(Error::OutOfRange {
            what: format!("the answer to `{image}`"),
        })),
        Err(error @ Error::InputRange { .. }) => Ok(Err(error)),
        other => other.map(Ok),
    }
}

/// Adds the ranges of a batch to those of the batches before it.
pub fn merge_ranges(all: &mut Vec<RangeStatistic>, more: Vec<RangeStatistic>) {
    if all.is_empty() {
        *all = more;
    } else {
        // An image that was refused reached no range: `more` may be empty.
        for (all, more) in all.iter_mut().zip(&more) {
            all.merge(more);
        }
    }
}
