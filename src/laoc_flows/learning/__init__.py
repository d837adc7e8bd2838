"""Data sets, training, selection and the verdict of the learning loop; no workflow engine here."""
