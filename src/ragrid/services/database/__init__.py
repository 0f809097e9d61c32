"""The grid's own PostgreSQL: makes its files, keeps its server running, and says over HTTP how it is."""
