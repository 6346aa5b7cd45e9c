"""Model folders on disk: opening, aligned weights, atomic writing, and what scap_ov notes inside a model."""
