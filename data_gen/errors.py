"""The error for a mistake of the user's in data and their files."""


class DataError(ValueError):
    """A bad argument or file. Its text is one line: what is wrong, where, and what to do."""


def one_line(error: Exception) -> str:
    """The text of `error` as one line of at most 200 characters."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
