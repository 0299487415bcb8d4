//! What convolutions and pools slide over: height and width of an image, or the one extent of a
//! signal.
//!
//! The graph holds a signal `[1, C, T]` as a feature map `[C, 1, T]`, or `[C, T, 1]` behind a
//! two-dimensional operation that left a width of 1. Windows get an extent of 1 along the other
//! axis.

use heddle_ir::ValueId;
use heddle_ir::nn::Op;

use super::attr::Attributes;
use super::build::Graph;
use super::call::{Call, Traced, Value};
use super::view::View;

/// The axes that a window slides along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    /// Height and width.
    Image,
    /// The graph's axis behind the time of a signal: 1 (height) or 2 (width).
    Signal(usize),
}

impl Plane {
    /// Number of axes.
    pub(super) fn rank(self) -> usize {
        match self {
            Self::Image => 2,
            Self::Signal(_) => 1,
        }
    }

    /// One number for height and one for width, from as many as there are axes; `rest` stands for
    /// the axis that a signal does not have.
    pub(super) fn spread(self, extents: &[usize], rest: usize) -> [usize; 2] {
        match (self, extents) {
            (Self::Image, [height, width]) => [*height, *width],
            (Self::Signal(1), [time]) => [*time, rest],
            (Self::Signal(_), [time]) => [rest, *time],
            _ => [rest; 2],
        }
    }

    /// An attribute with a number of at least `least` for every axis.
    pub(super) fn extents(
        self,
        attributes: &Attributes<'_>,
        name: &str,
        least: usize,
    ) -> Result<Option<[usize; 2]>, String> {
        Ok(match self {
            Self::Image => attributes.extents::<2>(name, least)?,
            Self::Signal(_) => {
                let extents = attributes.extents::<1>(name, least)?;
                extents.map(|extents| self.spread(&extents, 1))
            }
        })
    }

    /// The attribute `pads`: before height and width, then behind them.
    pub(super) fn pads(self, attributes: &Attributes<'_>) -> Result<Option<[usize; 4]>, String> {
        Ok(match self {
            Self::Image => attributes.extents::<4>("pads", 0)?,
            Self::Signal(_) => attributes.extents::<2>("pads", 0)?.map(|[before, after]| {
                let [top, left] = self.spread(&[before], 0);
                let [bottom, right] = self.spread(&[after], 0);
                [top, left, bottom, right]
            }),
        })
    }
}

impl Call<'_> {
    /// An input seen as `[1, C, H, W]`, or as `[1, C, T]`.
    pub(super) fn spatial(
        &self,
        graph: &mut Graph,
        index: usize,
    ) -> Result<(ValueId, Plane), String> {
        let Traced { id, view } = self.traced(index)?;
        let ty = graph.ty(*id);
        if view.dims().len() != 3 || ty.shape.len() != 3 {
            return Ok((self.feature_map(graph, index)?, Plane::Image));
        }
        let along = (1..3)
            .rev()
            .find(|along| ty.shape[3 - along] == 1 && *view == View::signal(ty, *along));
        along
            .map(|along| (*id, Plane::Signal(along)))
            .ok_or_else(|| {
                format!(
                    "expects [batch, channels, time], found {:?} in another axis order",
                    view.dims()
                )
            })
    }
}

impl Graph {
    /// Appends an operation whose result is seen as its operand is: `[1, C, H, W]` or `[1, C, T]`.
    pub(super) fn on_plane(
        &mut self,
        op: Op,
        x: ValueId,
        plane: Plane,
        name: &str,
    ) -> Result<Value, String> {
        let Plane::Signal(along) = plane else {
            return self.standard(op, &[x], name);
        };
        let id = self.emit(op, &[x], name)?;
        let view = View::signal(self.ty(id), along);
        Ok(Value::Traced(Traced { id, view }))
    }
}
