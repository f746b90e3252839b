from __future__ import annotations

from pathlib import Path

from tests.alone import needs_triton, run_alone

HERE = Path(__file__).parent


@needs_triton
def test_the_kernel_in_the_interpreter() -> None:
    run_alone(HERE / "interpreted_histograms.py", {"TRITON_INTERPRET": "1"})


@needs_triton
def test_the_kernel_is_compiled(tmp_path: Path) -> None:
    run_alone(HERE / "compiled_histograms.py", {"TRITON_CACHE_DIR": str(tmp_path)})
