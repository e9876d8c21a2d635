"""How an answer is decoded: the sampling plan, and the constraint that its shape comes from."""
