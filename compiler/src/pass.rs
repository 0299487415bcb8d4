//! What a pass is to the pipeline: a name, a stage, and the text of the graph after it.

/// Whether a pass did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The graph after the pass differs from the graph before.
    Yes,
    /// The pass found nothing to do.
    No,
}

/// One of the three stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The tensor graph.
    Nn,
    /// The packed graph.
    Slot,
    /// The levelled schedule.
    Ckks,
}

/// What one pass did.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// The pass's name, in kebab case.
    pub name: &'static str,
    /// The stage of its result.
    pub stage: Stage,
    /// Whether it did anything.
    pub changed: Changed,
    /// What it has to say for itself: counts, costs, rejected alternatives.
    pub remarks: Vec<String>,
    /// The graph after the pass, kept only when the pipeline is asked to explain and it changed.
    pub text: Option<String>,
}

/// Whether the text after every pass is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Explain {
    /// Keep names and remarks only.
    #[default]
    Remarks,
    /// Keep the graph after every pass that changed it.
    Graphs,
}

/// The records of all passes, in order.
#[derive(Clone, Debug, Default)]
pub struct PassLog {
    explain: Explain,
    records: Vec<PassRecord>,
}

impl PassLog {
    /// An empty log.
    pub fn new(explain: Explain) -> Self {
        Self {
            explain,
            records: Vec::new(),
        }
    }

    /// The records so far.
    pub fn records(&self) -> &[PassRecord] {
        &self.records
    }

    /// Records a pass; `print` gives the text of the graph after it.
    pub(crate) fn push(
        &mut self,
        name: &'static str,
        stage: Stage,
        changed: Changed,
        remarks: Vec<String>,
        print: impl FnOnce() -> String,
    ) -> &PassRecord {
        let keep = self.explain == Explain::Graphs && changed == Changed::Yes;
        let text = keep.then(print);
        self.records.push(PassRecord {
            name,
            stage,
            changed,
            remarks,
            text,
        });
        &self.records[self.records.len() - 1]
    }
}
