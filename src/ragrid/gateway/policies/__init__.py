"""The policy of each service behind the edge, one file for each."""
