"""Passes over openvino.Model."""
