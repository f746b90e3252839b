"""The base class of masking methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:  # the help of the command line answers without torch
    from torch import Tensor

Scope = Literal["global", "layer"]
Ramp = Literal["linear", "cubic", "constant"]


class Method:
    """How a network's scores become its mask. A method is a subclass in its own file, and a line in `METHODS`.

    The form of the masks (`coats`, `signed`, `pruned`, `locked`, `fold`) is independent of the method.

    Attributes:
        title: its name in reports.
        summary: what it does, for the help of the command line.
        scope: "global": one threshold for all layers; "layer": one per layer.
        schedule: how the sparsity rises to its target: "linear", "cubic", or "constant" (the target from the start).
        masks: whether weights are frozen and masked; otherwise they are trained.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    scope: ClassVar[Scope] = "global"
    schedule: ClassVar[Ramp] = "linear"
    masks: ClassVar[bool] = True

    def rank(self, scores: Tensor) -> Tensor:
        """Values of one weight that are compared with the threshold: its scores, or a function of them.

        The forward pass masks by these values. Gradients pass through this function to the scores by autograd; detach
        factors that training should ignore. With signed masks, gradients go to the scores directly.

        Args:
            scores: of one weight, in its shape; their magnitudes if `supermask.ranking` is magnitude.

        Returns: values in the same shape; the largest are kept.
        """
        return scores

    @property
    def has_rank(self) -> bool:
        """Whether the method ranks by other values than the scores."""
        return type(self).rank is not Method.rank
