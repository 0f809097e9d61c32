"""Measurements and proofs of what runs."""
