"""Runner of the notebook matrix, claims, participant copies and the Sphinx side of the book."""
