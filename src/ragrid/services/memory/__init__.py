"""The structured memory service."""
