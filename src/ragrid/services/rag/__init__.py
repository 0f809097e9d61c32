"""The retrieval-augmented generation service."""
