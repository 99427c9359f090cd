"""What `reproduce_paper.py` measures, draws and reports."""
