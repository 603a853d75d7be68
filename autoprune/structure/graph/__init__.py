"""The exported graph and what its nodes are."""
