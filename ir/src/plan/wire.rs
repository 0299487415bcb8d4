//! The plan's header as protobuf messages; tags are never used for anything else.

use std::io::Read;

use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::eval_mod::EvalMod;
use heddle_params::keys::KeyNeed;
use heddle_params::{ParametersLiteral, Secret};
use prost::Message;

use super::{ActivationRecord, OutputKind, RangeRecord};
use crate::ckks::CiphertextType;
use crate::error::Error;
use crate::file::BlockReader;
use crate::layout::MultiplexedLayout;
use crate::nn::AxisOrder;
use crate::preprocess::{Channels, Preprocess};
use crate::slot::SlotType;
use crate::weights::Tensor;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) model_digest: Vec<u8>,
    #[prost(message, required, tag = "3")]
    pub(super) parameters: WireParameters,
    #[prost(bool, tag = "4")]
    pub(super) insecure: bool,
    #[prost(message, required, tag = "5")]
    pub(super) bootstrap: WireBootstrap,
    #[prost(message, required, tag = "6")]
    pub(super) input: WireSlotType,
    #[prost(message, required, tag = "7")]
    pub(super) output: WireSlotType,
    #[prost(enumeration = "WireAxisOrder", tag = "8")]
    pub(super) input_order: i32,
    #[prost(message, required, tag = "9")]
    pub(super) preprocess: WirePreprocess,
    #[prost(string, repeated, tag = "10")]
    pub(super) labels: Vec<String>,
    #[prost(message, repeated, tag = "11")]
    pub(super) ranges: Vec<WireRange>,
    #[prost(string, repeated, tag = "12")]
    pub(super) notes: Vec<String>,
    #[prost(uint64, tag = "13")]
    pub(super) schedule_bytes: u64,
    #[prost(message, repeated, tag = "14")]
    pub(super) weights: Vec<WireTensor>,
    #[prost(enumeration = "WireOutputKind", tag = "20")]
    pub(super) output_kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireParameters {
    #[prost(uint32, tag = "1")]
    log_n: u32,
    #[prost(uint32, repeated, tag = "2")]
    log_q: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    log_p: Vec<u32>,
    /// Absent for a dense secret.
    #[prost(uint32, optional, tag = "4")]
    secret_weight: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    encapsulation_weight: Option<u32>,
}

impl From<&ParametersLiteral> for WireParameters {
    fn from(literal: &ParametersLiteral) -> Self {
        Self {
            log_n: literal.log_n,
            log_q: literal.log_q.clone(),
            log_p: literal.log_p.clone(),
            secret_weight: match literal.secret {
                Secret::DenseTernary => None,
                Secret::SparseTernary(weight) => Some(weight),
            },
            encapsulation_weight: literal.encapsulation_weight,
        }
    }
}

impl From<WireParameters> for ParametersLiteral {
    fn from(wire: WireParameters) -> Self {
        Self {
            log_n: wire.log_n,
            log_q: wire.log_q,
            log_p: wire.log_p,
            secret: wire
                .secret_weight
                .map_or(Secret::DenseTernary, Secret::SparseTernary),
            encapsulation_weight: wire.encapsulation_weight,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireBootstrap {
    #[prost(uint32, tag = "1")]
    k: u32,
    #[prost(uint32, tag = "2")]
    degree: u32,
    #[prost(uint32, tag = "3")]
    double_angles: u32,
    #[prost(uint32, tag = "4")]
    log_message_ratio: u32,
    #[prost(uint32, tag = "5")]
    log_scale: u32,
    #[prost(uint32, tag = "6")]
    slot_to_coeff_levels: u32,
    #[prost(uint32, tag = "7")]
    coeff_to_slot_levels: u32,
    /// Absent without an inverse sine.
    #[prost(uint32, optional, tag = "8")]
    arcsine_degree: Option<u32>,
}

impl From<&BootstrapParameters> for WireBootstrap {
    fn from(bootstrap: &BootstrapParameters) -> Self {
        Self {
            k: bootstrap.k,
            degree: bootstrap.degree,
            double_angles: bootstrap.double_angles,
            log_message_ratio: bootstrap.log_message_ratio,
            log_scale: bootstrap.log_scale,
            slot_to_coeff_levels: bootstrap.slot_to_coeff_levels,
            coeff_to_slot_levels: bootstrap.coeff_to_slot_levels,
            arcsine_degree: match bootstrap.eval_mod {
                EvalMod::Cosine => None,
                EvalMod::Arcsine { degree } => Some(degree),
            },
        }
    }
}

impl From<WireBootstrap> for BootstrapParameters {
    fn from(wire: WireBootstrap) -> Self {
        Self {
            k: wire.k,
            degree: wire.degree,
            double_angles: wire.double_angles,
            log_message_ratio: wire.log_message_ratio,
            log_scale: wire.log_scale,
            slot_to_coeff_levels: wire.slot_to_coeff_levels,
            coeff_to_slot_levels: wire.coeff_to_slot_levels,
            eval_mod: wire
                .arcsine_degree
                .map_or(EvalMod::Cosine, |degree| EvalMod::Arcsine { degree }),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireSlotType {
    #[prost(uint32, tag = "1")]
    gap_down: u32,
    #[prost(uint32, tag = "2")]
    height: u32,
    #[prost(uint32, tag = "3")]
    width: u32,
    #[prost(uint32, tag = "4")]
    channels: u32,
    #[prost(uint32, tag = "5")]
    grid_height: u32,
    #[prost(uint32, tag = "6")]
    grid_width: u32,
    #[prost(double, tag = "7")]
    range: f64,
    #[prost(uint32, tag = "8")]
    gap_right: u32,
}

impl From<&SlotType> for WireSlotType {
    fn from(ty: &SlotType) -> Self {
        let layout = &ty.layout;
        // A layout's extents are at most the slots of a ring.
        let extent = |extent: usize| u32::try_from(extent).unwrap_or(u32::MAX);
        Self {
            gap_down: extent(layout.gap[0]),
            height: extent(layout.height),
            width: extent(layout.width),
            channels: extent(layout.channels),
            grid_height: extent(layout.grid_height),
            grid_width: extent(layout.grid_width),
            range: ty.range,
            gap_right: extent(layout.gap[1]),
        }
    }
}

impl From<WireSlotType> for SlotType {
    fn from(wire: WireSlotType) -> Self {
        let layout = MultiplexedLayout {
            gap: [wire.gap_down as usize, wire.gap_right as usize],
            height: wire.height as usize,
            width: wire.width as usize,
            channels: wire.channels as usize,
            grid_height: wire.grid_height as usize,
            grid_width: wire.grid_width as usize,
        };
        Self {
            layout,
            range: wire.range,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireCiphertextType {
    #[prost(uint32, tag = "1")]
    log_slots: u32,
    #[prost(uint32, tag = "2")]
    level: u32,
    #[prost(double, tag = "3")]
    log_scale: f64,
}

impl From<&CiphertextType> for WireCiphertextType {
    fn from(ty: &CiphertextType) -> Self {
        Self {
            log_slots: ty.log_slots,
            // A chain of primes has far fewer levels.
            level: u32::try_from(ty.level).unwrap_or(u32::MAX),
            log_scale: ty.log_scale,
        }
    }
}

impl From<WireCiphertextType> for CiphertextType {
    fn from(wire: WireCiphertextType) -> Self {
        Self {
            log_slots: wire.log_slots,
            level: wire.level as usize,
            log_scale: wire.log_scale,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum WireNeed {
    Rotation = 0,
    Product = 1,
    RealBootstrap = 2,
    ComplexBootstrap = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireKeyNeed {
    #[prost(enumeration = "WireNeed", tag = "1")]
    kind: i32,
    /// Of a rotation or a product.
    #[prost(uint64, tag = "2")]
    level: u64,
    /// Of a rotation: its distance. Of a bootstrap: log2 of its slots.
    #[prost(uint64, tag = "3")]
    size: u64,
}

impl From<&KeyNeed> for WireKeyNeed {
    fn from(need: &KeyNeed) -> Self {
        let (kind, level, size) = match *need {
            KeyNeed::Rotation { by, level } => (WireNeed::Rotation, level, by as u64),
            KeyNeed::Product { level } => (WireNeed::Product, level, 0),
            KeyNeed::Bootstrap { log_slots, variant } => {
                let kind = match variant {
                    BootstrapVariant::Real => WireNeed::RealBootstrap,
                    BootstrapVariant::Complex => WireNeed::ComplexBootstrap,
                };
                (kind, 0, log_slots.into())
            }
        };
        Self {
            kind: kind.into(),
            level: level as u64,
            size,
        }
    }
}

impl WireKeyNeed {
    /// `None` for a kind that this version does not know, or numbers that this machine cannot hold.
    pub(super) fn decode(&self) -> Option<KeyNeed> {
        let level = usize::try_from(self.level).ok()?;
        let bootstrap = |variant| {
            Some(KeyNeed::Bootstrap {
                log_slots: u32::try_from(self.size).ok()?,
                variant,
            })
        };
        match WireNeed::try_from(self.kind).ok()? {
            WireNeed::Rotation => Some(KeyNeed::Rotation {
                by: usize::try_from(self.size).ok()?,
                level,
            }),
            WireNeed::Product => Some(KeyNeed::Product { level }),
            WireNeed::RealBootstrap => bootstrap(BootstrapVariant::Real),
            WireNeed::ComplexBootstrap => bootstrap(BootstrapVariant::Complex),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum WireAxisOrder {
    Chw = 0,
    Hwc = 1,
}

impl From<AxisOrder> for WireAxisOrder {
    fn from(order: AxisOrder) -> Self {
        match order {
            AxisOrder::Chw => Self::Chw,
            AxisOrder::Hwc => Self::Hwc,
        }
    }
}

impl From<WireAxisOrder> for AxisOrder {
    fn from(wire: WireAxisOrder) -> Self {
        match wire {
            WireAxisOrder::Chw => Self::Chw,
            WireAxisOrder::Hwc => Self::Hwc,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum WireOutputKind {
    Logits = 0,
    Probabilities = 1,
}

impl From<OutputKind> for WireOutputKind {
    fn from(output_kind: OutputKind) -> Self {
        match output_kind {
            OutputKind::Logits => Self::Logits,
            OutputKind::Probabilities => Self::Probabilities,
        }
    }
}

impl From<WireOutputKind> for OutputKind {
    fn from(wire: WireOutputKind) -> Self {
        match wire {
            WireOutputKind::Logits => Self::Logits,
            WireOutputKind::Probabilities => Self::Probabilities,
        }
    }
}

/// What the results are, of a header.
pub(super) fn decode_output_kind<R: Read>(
    wire: i32,
    reader: &BlockReader<R>,
) -> Result<OutputKind, Error> {
    WireOutputKind::try_from(wire)
        .map(Into::into)
        .map_err(|_| reader.damaged("what its results are is unknown"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum WireChannels {
    Rgb = 0,
    Bgr = 1,
    Grey = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WirePreprocess {
    #[prost(double, tag = "1")]
    scale: f64,
    #[prost(double, repeated, tag = "2")]
    mean: Vec<f64>,
    #[prost(double, repeated, tag = "3")]
    std: Vec<f64>,
    #[prost(enumeration = "WireChannels", tag = "4")]
    channels: i32,
}

impl From<&Preprocess> for WirePreprocess {
    fn from(preprocess: &Preprocess) -> Self {
        let channels = match preprocess.channels {
            Channels::Rgb => WireChannels::Rgb,
            Channels::Bgr => WireChannels::Bgr,
            Channels::Grey => WireChannels::Grey,
        };
        Self {
            scale: preprocess.scale,
            mean: preprocess.mean.clone(),
            std: preprocess.std.clone(),
            channels: channels as i32,
        }
    }
}

impl WirePreprocess {
    /// The preprocessing, of a header.
    pub(super) fn decode<R: Read>(self, reader: &BlockReader<R>) -> Result<Preprocess, Error> {
        let channels = WireChannels::try_from(self.channels)
            .map_err(|_| reader.damaged("its order of channels is unknown"))?;
        let channels = match channels {
            WireChannels::Rgb => Channels::Rgb,
            WireChannels::Bgr => Channels::Bgr,
            WireChannels::Grey => Channels::Grey,
        };
        Ok(Preprocess {
            scale: self.scale,
            mean: self.mean,
            std: self.std,
            channels,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireRange {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(double, tag = "2")]
    bound: f64,
    #[prost(double, optional, tag = "3")]
    observed: Option<f64>,
    /// Absent for the logits.
    #[prost(message, optional, tag = "4")]
    activation: Option<WireActivation>,
}

impl From<&RangeRecord> for WireRange {
    fn from(record: &RangeRecord) -> Self {
        Self {
            name: record.name.clone(),
            bound: record.bound,
            observed: record.observed,
            activation: record.activation.as_ref().map(Into::into),
        }
    }
}

impl From<WireRange> for RangeRecord {
    fn from(wire: WireRange) -> Self {
        Self {
            name: wire.name,
            bound: wire.bound,
            observed: wire.observed,
            activation: wire.activation.map(Into::into),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct WireActivation {
    #[prost(string, tag = "1")]
    function: String,
    #[prost(double, tag = "2")]
    precision_bits: f64,
    #[prost(uint32, tag = "3")]
    depth: u32,
}

impl From<&ActivationRecord> for WireActivation {
    fn from(record: &ActivationRecord) -> Self {
        Self {
            function: record.function.clone(),
            precision_bits: record.precision_bits,
            // A chain of primes has far fewer levels.
            depth: u32::try_from(record.depth).unwrap_or(u32::MAX),
        }
    }
}

impl From<WireActivation> for ActivationRecord {
    fn from(wire: WireActivation) -> Self {
        Self {
            function: wire.function,
            precision_bits: wire.precision_bits,
            depth: wire.depth as usize,
        }
    }
}

/// Most axes of a weight.
const MAX_RANK: usize = 8;

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireTensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) shape: Vec<u64>,
}

impl From<&Tensor> for WireTensor {
    fn from(tensor: &Tensor) -> Self {
        let shape = tensor.shape.iter().map(|extent| *extent as u64).collect();
        Self {
            name: tensor.name.clone(),
            shape,
        }
    }
}

impl WireTensor {
    /// The shape and the number of elements, or `None` where that is more than `most`, or the axes
    /// are more than [`MAX_RANK`].
    pub(super) fn extents(&self, most: usize) -> Option<(Vec<usize>, usize)> {
        if self.shape.len() > MAX_RANK {
            return None;
        }
        let shape: Vec<usize> = self
            .shape
            .iter()
            .map(|extent| usize::try_from(*extent).ok())
            .collect::<Option<_>>()?;
        let elements = shape
            .iter()
            .try_fold(1_usize, |all, extent| all.checked_mul(*extent))?;
        (elements <= most).then_some((shape, elements))
    }
}
