"""Tokenizers trained on one budget and measured side by side: ``python -m eval.compare``."""
