"""The memory store on SQLite: one process, write-ahead log, full durability, commits in groups."""
