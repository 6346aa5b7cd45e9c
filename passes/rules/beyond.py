"""What is kept, in OpenVINO operations: of the portable pattern, and of ONNX functions that OpenVINO reads."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops


def beyond(distance: ov.Node, threshold: ov.Output) -> ov.Node:
    """Whether an entry is kept: |x − c| > τ, and NaN, which no comparison is true for, so that a broken activation is not hidden."""
    return ops.logical_not(ops.less_equal(distance, threshold))
