"""One machine: supervised processes under one state directory."""
