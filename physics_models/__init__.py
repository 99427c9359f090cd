"""The model of the paper, put together from the parts in `nn`."""
