"""ragrid: a private RAG platform on your own servers."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ragrid")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
