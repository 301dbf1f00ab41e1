"""The training cockpit for PyTorch in a terminal."""
