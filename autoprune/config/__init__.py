"""Settings, budgets, references to code and the schema of study files; nothing here imports PyTorch."""
