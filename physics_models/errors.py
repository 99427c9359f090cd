"""The error that models, checkpoints and training loops raise for a mistake of the user's."""


class ExperimentError(ValueError):
    """A bad setting, file or folder; its text is one line that says what is wrong, where, and what to do."""
