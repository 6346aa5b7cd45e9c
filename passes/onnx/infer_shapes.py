"""Fill in shapes and types that an ONNX file leaves out, and make transposed inputs explicit. Before: find_sites.

onnx.shape_inference knows the standard operators only, so the ones of com.microsoft that onnxruntime's tools write are replaced in
a copy, that has no weights, by standard operators of the same shape.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnx_ir as ir

_log = logging.getLogger(__name__)
SMALL = 1024  # elements; larger constants do not determine shapes
# Operators of com.microsoft whose first output has the shape of their first input; with the outputs that have it too.
_KEEPS_SHAPE = {
    "FastGelu": (0,), "BiasGelu": (0,), "QuickGelu": (0,), "RotaryEmbedding": (0,), "SimplifiedLayerNormalization": (0,),
    "SkipLayerNormalization": (0, 3), "SkipSimplifiedLayerNormalization": (0, 3), "MultiHeadAttention": (0,), "GroupQueryAttention": (0,),
    "MoE": (0,), "QMoE": (0,),
}  # fmt: skip


def infer_shapes(model: ir.Model) -> None:
    """Add what can be inferred to the values of the main graph, in place; what is there stays.

    :raises onnx.shape_inference.InferenceError: the model contradicts itself.
    """
    if all(v.shape is not None and v.dtype is not None for node in model.graph for v in node.outputs):
        return
    bare = ir.to_proto(_without_weights(model))
    _take_all(model, onnx.shape_inference.infer_shapes(bare, data_prop=True).graph)
    if any(v.shape is None for node in model.graph for v in node.outputs if v.uses()):
        _take_all(model, _by_onnxruntime(bare))


def _take_all(model: ir.Model, inferred: onnx.GraphProto) -> None:
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    for node in model.graph:
        for value in node.outputs:
            found = known.get(value.name or "")
            if found is not None and found.type.HasField("tensor_type"):
                _take(value, found)


def _by_onnxruntime(model: onnx.ModelProto) -> onnx.GraphProto:
    """What onnxruntime's own tool infers, which knows the operators of com.microsoft; nothing where it fails or is not installed."""
    try:
        from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference
    except ImportError as e:  # of onnxruntime, or of sympy, which that tool needs
        _log.info("shapes are not inferred by onnxruntime: %s", e)
        return onnx.GraphProto()
    try:
        found: onnx.GraphProto = SymbolicShapeInference.infer_shapes(model, auto_merge=True).graph
    except Exception as e:  # noqa: BLE001 - it raises plain Exception, and asserts, on what it does not know
        _log.info("onnxruntime infers no shapes: %s", e)
        return onnx.GraphProto()
    return found


def untranspose_gemm(model: ir.Model) -> None:
    """Write Gemm with transA as Transpose and Gemm: the channels are then the last axis of what the layer reads, in place."""
    for node in list(model.graph):
        if node.op_type != "Gemm" or "transA" not in node.attributes or not node.attributes["transA"].as_int():
            continue
        source = node.inputs[0]
        if source is None:
            continue
        turned = ir.Node("", "Transpose", [source], [ir.AttrInt64s("perm", [1, 0])], name=f"{node.name or node.outputs[0].name}/transposed")
        out = turned.outputs[0]
        out.name, out.type = f"{node.outputs[0].name}/transposed", source.type
        out.shape = None if source.shape is None else ir.Shape(list(source.shape)[::-1])
        model.graph.insert_before(node, turned)
        node.replace_input_with(0, out)
        node.attributes.pop("transA")


def _take(value: ir.Value, found: onnx.ValueInfoProto) -> None:
    tensor = found.type.tensor_type
    if value.type is None and tensor.elem_type:
        value.type = ir.TensorType(ir.DataType(tensor.elem_type))
    if value.shape is None and tensor.HasField("shape"):
        value.shape = ir.Shape([d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim])


def _without_weights(model: ir.Model) -> ir.Model:
    """A copy whose large initializers are inputs, and whose operators of com.microsoft are standard ones."""
    bare = model.clone()
    graph = bare.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.size > SMALL:
            value.shape, value.type = ir.Shape(list(tensor.shape)), ir.TensorType(tensor.dtype)
            value.const_value = None
            del graph.initializers[name]
            if value not in graph.inputs:
                graph.inputs.append(value)
    for node in list(graph):
        if node.domain == "com.microsoft":
            _standard(graph, node)
    return bare


def _standard(graph: ir.Graph, node: ir.Node) -> None:
    x = node.inputs[0] if node.inputs else None
    if x is None:
        return
    made: list[tuple[ir.Node, int]] = []
    if node.op_type == "FusedMatMul":
        made += _plain_product(graph, node)
    if node.op_type == "GatherBlockQuantized":
        made += _plain_lookup(graph, node)
    if node.op_type == "MatMulNBits":
        weight = ir.Value(name=f"{node.outputs[0].name}/weight", type=x.type or ir.TensorType(ir.DataType.FLOAT),
                          shape=ir.Shape([node.attributes["K"].as_int(), node.attributes["N"].as_int()]))  # fmt: skip
        graph.inputs.append(weight)
        made.append((ir.Node("", "MatMul", [x, weight]), 0))
    packed = node.op_type in ("MultiHeadAttention", "GroupQueryAttention") and node.inputs[1] is None  # q, k and v in one
    if packed and node.op_type == "GroupQueryAttention":
        made += _queries(graph, node, x)
    kept = () if packed else _KEEPS_SHAPE.get(node.op_type, ())
    made += [(ir.Node("", "Identity", [x]), index) for index in kept if index < len(node.outputs)]
    if not made:
        return
    for new, index in made:
        old = node.outputs[index]
        graph.insert_before(node, new)
        new.outputs[0].name, old.name = old.name, f"{old.name}/old"
        old.replace_all_uses_with(new.outputs[0], replace_graph_outputs=True)
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        graph.remove(node, safe=True)


def _plain_lookup(graph: ir.Graph, node: ir.Node) -> list[tuple[ir.Node, int]]:
    """Gather in a table of floats for GatherBlockQuantized, an embedding that is stored in 4 or 8 bits."""
    stored, indices, scale = [*node.inputs, None, None, None][:3]
    if stored is None or indices is None or scale is None or stored.shape is None or stored.dtype is None:
        return []
    numbers = {name: attribute.as_int() for name, attribute in node.attributes.items()}
    sizes: list[int | ir.SymbolicDim] = list(stored.shape)
    axis = numbers.get("quantize_axis", 1) % len(sizes)
    if stored.dtype == ir.DataType.UINT8 and isinstance(sizes[axis], int):
        sizes[axis] *= 8 // numbers.get("bits", 4)
    table = ir.Value(name=f"{node.outputs[0].name}/table", type=scale.type or ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(sizes))
    graph.inputs.append(table)
    return [(ir.Node("", "Gather", [table, indices], [ir.AttrInt64("axis", numbers.get("gather_axis", 0))]), 0)]


def _plain_product(graph: ir.Graph, node: ir.Node) -> list[tuple[ir.Node, int]]:
    """MatMul and Transpose for FusedMatMul; nothing where batches are transposed or a rank is not known."""
    flags = {name: attribute.as_int() for name, attribute in node.attributes.items() if name.startswith("trans")}
    if flags.get("transBatchA") or flags.get("transBatchB"):
        return []
    operands = []
    for given, turned in zip(node.inputs, (flags.get("transA"), flags.get("transB")), strict=True):
        value = given
        if value is None or (turned and value.shape is None):
            return []
        if turned:
            rank = len(value.shape or ())
            order = [*range(rank - 2), rank - 1, rank - 2]
            turn = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", order)], name=f"{value.name}/turned_for/{node.name}")
            turn.outputs[0].name = turn.name
            graph.insert_before(node, turn)
            value = turn.outputs[0]
        operands.append(value)
    return [(ir.Node("", "MatMul", operands), 0)]


def _queries(graph: ir.Graph, node: ir.Node, x: ir.Value) -> list[tuple[ir.Node, int]]:
    """What takes the share of the query heads out of a tensor that holds q, k and v."""
    producer = x.producer()
    layer = producer is not None and producer.op_type == "MatMul" and x.shape is None
    shape = producer.inputs[1].shape if layer else x.shape  # type: ignore[union-attr]
    width = None if shape is None else shape[-1]
    if not isinstance(width, int):
        return []
    queries, shared = (node.attributes[name].as_int() for name in ("num_heads", "kv_num_heads"))
    bounds = []
    for name, number in (("start", 0), ("stop", width * queries // (queries + 2 * shared)), ("axis", -1)):
        tensor = ir.tensor(np.array([number], np.int64), name=f"{node.outputs[0].name}/{name}")
        value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
        bounds.append(value)
    return [(ir.Node("", "Slice", [x, *bounds]), 0)]
