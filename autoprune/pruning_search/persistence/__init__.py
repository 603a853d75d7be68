"""What a search stores, and how it is continued."""
