"""Fill in shapes and types that an ONNX file leaves out, and make transposed inputs explicit. Before: find_sites.

onnx.shape_inference knows the standard operators only, so the ones of com.microsoft that onnxruntime's tools write are replaced in
a copy, that has no weights, by standard operators of the same shape.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

SMALL = 1024  # elements; larger constants do not determine shapes
# Operators of com.microsoft whose first output has the shape of their first input; with the outputs that have it too.
_KEEPS_SHAPE = {
    "FastGelu": (0,), "BiasGelu": (0,), "QuickGelu": (0,), "RotaryEmbedding": (0,), "SimplifiedLayerNormalization": (0,),
    "SkipLayerNormalization": (0, 3), "SkipSimplifiedLayerNormalization": (0, 3), "MultiHeadAttention": (0,), "GroupQueryAttention": (0,),
}  # fmt: skip


def infer_shapes(model: ir.Model) -> None:
    """Add what can be inferred to the values of the main graph, in place; what is there stays.

    :raises onnx.shape_inference.InferenceError: the model contradicts itself.
    """
    if all(v.shape is not None and v.dtype is not None for node in model.graph for v in node.outputs):
        return
    bare = _without_weights(model)
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(bare), data_prop=True).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    for node in model.graph:
        for value in node.outputs:
            found = known.get(value.name or "")
            if found is not None and found.type.HasField("tensor_type"):
                _take(value, found)


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
