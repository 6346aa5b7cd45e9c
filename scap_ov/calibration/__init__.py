"""Observe: run a model on calibration data and keep statistics of every site's input."""
