"""Rewords questions as people and prompts do, so that a score does not hang on one wording.

A form is `plain` (the question, or another form from the data) or `noisy` (made here: instructions around it, words
dropped, no question mark, lower case).
"""

import random

LEADS = (
    "Answer the question from the document.",
    "Answer the following question using only the text above.",
    "Using the report, answer:",
    "Based on the document, please tell me:",
    "You are a careful assistant. Read the text and answer.",
    "Read the attached file and help me with this.",
    "Question:",
    "Please quote the relevant passage.",
    "Find every passage in the document that bears on this:",
    "Given the context, respond to the user.",
    "I have pasted a long text.",
    "Which sentences answer this?",
    "Task: reading comprehension.",
    "Use the source below and do not guess.",
    "Can you check something for me?",
    "Mark the parts of the text that are about the following.",
)
TAILS = (
    "Answer briefly.",
    "Give a short answer and cite the text.",
    "If the document does not say, say so.",
    "Reply in one sentence.",
    "Answer in JSON.",
    "Think step by step.",
    "Explain your reasoning, then give the answer.",
    "Use bullet points.",
    "Keep it under fifty words.",
    "Do not make anything up.",
    "Thanks!",
    "Answer:",
    "Quote the passage that supports it.",
    "Only use what is written in the document.",
)
DROP_SHARE = 0.15
MIN_WORDS_TO_DROP = 6


def plain_forms(question: str, alternatives: list[str]) -> list[str]:
    """Returns the question and its alternatives, each once."""
    return list(dict.fromkeys([question, *alternatives]))


def noisy_forms(plain: list[str], rng: random.Random) -> list[str]:
    """Returns three made-up forms: with an instruction before it, with one behind it, and a careless one."""
    before = f"{rng.choice(LEADS)} {rng.choice(plain)}"
    behind = f"{rng.choice(plain)} {rng.choice(TAILS)}"
    return [before, behind, careless_form(rng.choice(plain), rng)]


def careless_form(question: str, rng: random.Random) -> str:
    """Returns a question as typed in a hurry: lower case, no question mark, some words missing."""
    words = question.rstrip(" ?.").lower().split()
    if len(words) >= MIN_WORDS_TO_DROP:
        words = [word for word in words if rng.random() >= DROP_SHARE] or words
    return " ".join(words)
