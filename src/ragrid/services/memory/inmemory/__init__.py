"""A memory store that forgets everything with its process: for tests, and the plainest reading of the protocol."""
