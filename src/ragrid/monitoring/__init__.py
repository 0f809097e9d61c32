"""Prometheus: configuration, rules, metric names, coverage."""
