"""Who gets through the edge, and in which words the others are refused."""
