"""Rules on graphs that both backends share: which layers are sites, what the pattern of a pruned site looks like."""
