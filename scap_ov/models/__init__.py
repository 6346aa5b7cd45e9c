"""Read models, run them on samples and windows of text, and score what they give."""
