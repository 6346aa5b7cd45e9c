"""Show an ONNX graph through the node interface of OpenVINO, so that the rules of passes.openvino exist once.

    graph input -> Parameter    initializer, Constant -> Constant    graph output -> Result    a node -> a node, under OpenVINO's type name

Only what the rules ask of a node is here. Bodies of If, Loop and Scan are not shown; what they read from outside counts as their input.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import openvino as ov

# ONNX operators that OpenVINO calls otherwise, or that play the part of one of its.
_TYPE_NAMES = {
    "Mul": "Multiply", "Sub": "Subtract", "Div": "Divide", "Pow": "Power", "Cast": "Convert", "Identity": "Convert", "Dropout": "Convert",
    "Where": "Select", "Expand": "Broadcast", "Flatten": "Reshape", "Shape": "ShapeOf", "Clip": "Clamp", "HardSwish": "HSwish",
    "HardSigmoid": "HSigmoid", "Softplus": "SoftPlus", "LeakyRelu": "PRelu", "FastGelu": "Gelu", "BiasGelu": "Gelu", "QuickGelu": "Swish",
    "GreaterOrEqual": "GreaterEqual", "LessOrEqual": "LessEqual", "Not": "LogicalNot", "Or": "LogicalOr", "And": "LogicalAnd",
    "Gemm": "MatMul", "FusedMatMul": "MatMul", "MatMulNBits": "MatMul", "DequantizeLinear": "Multiply", "Scan": "TensorIterator",
    "CastLike": "ConvertLike", "Conv": "Convolution",
    "Attention": "ScaledDotProductAttention", "MultiHeadAttention": "ScaledDotProductAttention",
    "GroupQueryAttention": "ScaledDotProductAttention", "PagedAttention": "ScaledDotProductAttention",
}  # fmt: skip
_ELEMENT_TYPES = {
    ir.DataType.FLOAT: ov.Type.f32, ir.DataType.FLOAT16: ov.Type.f16, ir.DataType.BFLOAT16: ov.Type.bf16, ir.DataType.DOUBLE: ov.Type.f64,
    ir.DataType.INT8: ov.Type.i8, ir.DataType.UINT8: ov.Type.u8, ir.DataType.INT4: ov.Type.i4, ir.DataType.UINT4: ov.Type.u4,
    ir.DataType.INT16: ov.Type.i16, ir.DataType.UINT16: ov.Type.u16, ir.DataType.INT32: ov.Type.i32, ir.DataType.UINT32: ov.Type.u32,
    ir.DataType.INT64: ov.Type.i64, ir.DataType.UINT64: ov.Type.u64, ir.DataType.BOOL: ov.Type.boolean,
}  # fmt: skip
KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")


class GraphView:
    """All nodes of a model's main graph in topological order.

    :param model: is not changed; changes made to it later do not show.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self._by_value: dict[ir.Value, OutputView] = {}
        self.ordered: list[NodeView] = []
        for value in graph.inputs:
            self._add(NodeView(self, "Parameter", value.name or "", None, [value]))
        for value in graph.initializers.values():
            self._constant(value)
        for node in graph:
            name = node.name or next((v.name for v in node.outputs if v.name), node.op_type) or node.op_type
            kind = _TYPE_NAMES.get(node.op_type, node.op_type) if node.domain in KNOWN_DOMAINS else f"{node.domain}.{node.op_type}"
            self._add(NodeView(self, kind, name, node, list(node.outputs)))
        for value in graph.outputs:
            self._add(NodeView(self, "Result", value.name or "", None, [], [value]))
        for view in self.ordered:
            for index, source in enumerate(view.sources):
                if source is not None:
                    self.of(source).readers.append(InputView(view, index))

    def of(self, value: ir.Value) -> OutputView:
        """The view of a value; one that nothing in the main graph gives, of a deeper function, counts as a Parameter."""
        if value not in self._by_value:
            self._add(NodeView(self, "Parameter", value.name or "", None, [value]))
        return self._by_value[value]

    def _constant(self, value: ir.Value) -> None:
        if value not in self._by_value:
            self._add(NodeView(self, "Constant", value.name or "", None, [value]))

    def _add(self, node: NodeView) -> None:
        self.ordered.append(node)
        for view in node.outputs():
            self._by_value[view.value] = view


class OutputView:
    """One value, as ov.Output."""

    def __init__(self, node: NodeView, index: int, value: ir.Value) -> None:
        self.value = value
        self.readers: list[InputView] = []
        self._node, self._index = node, index

    def get_node(self) -> NodeView:
        """The node that gives it."""
        return self._node

    def get_index(self) -> int:
        """Its place among the node's outputs."""
        return self._index

    def get_names(self) -> set[str]:
        """Its name, as a set."""
        return {self.value.name} if self.value.name else set()

    def get_any_name(self) -> str:
        """Its name."""
        return self.value.name or ""

    def get_target_inputs(self) -> list[InputView]:
        """Its readers."""
        return self.readers

    def get_partial_shape(self) -> ov.PartialShape:
        """Its shape; dynamic rank where nothing is known."""
        return partial_shape(self.value)

    def get_element_type(self) -> ov.Type:
        """Its element type, `dynamic` where unknown."""
        return element_type(self.value)


class InputView:
    """A reader of a value, as ov.Input."""

    def __init__(self, node: NodeView, index: int) -> None:
        self._node, self._index = node, index

    def get_node(self) -> NodeView:
        """The node that reads."""
        return self._node

    def get_index(self) -> int:
        """The port."""
        return self._index


class NodeView:
    """One node, as ov.Node.

    :param kind: type name in OpenVINO's words.
    :param onnx: the ONNX node; None for inputs, initializers and results.
    :param sources: of a Result.
    """

    def __init__(self, graph: GraphView, kind: str, name: str, onnx: ir.Node | None, outputs: list[ir.Value],
                 sources: list[ir.Value | None] | None = None) -> None:  # fmt: skip
        self.onnx = onnx
        self.sources = sources or ([] if onnx is None else [*onnx.inputs, *_captured(onnx)])
        if kind == "ScaledDotProductAttention" and onnx is not None:
            self.sources[:3] = _query_key_value(onnx)
        self._graph, self._kind, self._name = graph, kind, name
        self._outputs = [OutputView(self, i, value) for i, value in enumerate(outputs)]

    def get_instance_id(self) -> int:
        """Unique within a view."""
        return id(self)

    def get_type_name(self) -> str:
        """The type in OpenVINO's words; of an unknown domain, `domain.type`."""
        return self._kind

    def get_friendly_name(self) -> str:
        """The node's name, or that of its first output."""
        return self._name

    def get_input_size(self) -> int:
        """Number of inputs that are there."""
        return len(self.input_values())

    def input_value(self, port: int) -> OutputView:
        """What is read at a port.

        :raises IndexError: the optional input is left out.
        """
        source = self.sources[port]
        if source is None:
            msg = f"input {port} of {self._name} is left out"
            raise IndexError(msg)
        return self._graph.of(source)

    def input_values(self) -> list[OutputView]:
        """All inputs that are there."""
        return [self._graph.of(source) for source in self.sources if source is not None]

    def output(self, port: int) -> OutputView:
        """One output."""
        return self._outputs[port]

    def outputs(self) -> list[OutputView]:
        """All outputs."""
        return self._outputs

    def get_input_partial_shape(self, port: int) -> ov.PartialShape:
        """Shape of an input; for the packed weight of MatMulNBits that of the matrix."""
        if port == 1 and self.onnx is not None and self.onnx.op_type == "MatMulNBits":
            return ov.PartialShape([self.onnx.attributes[name].as_int() for name in ("K", "N")])
        return self.input_value(port).get_partial_shape()

    def get_output_partial_shape(self, port: int) -> ov.PartialShape:
        """Shape of an output."""
        return self._outputs[port].get_partial_shape()

    def get_input_element_type(self, port: int) -> ov.Type:
        """Type of an input."""
        return self.input_value(port).get_element_type()

    def get_output_element_type(self, port: int) -> ov.Type:
        """Type of an output."""
        return self._outputs[port].get_element_type()

    def get_element_type(self) -> ov.Type:
        """Type of the first output."""
        return self.get_output_element_type(0)

    @property
    def data(self) -> np.ndarray:
        """Values of a Constant; of 4-bit types the packed bytes."""
        tensor = ir.convenience.get_const_tensor(self._outputs[0].value)
        if tensor is None:
            msg = f"{self._name} is no constant"
            raise ValueError(msg)
        return tensor_data(tensor)

    @property
    def shape(self) -> list[int]:
        """Shape of a Constant."""
        return list(self.get_output_partial_shape(0).to_shape())


def tensor_data(tensor: ir.TensorProtocol) -> np.ndarray:
    """Stored values; of 4-bit types the packed bytes, element 0 in the low nibble. External data stays mapped where it can."""
    if tensor.dtype in (ir.DataType.INT4, ir.DataType.UINT4):
        return np.frombuffer(tensor.tobytes(), np.uint8)
    values = tensor.numpy()
    return values.view(np.uint16) if tensor.dtype == ir.DataType.BFLOAT16 else values


def element_type(value: ir.Value) -> ov.Type:
    """In OpenVINO's words; `dynamic` where it has none."""
    constant = None if value.dtype is not None else ir.convenience.get_const_tensor(value)
    dtype = constant.dtype if constant is not None else value.dtype
    return _ELEMENT_TYPES.get(dtype, ov.Type.dynamic) if dtype is not None else ov.Type.dynamic


def partial_shape(value: ir.Value) -> ov.PartialShape:
    """In OpenVINO's words: named dimensions are dynamic."""
    constant = None if value.shape is not None else ir.convenience.get_const_tensor(value)
    shape = constant.shape if constant is not None else value.shape
    if shape is None:
        return ov.PartialShape.dynamic()
    return ov.PartialShape([dim if isinstance(dim, int) else -1 for dim in shape])


def _query_key_value(attention: ir.Node) -> list[ir.Value | None]:
    """The first three inputs of an attention, also where one tensor holds several of them."""
    query, key, value = [*attention.inputs, None, None][:3]
    if attention.domain == "com.microsoft" and attention.op_type == "Attention":  # its second input is a weight
        return [query] * 3
    key = query if key is None else key
    return [query, key, key if value is None else value]


def _captured(node: ir.Node) -> Iterator[ir.Value]:
    """What the bodies of a control flow node read from outside."""
    seen: set[ir.Value] = set()
    for attribute in node.attributes.values():
        bodies = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else []
        bodies += attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else []
        for body in bodies:
            inner = {value for deep in body.all_nodes() for value in deep.outputs}
            inner |= {v for graph in (body, *body.subgraphs()) for v in (*graph.inputs, *graph.initializers.values())}
            read = [v for deep in body.all_nodes() for v in deep.inputs] + list(body.outputs)
            for value in read:
                if value is not None and value not in inner and value not in seen:
                    seen.add(value)
                    yield value
