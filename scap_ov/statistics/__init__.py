"""Bounded statistics of activations and the profile that holds them: numpy, merged bit for bit."""
