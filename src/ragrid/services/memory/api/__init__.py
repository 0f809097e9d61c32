"""The HTTP API under `/memory/v1/`: one file per resource, each operation declared once (`operation.py`)."""
