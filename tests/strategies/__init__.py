"""What hypothesis generates: `shapes` makes api objects, `protos` makes messages of the contract."""
