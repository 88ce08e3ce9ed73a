"""Blocks that two or more parts share."""
