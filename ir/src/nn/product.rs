//! Products of two values.

use serde::{Deserialize, Serialize};

/// Which product of a calibrated graph, by order of execution there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductId(pub u32);

impl ProductId {
    /// The id as an index into a dense table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
