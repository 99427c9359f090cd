"""Video data of simple physical systems, made with NumPy alone."""
