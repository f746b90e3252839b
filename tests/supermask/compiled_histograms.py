"""The real compiler accepts the histogram kernel, without a GPU. `test_device_histograms` runs this file by itself."""

from __future__ import annotations

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ugts_dist.supermask.threshold_kernels import count_digits


@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize(("shift", "bits"), [(21, 11), (10, 11), (0, 10)])
def test_it_is_compiled(shift: int, bits: int, capability: int) -> None:
    arrays = {"keys": "*i32", "chunks": "*i64", "prefix": "*i32", "counts": "*i64"}
    constants = {"SHIFT": shift, "BITS": bits, "BINS": 1 << bits, "STEPS": 4, "BLOCK": 2048}
    signature = arrays | dict.fromkeys(constants, "constexpr")
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(len(arrays))}
    places = {(list(signature).index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=count_digits, signature=signature, constexprs=places, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    assert triton.compile(source, target=target, options={"enable_fp_fusion": False}).asm["cubin"]
