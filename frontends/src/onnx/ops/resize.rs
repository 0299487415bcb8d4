//! Feature maps of other sizes: interpolation along each axis.

use crate::onnx::build::{AxisMatrix, Graph, Picks};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::ops::pad::filled;

/// Largest extent that an axis may get.
const LARGEST: usize = 1 << 16;

/// `Resize`, by factors or to sizes.
pub(super) fn resize(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let rank = x.view.dims().len();
    let scales_at = if call.opset < 11 { 1 } else { 2 };
    let axes: Vec<usize> = match call.attributes.ints("axes")? {
        None => (0..rank).collect(),
        Some(axes) => {
            dims::axis_set(axes, rank)?;
            let axes = axes.iter().map(|axis| dims::axis(*axis, rank));
            axes.collect::<Result<_, String>>()?
        }
    };
    let scales = factors(call, scales_at)?;
    let sizes = match call.opset {
        ..11 => None,
        _ => call
            .optional_ints(3, "the sizes")?
            .filter(|sizes| !sizes.is_empty()),
    };
    let policy = call.attributes.string("keep_aspect_ratio_policy")?;
    let policy = policy.unwrap_or("stretch");
    let sizes: Vec<Size> = match (scales, sizes) {
        (Some(scales), None) => of_factors(x, &axes, &scales)?,
        (None, Some(sizes)) => of_sizes(x, &axes, &sizes, policy)?,
        _ => return Err("either the factors or the sizes must be given".into()),
    };
    let interpolation = Interpolation::of(call)?;
    if call.attributes.flag("antialias", false)?
        && interpolation.method != Method::Nearest
        && sizes.iter().any(|size| size.factor < 1.0)
    {
        return Err("`antialias` of a value that shrinks; resize without it".into());
    }
    let crops = crops(call, &interpolation, &axes)?;
    resized(graph, call, x, &axes, &sizes, &crops, &interpolation)
}

/// `Upsample`, which `Resize` replaced.
pub(super) fn upsample(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let scales = match call.opset {
        ..9 => call.attributes.floats("scales")?.map(<[f32]>::to_vec),
        _ => factors(call, 1)?,
    };
    let scales = scales.ok_or("the factors are missing")?;
    let axes: Vec<usize> = (0..x.view.dims().len()).collect();
    let sizes = of_factors(x, &axes, &scales)?;
    let interpolation = Interpolation {
        coordinates: Coordinates::Asymmetric,
        method: Method::of(call)?,
        rounding: Rounding::Simple,
        cubic: -0.75,
        excludes_outside: false,
        outside: 0.0,
    };
    let crops = vec![[0.0, 1.0]; axes.len()];
    resized(graph, call, x, &axes, &sizes, &crops, &interpolation)
}

/// The extent that an axis gets, and by which factor coordinates grow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    extent: usize,
    factor: f32,
}

fn factors(call: &Call<'_>, index: usize) -> Result<Option<Vec<f32>>, String> {
    let constant = call.optional_constant(index, "the factors")?;
    let constant = constant.filter(|constant| constant.len() > 0);
    constant.map(|constant| constant.to_weights()).transpose()
}

fn of_factors(x: &Traced, axes: &[usize], factors: &[f32]) -> Result<Vec<Size>, String> {
    if factors.len() != axes.len() {
        return Err(format!("{} factors for {} axes", factors.len(), axes.len()));
    }
    let size = |(axis, factor): (&usize, &f32)| {
        let operand = x.view.dims()[*axis];
        let extent = (operand as f32 * factor).floor();
        if !(1.0..=LARGEST as f32).contains(&extent) || *factor <= 0.0 {
            return Err(format!("resizes an axis of {operand} by {factor}"));
        }
        Ok(Size {
            extent: extent as usize,
            factor: *factor,
        })
    };
    axes.iter().zip(factors).map(size).collect()
}

fn of_sizes(x: &Traced, axes: &[usize], sizes: &[i64], policy: &str) -> Result<Vec<Size>, String> {
    if sizes.len() != axes.len() {
        return Err(format!("{} sizes for {} axes", sizes.len(), axes.len()));
    }
    let mut list = Vec::with_capacity(sizes.len());
    for (axis, size) in axes.iter().zip(sizes) {
        let operand = x.view.dims()[*axis];
        let extent = usize::try_from(*size)
            .ok()
            .filter(|extent| (1..=LARGEST).contains(extent))
            .ok_or_else(|| format!("resizes an axis of {operand} to {size}"))?;
        let factor = extent as f32 / operand as f32;
        list.push(Size { extent, factor });
    }
    let factors = list.iter().map(|size| size.factor);
    let common = match policy {
        "stretch" => return Ok(list),
        "not_larger" => factors.fold(f32::INFINITY, f32::min),
        "not_smaller" => factors.fold(0.0, f32::max),
        other => {
            return Err(format!("attribute `keep_aspect_ratio_policy` is `{other}`"));
        }
    };
    let of_axis = |axis: &usize| {
        let extent = (x.view.dims()[*axis] as f32 * common).round() as usize;
        Size {
            extent: extent.clamp(1, LARGEST),
            factor: common,
        }
    };
    Ok(axes.iter().map(of_axis).collect())
}

/// Start and end of what is kept of every axis, as fractions: `tf_crop_and_resize` reads them.
fn crops(
    call: &Call<'_>,
    interpolation: &Interpolation,
    axes: &[usize],
) -> Result<Vec<[f32; 2]>, String> {
    let whole = vec![[0.0, 1.0]; axes.len()];
    if interpolation.coordinates != Coordinates::CropAndResize {
        return Ok(whole);
    }
    let bounds = call.constant(1, "the region")?.to_weights()?;
    if bounds.len() != 2 * axes.len() {
        return Err(format!("{} bounds for {} axes", bounds.len(), axes.len()));
    }
    let (starts, ends) = bounds.split_at(axes.len());
    Ok(starts
        .iter()
        .zip(ends)
        .map(|(start, end)| [*start, *end])
        .collect())
}

/// How positions of the result become positions of the operand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    TorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNearest,
    CropAndResize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Nearest,
    Linear,
    Cubic,
}

impl Method {
    fn of(call: &Call<'_>) -> Result<Self, String> {
        match call.attributes.string("mode")?.unwrap_or("nearest") {
            "nearest" => Ok(Self::Nearest),
            "linear" => Ok(Self::Linear),
            "cubic" => Ok(Self::Cubic),
            other => Err(format!("attribute `mode` is `{other}`")),
        }
    }
}

/// Which of two neighbours is the nearest one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Before operator set 11: up where an axis shrinks, else down, as onnxruntime does it.
    Simple,
}

struct Interpolation {
    coordinates: Coordinates,
    method: Method,
    rounding: Rounding,
    /// The coefficient of cubic interpolation.
    cubic: f32,
    /// Whether weights outside of the operand are left out, and the others scaled up.
    excludes_outside: bool,
    /// What cropping gives outside of the operand.
    outside: f32,
}

impl Interpolation {
    fn of(call: &Call<'_>) -> Result<Self, String> {
        let method = Method::of(call)?;
        if call.opset < 11 {
            return Ok(Self {
                coordinates: Coordinates::Asymmetric,
                method,
                rounding: Rounding::Simple,
                cubic: -0.75,
                excludes_outside: false,
                outside: 0.0,
            });
        }
        let name = "coordinate_transformation_mode";
        let coordinates = match call.attributes.string(name)?.unwrap_or("half_pixel") {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::TorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNearest,
            "tf_crop_and_resize" => Coordinates::CropAndResize,
            other => return Err(format!("attribute `{name}` is `{other}`")),
        };
        let rounding = call.attributes.string("nearest_mode")?;
        let rounding = match rounding.unwrap_or("round_prefer_floor") {
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => return Err(format!("attribute `nearest_mode` is `{other}`")),
        };
        Ok(Self {
            coordinates,
            method,
            rounding,
            cubic: call.attributes.float("cubic_coeff_a")?.unwrap_or(-0.75),
            excludes_outside: call.attributes.flag("exclude_outside", false)?,
            outside: call.attributes.float("extrapolation_value")?.unwrap_or(0.0),
        })
    }

    /// Where a position of the result lies in an operand of `operand` elements; `None` outside of
    /// what cropping can give. In 32-bit floats, as onnxruntime computes it: ties between
    /// neighbours depend on it.
    fn position(
        &self,
        index: usize,
        operand: usize,
        size: Size,
        [start, end]: [f32; 2],
    ) -> Option<f32> {
        let (at, factor) = (index as f32, size.factor);
        let (length, results) = (operand as f32, size.extent as f32);
        let half_pixel = (at + 0.5) / factor - 0.5;
        let position = match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = results / (factor * length);
                length / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Coordinates::TorchHalfPixel if size.extent > 1 => half_pixel,
            Coordinates::AlignCorners if size.extent > 1 => at * (length - 1.0) / (results - 1.0),
            Coordinates::TorchHalfPixel | Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => at / factor,
            Coordinates::TfHalfPixelForNearest => (at + 0.5) / factor,
            Coordinates::CropAndResize => {
                let position = match size.extent {
                    1 => 0.5 * (start + end) * (length - 1.0),
                    _ => {
                        start * (length - 1.0)
                            + at * (end - start) * (length - 1.0) / (results - 1.0)
                    }
                };
                return Some(position).filter(|at| (0.0..=length - 1.0).contains(at));
            }
        };
        Some(position)
    }

    /// The nearest of the operand's elements.
    fn nearest(&self, position: f32, operand: usize, size: Size) -> usize {
        let rounded = match self.rounding {
            Rounding::PreferFloor => (position - 0.5).ceil(),
            Rounding::PreferCeil => (position + 0.5).floor(),
            Rounding::Floor => position.floor(),
            Rounding::Ceil => position.ceil(),
            Rounding::Simple if size.factor < 1.0 => position.ceil(),
            Rounding::Simple => position.floor(),
        };
        rounded.clamp(0.0, (operand - 1) as f32) as usize
    }

    /// Adds the weights of the operand's elements around a position to `row`.
    fn weigh(&self, position: f32, row: &mut [f32]) {
        let last = row.len() as i64 - 1;
        if self.method == Method::Linear {
            let position = position.clamp(0.0, last as f32);
            let below = (position as i64).min(last);
            let weight = position - below as f32;
            row[below as usize] += 1.0 - weight;
            row[(below + 1).min(last) as usize] += weight;
            return;
        }
        // Keys, "Cubic convolution interpolation for digital image processing", 1981.
        let below = position.floor();
        let a = f64::from(self.cubic);
        let between = f64::from(position - below);
        let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
        let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
        let mut taps = [
            far(1.0 + between),
            near(between),
            near(1.0 - between),
            far(2.0 - between),
        ];
        let first = below as i64 - 1;
        if self.excludes_outside {
            for (tap, index) in taps.iter_mut().zip(first..) {
                if !(0..=last).contains(&index) {
                    *tap = 0.0;
                }
            }
            let sum: f64 = taps.iter().sum();
            if sum != 0.0 {
                taps = taps.map(|tap| tap / sum);
            }
        }
        for (tap, index) in taps.iter().zip(first..) {
            row[index.clamp(0, last) as usize] += *tap as f32;
        }
    }
}

fn resized(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    axes: &[usize],
    sizes: &[Size],
    crops: &[[f32; 2]],
    interpolation: &Interpolation,
) -> Result<Value, String> {
    let dims = x.view.dims().to_vec();
    let mut result = x.clone();
    // Where an axis has a result outside of its operand.
    let mut picks: Vec<Option<Picks>> = vec![None; dims.len()];
    for ((axis, size), crop) in axes.iter().zip(sizes).zip(crops) {
        let operand = dims[*axis];
        let is_whole =
            *crop == [0.0, 1.0] || interpolation.coordinates != Coordinates::CropAndResize;
        if size.extent == operand && size.factor == 1.0 && is_whole {
            continue;
        }
        graph.room(size.extent)?;
        let position = |index| interpolation.position(index, operand, *size, *crop);
        let nearest = |index: usize| {
            position(index).map(|position| interpolation.nearest(position, operand, *size))
        };
        let along: Picks = (0..size.extent).map(nearest).collect();
        if interpolation.method != Method::Nearest {
            graph.room(size.extent.saturating_mul(operand))?;
            let mut data = vec![0.0; size.extent * operand];
            for (index, row) in data.chunks_exact_mut(operand).enumerate() {
                if let Some(position) = position(index) {
                    interpolation.weigh(position, row);
                }
            }
            let matrix = AxisMatrix {
                name: format!("{}.axis.{axis}", call.name),
                results: size.extent,
                data,
            };
            result = graph.mapped(&result, *axis, matrix, call.name)?;
        }
        picks[*axis] = Some(along);
    }
    if interpolation.method == Method::Nearest {
        result = graph.picked(&result, &picks, call.name)?;
    }
    filled(graph, call, result, &picks, interpolation.outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpolation(coordinates: Coordinates, method: Method) -> Interpolation {
        Interpolation {
            coordinates,
            method,
            rounding: Rounding::PreferFloor,
            cubic: -0.75,
            excludes_outside: false,
            outside: 0.0,
        }
    }

    #[test]
    fn positions_follow_the_standard() {
        let size = Size {
            extent: 8,
            factor: 2.0,
        };
        let at = |coordinates, index| {
            let interpolation = interpolation(coordinates, Method::Linear);
            interpolation.position(index, 4, size, [0.25, 0.75])
        };
        assert_eq!(at(Coordinates::HalfPixel, 0), Some(-0.25));
        assert_eq!(at(Coordinates::HalfPixelSymmetric, 3), Some(1.25));
        assert_eq!(at(Coordinates::AlignCorners, 7), Some(3.0));
        assert_eq!(at(Coordinates::Asymmetric, 5), Some(2.5));
        assert_eq!(at(Coordinates::TfHalfPixelForNearest, 1), Some(0.75));
        assert_eq!(at(Coordinates::CropAndResize, 0), Some(0.75));
        let wide = interpolation(Coordinates::CropAndResize, Method::Linear);
        assert_eq!(wide.position(7, 4, size, [0.0, 1.5]), None);
    }

    #[test]
    fn ties_go_where_the_mode_says() {
        let size = Size {
            extent: 2,
            factor: 0.5,
        };
        let nearest = |rounding| {
            let interpolation = Interpolation {
                rounding,
                ..interpolation(Coordinates::HalfPixel, Method::Nearest)
            };
            [0.5, 2.5, 9.0].map(|position| interpolation.nearest(position, 4, size))
        };
        assert_eq!(nearest(Rounding::PreferFloor), [0, 2, 3]);
        assert_eq!(nearest(Rounding::PreferCeil), [1, 3, 3]);
        assert_eq!(nearest(Rounding::Floor), [0, 2, 3]);
        assert_eq!(nearest(Rounding::Ceil), [1, 3, 3]);
        assert_eq!(nearest(Rounding::Simple), [1, 3, 3]);
    }

    #[test]
    fn weights_sum_to_one_and_keep_straight_lines() {
        for method in [Method::Linear, Method::Cubic] {
            let mut row = [0.0; 6];
            interpolation(Coordinates::HalfPixel, method).weigh(2.25, &mut row);
            let sum: f32 = row.iter().sum();
            let mean: f32 = row
                .iter()
                .zip(0_u8..)
                .map(|(w, at)| w * f32::from(at))
                .sum();
            assert!((sum - 1.0).abs() < 1e-6, "{row:?}");
            // The standard's coefficient of −0.75 keeps lines roughly, −0.5 would exactly.
            assert!((mean - 2.25).abs() < 0.06, "{row:?}");
        }
    }
}
