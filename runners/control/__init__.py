"""Parts of `runners/run_control.py`."""
