"""The campaign file, planning, launching, repair after a kill, progress."""
