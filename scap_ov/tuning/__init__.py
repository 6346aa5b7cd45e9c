"""Plans that are chosen or improved by measuring them on the model: the largest sparsity that a loss allows, learned compensation."""
