"""Figures and pages out of analysis results and the store."""
