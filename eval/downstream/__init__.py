"""One small generator for each of several tokenizers, on the same pictures: ``python -m eval.downstream``."""
