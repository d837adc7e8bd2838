"""The commands of ``laoc``, one file per noun; no logic."""
