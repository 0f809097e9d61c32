"""How a grid is run: one protocol, one adapter per platform."""
