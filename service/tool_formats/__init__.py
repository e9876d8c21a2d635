"""How tool calls are asked for, written back, read and constrained: one file per dialect."""
