"""Passes over onnx_ir.Model. Nothing here is imported before it is asked for: onnx_ir is an optional dependency."""
