"""What is told about calls: their identity, their log records, the trace they belong to."""
