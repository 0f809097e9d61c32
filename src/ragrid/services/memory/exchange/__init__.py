"""Export and import: a store as lines of JSON, which another store takes as they are."""
