"""What `run_video.py` is made of: the fit of a film in units, its checks, its report."""
