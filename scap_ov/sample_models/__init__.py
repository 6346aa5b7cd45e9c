"""Models for examples, tests and benchmarks, made without torch, and text to go with them."""
