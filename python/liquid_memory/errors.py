"""What a caller can get wrong, as types, each with the field, what was given and what to do."""

from __future__ import annotations


class LiquidMemoryError(Exception):
    """Every error of this package but those of kernels (`KernelError`) and of PyTorch itself."""


class ConfigError(LiquidMemoryError, ValueError):
    """Settings of a layer that do not fit together."""

    def __init__(self, field: str, given: object, remedy: str) -> None:
        super().__init__(f"{field} = {given}: {remedy}")
        self.field, self.given, self.remedy = field, given, remedy


class ShapeError(LiquidMemoryError, ValueError):
    """A tensor of another shape than the layer takes."""

    def __init__(self, field: str, given: object, wanted: str) -> None:
        super().__init__(f"{field} has shape {given}; {wanted}")
        self.field, self.given, self.wanted = field, given, wanted


class UnsupportedError(LiquidMemoryError, NotImplementedError):
    """Something that softmax attention has and linear attention cannot have."""

    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(f"{field}: {reason}; {remedy}")
        self.field, self.reason, self.remedy = field, reason, remedy


class AttentionWeightsError(UnsupportedError):
    """Attention weights were asked for: there is no matrix of them."""

    def __init__(self) -> None:
        reason = "linear attention has no matrix of weights between queries and keys"
        super().__init__("need_weights", reason, "pass need_weights=False")


class AttentionMaskError(UnsupportedError):
    """A mask between queries and keys other than the causal one."""

    def __init__(self) -> None:
        super().__init__(
            "attn_mask",
            "a state that is passed from token to token knows no mask but the causal one",
            "pass is_causal=True for causal attention (attn_mask is then taken for its mask), key_padding_mask for padding",
        )


class CrossAttentionError(UnsupportedError):
    """Keys or values of another sequence than the queries."""

    def __init__(self) -> None:
        super().__init__(
            "key, value",
            "they are another sequence than query",
            "pass the same tensor three times; keep nn.MultiheadAttention for cross attention",
        )


class StateError(LiquidMemoryError, RuntimeError):
    """A state of another layer, batch or device, or none where one is needed."""


class DistillationError(LiquidMemoryError, RuntimeError):
    """A model whose attention was replaced is used before it was trained again."""

    def __init__(self) -> None:
        super().__init__(
            "the model's attention was replaced and not trained since, so its output is garbage; distil it "
            "(python -m liquid_memory distill) and call hf.mark_distilled(model), or patch it with force=True to see it run"
        )
