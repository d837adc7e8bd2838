"""How much of a crystal is left, and where the liquid becomes a glass."""
