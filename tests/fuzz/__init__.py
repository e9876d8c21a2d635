"""Malformed requests by the thousand, of every method, over real gRPC: see __main__."""
