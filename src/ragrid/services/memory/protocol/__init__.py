"""What a memory store is, facet by facet; `store.py` puts them together. Adapters: `inmemory`, `sqlite`."""
