//! Weights: the tensors of a model, stored once and referred to by id.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::printable;

/// A tensor of the model. Printed as `w3`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WeightId(pub u32);

impl fmt::Display for WeightId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// A dense tensor of 32-bit floats in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The initialiser's name in the model; folded tensors append what was done to them.
    pub name: String,
    /// The extent of every axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of the given shape.
    ///
    /// # Panics
    /// If the number of elements is not the product of the shape.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, data: Vec<f32>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "shape and data disagree"
        );
        Self {
            name: name.into(),
            shape,
            data,
        }
    }

    /// A tensor whose elements are still to be read.
    pub(crate) fn without_elements(name: String, shape: Vec<usize>) -> Self {
        Self {
            name,
            shape,
            data: Vec::new(),
        }
    }

    /// The first eight hexadecimal digits of the SHA-256 of shape and elements.
    pub fn short_hash(&self) -> String {
        let mut hasher = Sha256::new();
        for extent in &self.shape {
            hasher.update((*extent as u64).to_le_bytes());
        }
        for element in &self.data {
            hasher.update(element.to_le_bytes());
        }
        printable::hex(&hasher.finalize()[..4])
    }
}

/// All tensors of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    tensors: Vec<Tensor>,
}

impl Weights {
    /// Stores a tensor.
    pub fn push(&mut self, tensor: Tensor) -> WeightId {
        self.tensors.push(tensor);
        WeightId(self.tensors.len() as u32 - 1)
    }

    /// All tensors, ascending by id.
    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.tensors.iter_mut()
    }

    /// The names of all tensors, ascending by id.
    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.tensors.iter_mut().map(|tensor| &mut tensor.name)
    }

    /// The tensor behind an id.
    ///
    /// # Panics
    /// If there is no such tensor; verifiers and the plan reader check every id.
    pub fn get(&self, id: WeightId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// The tensor behind an id, if there is one.
    pub fn try_get(&self, id: WeightId) -> Option<&Tensor> {
        self.tensors.get(id.0 as usize)
    }

    /// All tensors with their ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (WeightId, &Tensor)> {
        self.tensors
            .iter()
            .enumerate()
            .map(|(index, tensor)| (WeightId(index as u32), tensor))
    }

    /// The tensors that `references` name, in their old order; the references are renumbered to
    /// match. A reference to a tensor that does not exist stays as it is.
    pub fn referenced(&self, mut references: Vec<&mut WeightId>) -> Self {
        let mut renumbered: Vec<Option<WeightId>> = vec![None; self.len()];
        for id in &references {
            if let Some(entry) = renumbered.get_mut(id.0 as usize) {
                *entry = Some(**id);
            }
        }
        let mut kept = Self::default();
        for (entry, tensor) in renumbered.iter_mut().zip(&self.tensors) {
            if let Some(id) = entry {
                *id = kept.push(tensor.clone());
            }
        }
        for id in &mut references {
            if let Some(Some(new)) = renumbered.get(id.0 as usize) {
                **id = *new;
            }
        }
        kept
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "shape and data disagree")]
    fn a_tensor_has_as_many_elements_as_its_shape() {
        Tensor::new("w", vec![2, 3], vec![0.0; 5]);
    }

    #[test]
    fn a_reference_to_a_missing_tensor_stays() {
        let mut weights = Weights::default();
        weights.push(Tensor::new("unused", vec![1], vec![0.0]));
        let used = weights.push(Tensor::new("used", vec![1], vec![1.0]));
        let (mut known, mut missing) = (used, WeightId(9));
        let kept = weights.referenced(vec![&mut known, &mut missing]);
        assert_eq!((known, missing), (WeightId(0), WeightId(9)));
        assert_eq!((kept.len(), &*kept.get(known).name), (1, "used"));
        assert!(kept.try_get(missing).is_none());
    }
}
