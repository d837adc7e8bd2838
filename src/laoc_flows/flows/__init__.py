"""The jobflow Makers: thin wiring of engines, learning and analysis into jobs."""
