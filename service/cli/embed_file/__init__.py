"""`inferwire embed --input`: a file of texts to a file of vectors, resumable.

lines.py     the input, line by line
journal.py   what is done so far, beside the output, for a run that goes on where one was interrupted
output.py    the finished file, made from the journal: Parquet or JSON lines
run.py       the run
"""
