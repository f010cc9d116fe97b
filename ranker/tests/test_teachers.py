"""Teachers against the models that they are made of."""

from pathlib import Path

import numpy as np
import torch

from ranker import weights
from ranker.corpus import Corpus
from ranker.held import document_rows
from ranker.model import Ranker, Shape
from ranker.rows import Chunk, DeviceRows, TokenStore, chunk_sorted
from ranker.teachers import Teachers

from .conftest import SHAPE


def test_teachers_say_the_mean_of_their_logits(toy_corpus: Corpus, toy_model: Ranker, tmp_path: Path) -> None:
    torch.manual_seed(4)
    deeper = Ranker(Shape(SHAPE.vocabulary, SHAPE.positions, SHAPE.hidden, SHAPE.intermediate, 4, SHAPE.heads)).eval()
    torch.nn.init.normal_(deeper.token_head.weight, std=0.5)
    weights.write_pieces(toy_model.state_dict(), tmp_path / "a.safetensors", {})
    weights.write_pieces(deeper.state_dict(), tmp_path / "b.safetensors", {})
    teachers = Teachers([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], torch.device("cpu"))
    rows = document_rows(toy_corpus, np.arange(3)).rows
    rows = rows.take(np.argsort(rows.lengths(), kind="stable"))
    store = TokenStore(toy_corpus.prepared.tokens, toy_corpus.prepared.question_tokens, torch.device("cpu"))
    chunk: Chunk = chunk_sorted(rows.lengths(), 1000)[0]
    batch = DeviceRows(rows, store).batch(chunk)
    lesson = teachers.teach(batch)
    with torch.no_grad():
        said = [model(batch.ids, batch.types, batch.mask) for model in (toy_model, deeper)]
    tokens, windows = (torch.stack([pair[part] for pair in said]).mean(0) for part in (0, 1))
    assert lesson.token_logits.dtype == lesson.window_logits.dtype == torch.float32
    assert not lesson.token_logits.requires_grad
    spread = float(tokens[batch.window].std())
    assert float((lesson.token_logits - tokens)[batch.window].abs().max()) < 0.1 * spread
    torch.testing.assert_close(lesson.window_logits, windows, atol=0.03, rtol=0)
