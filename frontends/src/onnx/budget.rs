//! What an import may cost: memory and work that the file's own bytes do not account for.
//!
//! A few bytes of a model can ask for much: a constant repeated a million times, a scale for every
//! pixel of a huge image, a filter that ten thousand nodes use. Whatever a node makes is charged
//! here first.

/// Most bytes of operations and weights that the file does not hold itself.
const MADE: usize = 256 << 20;

/// Elements that may be touched, however small the file is; a few seconds.
const WORK: usize = 1 << 28;

/// How often every element of the file's own tensors may be touched.
const PASSES: usize = 32;

/// How often the file's own tensors may be stored, reordered copies included.
const COPIES: usize = 2;

/// Least bytes that the tensors of any file may take.
const SMALL: usize = 64 << 20;

/// How many times its length a file's tensors may take; narrow types are widened.
const GROWTH: usize = 10;

/// Most bytes that tensors may take beyond the length of their files.
const WIDENED: usize = 512_000_000;

/// What is left of an import's memory and work.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes left for operations and weights.
    memory: usize,
    /// Elements that may still be touched.
    work: usize,
    /// Bytes of tensors read so far.
    loaded: usize,
    /// Elements of tensors read so far.
    elements: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            memory: MADE,
            work: WORK,
            loaded: 0,
            elements: 0,
        }
    }
}

impl Budget {
    /// Accounts for a tensor of files of `file_bytes` together, before it is read.
    ///
    /// # Errors
    /// If many tensors share the same bytes, or are of narrow types and huge.
    pub(super) fn load(
        &mut self,
        elements: usize,
        bytes: usize,
        file_bytes: usize,
    ) -> Result<(), String> {
        let most = file_bytes
            .saturating_mul(GROWTH)
            .clamp(SMALL, file_bytes.saturating_add(WIDENED).max(SMALL));
        let loaded = self.loaded.saturating_add(bytes);
        if loaded > most {
            return Err(format!(
                "takes {bytes} bytes, which with the other tensors is more than {most} for files of {file_bytes}"
            ));
        }
        self.loaded = loaded;
        self.elements = self.elements.saturating_add(elements);
        self.memory = self.memory.saturating_add(bytes.saturating_mul(COPIES));
        self.work = self.work.saturating_add(elements.saturating_mul(PASSES));
        Ok(())
    }

    /// Elements of tensors read so far.
    pub(super) fn loaded_elements(&self) -> usize {
        self.elements
    }

    /// Whether `bytes` more can be stored.
    ///
    /// # Errors
    /// If they cannot.
    pub(super) fn room(&self, bytes: usize) -> Result<(), String> {
        if bytes <= self.memory {
            return Ok(());
        }
        Err(format!(
            "makes {bytes} bytes of weights and operations; with those before it is more than {MADE} \
             beyond what the file holds"
        ))
    }

    /// Takes `bytes` of memory; errors as those of [`room`](Self::room).
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.room(bytes)?;
        self.memory -= bytes;
        Ok(())
    }

    /// Takes the work of touching `elements` elements.
    ///
    /// # Errors
    /// If the model has taken too much of it.
    pub(super) fn work(&mut self, elements: usize) -> Result<(), String> {
        match self.work.checked_sub(elements) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => Err(format!(
                "computes with {elements} elements; with the nodes before it is too much for a model of this size"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_that_share_bytes_are_refused() {
        let mut budget = Budget::default();
        let file = 100 << 20;
        let most = file + WIDENED;
        for _ in 0..most / file {
            budget.load(file / 4, file, file).unwrap();
        }
        assert!(budget.load(file / 4, file, file).is_err());
        assert!(budget.load(1, 4, file).is_ok());
    }

    #[test]
    fn narrow_types_may_take_ten_times_their_bytes() {
        let mut budget = Budget::default();
        assert!(budget.load(8 << 20, 64 << 20, 8 << 20).is_ok());
        assert!(budget.load(8 << 20, 64 << 20, 8 << 20).is_err());
        assert!(budget.load(usize::MAX, usize::MAX, usize::MAX).is_ok());
    }

    #[test]
    fn memory_and_work_run_out() {
        let mut budget = Budget::default();
        budget.take(MADE - 1).unwrap();
        assert!(budget.room(1).is_ok() && budget.take(2).is_err());
        budget.load(10, 40, 40).unwrap();
        assert!(budget.take(81).is_ok() && budget.take(1).is_err());
        budget.work(WORK + 320).unwrap();
        assert!(budget.work(1).is_err());
    }
}
