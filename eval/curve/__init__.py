"""Quality over the number of tokens, for tokenizers whose rows have several lengths: ``python -m eval.curve``."""
