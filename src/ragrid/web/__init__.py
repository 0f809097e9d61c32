"""What every ASGI service of ours shares: problem details, authentication, health, metrics, the server."""
