"""The parts of `compare_runs.py`: what the logs say, what the arrays say, pictures, and the report itself."""
