//! Pages of keys and values in the processor's memory.

use std::hint::black_box;

use super::super::pages::{PAGE_TOKENS, PageShape, Piece};

/// Numbers between two that are touched: what the system gives at once, 4 KiB.
pub(super) const TOUCH: usize = 4096 / size_of::<f32>();

/// Keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keys,
    Values,
}

/// Pages in the processor's memory: `[pages, layers, 2, key_value_heads, PAGE_TOKENS, width]`, so that a head's keys in
/// a page lie one after the other.
#[derive(Debug)]
pub(crate) struct HostPages {
    shape: PageShape,
    numbers: Vec<f32>,
}

/// Keys or values of one head of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadPlace {
    pub(super) layer: usize,
    pub(super) part: Part,
    pub(super) head: usize,
}

impl HostPages {
    pub(in crate::ops) fn new(shape: PageShape) -> Option<Self> {
        let count = shape.page().checked_mul(shape.pages)?;
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).ok()?;
        drop(numbers);
        // Zeroed by the system: pages that are never used cost nothing.
        numbers = vec![0.0; count];
        Some(Self { shape, numbers })
    }

    pub(in crate::ops) fn shape(&self) -> PageShape {
        self.shape
    }

    pub(in crate::ops) fn touch(&mut self) {
        for number in self.numbers.iter_mut().step_by(TOUCH) {
            *black_box(number) = 0.0;
        }
    }

    /// Returns the numbers of a head in a page, `[PAGE_TOKENS, width]`.
    #[inline(always)]
    pub(super) fn head(&self, page: u32, place: HeadPlace) -> &[f32] {
        let start = self.start(page, place);
        self.numbers
            .get(start..start + PAGE_TOKENS * self.shape.layout.width)
            .unwrap_or_default()
    }

    #[inline(always)]
    fn start(&self, page: u32, place: HeadPlace) -> usize {
        let heads = self.shape.layout.key_value_heads;
        let part = match place.part {
            Part::Keys => 0,
            Part::Values => heads,
        };
        let size = PAGE_TOKENS * self.shape.layout.width;
        page as usize * self.shape.page() + place.layer * self.shape.layer() + (part + place.head) * size
    }

    /// Stores keys and values of packed rows.
    pub(super) fn store(&mut self, layer: usize, packed: &[f32], pieces: &[Piece<'_>]) {
        let layout = self.shape.layout;
        let mut rows = packed.chunks_exact(layout.packed());
        for piece in pieces {
            for (position, row) in (piece.first..).zip(rows.by_ref().take(piece.rows)) {
                let Some(page) = piece.pages.get(position / PAGE_TOKENS) else {
                    continue;
                };
                let (_, rest) = row.split_at(layout.queries());
                let (keys, rest) = rest.split_at(layout.keys());
                let (values, _) = rest.split_at(layout.keys());
                for (part, numbers) in [(Part::Keys, keys), (Part::Values, values)] {
                    for (head, numbers) in numbers.chunks_exact(layout.width).enumerate() {
                        let start = self.start(*page, HeadPlace { layer, part, head });
                        let start = start + position % PAGE_TOKENS * layout.width;
                        if let Some(to) = self.numbers.get_mut(start..start + layout.width) {
                            to.copy_from_slice(numbers);
                        }
                    }
                }
            }
        }
    }
}
