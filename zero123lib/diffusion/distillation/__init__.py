"""Score distillation's parts: the variants' formulas, and the model as they ask it."""
