"""The declared grid: models, loader with line and column, JSON Schema, presets."""
