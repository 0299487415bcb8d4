//! What the pipeline is written in: a graph in its stage, on which passes run one after the other.
//! The graph is verified after every pass, in release builds too, and every pass is logged.

use heddle_ir::ckks::{Schedule, Target};
use heddle_ir::linear::ExpandedMaps;
use heddle_ir::nn::Model;
use heddle_ir::slot::SlotGraph;
use heddle_ir::weights::Weights;
use heddle_ir::{text, verify};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use crate::analysis::prediction::Prediction;
use crate::error::Error;
use crate::observer::Observer;
use crate::pass::{Changed, Explain, PassLog, Stage};

/// A graph of one of the three stages.
pub(crate) trait StageGraph {
    /// Its stage.
    const STAGE: Stage;

    /// Checks the graph with all that it refers to.
    fn verify(&self) -> Result<(), Error>;

    /// Its text form.
    fn print(&self) -> String;
}

impl StageGraph for Model {
    const STAGE: Stage = Stage::Nn;

    fn verify(&self) -> Result<(), Error> {
        Ok(verify::require("nn", &verify::nn::verify(self))?)
    }

    fn print(&self) -> String {
        text::print_nn(self)
    }
}

/// A packed graph and the model that it was made from, which holds the weights.
pub(crate) struct Packed {
    pub(crate) graph: SlotGraph,
    pub(crate) model: Model,
}

impl Packed {
    /// Replaces the graph by what a pass makes of it and the weights.
    pub(crate) fn map(
        self,
        run: impl FnOnce(SlotGraph, &Weights) -> Result<(SlotGraph, Changed), Error>,
    ) -> Result<(Self, Changed), Error> {
        let (graph, changed) = run(self.graph, &self.model.weights)?;
        Ok((Self { graph, ..self }, changed))
    }
}

impl StageGraph for Packed {
    const STAGE: Stage = Stage::Slot;

    fn verify(&self) -> Result<(), Error> {
        let violations = verify::slot::verify(&self.graph, &self.model.weights);
        Ok(verify::require("slot", &violations)?)
    }

    fn print(&self) -> String {
        text::print_slot(&self.graph)
    }
}

/// A schedule, what it was made from and what it is made for.
pub(crate) struct Scheduled {
    pub(crate) schedule: Schedule,
    pub(crate) packed: Packed,
    pub(crate) expanded: ExpandedMaps,
    pub(crate) parameters: Parameters,
    pub(crate) bootstrap: BootstrapParameters,
    pub(crate) prediction: Prediction,
}

impl StageGraph for Scheduled {
    const STAGE: Stage = Stage::Ckks;

    fn verify(&self) -> Result<(), Error> {
        let target = Target {
            parameters: &self.parameters,
            bootstrap: &self.bootstrap,
        };
        let weights = &self.packed.model.weights;
        let violations = verify::ckks::verify(&self.schedule, target, Some(weights));
        verify::require("ckks", &violations)?;
        let violations =
            verify::ckks::verify_expanded_diagonals(&self.schedule, weights, &self.expanded);
        Ok(verify::require("ckks", &violations)?)
    }

    fn print(&self) -> String {
        text::print_ckks(&self.schedule)
    }
}

/// Keeps the records of passes and tells the observer of each.
struct Journal<'a> {
    log: PassLog,
    observer: &'a dyn Observer,
}

impl Journal<'_> {
    fn record<G: StageGraph>(
        &mut self,
        name: &'static str,
        changed: Changed,
        graph: &G,
        remarks: Vec<String>,
    ) {
        let record = self
            .log
            .push(name, G::STAGE, changed, remarks, || graph.print());
        self.observer.pass_finished(record);
    }
}

/// A verified graph, ready for the next pass.
pub(crate) struct Verified<'a, G> {
    graph: G,
    journal: Journal<'a>,
}

impl<'a, G: StageGraph> Verified<'a, G> {
    /// Verifies the graph that the first pass starts from; `name` stands for where it comes from.
    pub(crate) fn begin(
        name: &'static str,
        graph: G,
        explain: Explain,
        observer: &'a dyn Observer,
    ) -> Result<Self, Error> {
        graph.verify()?;
        let log = PassLog::new(explain);
        let mut begun = Self {
            graph,
            journal: Journal { log, observer },
        };
        begun.note(name, Changed::Yes, Vec::new());
        Ok(begun)
    }

    /// The graph as the last pass left it.
    pub(crate) fn graph(&self) -> &G {
        &self.graph
    }

    /// Runs a pass that stays in the stage.
    pub(crate) fn pass(
        self,
        name: &'static str,
        run: impl FnOnce(G) -> Result<(G, Changed), Error>,
    ) -> Result<Self, Error> {
        self.pass_with_remarks(name, run, |_| Vec::new())
    }

    /// Runs a pass that stays in the stage and has something to say of its result.
    pub(crate) fn pass_with_remarks(
        self,
        name: &'static str,
        run: impl FnOnce(G) -> Result<(G, Changed), Error>,
        remarks: impl FnOnce(&G) -> Vec<String>,
    ) -> Result<Self, Error> {
        let run = |graph| run(graph).map(|(graph, changed)| (graph, changed, ()));
        let (verified, ()) = self.pass_giving(name, run, |graph, ()| remarks(graph))?;
        Ok(verified)
    }

    /// Runs a pass that stays in the stage and gives more than the graph.
    pub(crate) fn pass_giving<T>(
        mut self,
        name: &'static str,
        run: impl FnOnce(G) -> Result<(G, Changed, T), Error>,
        remarks: impl FnOnce(&G, &T) -> Vec<String>,
    ) -> Result<(Self, T), Error> {
        let (graph, changed, given) = run(self.graph)?;
        graph.verify()?;
        let remarks = remarks(&graph, &given);
        self.journal.record(name, changed, &graph, remarks);
        Ok((Self { graph, ..self }, given))
    }

    /// Edits the graph for a later pass, which is the one that is logged.
    pub(crate) fn prepare(self, edit: impl FnOnce(G) -> G) -> Result<Self, Error> {
        let graph = edit(self.graph);
        graph.verify()?;
        Ok(Self { graph, ..self })
    }

    /// Notes an analysis of the graph.
    pub(crate) fn note(&mut self, name: &'static str, changed: Changed, remarks: Vec<String>) {
        self.journal.record(name, changed, &self.graph, remarks);
    }

    /// Runs the pass that leads to the next stage.
    pub(crate) fn lower<H: StageGraph>(
        self,
        name: &'static str,
        run: impl FnOnce(G) -> Result<H, Error>,
        remarks: impl FnOnce(&H) -> Vec<String>,
    ) -> Result<Verified<'a, H>, Error> {
        let Self { graph, mut journal } = self;
        let graph = run(graph)?;
        graph.verify()?;
        let remarks = remarks(&graph);
        journal.record(name, Changed::Yes, &graph, remarks);
        Ok(Verified { graph, journal })
    }

    /// The graph and the records of all passes.
    pub(crate) fn finish(self) -> (G, PassLog) {
        (self.graph, self.journal.log)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::pass::PassRecord;
    use heddle_ir::Graph;
    use heddle_ir::nn::{Activation, AxisOrder, Op, Region, TensorType};

    #[derive(Default)]
    struct Names(Mutex<Vec<&'static str>>);

    impl Observer for Names {
        fn pass_finished(&self, pass: &PassRecord) {
            self.0.lock().expect("no test panics here").push(pass.name);
        }
    }

    fn model() -> Model {
        let ty = TensorType::new([1, 2, 2]);
        let mut graph = Graph::new();
        let x = graph.add(Op::Input, &[], ty.clone(), "x");
        let y = graph.add(Op::activation(Activation::Relu), &[x], ty, "relu");
        graph.set_outputs(vec![y]);
        Model {
            name: "m".into(),
            digest: [0; 32],
            graph,
            weights: Weights::default(),
            input_regions: vec![Region::whole([1, 2, 2])],
            input_order: AxisOrder::Chw,
            notes: Vec::new(),
        }
    }

    fn without_outputs(mut model: Model) -> Model {
        model.graph.set_outputs(Vec::new());
        model
    }

    /// A pass that breaks its graph ends the compilation, and is neither logged nor reported.
    #[test]
    fn every_pass_is_verified_then_logged_and_reported() {
        let names = Names::default();
        let begin = |model| Verified::begin("import", model, Explain::Graphs, &names);
        let sound = begin(model()).unwrap();
        let sound = sound.pass("one", |model| Ok((model, Changed::No))).unwrap();
        let sound = sound
            .pass("two", |model| Ok((model, Changed::Yes)))
            .unwrap();
        let broken = sound.pass("three", |model| Ok((without_outputs(model), Changed::Yes)));
        let message = broken.err().expect("it is not verified").to_string();
        assert!(
            message.contains("expected one output, found 0"),
            "{message}"
        );
        assert_eq!(*names.0.lock().unwrap(), ["import", "one", "two"]);

        assert!(begin(without_outputs(model())).is_err());
        let sound = begin(model()).unwrap();
        assert!(sound.prepare(without_outputs).is_err());
        let sound = begin(model()).unwrap();
        assert!(
            sound
                .lower("four", |m| Ok(without_outputs(m)), |_| Vec::new())
                .is_err()
        );
        let (_, log) = begin(model()).unwrap().finish();
        let [record] = log.records() else {
            panic!("{log:?}")
        };
        assert_eq!((record.stage, record.changed), (Stage::Nn, Changed::Yes));
        assert!(
            record
                .text
                .as_ref()
                .is_some_and(|text| text.contains("relu"))
        );
    }
}
