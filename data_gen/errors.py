"""The error that data generation and loading raise for a mistake of the user's."""


class DataError(ValueError):
    """A bad argument or file; its text is one line that says what is wrong, where, and what to do."""
