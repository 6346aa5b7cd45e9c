"""Compare the outputs of two models, whatever runtime runs them."""
