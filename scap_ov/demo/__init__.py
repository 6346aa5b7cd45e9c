"""The demo: a real model, loaded, calibrated, rewritten and run faster."""
