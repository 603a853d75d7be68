"""Fine-tuning: recipes, batches, precision, distillation and checkpoints."""
