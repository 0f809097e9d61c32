"""Embedders, generators, and vLLM command lines."""
