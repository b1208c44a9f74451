//! A large tensor is read by several threads, a piece each: the kernel copies from the page cache, we
//! widen halves, and both write fresh pages, on as many cores as there are.

use std::{
    num::NonZero,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{TensorInfo, WeightsError, part::Pairing};

/// Bytes in memory of a piece: large beside what starting a thread costs.
const PIECE_BYTES: usize = 512 << 10;
/// More threads than this wait for memory, not for each other.
const THREADS_MAX: usize = 4;

/// Processors for this process. Asking opens a dozen files, so it is asked once, not for each tensor.
static CORES: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// Rows of a tensor, and where they are wanted.
pub(super) struct Piece<'a> {
    pub(super) tensor: &'a TensorInfo,
    /// The first of them.
    pub(super) first: usize,
    pub(super) pairing: Option<Pairing>,
    pub(super) out: &'a mut [u8],
}

/// Cuts `out` (the rows of all of `found`, of `row_bytes` bytes each) into pieces of whole rows, or
/// of whole heads where their rows are reordered.
pub(super) fn pieces<'a>(
    found: &[(&'a TensorInfo, usize, usize, Option<Pairing>)],
    row_bytes: usize,
    mut out: &'a mut [u8],
) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for &(tensor, mut first, mut rows, pairing) in found {
        let unit = pairing.map_or(1, |pairing| pairing.head_dim);
        let most = (PIECE_BYTES / (row_bytes * unit)).max(1) * unit;
        while rows > 0 {
            let count = rows.min(most);
            let (own, rest) = std::mem::take(&mut out).split_at_mut(count * row_bytes);
            pieces.push(Piece { tensor, first, pairing, out: own });
            (first, rows, out) = (first + count, rows - count, rest);
        }
    }
    pieces
}

/// Fills all pieces; `progress` hears, on this thread, what `fill` says. The first error ends it.
pub(super) fn in_parallel<'a>(
    pieces: Vec<Piece<'a>>,
    fill: impl Fn(Piece<'a>) -> Result<u64, WeightsError> + Sync,
    progress: &dyn Fn(u64),
) -> Result<(), WeightsError> {
    let helpers = CORES.min(THREADS_MAX).min(pieces.len()).saturating_sub(1);
    let left = Mutex::new(pieces.into_iter());
    let latest = AtomicU64::new(0);
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = |progress: &dyn Fn(u64)| {
        while let Some(piece) = next() {
            let filled = fill(piece);
            if filled.is_err() {
                // Nobody starts another one.
                *left.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new().into_iter();
            }
            let filled = filled?;
            progress(filled.max(latest.fetch_max(filled, Ordering::Relaxed)));
        }
        Ok(())
    };
    thread::scope(|scope| {
        // A thread that cannot be started is one less.
        let start = |_| {
            let helper = thread::Builder::new().name("weights".into());
            helper.spawn_scoped(scope, || work(&|_| {})).ok()
        };
        let helpers: Vec<_> = (0..helpers).filter_map(start).collect();
        let own = work(progress);
        let join = |helper: thread::ScopedJoinHandle<'_, _>| {
            helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let ended = helpers.into_iter().map(join).fold(own, Result::and);
        // The last piece may have been another thread's.
        if ended.is_ok() {
            progress(latest.load(Ordering::Relaxed));
        }
        ended
    })
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::weights::{ModelFolder, TensorReader, write::tests::write_halves};

    fn model(numbers: &[f32]) -> (tempfile::TempDir, ModelFolder) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        write_halves(&dir.path().join("model.safetensors"), Dtype::F32, numbers);
        let folder = ModelFolder::open(dir.path()).unwrap();
        (dir, folder)
    }

    #[test]
    fn every_row_comes_once_and_where_it_belongs() {
        let numbers: Vec<f32> = (0..3 * PIECE_BYTES / 4 + 48).map(|n| n as f32).collect();
        let (_dir, folder) = model(&numbers);
        let tensor = folder.tensor("t").unwrap();
        let (row, reader, filled) = (16, TensorReader::new(), AtomicU64::new(0));
        // Its second half, then its first.
        let rows = numbers.len() / row;
        let halves = [(tensor, rows / 2, rows - rows / 2, None), (tensor, 0, rows / 2, None)];
        let mut out = vec![0.0_f32; numbers.len()];
        let cut = pieces(&halves, 4 * row, bytemuck::cast_slice_mut(&mut out));
        assert!(cut.len() > 3 && cut.iter().all(|piece| piece.out.len() <= PIECE_BYTES));
        let heard = std::cell::Cell::new(0);
        let fill = |piece: Piece<'_>| {
            reader.read_into(tensor, 4 * row * piece.first, &mut *piece.out)?;
            let bytes = piece.out.len() as u64;
            Ok(filled.fetch_add(bytes, Ordering::Relaxed) + bytes)
        };
        in_parallel(cut, fill, &|bytes| heard.set(bytes)).unwrap();
        let (first, second) = numbers.split_at(rows / 2 * row);
        assert_eq!(out, [second, first].concat());
        assert_eq!(filled.into_inner(), 4 * numbers.len() as u64);
        assert_eq!(heard.get(), 4 * numbers.len() as u64, "the last word is the whole");
    }

    #[test]
    fn reordered_rows_are_cut_between_heads() {
        let (_dir, folder) = model(&[0.0; 8]);
        let tensor = folder.tensor("t").unwrap();
        let pairing = Some(Pairing { head_dim: 96, rotary: 96 });
        let mut out = vec![0; 96 * 50 * 4096];
        let cut = pieces(&[(tensor, 0, 96 * 50, pairing)], 4096, &mut out);
        assert!(cut.len() > 1 && cut.iter().all(|piece| piece.out.len() % (96 * 4096) == 0));
    }

    #[test]
    fn an_error_of_any_piece_is_the_whole_one() {
        let (_dir, folder) = model(&[0.0; 8]);
        let tensor = folder.tensor("t").unwrap();
        let mut out = vec![0; 40 * PIECE_BYTES];
        let cut = pieces(&[(tensor, 0, 40, None)], PIECE_BYTES, &mut out);
        let reader = TensorReader::new();
        let fill = |piece: Piece<'_>| {
            if piece.first == 17 {
                reader.read_into(tensor, 100, &mut *piece.out)?;
            }
            Ok(0)
        };
        let error = in_parallel(cut, fill, &|_| {}).unwrap_err();
        assert!(matches!(error, WeightsError::OutOfRange { .. }), "{error}");
    }
}
