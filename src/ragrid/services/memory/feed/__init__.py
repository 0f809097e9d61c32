"""The change feed: who waits is woken by the commit, and what goes over the wire."""
