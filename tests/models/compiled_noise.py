"""The real compiler accepts the kernel of dropout, without a GPU. `test_noise` runs this file by itself."""

from __future__ import annotations

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ugts_dist.models.noise_kernels import draw_factors


@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize("number", ["i32", "i64"])
def test_it_is_compiled(number: str, capability: int) -> None:
    arrays = {"ids": "*i64", "step": "*i64", "factors": "*fp32"}
    numbers = dict.fromkeys(["start", "layer"], number) | dict.fromkeys(["num_rows", "width", "least"], "i32")
    constants = {"PER_WORD": 4, "BLOCK": 512}
    signature = arrays | numbers | {"scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    places = {(list(signature).index(name),): value for name, value in constants.items()}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(len(arrays))}
    source = ASTSource(fn=draw_factors, signature=signature, constexprs=places, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    assert triton.compile(source, target=target, options={"enable_fp_fusion": False}).asm["cubin"]
