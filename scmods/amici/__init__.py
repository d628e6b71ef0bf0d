"""Which neighbour explains this cell: attention over cells of other types, tested on cells the model never saw."""
