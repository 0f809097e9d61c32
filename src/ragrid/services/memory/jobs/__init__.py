"""Work that takes longer than a request: its record, and who does it."""
