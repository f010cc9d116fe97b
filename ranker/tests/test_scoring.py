"""Scores of units and windows against rows run one by one; the file of evaluation windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ranker import held, infer
from ranker.corpus import Corpus
from ranker.model import Ranker
from ranker.rows import CLS, SEP, TokenStore
from ranker.scoring import score_rows

CPU = torch.device("cpu")


def run_row(model: Ranker, question: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the logits of a window's tokens and of the window."""
    ids = torch.tensor([[CLS, *question.tolist(), SEP, *window.tolist(), SEP]])
    types = (torch.arange(ids.shape[1]) >= len(question) + 2).long()[None]
    with torch.no_grad():
        token, window_logit = model(ids, types, torch.ones_like(ids, dtype=torch.bool))
    return token[0, len(question) + 2 : -1].numpy(), float(window_logit[0])


def make_evaluation_file(path: Path) -> dict[str, np.ndarray]:
    """Writes a toy of what the lead writes: three documents, five items, two of them of one document."""
    rng = np.random.default_rng(8)
    units: list[tuple[int, int]] = []
    window_units, lengths = [0], rng.integers(8, 60, 11)
    for length in lengths.tolist():
        cuts = sorted(rng.choice(np.arange(1, length), 3, replace=False).tolist())
        units += list(zip([0, *cuts], [*cuts, length], strict=True)) + [(length, length)]
        units[-3] = (units[-3][0], units[-3][1] - 1)  # a gap
        window_units.append(len(units))
    question_lengths = np.array([5, 70, 9, 1])
    arrays = {
        "ids": rng.integers(110, 410, lengths.sum()).astype(np.uint16),
        "window_off": np.append(0, np.cumsum(lengths)),
        "question_ids": rng.integers(110, 410, question_lengths.sum()).astype(np.uint16),
        "question_off": np.append(0, np.cumsum(question_lengths)),
        "item_question": np.array([2, 0, 1, 3, 0], np.int32),
        "item_window_start": np.array([0, 0, 3, 4, 4], np.int32),
        "item_window_end": np.array([3, 3, 4, 11, 11], np.int32),
        "units": np.array(units, np.int32),
        "window_units": np.array(window_units, np.int64),
    }
    np.savez(path, **arrays)
    return arrays


def test_evaluation_scores_are_those_of_each_row(toy_model: Ranker, tmp_path: Path) -> None:
    file = make_evaluation_file(tmp_path / "windows.npz")
    scores = infer.EvaluationWindows.read(tmp_path / "windows.npz").score(toy_model, CPU, chunk=300)
    infer.write_scores(tmp_path / "scores.npz", scores)
    written = np.load(tmp_path / "scores.npz")
    windows, means, maxima = [], [], []
    for item in range(5):
        number = file["item_question"][item]
        question = file["question_ids"][file["question_off"][number] : file["question_off"][number + 1]]
        if len(question) > 64:
            question = np.concatenate([question[:24], question[-40:]])
        for window in range(file["item_window_start"][item], file["item_window_end"][item]):
            ids = file["ids"][file["window_off"][window] : file["window_off"][window + 1]]
            token, window_logit = run_row(toy_model, question, ids)
            windows.append(window_logit)
            for start, end in file["units"][file["window_units"][window] : file["window_units"][window + 1]]:
                means.append(token[start:end].mean() if end > start else token.mean())
                maxima.append(token[start:end].max() if end > start else token.mean())
    assert written["unit_mean"].dtype == np.float16
    for name, expected in (("window_logit", windows), ("unit_mean", means), ("unit_max", maxima)):
        np.testing.assert_allclose(written[name], expected, atol=3e-3, err_msg=name)


def test_held_scores_are_those_of_each_unit(toy_corpus: Corpus, toy_model: Ranker) -> None:
    prepared = toy_corpus.prepared
    items = np.flatnonzero(toy_corpus.held_items)[[4, 1]]
    rows = held.document_rows(toy_corpus, items)
    store = TokenStore(prepared.tokens, prepared.question_tokens, CPU)
    scores = score_rows(toy_model, store, rows.rows, rows.units, 500)
    expected = []
    for item in items:
        form = toy_corpus.item_form[item]
        start = toy_corpus.form_start[form]
        question = prepared.question_tokens[start : start + prepared.form_tokens[form]]
        for window in range(*toy_corpus.windows_of(int(prepared.item_document[item]), 0)):
            start, unit = toy_corpus.window_start[window], toy_corpus.window_unit[window]
            length = toy_corpus.window_length[window]
            token, _ = run_row(toy_model, question, prepared.tokens[start : start + length])
            bounds = toy_corpus.unit_start[unit : unit + prepared.window_units[window] + 1] - start
            expected += [token[a:b].mean() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    np.testing.assert_allclose(scores.unit_mean, expected, atol=1e-4)


def test_recall_counts_the_evidence_in_the_best_tenth(toy_corpus: Corpus) -> None:
    item = int(np.flatnonzero(toy_corpus.held_items)[0])
    rows = held.document_rows(toy_corpus, np.array([item]))
    document = toy_corpus.prepared.item_document[item]
    start = toy_corpus.unit_start[toy_corpus.document_unit[document] : toy_corpus.document_unit[document + 1]]
    (first, last), *_ = toy_corpus.spans[toy_corpus.item_span[item] : toy_corpus.item_span[item + 1]]
    holds = (start >= first - 1) & (start < last)
    assert held.evidence_recall(toy_corpus, rows, holds.astype(np.float32))["macro"] == pytest.approx(1)
    assert held.evidence_recall(toy_corpus, rows, -holds.astype(np.float32))["macro"] == pytest.approx(0)


def test_items_that_fit_are_counted_by_their_documents(toy_corpus: Corpus) -> None:
    items = held.choose_items(toy_corpus, a_source=2, longest=10**6, seed=1)
    assert len(items) == 4 and toy_corpus.held_items[items].all()
    lengths = held.document_tokens(toy_corpus, items)
    assert len(held.first_that_fit(toy_corpus, items, int(lengths[:2].sum()) + 1)) == 2
    assert len(held.first_that_fit(toy_corpus, items, 1)) == 1
