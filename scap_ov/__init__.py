"""Activation pruning for OpenVINO and ONNX models."""
