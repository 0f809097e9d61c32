"""ragrid: a private RAG platform on your own servers."""


def __getattr__(name: str) -> str:
    """Look the version up only when asked: reading package metadata costs every start 30 ms."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - lazy on purpose, see above

        try:
            return version("ragrid")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    raise AttributeError(name)
