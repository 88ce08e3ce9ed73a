"""The pictures and the tokenizers of two functions that measures are tested with."""

from tests.eval.measures.conftest import smooth, toy

__all__ = ["smooth", "toy"]
