"""What is in a plan."""

import numpy as np
import pytest

from ranker.corpus import Corpus, Prepared
from ranker.mining import keep_hardest
from ranker.sampling import NEGATIVES, POSITIVES, Plan, Sampler, rank_in_group


@pytest.fixture
def sampler(toy_corpus: Corpus) -> Sampler:
    return Sampler(toy_corpus, seed=1)


def batches(plan: Plan) -> list[tuple[np.ndarray, ...]]:
    """Returns item, group, start and length of the windows of each batch."""
    parts = (plan.item, plan.group, plan.rows.window_start, plan.rows.window_length)
    return [tuple(part[step.start : step.end] for part in parts) for step in plan.steps]


def test_groups_hold_evidence_and_what_is_none(toy_corpus: Corpus, sampler: Sampler) -> None:
    plan = sampler.draw(300, tokens=4000, parts=2)
    documents = np.searchsorted(toy_corpus.document_start, np.arange(len(toy_corpus.prepared.tokens)), "right") - 1
    assert not toy_corpus.held_items[plan.item].any()
    groups = 0
    for step, (items, group, starts, lengths) in zip(plan.steps, batches(plan), strict=True):
        assert sorted(set(group)) == list(range(step.groups))
        groups += step.groups
        for number in range(step.groups):
            rows = np.flatnonzero(group == number)
            (item,) = set(items[rows])
            own = toy_corpus.prepared.item_document[item]
            spans = toy_corpus.spans[toy_corpus.item_span[item] : toy_corpus.item_span[item + 1]]
            ends = starts[rows] + lengths[rows]
            holds = ((starts[rows, None] < spans[:, 1]) & (ends[:, None] > spans[:, 0])).any(1)
            foreign = documents[starts[rows]] != own
            assert 1 <= holds.sum() <= POSITIVES
            assert (~holds & ~foreign).sum() <= NEGATIVES
            assert foreign.sum() <= 1
            assert len(set(starts[rows])) == len(rows)
            sources = {toy_corpus.prepared.item_source[3 * document] for document in documents[starts[rows]]}
            assert sources == {toy_corpus.prepared.item_source[item]}
            assert not toy_corpus.prepared.held_documents[documents[starts[rows]]].any()
    assert groups == 300


def test_sources_are_left_out(toy_corpus: Corpus) -> None:
    plan = Sampler(toy_corpus, seed=1, without=["a"]).draw(300, tokens=4000, parts=2)
    sources = toy_corpus.prepared.sources[toy_corpus.prepared.item_source[plan.item]]
    assert set(sources.tolist()) == {"b"}


def test_windows_are_read_with_what_is_before_them_in_their_document(toy_prepared: Prepared) -> None:
    corpus = Corpus(toy_prepared, left=8)
    plan = Sampler(corpus, seed=1).draw(300, tokens=4000, parts=2)
    document = np.searchsorted(corpus.document_start, plan.rows.window_start, "right") - 1
    before = plan.rows.window_start - corpus.document_start[document]
    assert (plan.rows.left_length == np.minimum(before, 8)).all()
    assert (before == 0).any() and (before > 8).any()


def test_more_windows_of_other_documents_hold_evidence_there(toy_corpus: Corpus) -> None:
    plan = Sampler(toy_corpus, seed=1, others=3).draw(300, tokens=4000, parts=2)
    foreign = ~toy_corpus.holds(plan.item, plan.rows.window_start)
    groups = sum(step.groups for step in plan.steps)
    assert 2 * groups < foreign.sum() <= 3 * groups
    starts = plan.rows.window_start[foreign]
    ends = starts + plan.rows.window_length[foreign]
    holds = ((starts[:, None] < toy_corpus.spans[:, 1]) & (ends[:, None] > toy_corpus.spans[:, 0])).any(1)
    assert holds.mean() > 0.6
    documents = np.searchsorted(toy_corpus.document_start, starts, "right") - 1
    assert not toy_corpus.prepared.held_documents[documents].any()
    own = toy_corpus.prepared.item_document[plan.item[foreign]]
    assert (documents % 2 == own % 2).all()  # the toy's sources


def test_batches_are_about_as_large_as_asked_and_sorted(sampler: Sampler) -> None:
    plan = sampler.draw(400, tokens=6000, parts=3)
    lengths = plan.rows.lengths()
    totals = [lengths[step.start : step.end].sum() for step in plan.steps]
    assert np.mean(totals[:-1]) == pytest.approx(6000, rel=0.05)
    for step in plan.steps:
        assert (np.diff(lengths[step.start : step.end]) >= 0).all()
        assert step.chunks[-1].end == step.end - step.start


def test_sources_get_their_shares(toy_corpus: Corpus, sampler: Sampler) -> None:
    drawn = toy_corpus.prepared.item_source[sampler.draw_items(4000)]
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)


def test_hard_windows_come_into_the_groups(toy_corpus: Corpus, sampler: Sampler) -> None:
    counts = toy_corpus.prepared.document_windows[0, toy_corpus.prepared.item_document]
    item = int(np.flatnonzero((counts > 12) & ~toy_corpus.held_items)[0])
    first, last = toy_corpus.windows_of(int(toy_corpus.prepared.item_document[item]), 0)
    positive = sampler.is_positive(np.full(last - first, item), np.arange(first, last))
    scores = np.where(positive, 5.0, np.arange(last - first) / 100).astype(np.float32)
    above = int(np.flatnonzero(~positive)[2])
    scores[above] = 6.0
    keep_hardest(sampler, item, scores)
    hard = sampler.hard[item, 0]
    by_score = [at for at in np.argsort(-scores, kind="stable") if not positive[at] and at != above]
    assert hard[hard >= 0].tolist() == by_score[:8]
    group, windows = sampler._draw_negative(np.full(50, item), np.zeros(50, np.int64))
    from_hard = np.isin(windows - first, hard)
    assert (np.bincount(group, from_hard) >= 4).all()


def test_ranks_start_again_in_each_group() -> None:
    assert rank_in_group(np.array([4, 4, 4, 1, 1, 7])).tolist() == [0, 1, 2, 0, 1, 0]
    assert rank_in_group(np.zeros(0, np.int64)).tolist() == []
