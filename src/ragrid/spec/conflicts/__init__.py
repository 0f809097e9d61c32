"""What may not stand together in a grid, by what it is about: pure functions from a grid to its conflicts."""
