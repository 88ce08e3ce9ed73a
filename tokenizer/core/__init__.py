"""Training plumbing that knows no model: configuration, checkpoints, EMA, optimizers, seeds, logs."""
