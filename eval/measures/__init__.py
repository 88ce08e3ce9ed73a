"""What a comparison says of a tokenizer beyond its reconstructions, and the references it stands beside."""
