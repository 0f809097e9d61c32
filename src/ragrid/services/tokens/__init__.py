"""The OAuth 2 token service."""
