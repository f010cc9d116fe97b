"""The figures of a run, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

LIQUID, STEP = "LiquidMemory", "LiquidMemory, one step after them"


@dataclass(frozen=True)
class Figure:
    """What was measured of one layer at one length; `skipped` says why nothing was."""

    name: str
    tokens: int
    ms: float | None = None
    memory_bytes: int | None = None
    skipped: str | None = None


@dataclass
class Report:
    """All figures of a run."""

    #: What was measured, and on what: versions, device, sizes.
    setting: dict[str, object]
    figures: list[Figure] = field(default_factory=list)

    def find(self, name: str, tokens: int) -> Figure | None:
        """The figure of a layer at a length."""
        return next((f for f in self.figures if (f.name, f.tokens) == (name, tokens)), None)

    @property
    def lengths(self) -> list[int]:
        return sorted({figure.tokens for figure in self.figures})

    def table(self, other: str) -> str:
        """The original's columns against one peer: memory and time of both, and how many times faster the layer is."""
        lines = [f"{'tokens':>9} {'LM mem':>10} {'TX mem':>10} {'LM ms':>10} {'TX ms':>10} {'speedup':>8}    TX: {other}"]
        for tokens in self.lengths:
            lm, tx = self.find(LIQUID, tokens), self.find(other, tokens)
            if lm is None or tx is None:
                continue
            speedup = f"{tx.ms / lm.ms:.2f}x" if lm.ms and tx.ms else "-"
            columns = (_mib(lm), _mib(tx), _ms(lm), _ms(tx))
            reason = f"    {tx.skipped}" if tx.skipped else ""
            lines.append(f"{tokens:>9} " + " ".join(f"{text:>10}" for text in columns) + f" {speedup:>8}{reason}")
        return "\n".join(lines)

    def __str__(self) -> str:
        names = [name for name in dict.fromkeys(f.name for f in self.figures) if name not in (LIQUID, STEP)]
        parts = [", ".join(f"{name} {value}" for name, value in self.setting.items())]
        parts += [self.table(name) for name in names]
        steps = [f for f in self.figures if f.name == STEP and f.ms is not None]
        parts += [f"step after {f.tokens:>9} tokens: {(f.ms or 0) * 1e3:.1f} us" for f in steps]
        return "\n\n".join(parts)

    def to_json(self, path: str | Path) -> None:
        """Writes the figures to a file."""
        whole = {"setting": self.setting, "figures": [asdict(figure) for figure in self.figures]}
        Path(path).write_text(json.dumps(whole, indent=1) + "\n")

    def to_png(self, path: str | Path) -> None:
        """Draws time and memory over length; needs matplotlib (`pip install liquid-memory[plot]`)."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(11, 4.5), layout="constrained")
        time, memory = canvas.subplots(1, 2)
        for name in dict.fromkeys(figure.name for figure in self.figures):
            mine = [f for f in self.figures if f.name == name and f.ms is not None]
            style = {"label": name, "marker": "o", "linewidth": 2.5 if name == LIQUID else 1.2}
            time.plot([f.tokens for f in mine], [f.ms for f in mine], **style)
            held = [f for f in mine if f.memory_bytes]
            memory.plot([f.tokens for f in held], [(f.memory_bytes or 0) / 2**20 for f in held], **style)
        for axes, what in ((time, "ms a call"), (memory, "MiB beyond weights and input")):
            axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=what)
            axes.grid(alpha=0.3)
        time.legend(fontsize=8)
        canvas.savefig(path, dpi=120)


def _ms(figure: Figure) -> str:
    return "-" if figure.ms is None else f"{figure.ms:.3f}"


def _mib(figure: Figure) -> str:
    return "-" if figure.memory_bytes is None else f"{figure.memory_bytes / 2**20:.1f}M"
