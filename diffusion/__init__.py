"""Latent generators: train them on cached latents, sample from them, decode with a tokenizer."""
