"""How what was found is put in order: pure, shared by every store."""
