"""Few-shot learning (ARC): a self-edit chooses how the model is trained on a task's demonstrations."""
