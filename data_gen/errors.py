"""The error that data generation and loading raise for a mistake of the user's."""


class DataError(ValueError):
    """A bad argument or file; its text is one line that says what is wrong, where, and what to do."""


def in_short(error: Exception) -> str:
    """What `error` says, in a line's length: NumPy quotes a damaged file at any length."""
    text = str(getattr(error, "strerror", None) or error)
    return text if len(text) <= 200 else f"{text[:200]}…"
