//! Where the time of an execution went: per operation, per layer and per kind of work.

use std::fmt;
use std::time::Duration;

use heddle_ir::ckks::{Op, Schedule};
use heddle_ir::printable::cell;
use serde::{Deserialize, Serialize};

use crate::executor::Step;

/// What an operation is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Convolutions, shortcuts, pooling and dense layers, with their rescales.
    Linear,
    /// Polynomials of activations, with their products and rescales.
    Activation,
    /// Bootstraps.
    Bootstrap,
}

impl Work {
    const ALL: [Self; 3] = [Self::Linear, Self::Activation, Self::Bootstrap];

    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Activation => "activation",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// One executed operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedOp {
    /// The operation's id in the schedule.
    pub value: u32,
    /// The operation.
    pub op: String,
    /// The ONNX node it comes from.
    pub node: String,
    /// What it is done for.
    pub work: Work,
    /// log2 of the period of the result's slots.
    pub log_slots: u32,
    /// Level of the first operand.
    pub level_in: usize,
    /// Level of the result.
    pub level_out: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The operations of one ONNX node that follow one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedLayer {
    /// The ONNX node.
    pub node: String,
    /// What was done.
    pub work: Work,
    /// Operations in it.
    pub operations: usize,
    /// Level before the first of them.
    pub level_in: usize,
    /// Level after the last of them.
    pub level_out: usize,
    /// Seconds that they took.
    pub seconds: f64,
}

/// All operations of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedKind {
    /// The operation.
    pub op: String,
    /// How many there are.
    pub operations: usize,
    /// Seconds that they took, rescales that were done with them included.
    pub seconds: f64,
}

/// Seconds by kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Linear layers.
    pub linear: f64,
    /// Activations.
    pub activation: f64,
    /// Bootstraps.
    pub bootstrap: f64,
}

/// An execution, as written by `heddle run --trace`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Seconds of all operations together.
    pub seconds: f64,
    /// The same by kind of work.
    pub split: Split,
    /// The same by kind of operation, in order of first execution.
    pub kinds: Vec<TracedKind>,
    /// Per layer, in order of execution.
    pub layers: Vec<TracedLayer>,
    /// Per operation, in order of execution.
    pub operations: Vec<TracedOp>,
}

/// The kind of work of every operation. A rescale belongs to what it follows, a dropped level to what it is for.
fn works(schedule: &Schedule) -> Vec<Work> {
    let graph = &schedule.graph;
    let mut works: Vec<Work> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        works.push(match graph.node(value).op {
            Op::Bootstrap { .. } => Work::Bootstrap,
            Op::Polynomial { .. } | Op::Multiply => Work::Activation,
            Op::Rescale => {
                let operand = graph.operands(value).first().copied();
                operand.map_or(Work::Linear, |operand| works[operand.index()])
            }
            _ => Work::Linear,
        });
    }
    for value in graph.values().rev() {
        if matches!(graph.node(value).op, Op::DropLevel)
            && let Some(user) = graph.users(value).first()
        {
            works[value.index()] = works[user.index()];
        }
    }
    works
}

/// Collects a [`Trace`] while a schedule is executed.
#[derive(Clone, Debug)]
pub struct Tracer {
    works: Vec<Work>,
    trace: Trace,
}

impl Tracer {
    /// A tracer for one execution of `schedule`.
    pub fn new(schedule: &Schedule) -> Self {
        Self {
            works: works(schedule),
            trace: Trace::default(),
        }
    }

    /// Records an operation; an observer of [`execute`](crate::executor::execute).
    pub fn record(&mut self, step: &Step<'_>, elapsed: Duration) {
        if matches!(step.op, Op::Input) {
            return;
        }
        let work = self.works[step.value.index()];
        let seconds = elapsed.as_secs_f64();
        let (level_in, level_out) = (step.operand.level, step.ty.level);
        self.trace.seconds += seconds;
        *match work {
            Work::Linear => &mut self.trace.split.linear,
            Work::Activation => &mut self.trace.split.activation,
            Work::Bootstrap => &mut self.trace.split.bootstrap,
        } += seconds;
        let op = op_name(step.op);
        match self.trace.kinds.iter_mut().find(|kind| kind.op == op) {
            Some(kind) => {
                kind.operations += 1;
                kind.seconds += seconds;
            }
            None => self.trace.kinds.push(TracedKind {
                op: op.into(),
                operations: 1,
                seconds,
            }),
        }
        self.trace.operations.push(TracedOp {
            value: step.value.0,
            op: op.into(),
            node: step.name.into(),
            work,
            log_slots: step.ty.log_slots,
            level_in,
            level_out,
            seconds,
        });
        match self.trace.layers.last_mut() {
            Some(layer) if layer.node == step.name && layer.work == work => {
                layer.operations += 1;
                layer.level_out = level_out;
                layer.seconds += seconds;
            }
            _ => self.trace.layers.push(TracedLayer {
                node: step.name.into(),
                work,
                operations: 1,
                level_in,
                level_out,
                seconds,
            }),
        }
    }

    /// What was recorded.
    pub fn finish(self) -> Trace {
        self.trace
    }
}

/// The operation's name in the schedule's text form.
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Input => "input",
        Op::LinearTransform { .. } => "linear_transform",
        Op::MultiplyAccumulate { .. } => "multiply_accumulate",
        Op::AddBias { .. } => "add_bias",
        Op::Rotate { .. } => "rotate",
        Op::Add => "add",
        Op::Multiply => "multiply",
        Op::Rescale => "rescale",
        Op::DropLevel => "drop_level",
        Op::Polynomial { .. } => "polynomial",
        Op::Bootstrap { .. } => "bootstrap",
    }
}

impl fmt::Display for Trace {
    /// A table of the layers, with the split by kind of work and by kind of operation below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .layers
            .iter()
            .map(|layer| cell(&layer.node).chars().count())
            .max();
        let width = width.unwrap_or_default().max("layer".len());
        writeln!(
            f,
            "{:<width$}  {:<10}  {:>7}  {:>9}  {:>6}",
            "layer", "work", "levels", "seconds", "share"
        )?;
        for layer in &self.layers {
            writeln!(
                f,
                "{:<width$}  {:<10}  {:>7}  {:>9.3}  {:>5.1}%",
                cell(&layer.node),
                layer.work.name(),
                format!("{}→{}", layer.level_in, layer.level_out),
                layer.seconds,
                share(layer.seconds, self.seconds),
            )?;
        }
        for work in Work::ALL {
            let seconds = match work {
                Work::Linear => self.split.linear,
                Work::Activation => self.split.activation,
                Work::Bootstrap => self.split.bootstrap,
            };
            let name = work.name();
            writeln!(
                f,
                "{:<width$}  {name:<10}  {:>7}  {seconds:>9.3}  {:>5.1}%",
                "total",
                "",
                share(seconds, self.seconds)
            )?;
        }
        write!(
            f,
            "{:<width$}  {:<10}  {:>7}  {:>9.3}",
            "total", "all", "", self.seconds
        )?;
        write!(
            f,
            "\n\n{:<16}  {:>7}  {:>9}  {:>6}",
            "operation", "count", "seconds", "share"
        )?;
        for kind in &self.kinds {
            write!(
                f,
                "\n{:<16}  {:>7}  {:>9.3}  {:>5.1}%",
                kind.op,
                kind.operations,
                kind.seconds,
                share(kind.seconds, self.seconds),
            )?;
        }
        Ok(())
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    }
}
