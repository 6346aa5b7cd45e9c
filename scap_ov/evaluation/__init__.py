"""How much of the stock model a pruned model keeps: perplexity, divergence, agreement, tasks, and the bytes that a token reads."""
