"""What the ranker says about each unit of whole documents, as the input of a pass over the document.

    python -m ranker.unit_states --data train.npz.xz --weights RANKER --windows windows.npz --out FOLDER

FOLDER gets `train`, `held` and `windows`: of items to train on, of documents kept out, and of evaluation windows
(`ranker.infer`). Each is `NAME.features.npy` ([units, hidden + EXTRAS] f16: the mean last hidden state of the unit's
tokens, its mean and largest token logit, its window's logit, the logarithm of its tokens) and `NAME.npz` (`units` of
each item, `tokens` and, if known, `share` of evidence of each unit, `source` and `item` of each item).
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import held, infer, weights
from .corpus import Corpus, Prepared, offsets
from .model import Ranker
from .rows import Chunk, DeviceRows, Rows, TokenStore, chunk_sorted, expand, to_device
from .scoring import STRIDE, RowUnits
from .train import HELD_SEED

Ints = NDArray[np.int64]

EXTRAS = 4
SEED = 7
# Items a source, and forms of each: meetings are few, and what a pass is for.
TAKEN = {
    "cuad": (800, 1),
    "cuad_headings": (500, 1),
    "qmsum": (900, 2),
    "qmsum_topics": (450, 2),
    "medquad": (600, 1),
    "evidence_inference": (1000, 1),
    "pmc_sections": (900, 1),
    "fairytale": (1000, 1),
    "tables": (600, 1),
}
ROWS_AT_ONCE = 40_000


@dataclass(frozen=True)
class Job:
    """Rows to read: item by item, each with its units in document order."""

    rows: Rows
    units: RowUnits
    row_counts: Ints  # [items]


@torch.no_grad()
def read_chunk(model: Ranker, rows: DeviceRows, chunk: Chunk, units: RowUnits) -> Tensor:
    """Returns the features of a chunk's units; a unit without tokens has those of its window."""
    batch = rows.batch(chunk)
    device = batch.ids.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        states = model.states(batch.ids, batch.types, batch.mask).float()
    token_logits, window_logits = model.logits(states)
    row = np.repeat(np.arange(len(units.counts)), units.counts)
    starts = to_device(row * STRIDE + units.starts, device)
    ends = to_device(np.append(row * STRIDE + units.ends, 0), device)
    first = batch.window.long().argmax(dim=1, keepdim=True)
    column = torch.arange(chunk.width, device=device) - first
    key = torch.arange(len(units.counts), device=device)[:, None] * STRIDE + column
    owner = torch.searchsorted(starts, key, right=True) - 1
    inside = batch.window & (owner >= 0) & (key < ends[owner.clamp(min=0)])
    slot = torch.where(inside, owner, len(starts)).ravel()
    values = torch.cat([states, token_logits[..., None]], -1)
    width = values.shape[-1]
    sums = values.new_zeros(len(starts) + 1, width).index_add_(0, slot, values.view(-1, width))[:-1]
    counts = values.new_zeros(len(starts) + 1).index_add_(0, slot, values.new_ones(len(slot)))[:-1]
    maxima = values.new_full((len(starts) + 1,), -torch.inf)
    maxima = maxima.scatter_reduce_(0, slot, token_logits.ravel(), "amax")[:-1]
    row_of_unit = to_device(row, device)
    weight = batch.window / batch.window.sum(1, keepdim=True).clamp(min=1)
    window_mean = torch.einsum("rtw,rt->rw", values, weight)[row_of_unit]
    known = counts > 0
    mean = torch.where(known[:, None], sums / counts.clamp(min=1)[:, None], window_mean)
    extras = [mean[:, -1], torch.where(known, maxima, mean[:, -1]), window_logits[row_of_unit], (counts + 1).log()]
    return torch.cat([mean[:, :-1], torch.stack(extras, 1)], 1).half()


def read_rows(model: Ranker, store: TokenStore, rows: Rows, units: RowUnits, tokens: int) -> NDArray[np.float16]:
    """Returns the features of all units, in their order."""
    order = np.argsort(rows.lengths(), kind="stable")
    sorted_rows, sorted_units = rows.take(order), units.take(order)
    device_rows = DeviceRows(sorted_rows, store)
    first = offsets(sorted_units.counts)
    parts = []
    for chunk in chunk_sorted(sorted_rows.lengths(), tokens):
        part = slice(first[chunk.start], first[chunk.end])
        counts = sorted_units.counts[chunk.start : chunk.end]
        of_chunk = RowUnits(counts, sorted_units.starts[part], sorted_units.ends[part])
        parts.append(read_chunk(model, device_rows, chunk, of_chunk))
    features = torch.cat(parts[::-1])
    back = np.argsort(order)
    return features[to_device(expand(first[back], units.counts), features.device)].cpu().numpy()


def read_job(model: Ranker, store: TokenStore, job: Job, path: Path, tokens: int) -> None:
    """Writes the features of a job, some tens of thousands of rows at once."""
    hidden = model.token_head.in_features
    total = int(job.units.counts.sum())
    features = np.lib.format.open_memmap(path, "w+", np.float16, (total, hidden + EXTRAS))
    first = offsets(job.units.counts)
    bounds = offsets(job.row_counts)
    at = 0
    while at < len(job.rows):
        end = int(bounds[np.searchsorted(bounds, min(at + ROWS_AT_ONCE, len(job.rows)))])
        part = slice(first[at], first[end])
        units = RowUnits(job.units.counts[at:end], job.units.starts[part], job.units.ends[part])
        features[part] = read_rows(model, store, job.rows.take(np.arange(at, end)), units, tokens)
        at = end
    features.flush()


def units_of_items(job: Job) -> Ints:
    """Returns the number of units of each item."""
    return np.add.reduceat(job.units.counts, offsets(job.row_counts)[:-1])


def document_job(corpus: Corpus, items: Ints, forms: Ints) -> Job:
    """Returns the rows of the items' documents, each with one of its item's forms."""
    whole = held.document_rows(corpus, items)
    form = np.repeat(corpus.item_form[items] + forms, whole.windows)
    length = corpus.prepared.form_tokens[form].astype(np.int64)
    rows = Rows(
        corpus.form_start[form], length, whole.rows.window_start, whole.rows.window_length, whole.rows.left_length
    )
    return Job(rows, whole.units, whole.windows)


def evidence_shares(corpus: Corpus, items: Ints) -> tuple[NDArray[np.float16], Ints]:
    """Returns the share of evidence of every unit of the items' documents, and its tokens."""
    shares, tokens = [], []
    for item in items:
        document = corpus.prepared.item_document[item]
        bounds = corpus.unit_start[corpus.document_unit[document] : corpus.document_unit[document + 1] + 1]
        spans = corpus.spans[corpus.item_span[item] : corpus.item_span[item + 1]]
        overlap = np.minimum(bounds[1:, None], spans[:, 1]) - np.maximum(bounds[:-1, None], spans[:, 0])
        sizes = np.diff(bounds)
        shares.append((np.maximum(overlap, 0).sum(1) / np.maximum(sizes, 1)).astype(np.float16))
        tokens.append(sizes)
    return np.concatenate(shares), np.concatenate(tokens)


def choose_training(corpus: Corpus) -> tuple[Ints, Ints]:
    """Chooses items with evidence that are not kept out, and forms of their questions: the first, then any other."""
    rng = np.random.default_rng(SEED)
    usable = ~corpus.held_items & (corpus.prepared.item_spans > 0)
    all_forms = corpus.prepared.item_plain_forms.astype(np.int64) + corpus.prepared.item_noisy_forms
    items, forms = [], []
    for source, name in enumerate(corpus.prepared.sources.tolist()):
        count, times = TAKEN.get(name, (1000, 1))
        members = rng.permutation(np.flatnonzero(usable & (corpus.prepared.item_source == source)))[:count]
        for time_of in range(times):
            items.append(members)
            other = (rng.random(len(members)) * all_forms[members]).astype(np.int64)
            forms.append(np.zeros(len(members), np.int64) if time_of == 0 else other)
    return np.concatenate(items), np.concatenate(forms)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--windows", type=Path, help="evaluation windows to read too")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--held", type=int, default=300, help="items of each source kept out")
    parser.add_argument("--part", type=float, default=1.0, help="share of the training items to read")
    parser.add_argument("--chunk", type=int, default=65536, help="tokens run at once")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    model = Ranker.from_state(weights.read(arguments.weights)).to(device).eval()
    corpus = Corpus(Prepared.read(arguments.data))
    store = TokenStore(corpus.prepared.tokens, corpus.prepared.question_tokens, device)
    training, forms = choose_training(corpus)
    if arguments.part < 1:
        chosen = np.random.default_rng(SEED).random(len(training)) < arguments.part
        training, forms = training[chosen], forms[chosen]
    kept_out = held.choose_items(corpus, arguments.held, 1 << 20, HELD_SEED)
    started = time.time()
    for name, items, form in (("held", kept_out, np.zeros(len(kept_out), np.int64)), ("train", training, forms)):
        job = document_job(corpus, items, form)
        share, tokens = evidence_shares(corpus, items)
        source = corpus.prepared.item_source[items]
        np.savez(arguments.out / f"{name}.npz", units=units_of_items(job), tokens=tokens, share=share, source=source,
                 item=items, sources=corpus.prepared.sources)
        read_job(model, store, job, arguments.out / f"{name}.features.npy", arguments.chunk)
        print(json.dumps({"read": name, "items": len(items), "tokens": int(job.rows.lengths().sum()),
                          "seconds": round(time.time() - started, 1)}), flush=True)
    if arguments.windows:
        windows = infer.EvaluationWindows.read(arguments.windows)
        with np.load(arguments.windows) as file:
            counts = (file["item_window_end"] - file["item_window_start"]).astype(np.int64)
        job = Job(windows.rows, windows.units, counts)
        store = TokenStore(windows.window_tokens, windows.question_tokens, device)
        units = units_of_items(job)
        tokens = windows.units.ends - windows.units.starts
        np.savez(arguments.out / "windows.npz", units=units, tokens=tokens, source=np.zeros(len(units)))
        read_job(model, store, job, arguments.out / "windows.features.npy", arguments.chunk)
        print(json.dumps({"read": "windows", "seconds": round(time.time() - started, 1)}), flush=True)


if __name__ == "__main__":
    main()
