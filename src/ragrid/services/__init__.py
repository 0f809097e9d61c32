"""The ASGI services of ragrid; they never import one another."""
