"""Jobs that measure tokenizers and generators under named protocols."""
