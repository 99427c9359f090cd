"""Names that a folder may have. Taken for patterns they would stand for others, or for nothing."""

import os

NAMES = [
    r"runs\a", "a[b]", "a{b}", "a*b?c", "100% #1", "12:30:00", "it's \"quoted\" $HOME", "Kugeln ä 日本", "-a", "~a",
    "two\nlines", "x" * 250, os.fsdecode(b"latin-1 \xe4"),
]  # fmt: skip
MATCHED = ("runsa", "ab", "axbxc")  # by some of NAMES, as patterns
EVERYTHING = "-~ [a]{b}*?%#\\:'\"$ä日\n"
