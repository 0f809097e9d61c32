"""The filter language: parsed and evaluated purely, compiled by each store; a filter is a wall and never relaxed."""
