"""The words that everything else speaks: documents, protocols and settings as pydantic models."""
