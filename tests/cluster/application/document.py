"""A long document with one fact in it, and the question for that fact."""

FACT = "The notice period for the Meridian warehouse lease is ninety-three days."
QUESTION = "What is the notice period for the Meridian warehouse lease?"


def long(seed=0, sentences=400):
    """About 20 tokens a sentence; another seed gives another document, which no cache has seen."""
    topics = ["pallets", "invoices", "forklifts", "insurance", "cold storage", "customs papers", "shift plans"]
    lines = []
    for number in range(sentences):
        topic = topics[number % len(topics)]
        lines.append(
            f"Paragraph {seed}-{number} records that {topic} were counted, signed for and moved to bay {number % 41}."
        )
    lines.insert(sentences // 2, FACT)
    return "\n".join(lines)
