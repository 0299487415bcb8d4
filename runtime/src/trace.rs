//! Where the time of an execution went: by operation, by layer and by operation class.

use std::fmt;
use std::time::Duration;

use heddle_ir::ckks::{Op, Schedule};
use heddle_ir::printable::cell;
use serde::{Deserialize, Serialize};

use crate::backend::Operation;

/// What the time of an operation is booked under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationClass {
    /// Convolutions, shortcuts, pooling and dense layers, with their rescales.
    Linear,
    /// Polynomials of activations, with their products and rescales.
    Activation,
    /// Bootstraps.
    Bootstrap,
}

impl OperationClass {
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
    /// Its class.
    #[serde(rename = "work")]
    pub class: OperationClass,
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
    /// The operations' class.
    #[serde(rename = "work")]
    pub class: OperationClass,
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

/// Seconds by operation class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassSeconds {
    /// Linear layers.
    pub linear: f64,
    /// Activations.
    pub activation: f64,
    /// Bootstraps.
    pub bootstrap: f64,
}

impl std::ops::AddAssign for ClassSeconds {
    fn add_assign(&mut self, other: Self) {
        self.linear += other.linear;
        self.activation += other.activation;
        self.bootstrap += other.bootstrap;
    }
}

/// An execution, as written by `heddle run --trace`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Seconds of all operations together.
    pub seconds: f64,
    /// The same by operation class.
    #[serde(rename = "split")]
    pub classes: ClassSeconds,
    /// The same by kind of operation, in order of first execution.
    pub kinds: Vec<TracedKind>,
    /// Per layer, in order of execution.
    pub layers: Vec<TracedLayer>,
    /// Per operation, in order of execution.
    pub operations: Vec<TracedOp>,
}

/// The class of every operation. A rescale belongs to the operation before it, a dropped level to
/// the operation that uses its result.
fn classes(schedule: &Schedule) -> Vec<OperationClass> {
    let graph = &schedule.graph;
    let mut classes: Vec<OperationClass> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        classes.push(match graph.node(value).op {
            Op::Bootstrap { .. } => OperationClass::Bootstrap,
            Op::Polynomial { .. } | Op::Multiply => OperationClass::Activation,
            Op::Rescale => {
                let operand = graph.operands(value).first().copied();
                operand.map_or(OperationClass::Linear, |operand| classes[operand.index()])
            }
            _ => OperationClass::Linear,
        });
    }
    for value in graph.values().rev() {
        if matches!(graph.node(value).op, Op::DropLevel)
            && let Some(user) = graph.users(value).first()
        {
            classes[value.index()] = classes[user.index()];
        }
    }
    classes
}

/// Collects a [`Trace`] while a schedule is executed.
#[derive(Clone, Debug)]
pub struct Tracer {
    classes: Vec<OperationClass>,
    trace: Trace,
}

impl Tracer {
    /// A tracer for one execution of `schedule`.
    pub fn new(schedule: &Schedule) -> Self {
        Self {
            classes: classes(schedule),
            trace: Trace::default(),
        }
    }

    /// Records an operation; an observer of [`execute`](crate::executor::execute).
    pub fn record(&mut self, operation: &Operation<'_>, elapsed: Duration) {
        if matches!(operation.op, Op::Input) {
            return;
        }
        let class = self.classes[operation.value.index()];
        let seconds = elapsed.as_secs_f64();
        let (level_in, level_out) = (operation.operand.level, operation.ty.level);
        self.trace.seconds += seconds;
        *match class {
            OperationClass::Linear => &mut self.trace.classes.linear,
            OperationClass::Activation => &mut self.trace.classes.activation,
            OperationClass::Bootstrap => &mut self.trace.classes.bootstrap,
        } += seconds;
        let op = op_name(operation.op);
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
            value: operation.value.0,
            op: op.into(),
            node: operation.name.into(),
            class,
            log_slots: operation.ty.log_slots,
            level_in,
            level_out,
            seconds,
        });
        match self.trace.layers.last_mut() {
            Some(layer) if layer.node == operation.name && layer.class == class => {
                layer.operations += 1;
                layer.level_out = level_out;
                layer.seconds += seconds;
            }
            _ => self.trace.layers.push(TracedLayer {
                node: operation.name.into(),
                class,
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
    /// A table of the layers; below it the seconds by operation class and by kind of operation.
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
            "layer", "class", "levels", "seconds", "of all"
        )?;
        for layer in &self.layers {
            writeln!(
                f,
                "{:<width$}  {:<10}  {:>7}  {:>9.3}  {:>5.1}%",
                cell(&layer.node),
                layer.class.name(),
                format!("{}→{}", layer.level_in, layer.level_out),
                layer.seconds,
                percent(layer.seconds, self.seconds),
            )?;
        }
        for class in OperationClass::ALL {
            let seconds = match class {
                OperationClass::Linear => self.classes.linear,
                OperationClass::Activation => self.classes.activation,
                OperationClass::Bootstrap => self.classes.bootstrap,
            };
            let name = class.name();
            writeln!(
                f,
                "{:<width$}  {name:<10}  {:>7}  {seconds:>9.3}  {:>5.1}%",
                "total",
                "",
                percent(seconds, self.seconds)
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
            "operation", "count", "seconds", "of all"
        )?;
        for kind in &self.kinds {
            write!(
                f,
                "\n{:<16}  {:>7}  {:>9.3}  {:>5.1}%",
                kind.op,
                kind.operations,
                kind.seconds,
                percent(kind.seconds, self.seconds),
            )?;
        }
        Ok(())
    }
}

/// `seconds` as percent of `all`.
fn percent(seconds: f64, all: f64) -> f64 {
    if all > 0.0 {
        100.0 * seconds / all
    } else {
        0.0
    }
}
