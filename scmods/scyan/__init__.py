"""Labels for cells of cytometry from a table of populations x markers, by a normalising flow (Scyan).

An expert's knowledge goes in as -1 (negative), 1 (positive) and NaN (no statement); every cell comes out with a
probability of every population, of being none of them, and with what each marker said for and against its label. The
model is that of Blampey et al., Briefings in Bioinformatics 2023, 24(5), bbad260, https://doi.org/10.1093/bib/bbad260.
"""
