"""Fit: from a CalibrationProfile to a SparsityPlan, in numpy alone. No model, no data, no randomness."""
