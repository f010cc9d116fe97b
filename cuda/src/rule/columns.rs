//! Matrices that read one input, side by side in one, so that the input is read once for all.

use super::SKINNY_MATRICES;
use super::options::BF16;

/// Elements of bf16 in 16 bytes, which every matrix starts on.
const GRAIN: usize = 16 / BF16;
/// Elements of bf16 in a line of the cache, which every row starts on.
const LINE: usize = 64;

/// Where the columns of each matrix start when they lie side by side, and how many there are in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// First column of each matrix.
    pub starts: [usize; SKINNY_MATRICES],
    /// Columns of each matrix; 0 for a matrix that is not there.
    pub widths: [usize; SKINNY_MATRICES],
    /// Columns up to the end of the last matrix.
    pub used: usize,
    /// Elements between rows.
    pub pitch: usize,
}

impl Columns {
    /// Lays matrices with these columns side by side; 0 stands for a matrix that is not there.
    pub fn new(widths: [usize; SKINNY_MATRICES]) -> Self {
        let mut starts = [0; SKINNY_MATRICES];
        let mut used: usize = 0;
        for (start, width) in starts.iter_mut().zip(widths) {
            if width == 0 {
                continue;
            }
            *start = used.next_multiple_of(GRAIN);
            used = *start + width;
        }
        let pitch = used.next_multiple_of(LINE);
        Self {
            starts,
            widths,
            used,
            pitch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_starts_on_sixteen_bytes_and_behind_the_one_before() {
        for widths in [
            [4096, 4096, 4096, 32, 32, 0],
            [2048, 2048, 4096, 32, 32, 4096],
            [256, 256, 256, 4, 4, 0],
            [64, 64, 64, 1, 1, 64],
        ] {
            let columns = Columns::new(widths);
            let mut end = 0;
            for (start, width) in columns.starts.into_iter().zip(widths) {
                if width == 0 {
                    continue;
                }
                assert!(start >= end && start - end < GRAIN && start.is_multiple_of(GRAIN));
                end = start + width;
            }
            assert_eq!(columns.used, end);
            assert!(columns.pitch >= end && columns.pitch.is_multiple_of(LINE));
        }
        let columns = Columns::new([4096, 4096, 4096, 32, 32, 0]);
        assert_eq!((columns.used, columns.pitch), (12_352, 12_352));
    }
}
