"""Models of Hugging Face transformers on this package.

| function | for | what |
|---|---|---|
| `patch` | Llama, Mistral, Qwen2, Qwen3 | replaces softmax attention by the rule; the model has to be distilled then |
| `distill` | a patched model and its original | trains it to give the original's outputs |
| `load` | a folder that a patched model was saved to | reads it again |
| `accelerate` | Qwen3.5, Qwen3-Next | runs the layers that are gated delta rule already on this package's kernels |

Needs `transformers` (`pip install liquid-memory[hf]`).
"""

from .attention import LiquidAttention
from .cache import LiquidCache
from .distillation import Losses, Recipe, distill
from .hybrid import accelerate
from .patching import load, mark_distilled, patch

__all__ = [
    "LiquidAttention",
    "LiquidCache",
    "Losses",
    "Recipe",
    "accelerate",
    "distill",
    "load",
    "mark_distilled",
    "patch",
]
