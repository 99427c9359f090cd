"""The parts of `side_by_side.py`: the two programs as processes, the original's environment, what was measured."""
