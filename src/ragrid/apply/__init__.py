"""Runs a plan: journal, gates, resume."""
