"""A toy corpus: made-up words, a word a token, small documents of two sources."""

import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from ranker.corpus import Corpus, Prepared
from ranker.model import Ranker, Shape
from ranker.prepare import Item, prepare

# Below these numbers are [PAD], [CLS], [SEP] and what else BERT keeps.
FIRST_WORD = 110
WORDS = [f"w{number}" for number in range(300)]
SHAPE = Shape(vocabulary=FIRST_WORD + len(WORDS) + 1, positions=320, hidden=64, intermediate=96, layers=2, heads=2)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Returns a tokeniser that knows WORDS; all else is one unknown token."""
    vocabulary = {word: FIRST_WORD + at for at, word in enumerate(WORDS)}
    unknown = FIRST_WORD + len(WORDS)
    toy = Tokenizer(models.WordLevel({**vocabulary, "[UNK]": unknown}, unk_token="[UNK]"))
    toy.pre_tokenizer = pre_tokenizers.Whitespace()
    return toy


@pytest.fixture(scope="session")
def toy_texts() -> list[str]:
    """Returns 24 documents of 8 to 120 sentences."""
    rng = random.Random(5)
    return [
        " ".join(
            upper(" ".join(rng.choices(WORDS, k=rng.randint(4, 30)))) + "." for _ in range(rng.choice((8, 30, 120)))
        )
        for _ in range(24)
    ]


def upper(sentence: str) -> str:
    """Returns a sentence that starts with a number, so that the cutter sees a start and the words stay known."""
    return "7 " + sentence


@pytest.fixture(scope="session")
def toy_items(toy_texts: list[str]) -> list[Item]:
    """Returns three items a document: words of a sentence as question, the sentence as evidence."""
    rng = random.Random(6)
    items = []
    for document, content in enumerate(toy_texts):
        sentences = content.split(". ")
        for _ in range(3):
            at = rng.randrange(len(sentences))
            start = sum(len(sentence) + 2 for sentence in sentences[:at])
            words = sentences[at].strip(".").split()[1:5]
            forms = [" ".join(words) + " ?", " ".join(words), "w1 w2 " + " ".join(words)]
            items.append(Item("ab"[document % 2], document, forms, 2, [(start, start + len(sentences[at]))]))
    return items


@pytest.fixture(scope="session")
def toy_prepared(toy_texts: list[str], toy_items: list[Item], tokenizer: Tokenizer) -> Prepared:
    """Returns the prepared toy corpus."""
    return prepare(toy_texts, toy_items, tokenizer)


@pytest.fixture(scope="session")
def toy_corpus(toy_prepared: Prepared) -> Corpus:
    """Returns the toy corpus."""
    return Corpus(toy_prepared)


@pytest.fixture
def toy_model() -> Ranker:
    """Returns a small ranker with random weights."""
    torch.manual_seed(3)
    model = Ranker(SHAPE)
    torch.nn.init.normal_(model.token_head.weight, std=0.5)
    torch.nn.init.normal_(model.window_head.weight, std=0.5)
    return model.eval()
