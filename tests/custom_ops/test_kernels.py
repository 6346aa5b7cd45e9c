"""Every implementation that this CPU runs against the float64 reference: formats, groups, tails, rows, sparsities, splits.

Random cases of all of these together: tests/reliability/sweep.py.

Implementations that cannot run are reported as skipped, and SCAP_OV_REQUIRE_ISA makes that a failure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_library import error_beside_stock, implementations, run, runnable
from random_operands import random_operands
from reference import OFFSETS, Operands, sparse_matmul, tolerance

from scap_ov.custom_ops.formats import WEIGHT_TYPES
from scap_ov.custom_ops.library import implementation

RUNNABLE = runnable()
# A site of each kind, tails of every sort: K no multiple of 4, a short last group, one single or last single block of columns.
SHAPES = [(577, [1001]), (128, [64]), (200, [1]), (96, [65, 63]), (256, [192, 64, 64]), (1024, [128]), (33, [130])]


def check(o: Operands, implementation: str, threads: int = 1, misalign: int = 0, *, alike: bool = False) -> np.ndarray:
    """Run, compare, and print the worst element when it lies too far off."""
    y = run(o, implementation, threads, misalign=misalign)
    expected, allowed = sparse_matmul(o), tolerance(o, alike=alike)
    error = np.abs(y.astype(np.float64) - expected)
    row, column = np.unravel_index(np.argmax(error / allowed), error.shape)
    assert (error <= allowed).all(), (
        f"{implementation}, {o.weight_type}: y[{row}, {column}] = {y[row, column]}, expected {expected[row, column]}, "
        f"error {error[row, column]:.3g} > {allowed[row, column]:.3g}; {(error > allowed).sum()} of {error.size} too far"
    )
    assert np.isfinite(y).all()
    return y


def test_the_first_one_that_runs_is_taken_and_that_for_amd_on_amd_alone() -> None:
    amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert implementation() == next(name for name in RUNNABLE if amd or name != "avx512_zen4")


@pytest.mark.parametrize("name", implementations())
def test_implementation_runs_here(name: str) -> None:
    if name not in RUNNABLE:
        pytest.skip(f"{name}: not run, this CPU lacks it")
    check(random_operands(128, [128], "i8"), name)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_shapes(implementation: str, weight_type: str, quantize: bool, shape: int) -> None:
    """One row (gemv), a few (gemv over the union), many (gemm, with rows that are no multiple of a register block)."""
    if quantize and weight_type not in OFFSETS:
        pytest.skip("float weights are not multiplied by int8")
    k, sizes = SHAPES[shape]
    for number, (m, group_size, sparsity) in enumerate(
        [(1, 64, 0.5), (1, None, None), (3, 32, 0.7), (8, 128, 0.5), (11, 32, 0.4), (37, None, 0.5)]
    ):
        o = random_operands(
            k,
            sizes,
            weight_type,
            m=m,
            group_size=group_size,
            sparsity=sparsity,
            seed=shape * 100 + number,
            scale_dtype=(np.float16, np.float32)[number % 2],
            dynamic_quantization=quantize,
            rows="all",
            added=number % 2 == 0,
            per_channel=number % 3 == 0,
        )
        check(o, implementation, threads=1 + number % 2)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["i4", "u8"])
def test_rows_of_more_than_a_page(implementation: str, weight_type: str) -> None:
    """Each number of rows has a sweep of its own, and strips of long rows are wider; dense and pruned, the same for any thread."""
    for m, sparsity in ((5, None), (6, 0.5), (7, None), (8, 0.5)):
        o = random_operands(20, [8300], weight_type, m=m, group_size=16, sparsity=sparsity, rows="all", dynamic_quantization=True)
        np.testing.assert_array_equal(check(o, implementation), run(o, implementation, 3))


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("quantize", [False, True])
def test_planes_of_rows_of_more_than_a_page(implementation: str, quantize: bool) -> None:
    """Strips of them are as wide for eight rows as for four: several to a row, with sums past what one row of x would take."""
    for m in (3, 4, 8):
        o = random_operands(20, [8300], "u8", m=m, step_group=16, sparsity=0.3, half=0.5, rows="all", dynamic_quantization=quantize)
        np.testing.assert_array_equal(check(o, implementation), run(o, implementation, 3))


@pytest.mark.parametrize("step_group", [None, 128])
@pytest.mark.parametrize("m", [1, 2, 8, 16, 128])
@pytest.mark.parametrize("implementation", RUNNABLE)
def test_int8_with_one_scale_per_channel_is_as_exact_as_stock(implementation: str, m: int, step_group: int | None) -> None:
    """Some x are large, as those of models are. Few rows have second digits for them, many have scales in 32s, or all two digits."""
    o = random_operands(1000, [128], "u8", m=m, sparsity=None, rows="decode", dynamic_quantization=True, step_group=step_group)
    assert error_beside_stock(o, implementation) <= 1.1


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["u8", "i4"])
@pytest.mark.parametrize("large", [20, 300])
def test_few_large_activations_do_not_coarsen_their_group(implementation: str, weight_type: str, large: float) -> None:
    """Two of a group, other ones in every row, at most 32 times finer; pruned rows as well as dense ones, and each as if it were alone."""
    o = random_operands(256, [130], weight_type, m=5, group_size=128, sparsity=0.4, dynamic_quantization=True)
    o.x[:] = np.random.default_rng(1).uniform(-1, 1, o.x.shape)
    for row in range(5):
        o.x[row, [7 * row, 90 - row]] = large, -large
    together = check(o, implementation)
    np.testing.assert_array_equal(together, run(o, implementation, 3))
    assert error_beside_stock(o, implementation) < 0.5
    x = o.x
    for row in range(5):
        o.x = x[row : row + 1]
        np.testing.assert_array_equal(run(o, implementation)[0], together[row])


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("m", [1, 3, 11])
@pytest.mark.parametrize("per_channel", [False, True])
def test_ramp(implementation: str, m: int, per_channel: bool) -> None:
    """Rows on either side of their thresholds give the same with a ramp, and another sum without."""
    o = random_operands(200, [130], "f32", m=m, per_channel=per_channel, added=True, rows="all", ramp=0.5)
    check(o, implementation)
    jumps = []
    for o.ramp in (0.5, 0.0):
        sides = []
        for side in (1 - 1e-5, 1 + 1e-5):
            o.x[:] = o.center + o.threshold * np.float32(side)
            sides.append(check(o, implementation))
        jumps.append(np.abs(sides[1] - sides[0]).max())
    assert jumps[0] < 1e-3 * jumps[1]


# step group, group of scales (None: one scale per output channel), share dropped, share read by half (None: no threshold for that)
GRADES = [
    (128, None, 0.2, 0.6),
    (32, 32, 0.2, 0.6),
    (64, 128, 0.5, None),
    (16, None, None, 0.9),
    (100, None, None, 0.0),
    (128, None, None, None),
]


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_planes(implementation: str, quantize: bool, shape: int) -> None:
    """Weights in two planes: some channels dropped, some read by half, some whole; all half, all whole; 1 to 8 rows and many."""
    k, sizes = SHAPES[shape]
    for number, (step_group, group_size, sparsity, half) in enumerate(GRADES):
        m = (1, 2, 3, 4, 8, 21)[(number + shape) % 6]
        o = random_operands(
            k,
            sizes,
            ("u8", "i8")[number % 2],
            m=m,
            group_size=group_size,
            sparsity=sparsity,
            half=half,
            step_group=step_group,
            seed=shape * 100 + number,
            zero_point=number % 3 != 0,
            scale_dtype=(np.float16, np.float32)[number % 2],
            x_dtype=(np.float32, np.float16)[(number + shape) % 4 == 0],
            dynamic_quantization=quantize,
            rows="all",
            added=number % 2 == 0,
            per_channel=number % 3 == 1,
        )
        check(o, implementation, threads=1 + number % 2, misalign=number)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("m", [2, 4, 7])
def test_row_of_planes_gets_what_it_asked_for_beside_any_neighbours(implementation: str, m: int) -> None:
    """Bit for bit: one row among others, which read other channels whole, and alone."""
    o = random_operands(300, [130], "u8", m=m, step_group=64, sparsity=0.3, half=0.5, dynamic_quantization=True)
    together = check(o, implementation)
    x = o.x
    for row in range(m):
        o.x = x[row : row + 1]
        np.testing.assert_array_equal(run(o, implementation)[0], together[row])


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("m", [1, 3, 20])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_planes_let_nan_and_infinity_through(implementation: str, quantize: bool, m: int, bad: float) -> None:
    o = random_operands(256, [128], "i8", m=m, step_group=64, half=0.3, rows="all", dynamic_quantization=quantize)
    o.x[m // 2, 70] = bad
    y = run(o, implementation)
    assert not np.isfinite(y[m // 2]).any()
    assert np.isfinite(np.delete(y, m // 2, axis=0)).all()


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("m", [1, 9])
def test_planes_with_everything_dropped_leave_what_is_added(implementation: str, m: int) -> None:
    o = random_operands(192, [130], "i8", m=m, step_group=64, half=0.2, added=True, rows="all", dynamic_quantization=True)
    o.threshold[:] = 1e9
    np.testing.assert_array_equal(run(o, implementation), np.broadcast_to(o.base + o.compensation, (m, 130)))


@pytest.mark.parametrize("implementation", RUNNABLE)
def test_extreme_planes_do_not_overflow(implementation: str) -> None:
    """All planes 15 with the largest step, activations of one sign."""
    for k, m in ((512, 1), (512, 3), (512, 9), (576, 9), (576, 20)):
        o = random_operands(k, [192], "u8", m=m, step_group=128, sparsity=0.1, half=0.4, rows="all", dynamic_quantization=True)
        o.weight[:], o.step[:], o.offset[:], o.zero_point[:] = 255, 16, 0, 0
        o.x[:] = np.where(o.x < o.threshold, 3, np.abs(o.x))
        check(o, implementation, alike=k == 576)  # there most of a row are 3, and round alike


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["i4", "i8", "f16"])
def test_extreme_weights_do_not_saturate(implementation: str, weight_type: str) -> None:
    """The largest stored weights and activations of one sign, where sums of 16 bits would overflow."""
    for m in (1, 2, 9):
        for value in (0, 255):
            o = random_operands(512, [192], weight_type, m=m, group_size=128, sparsity=None, dynamic_quantization=True, zero_point=False)
            o.x[:] = np.where(o.x[:, :1] < 0, -3, 3)
            if weight_type in OFFSETS:
                o.weight[:] = value
            check(o, implementation)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["u4", "i8", "f16"])
def test_everything_dropped_leaves_what_is_added(implementation: str, weight_type: str) -> None:
    o = random_operands(192, [130], weight_type, group_size=64, added=True)
    o.threshold[:] = 1e9
    np.testing.assert_array_equal(run(o, implementation)[0], o.base + o.compensation)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("weight_type", ["u4", "i8", "f16", "f32"])
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("m", [1, 3, 20])
def test_nan_and_infinity_reach_their_row_and_no_other(implementation: str, weight_type: str, quantize: bool, bad: float, m: int) -> None:
    o = random_operands(256, [128], weight_type, m=m, group_size=64, rows="all", dynamic_quantization=quantize)
    o.x[m // 2, 70] = bad
    y = run(o, implementation)
    assert not np.isfinite(y[m // 2]).any()
    assert np.isfinite(np.delete(y, m // 2, axis=0)).all()


@pytest.mark.parametrize("implementation", RUNNABLE)
def test_rows_decode_prunes_few_rows_and_leaves_many_dense(implementation: str) -> None:
    for m, pruned in ((4, True), (5, False), (40, False)):
        o = random_operands(256, [128], "i8", m=m, max_sparse_rows=4, added=True)
        dense = random_operands(256, [128], "i8", m=m, max_sparse_rows=0)
        assert pruned == (not np.array_equal(check(o, implementation), check(dense, implementation)))


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("m", [6, 30])
def test_rows_all_leaves_position_zero_dense(implementation: str, m: int) -> None:
    o = random_operands(256, [128], "f16", m=m, rows="all", positions=3, added=True)
    check(o, implementation)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize("m", [1, 3, 11])
@pytest.mark.parametrize("ramp", [0.0, 0.5])
def test_nan_threshold_keeps_its_channel_as_it_is(implementation: str, m: int, ramp: float) -> None:
    """One rule everywhere: dropped where |x - c| <= threshold, moved where it is below the end of the ramp; a NaN is neither."""
    o = random_operands(96, [70], "f32", m=m, per_channel=True, added=True, rows="all", ramp=ramp)
    o.threshold[::3] = np.nan
    check(o, implementation)


@pytest.mark.parametrize("implementation", RUNNABLE)
@pytest.mark.parametrize(("group_size", "m"), [(70_000, 1), (70_000, 9), (65_537, 1), (262, 2)])
def test_long_groups_do_not_overflow(implementation: str, group_size: int, m: int) -> None:
    """70,000 is split at a divisor; 65,537 is prime, and its sums would not fit into 32 bits: x stays float there."""
    k = group_size + 1
    o = random_operands(k, [2], "u8", m=m, group_size=group_size, sparsity=None, dynamic_quantization=True, rows="all")
    o.x[:] = 3
    o.weight[:] = 255
    check(o, implementation)
