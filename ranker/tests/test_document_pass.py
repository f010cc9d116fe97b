"""Features of units agree with the scores that the ranker gives; a pass learns what only neighbours tell."""

import argparse
from pathlib import Path

import numpy as np
import torch

from ranker import held
from ranker.corpus import Corpus
from ranker.document_pass import DocumentPass, States, batches, recall, score, train
from ranker.model import Ranker
from ranker.rows import TokenStore
from ranker.scoring import score_rows
from ranker.unit_states import EXTRAS, document_job, evidence_shares, read_job, units_of_items

CPU = torch.device("cpu")


def test_features_hold_what_scoring_gives(toy_corpus: Corpus, toy_model: Ranker, tmp_path: Path) -> None:
    items = np.arange(12)
    job = document_job(toy_corpus, items, np.zeros(len(items), np.int64))
    store = TokenStore(toy_corpus.prepared.tokens, toy_corpus.prepared.question_tokens, CPU)
    path = tmp_path / "x.features.npy"
    read_job(toy_model, store, job, path, 2000)
    features = np.load(path).astype(np.float32)
    rows = held.document_rows(toy_corpus, items)
    expected = score_rows(toy_model, store, rows.rows, rows.units, 2000)
    np.testing.assert_allclose(features[:, -EXTRAS], expected.unit_mean, rtol=3e-3, atol=3e-3)
    np.testing.assert_allclose(features[:, -EXTRAS + 1], expected.unit_max, rtol=3e-3, atol=3e-3)
    windows = np.repeat(expected.window, rows.units.counts)
    np.testing.assert_allclose(features[:, -EXTRAS + 2], windows, rtol=3e-3, atol=3e-3)
    head = toy_model.token_head
    states = torch.from_numpy(features[:, :-EXTRAS])
    logits = head(states).squeeze(-1).detach().numpy()
    np.testing.assert_allclose(logits, features[:, -EXTRAS], rtol=2e-2, atol=2e-2)
    share, tokens = evidence_shares(toy_corpus, items)
    assert len(share) == len(tokens) == len(features) == units_of_items(job).sum()
    assert (share.max() <= 1) and (share.astype(float) * tokens).sum() > 0


def make_states(documents: int, seed: int = 2) -> States:
    """Makes documents in which the evidence is the units on both sides of the only one that differs."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 26, documents)
    features, share = [], []
    for count in counts:
        x = np.zeros((count, 16 + EXTRAS))
        at = rng.integers(1, count - 1)
        x[at, 0] += 6
        features.append(x)
        share.append(abs(np.arange(count) - at) == 1)
    first = np.concatenate([[0], np.cumsum(counts)])
    return States(
        features=torch.from_numpy(np.concatenate(features)).half(),
        tokens=torch.full((int(first[-1]),), 20.0),
        share=torch.from_numpy(np.concatenate(share)).float(),
        first=first,
        source=np.zeros(documents, np.int64),
        sources=["toy"],
    )


def test_a_pass_learns_what_only_neighbours_tell() -> None:
    torch.manual_seed(1)
    states, others = make_states(48), make_states(40, seed=3)
    arguments = argparse.Namespace(rate=5e-3, epochs=50, seconds=1e3, seed=1)
    items = np.arange(48)
    recalls = []
    for layers in (0, 1):
        model = DocumentPass(states.features.shape[1], layers)
        train(model, states, items, arguments)
        recalls.append(recall(others, score(model, others))["macro"])
    assert recalls[0] < 0.5 < 0.8 < recalls[1]


def test_batches_hold_each_item_once() -> None:
    states = make_states(50)
    for rng in (None, np.random.default_rng(1)):
        groups = list(batches(states, np.arange(50), rng))
        assert sorted(np.concatenate(groups).tolist()) == list(range(50))
