"""BM25 over the windows of one document, on word pieces: finds windows that look like the answer."""

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75


class WindowIndex:
    """Inverted index of the windows of a document."""

    def __init__(self, ids: NDArray[np.uint16], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        lengths = ends - starts
        window = np.repeat(np.arange(len(starts)), lengths)
        flat = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
        keys, counts = np.unique(ids[flat].astype(np.int64) * len(starts) + window, return_counts=True)
        terms, self._window = np.divmod(keys, len(starts))
        self._terms, first = np.unique(terms, return_index=True)
        self._bounds = np.append(first, len(terms))
        norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1.0))
        self._weight = counts * (K1 + 1) / (counts + norm[self._window])
        self.windows = len(starts)

    def score(self, question: list[int]) -> NDArray[np.float64]:
        """Returns the BM25 score of each window for the word pieces of a question."""
        scores = np.zeros(self.windows)
        for term in set(question):
            at = int(np.searchsorted(self._terms, term))
            if at == len(self._terms) or self._terms[at] != term:
                continue
            posting = slice(self._bounds[at], self._bounds[at + 1])
            found = posting.stop - posting.start
            idf = np.log(1 + (self.windows - found + 0.5) / (found + 0.5))
            scores[self._window[posting]] += idf * self._weight[posting]
        return scores
