"""Pure: from the wanted and the seen to ordered steps."""
