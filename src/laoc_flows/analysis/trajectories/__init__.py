"""Frames, trajectories and paths: what every analysis starts from."""
