"""Small ONNX graphs, one for each form of a fully connected layer that exporters write, with float64 twins. Imported by tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

K, N, BLOCK = 64, 48, 16
INTEGERS = {
    "int8": (ir.DataType.INT8, np.int8, -128, 127),
    "uint8": (ir.DataType.UINT8, np.uint8, 0, 255),
    "int4": (ir.DataType.INT4, ml_dtypes.int4, -8, 7),
    "uint4": (ir.DataType.UINT4, ml_dtypes.uint4, 0, 15),
}
_TYPES = {np.dtype(np.float32): ir.DataType.FLOAT, np.dtype(np.float16): ir.DataType.FLOAT16, np.dtype(np.int64): ir.DataType.INT64}


class OnnxGraphBuilder:
    """A graph in the making."""

    def __init__(self, seed: int = 0, opset: int = 21) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[ir.Node] = []
        self.inputs: list[ir.Value] = []
        self.initializers: list[ir.Value] = []

    def input(self, name: str, shape: list[int | str], dtype: Any = np.float32) -> ir.Value:
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(_TYPES[np.dtype(dtype)]))
        self.inputs.append(value)
        return value

    def constant(self, name: str, values: np.ndarray, dtype: ir.DataType | None = None) -> ir.Value:
        tensor = ir.tensor(values, dtype=dtype, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.initializers.append(value)
        return value

    def weight(self, name: str, *shape: int, dtype: Any = np.float32) -> ir.Value:
        return self.constant(name, (self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype))

    def op(
        self, kind: str, *inputs: ir.Value | None, domain: str = "", outputs: int = 1, name: str | None = None, **attributes: Any
    ) -> Any:
        made = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node(domain, kind, inputs, made, num_outputs=outputs, name=name or f"{kind}_{len(self.nodes)}")
        for i, value in enumerate(node.outputs):
            value.name = f"{node.name}_out{i or ''}"
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def model(self, outputs: dict[str, ir.Value], dtype: Any = np.float32) -> ir.Model:
        for name, value in outputs.items():
            value.name = name
            value.type = value.type or ir.TensorType(_TYPES[np.dtype(dtype)])
        opsets = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        graph = ir.Graph(
            self.inputs, list(outputs.values()), nodes=self.nodes, initializers=self.initializers, opset_imports=opsets, name="g"
        )
        return ir.Model(graph, ir_version=10)

    def proto(self, outputs: dict[str, ir.Value], dtype: Any = np.float32) -> onnx.ModelProto:
        return ir.to_proto(self.model(outputs, dtype))


@dataclass
class Form:
    """One site as a whole model.

    :param proto: input `x`, an output `y0`, `y1`, ... for each layer.
    :param weights: float64 [N, K] of each layer.
    :param after: of each layer, what happens to x·Wᵀ: alpha and bias.
    :param shape: of x.
    """

    proto: onnx.ModelProto
    weights: list[np.ndarray]
    after: list[Callable[[np.ndarray], np.ndarray]] = field(default_factory=list)
    shape: tuple[int, ...] = (1, 3, K)
    dtype: Any = np.float32
    transposed: bool = False  # x is [K, M]

    def dense(self, x: np.ndarray) -> list[np.ndarray]:
        """Outputs in float64 for the channels of x, [..., K]."""
        after = self.after or [lambda y: y] * len(self.weights)
        return [then(x.astype(np.float64) @ weight.T) for weight, then in zip(self.weights, after, strict=True)]


def floats(value: ir.Value) -> np.ndarray:
    return np.asarray(value.const_value.numpy()).astype(np.float64)


def matmul(dtype: Any = np.float32, *, activations: Any = np.float32, cast: bool = False, transposed: bool = False) -> Form:
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K], activations)
    w = d.weight("w", *((N, K) if transposed else (K, N)), dtype=dtype)
    value = d.op("Cast", w, to=_TYPES[np.dtype(activations)].value) if cast else w
    value = d.op("Transpose", value, perm=[1, 0]) if transposed else value
    y = d.op("MatMul", x, value)
    return Form(d.proto({"y0": y}, activations), [floats(w) if transposed else floats(w).T], dtype=activations)


def gemm(trans_a: int, trans_b: int, *, bias: bool = True) -> Form:
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", [K, "m"] if trans_a else ["m", K])
    w = d.weight("w", *((N, K) if trans_b else (K, N)))
    c = [d.weight("c", N)] if bias else []
    y = d.op("Gemm", x, w, *c, transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0)
    offset = 2 * floats(c[0]) if bias else 0
    return Form(d.proto({"y0": y}), [floats(w) if trans_b else floats(w).T], [lambda y: 0.5 * y + offset],
                shape=(K, 3) if trans_a else (3, K), transposed=bool(trans_a))  # fmt: skip


def dequantized(kind: str, *, block: int = 0, zero: bool = False, transposed: bool = False, single: bool = False) -> Form:
    d = OnnxGraphBuilder()
    dtype, numpy_type, low, high = INTEGERS[kind]
    x = d.input("x", ["b", "t", K])
    shape = (N, K) if transposed else (K, N)
    raw = d.rng.integers(low, high + 1, shape)
    axis = (1 if transposed else 0) if block else (0 if transposed else 1)  # of blocks: the input channels; else the output channels
    grouped = tuple(size // block if block and i == axis else size if block or i == axis else 1 for i, size in enumerate(shape))
    scales = d.rng.uniform(0.5, 1, (1, 1) if single else grouped).astype(np.float32) / (high - low)
    zeros = d.rng.integers(low, high + 1, scales.shape)
    flat = (lambda a: a) if block else (lambda a: a.reshape(())) if single else (lambda a: a.reshape(-1))
    inputs = [d.constant("q", raw.astype(np.int32).astype(numpy_type), dtype), d.constant("s", flat(scales))]
    if zero:
        inputs.append(d.constant("z", flat(zeros).astype(np.int32).astype(numpy_type), dtype))
    w = d.op("DequantizeLinear", *inputs, axis=axis, **({"block_size": block} if block else {}))
    y = d.op("MatMul", x, d.op("Transpose", w, perm=[1, 0]) if transposed else w)

    def spread(a: np.ndarray) -> np.ndarray:
        return np.repeat(a, block, axis) if block else a

    real = (raw - (spread(zeros) if zero else 0)) * spread(scales.astype(np.float64))
    return Form(d.proto({"y0": y}), [real if transposed else real.T])


def nbits(bits: int, *, zero: bool = False, bias: bool = False) -> Form:
    d = OnnxGraphBuilder()
    x = d.input("x", ["b", "t", K])
    groups = K // BLOCK
    raw = d.rng.integers(0, 1 << bits, (N, K))
    scales = (d.rng.uniform(0.5, 1, (N, groups)) / (1 << bits)).astype(np.float32)
    zeros = d.rng.integers(0, 1 << bits, (N, groups))
    blob = raw if bits == 8 else raw[:, 0::2] | raw[:, 1::2] << 4
    packed = zeros if bits == 8 else zeros[:, 0::2] | zeros[:, 1::2] << 4
    inputs: list[ir.Value | None] = [
        d.constant("q", blob.astype(np.uint8).reshape(N, groups, -1)),
        d.constant("s", scales),
        d.constant("z", packed.astype(np.uint8)) if zero else None,
        None,
        d.weight("c", N) if bias else None,
    ]
    offset = floats(inputs[-1]) if bias else 0
    while inputs[-1] is None:
        inputs.pop()
    y = d.op("MatMulNBits", x, *inputs, domain="com.microsoft", K=K, N=N, bits=bits, block_size=BLOCK, accuracy_level=4)
    if not zero:
        zeros = np.full((N, groups), 1 << (bits - 1))
    real = (raw - np.repeat(zeros, BLOCK, 1)) * np.repeat(scales.astype(np.float64), BLOCK, 1)
    return Form(d.proto({"y0": y}), [real], [lambda y: y + offset])


def shared_input() -> Form:
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    w = [d.weight(f"w{i}", K, n) for i, n in enumerate((N, 16))]
    outputs = [d.op("MatMul", x, value) for value in w]
    return Form(d.proto({f"y{i}": y for i, y in enumerate(outputs)}), [floats(value).T for value in w])


def through_reshape() -> Form:
    """GPT-2's Conv1D: [B, T, K] flattened for a Gemm."""
    d = OnnxGraphBuilder(opset=17)
    x = d.input("x", ["b", "t", K])
    w, c = d.weight("w", K, N), d.weight("c", N)
    flat = d.op("Reshape", x, d.constant("flat", np.array([-1, K], np.int64)))
    y = d.op("Gemm", flat, w, c)
    return Form(d.proto({"y0": y}), [floats(w).T], [lambda y: y.reshape(-1, N) + floats(c)])


FORMS: dict[str, Callable[[], Form]] = {
    "matmul f32": matmul,
    "matmul f16 weight, f32 activations": lambda: matmul(np.float16, cast=True),
    "matmul f16": lambda: matmul(np.float16, activations=np.float16),
    "matmul transposed": lambda: matmul(transposed=True),
    **{f"gemm transA={a} transB={b}": (lambda a=a, b=b: gemm(a, b)) for a in (0, 1) for b in (0, 1)},
    "gemm without bias": lambda: gemm(0, 1, bias=False),
    **{
        f"{kind} {'blocks' if block else 'channels'}{' zp' if zero else ''}": (
            lambda kind=kind, block=block, zero=zero: dequantized(kind, block=block, zero=zero)
        )
        for kind in INTEGERS
        for block in (0, BLOCK)
        for zero in (False, True)
    },
    "int8 transposed": lambda: dequantized("int8", transposed=True, zero=True),
    "uint4 blocks transposed": lambda: dequantized("uint4", block=BLOCK, transposed=True, zero=True),
    "int8 one scale": lambda: dequantized("int8", single=True),
    **{
        f"nbits {bits}{' zp' if zero else ''}{' bias' if bias else ''}": (
            lambda bits=bits, zero=zero, bias=bias: nbits(bits, zero=zero, bias=bias)
        )
        for bits in (4, 8)
        for zero in (False, True)
        for bias in (False, True)
    },
    "shared input": shared_input,
    "through reshape": through_reshape,
}
