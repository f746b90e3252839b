"""What a masking method decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:  # the help of the command line answers without torch
    from torch import Tensor

Scope = Literal["global", "layer"]
Ramp = Literal["linear", "cubic", "constant"]


class Method:
    """How a network's scores become its mask. A method is a subclass in a file of its own, and a line in `METHODS`.

    How masks look (`coats`, `signed`, `pruned`, `locked`, `fold`) is up to the options, and goes with every method.

    Attributes:
        title: its name in reports.
        summary: what it does, for the help of the command line.
        scope: "global", one threshold over all layers; "layer", one a layer.
        schedule: how the sparsity rises to its target: "linear", "cubic", or "constant", which is there at once.
        masks: whether weights are frozen and masked; else they are trained.
    """

    title: ClassVar[str]
    summary: ClassVar[str]
    scope: ClassVar[Scope] = "global"
    schedule: ClassVar[Ramp] = "linear"
    masks: ClassVar[bool] = True

    def rank(self, scores: Tensor) -> Tensor:
        """What is compared with the threshold: the scores of one weight, or what a method makes of them.

        The forward pass masks by it, and gradients pass through it to the scores, as autograd has it: detach factors
        that training is not to see.

        Args:
            scores: of one weight, in its shape; their magnitudes where `supermask.ranking` is magnitude.

        Returns: in the same shape; the largest are kept.
        """
        return scores

    @property
    def has_rank(self) -> bool:
        """Whether something else than the scores is compared with the threshold."""
        return type(self).rank is not Method.rank
