"""The kernels, translated for a GPU that need not be there.

What they compute is tested in `test_batch_triton.py`.
"""

import importlib.util

import pytest

from norms.helpers import run_python

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("triton"), reason="triton is not installed here"
)


TRANSLATION = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from normlab.norms import triton_kernels as kernels
from normlab.norms.batch_triton import plan

POINTERS = {"x", "dy", "y", "dx"}
VECTORS = {
    "partials", "weight", "bias", "mean_out", "var_out", "mean_in", "var_in",
    "dweight_out", "dbias_out",
}
work = plan(64, 64, 3136)
constants = dict(zip(("BLOCK_N", "BLOCK_C", "BLOCK_S"), work.blocks))
constants["PARTS"] = triton.next_power_of_2(work.parts)
for name in (
    "partial_moments", "write_output", "partial_gradient_sums", "write_gradients"
):
    kernel = getattr(kernels, name)
    kinds = {key: "*bf16" for key in POINTERS} | {key: "*fp32" for key in VECTORS}
    kinds |= {key: "constexpr" for key in constants} | {"eps": "fp32"}
    signature = {key: kinds.get(key, "i32") for key in kernel.arg_names}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, key in enumerate(signature)
        if signature[key].startswith("*") or key in ("samples", "channels", "positions")
    }
    known = {key: constants[key] for key in signature if key in constants}
    source = ASTSource(kernel, signature, known, aligned)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    # Eight values of two bytes, or four of four, at a time.
    assert "ld.global.v4.b32" in ptx, name
    print(name)
"""


def test_kernels_translate_for_cuda_with_wide_loads(tmp_path):
    out = run_python(TRANSLATION, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert out.split() == [
        "partial_moments",
        "write_output",
        "partial_gradient_sums",
        "write_gradients",
    ]
