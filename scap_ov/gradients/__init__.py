"""Automatic differentiation of an OpenVINO model; knows no site."""
