"""Moved to `physics_models.run_log`."""

from physics_models.run_log import FALSE_WORDS, ORIGINAL_DEFAULTS, TRUE_WORDS, flag_differences, read_flags  # noqa: F401
