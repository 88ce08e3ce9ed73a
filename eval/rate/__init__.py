"""What a latent costs when it is really written: quantised, range-coded to a file, read back, decoded and compared."""
